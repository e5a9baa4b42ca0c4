"""This module is where the history of the fleet's structure is read: it is only added to, and never deleted."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import strawberry
from strawberry import ID

import models
from dataloaders.pages import Direction
from dataloaders.structure_events import structure_events
from models import Scope
from schema.common import JSON, Connection, Node, connection
from schema.declare import column, describe, node, root_fields, to_one
from schema.inputs import form, optional, required

if TYPE_CHECKING:
    from schema.agents import Agent
    from schema.registry import Workspace


class StructureEventOrderField(StrEnum):
    """What structure events can be sorted by."""

    SEQUENCE = "seq"


describe(
    StructureEventOrderField,
    "What structure events can be sorted by.",
    SEQUENCE="The number of the change in the tenant's event log: the order in which all was committed.",
)


@node(
    models.StructureEvent,
    "One change of the fleet's structure: who came, went, moved, went on- or offline. Read from the first to the last "
    "they tell how everything came to stand as it does.",
    scope=Scope.WORKSPACES_READ,
)
class StructureEvent(Node):
    """GraphQL type of models.StructureEvent."""

    sequence: int = column("Its number in the tenant's event log; it rises and is never given twice.", "seq")
    event_type: str = column("What happened, e.g. WORKSPACE_MOVED, AGENT_REPLACED, AGENT_CARD_UPDATED.")
    workspace: Annotated[Workspace, strawberry.lazy("schema.registry")] | None = to_one(
        models.Workspace, "Whose change it is.", "workspace_id"
    )
    workspace_id: ID | None = column("Whose change it is, also when that is gone.", "workspace_typeid")
    agent: Annotated[Agent, strawberry.lazy("schema.agents")] | None = to_one(
        models.Agent, "Which agent came, left or moved.", "agent_id"
    )
    target: Annotated[Workspace, strawberry.lazy("schema.registry")] | None = to_one(
        models.Workspace, "The parent of what was made or moved; where an agent that moved came from.", "target_id"
    )
    payload: JSON = column("Ids, enum values, numbers and names of changed fields.")
    created_at: datetime = column("When it was committed.")


@form("Which structure events; fields combine with and, lists mean any of.")
class StructureEventFilter:
    """Filter of structure events."""

    workspace_id: ID | None = optional("Of this workspace.", of="workspace")
    agent_id: ID | None = optional("About this agent.", of="agent")
    event_type: list[str] | None = optional("One of these types, each matched whole.")


@form("How structure events are sorted.")
class StructureEventOrder:
    """Order of structure events."""

    field: StructureEventOrderField = required("What to sort by.")
    direction: Direction = required("Which end comes first.")


def structure_events_of(description: str) -> Any:
    """A field that is the page of structure events of the parent row, a workspace."""
    return connection(
        structure_events,
        description,
        filter=StructureEventFilter,
        order=StructureEventOrder,
        narrow=lambda row, _: {"workspace_id": row.id},
    )


@root_fields
class StructureEventQueries:
    """Root fields over the history of the structure."""

    structure_events: Connection[StructureEvent] | None = connection(
        structure_events,
        "How the fleet came to stand as it does, the latest change first.",
        filter=StructureEventFilter,
        order=StructureEventOrder,
    )
