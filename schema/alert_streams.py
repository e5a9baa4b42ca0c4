"""This module is where alerts are watched live: every change that is one, once and in order."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import strawberry
from strawberry import ID

import models
from dataloaders.base import by_id
from models import Scope
from resolvers.call import Call
from schema.alert_filters import AlertFilter
from schema.alerts import Alert
from schema.common import EventCursor
from schema.declare import Argument, column, part, root_fields
from schema.inputs import given
from schema.streams import AFTER, Change, DurableSource, StreamCheckpoint, StreamItem, StreamReady, stream
from subscriptions.alerts import alert_matcher
from subscriptions.streams import Interest


@part(
    "Sent when the alert matches the filter now or did before this change: matchesFilter false means take it off the "
    "list. The alert is as it is now, null when it is gone."
)
class AlertItem(StreamItem):
    """One change of an alert."""

    previous_cursor: EventCursor = column("Cursor of the item sent before this one on this subscription.")
    occurred_at: datetime = column("When it was committed.")
    kind: str = column(
        "What happened, noun.verb: alert.received, acknowledged, unacknowledged, resolved, still_firing, ended, "
        "silenced, unsilenced, escalated, analysis_queued and so on."
    )
    entity_id: ID = column("Whose change it is.")
    matches_filter: bool = column("Whether the alert matches the filter since this change.")
    alert: Alert | None = column("The alert as it is now.", "entity")

    @classmethod
    def is_type_of(cls, value: object, _: object) -> bool:
        """A change of an alert."""
        return isinstance(value, Change) and value.event.entity_type == models.Alert.__typeid__


AlertStream = Annotated[
    StreamReady | StreamCheckpoint | AlertItem,
    strawberry.union("AlertStream", description="What alertFeed sends."),
]


def _alert_feed(_: Any, call: Call, after: str | None = None, filter: AlertFilter | None = None) -> DurableSource:
    interest = Interest(
        visible=lambda event: call.allows(Scope(event.required_scope)),
        entity_type=models.Alert.__typeid__,
        matches=alert_matcher(given(filter) if filter else {}),
    )
    return DurableSource(after, interest, by_id(models.Alert))


@root_fields
class AlertSubscriptions:
    """Live fields over alerts."""

    alert_feed: AlertStream = stream(
        _alert_feed,
        "Every change of the tenant's alerts, once and in order; a repeated delivery is none. Ignored ones only when "
        "asked for.",
        [AFTER, Argument("filter", AlertFilter | None, "Only alerts that match, or did before the change.")],
        scope=Scope.ALERTS_READ,
    )
