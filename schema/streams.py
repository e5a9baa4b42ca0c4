"""This module is where live streams are seen from outside: what every item says, and how a field becomes one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import strawberry

from dataloaders.base import Batch
from models import Event, Scope
from resolvers.call import Call
from schema.common import EventCursor
from schema.declare import Argument, Computed, Nodes, Spec, column, part
from subscriptions.streams import Checkpoint, Delivery, Interest, Ready


@strawberry.interface(
    description="Every item of a durable stream says where it stands, so a client can resume after it. "
    "Ignore members of a stream that you do not know."
)
class StreamItem:
    """What all items of durable streams share."""

    cursor: EventCursor = column("Where this item stands in the log.")


Nodes.scopes[StreamItem] = Scope.PUBLIC


@part(
    "First item. recovered is false when the log no longer holds what came after the given cursor: refetch, then go "
    "on from here."
)
class StreamReady(StreamItem):
    """The stream stands."""

    recovered: bool = column("Whether nothing was missed since the given cursor.")

    @classmethod
    def is_type_of(cls, value: object, _: object) -> bool:
        """A Ready."""
        return isinstance(value, Ready)


@part("Sent while nothing matches the filter, so that an idle client's cursor stays fresh.")
class StreamCheckpoint(StreamItem):
    """A sign of life with a cursor."""

    @classmethod
    def is_type_of(cls, value: object, _: object) -> bool:
        """A checkpoint."""
        return isinstance(value, Checkpoint)


class Stream(Computed):
    """A subscription field."""


def stream(
    function: Callable[..., AsyncIterator[Any] | DurableSource | Awaitable[DurableSource]],
    description: str,
    arguments: Sequence[Argument] = (),
    *,
    scope: Scope,
    cost: int = 10,
) -> Any:
    """A subscription field whose source ``function(source, call, **arguments)`` makes."""
    made = Stream(
        description=description,
        is_subscription=True,
        metadata={"spec": Spec(scope=scope, cost=cost), "function": function},
    )
    made.arguments = [argument.build() for argument in arguments]
    return made


AFTER = Argument("after", EventCursor | None, "Continue after this cursor; from now on when absent.")


@dataclass(frozen=True, slots=True)
class Change:
    """One delivery with its entity as it is now; what the items of durable streams are read from."""

    delivery: Delivery
    entity: Any

    @property
    def event(self) -> Event:
        """The committed change."""
        return self.delivery.event

    @property
    def cursor(self) -> str:
        """Where it stands."""
        return self.delivery.cursor

    @property
    def previous_cursor(self) -> str:
        """Where the item before it stood."""
        return self.delivery.previous_cursor

    @property
    def matches_filter(self) -> bool:
        """Whether the entity matches since this change."""
        return self.delivery.matches_filter

    @property
    def kind(self) -> str:
        """What happened."""
        return self.event.kind

    @property
    def occurred_at(self) -> datetime:
        """When it was committed."""
        return self.event.occurred_at

    @property
    def entity_id(self) -> str:
        """The entity's id, also when it is gone."""
        return self.event.entity_typeid


@dataclass(frozen=True, slots=True)
class DurableSource:
    """What a durable stream's field resolves to: which events, from where on, and whose rows they show.

    It is not iterated: the fan-out answers all subscribers of one question together.
    """

    after: str | None
    interest: Interest
    batch: Batch[UUID, Any] | None
    """Whose rows the items show; None where each item finds its own."""
    personal: bool = False
    """Whether callers with equal scopes may be sent different events."""
    noted: bool = False
    """Whether it was written down who looks when the stream began, so that its items need not be each reader's own."""

    def __aiter__(self) -> AsyncIterator[Any]:
        raise TypeError("a durable source is served by the fan-out")

    async def changes(self, call: Call, deliveries: Sequence[Delivery]) -> list[Change]:
        """The deliveries with their entities as they are now, each entity read once in one statement."""
        if self.batch is None:
            return [Change(one, None) for one in deliveries]
        ids = list(dict.fromkeys(one.event.entity_id for one in deliveries))
        rows = dict(zip(ids, await call.loaders.of(self.batch).load_many(ids), strict=True))
        return [Change(one, rows[one.event.entity_id]) for one in deliveries]
