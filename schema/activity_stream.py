"""This module is where the tenant's whole log is watched live."""

from __future__ import annotations

from typing import Annotated, Any

import strawberry

from models import Scope
from resolvers.activity import is_personal
from resolvers.call import Call
from schema.activity import ActivityEvent, ActivityFilter, view_for
from schema.common import EventCursor
from schema.declare import Argument, column, part, root_fields
from schema.streams import AFTER, Change, DurableSource, StreamCheckpoint, StreamItem, StreamReady, stream
from subscriptions.activity import shown
from subscriptions.streams import Interest


@part("One event of the log.")
class ActivityItem(StreamItem):
    """What activityFeed sends of an event."""

    previous_cursor: EventCursor = column("Cursor of the item sent before this one on this subscription.")
    event: ActivityEvent = column("The event, the same that activity lists.")

    @classmethod
    def is_type_of(cls, value: object, _: object) -> bool:
        """A change, whatever changed."""
        return isinstance(value, Change)


ActivityStream = Annotated[
    StreamReady | StreamCheckpoint | ActivityItem,
    strawberry.union("ActivityStream", description="What activityFeed sends."),
]


def _activity_feed(_: Any, call: Call, after: str | None = None, filter: ActivityFilter | None = None) -> DurableSource:
    view = view_for(call, filter)
    # The filter is about the event, not about the thing that changed: no event leaves it.
    interest = Interest(visible=shown(view), matches=lambda _: True)
    return DurableSource(after, interest, None, personal=is_personal(view))


@root_fields
class ActivitySubscriptions:
    """Live fields over everything."""

    activity_feed: ActivityStream = stream(
        _activity_feed,
        "Every committed change that the caller may see, once and in order; the same rows that activity lists.",
        [AFTER, Argument("filter", ActivityFilter | None, "Only events that match.")],
        scope=Scope.ACTIVITY_READ,
    )
