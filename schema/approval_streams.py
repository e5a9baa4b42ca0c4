"""This module is where requests for approval are watched live: the queue, and one decision by who waits for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any

import strawberry
from strawberry import ID

import models
from dataloaders.base import by_id
from models import Scope
from models.ids import parse
from resolvers.approval_waiting import watch_decided
from resolvers.call import Call
from resolvers.conversation_access import watches
from schema.approval_filters import ApprovalFilter, is_personal, prepared
from schema.approvals import Approval
from schema.common import EventCursor
from schema.declare import Argument, column, part, root_fields
from schema.inputs import given
from schema.streams import AFTER, Change, DurableSource, StreamCheckpoint, StreamItem, StreamReady, stream
from subscriptions.approvals import approval_matcher
from subscriptions.streams import Interest


@part(
    "Sent when the entity matches the filter now or did before this change: matchesFilter false means take it off the "
    "list. The entity is as it is now, null when it is gone."
)
class ApprovalItem(StreamItem):
    """One change of a request."""

    previous_cursor: EventCursor = column("Cursor of the item sent before this one on this subscription.")
    occurred_at: datetime = column("When it was committed.")
    kind: str = column("What happened, noun.verb.")
    entity_id: ID = column("Whose change it is.")
    matches_filter: bool = column("Whether the request matches the filter since this change.")
    approval: Approval | None = column("The request as it is now.", "entity", scope=Scope.SIGNED_IN)

    @classmethod
    def is_type_of(cls, value: object, _: object) -> bool:
        """A change of a request."""
        return isinstance(value, Change) and value.event.entity_type == models.ApprovalRequest.__typeid__


ApprovalStream = Annotated[
    StreamReady | StreamCheckpoint | ApprovalItem,
    strawberry.union("ApprovalStream", description="What approvalQueue sends."),
]


def _approval_queue(
    _: Any, call: Call, after: str | None = None, filter: ApprovalFilter | None = None
) -> DurableSource:
    said = given(filter) if filter else {}
    interest = Interest(
        visible=watches(call),
        entity_type=models.ApprovalRequest.__typeid__,
        matches=approval_matcher(prepared(said, call)),
    )
    # Who holds the scope sees all; everybody else sees what is their own, and gets a stream of their own.
    personal = is_personal(said) or not call.allows(Scope.APPROVALS_READ)
    return DurableSource(after, interest, by_id(models.ApprovalRequest), personal=personal)


def _approval_decided(_: Any, call: Call, id: str) -> AsyncIterator[models.ApprovalRequest]:
    return watch_decided(call, parse(id, models.ApprovalRequest.__typeid__))


@root_fields
class ApprovalSubscriptions:
    """Live fields over requests for approval."""

    approval_queue: ApprovalStream = stream(
        _approval_queue,
        "Every change of the tenant's requests, once and in order; without approvals:read of one's own. A change of "
        "slaState is an event of its own.",
        [AFTER, Argument("filter", ApprovalFilter | None, "Only requests that match, or did before the change.")],
        scope=Scope.SIGNED_IN,
    )
    approval_decided: Approval = stream(
        _approval_decided,
        "For the waiting agent: one item, at once if it is decided already, then the stream completes. Expiry and "
        "cancellation count. Of what is not there or another's nothing comes.",
        [Argument("id", ID, "Which request.")],
        scope=Scope.SIGNED_IN,
    )
