"""This module is where the fleet is watched live: status changes that are never lost, beats that are always fresh."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Annotated, Any

import strawberry
from strawberry import ID

import models
from dataloaders.base import by_id
from models import Scope
from models.ids import parse
from resolvers.call import Call
from resolvers.heartbeat_watch import watch_heartbeats
from schema.common import EventCursor
from schema.declare import Argument, column, part, root_fields
from schema.inputs import given
from schema.registry import Heartbeat, Workspace, WorkspaceFilter
from schema.streams import AFTER, Change, DurableSource, StreamCheckpoint, StreamItem, StreamReady, stream
from subscriptions.registry import workspace_matcher
from subscriptions.streams import Interest


@part(
    "Sent when the workspace matches the filter now or did before this change: matchesFilter false means take it off "
    "the list. The workspace is as it is now, null when it is gone."
)
class WorkspaceItem(StreamItem):
    """One change of a workspace."""

    previous_cursor: EventCursor = column("Cursor of the item sent before this one on this subscription.")
    occurred_at: datetime = column("When it was committed.")
    kind: str = column("What happened, noun.verb.")
    entity_id: ID = column("Whose change it is.")
    matches_filter: bool = column("Whether the workspace matches the filter since this change.")
    workspace: Workspace | None = column("The workspace as it is now.", "entity")

    @classmethod
    def is_type_of(cls, value: object, _: object) -> bool:
        """A change of a workspace."""
        return isinstance(value, Change) and value.event.entity_type == models.Workspace.__typeid__


WorkspaceStream = Annotated[
    StreamReady | StreamCheckpoint | WorkspaceItem,
    strawberry.union("WorkspaceStream", description="What workspaceStatus sends."),
]


def _workspace_status(
    _: Any, call: Call, after: str | None = None, filter: WorkspaceFilter | None = None
) -> DurableSource:
    interest = Interest(
        visible=lambda event: call.allows(Scope(event.required_scope)),
        entity_type=models.Workspace.__typeid__,
        matches=workspace_matcher(given(filter) if filter else {}),
    )
    return DurableSource(after, interest, by_id(models.Workspace))


def _heartbeats(
    _: Any, call: Call, min_interval_milliseconds: int, workspace_ids: list[str] | None = None
) -> AsyncIterator[Sequence[Any]]:
    wanted = None if workspace_ids is None else frozenset(parse(one, "workspace") for one in workspace_ids)
    return watch_heartbeats(call, wanted, min_interval_milliseconds)


@root_fields
class RegistrySubscriptions:
    """Live fields over workspaces."""

    workspace_status: WorkspaceStream = stream(
        _workspace_status,
        "Every change of the tenant's workspaces, once and in order.",
        [AFTER, Argument("filter", WorkspaceFilter | None, "Only workspaces that match, or did before the change.")],
        scope=Scope.WORKSPACES_READ,
    )
    heartbeats: list[Heartbeat] = stream(
        _heartbeats,
        "Starts with the latest beat of every matching workspace; at most one per workspace and interval.",
        [
            Argument("workspace_ids", list[ID] | None, "Only these workspaces, at most 100; all when absent."),
            Argument("min_interval_milliseconds", int, "Shortest time between two beats of one workspace.", 1000),
        ],
        scope=Scope.WORKSPACES_READ,
    )
