"""This module is where a place in the log becomes a stream: ready first, then what the caller may see, in order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from models import Event
from models.errors import LimitExceeded
from subscriptions.cursor import Cursor
from subscriptions.tail import Tails

Matches = Callable[[Mapping[str, Any] | None], bool]


@dataclass(frozen=True, slots=True)
class Ready:
    """The stream stands at ``cursor``; ``recovered`` false says that what came before is not to be had."""

    cursor: str
    recovered: bool


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for this subscriber. ``previous_cursor`` is that of the item it was sent before."""

    event: Event
    cursor: str
    previous_cursor: str
    matches_filter: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Interest:
    """Which events a subscriber wants and may see; decided on the envelope alone."""

    visible: Callable[[Event], bool]
    entity_type: str | None = None
    matches: Matches

    def wants(self, event: Event) -> bool:
        """Whether the event is delivered: the entity matches now or did before."""
        if self.entity_type is not None and event.entity_type != self.entity_type:
            return False
        return (self.matches(event.before) or self.matches(event.after)) and self.visible(event)


async def durable(
    tails: Tails, tenant_id: UUID, after: str | None, interest: Interest
) -> AsyncIterator[Ready | list[Delivery]]:
    """Ready, then batches of deliveries without gap or repeat, for ever.

    Raises Unavailable, and LIMIT_EXCEEDED when retention has overtaken the reader.
    """
    async with tails.follow(tenant_id) as tail:
        epoch = await tails.epoch()
        seq, recovered = await _start(tails, tenant_id, after, epoch)
        previous = Cursor(epoch, seq).encode()
        yield Ready(previous, recovered)
        while True:
            events = await tail.after(seq)
            # Seqs are contiguous, so a hole can only be what retention took away.
            if not events or events[0].seq != seq + 1:
                raise LimitExceeded("This stream fell too far behind.", cursor=previous, retryable=True)
            seq = events[-1].seq
            deliveries: list[Delivery] = []
            for event in events:
                if interest.wants(event):
                    cursor = Cursor(epoch, event.seq).encode()
                    deliveries.append(Delivery(event, cursor, previous, interest.matches(event.after)))
                    previous = cursor
            if deliveries:
                yield deliveries


async def _start(tails: Tails, tenant_id: UUID, after: str | None, epoch: bytes) -> tuple[int, bool]:
    floor, head = await tails.bounds(tenant_id)
    if after is None:
        return head, True
    cursor = Cursor.decode(after)
    held = cursor is not None and cursor.epoch == epoch and floor <= cursor.seq <= head
    return (cursor.seq, True) if held and cursor is not None else (head, False)
