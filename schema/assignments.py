"""This module is where it is seen from outside which agents worked where, and since when."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import strawberry
from strawberry import ID

import models
from dataloaders.assignments import assignments
from dataloaders.pages import Direction
from models import AssignmentStatus, Scope
from schema.common import Connection, Node, connection
from schema.declare import column, describe, node, root_fields, to_one
from schema.inputs import form, optional, required

if TYPE_CHECKING:
    from schema.agents import Agent
    from schema.registry import Workspace

describe(
    AssignmentStatus,
    "Whether an assignment is the present one.",
    ACTIVE="It is; a workspace has one at most.",
    REPLACED="Another agent took its place.",
    REMOVED="The agent was taken out or moved, or the workspace ended.",
)


class AgentAssignmentOrderField(StrEnum):
    """What assignments can be sorted by."""

    CREATED_AT = "created_at"


describe(AgentAssignmentOrderField, "What assignments can be sorted by.", CREATED_AT="When the agent came.")


@node(
    models.AgentAssignment,
    "That an agent works, or worked, in a workspace; kept as history when it ends.",
    scope=Scope.WORKSPACES_READ,
)
class AgentAssignment(Node):
    """GraphQL type of models.AgentAssignment."""

    workspace: Annotated[Workspace, strawberry.lazy("schema.registry")] | None = to_one(
        models.Workspace, "Where.", "workspace_id"
    )
    agent: Annotated[Agent, strawberry.lazy("schema.agents")] | None = to_one(
        models.Agent, "Which agent; null when it is gone.", "agent_id"
    )
    model: str | None = column("The language model that it asked for when it came.")
    status: AssignmentStatus = column("Whether it is the present one.")
    removed_at: datetime | None = column("When it ended.")
    removal_reason: str | None = column(
        "Why it ended: model_replaced, moved, manual_removal, workspace_removed, or what somebody said."
    )
    created_at: datetime = column("When the agent came.")
    updated_at: datetime = column("When it last changed.")


@form("Which assignments; fields combine with and, lists mean any of.")
class AgentAssignmentFilter:
    """Filter of assignments."""

    status: list[AssignmentStatus] | None = optional("One of these statuses.")
    workspace_id: ID | None = optional("To this workspace.", of="workspace")
    agent_id: ID | None = optional("Of this agent.", of="agent")


@form("How assignments are sorted; ties are broken by id.")
class AgentAssignmentOrder:
    """Order of assignments."""

    field: AgentAssignmentOrderField = required("What to sort by.")
    direction: Direction = required("Which end comes first.")


def assignments_by(name: str, description: str) -> Any:
    """A field that is the page of assignments whose ``name`` is the parent row's id."""
    return connection(
        assignments,
        description,
        filter=AgentAssignmentFilter,
        order=AgentAssignmentOrder,
        narrow=lambda row, _: {name: row.id},
    )


@root_fields
class AssignmentQueries:
    """Root fields over assignments."""

    agent_assignments: Connection[AgentAssignment] | None = connection(
        assignments,
        "Which agents worked where, the present and the past.",
        filter=AgentAssignmentFilter,
        order=AgentAssignmentOrder,
    )
