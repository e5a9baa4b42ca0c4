"""This module is where agents are put into workspaces, taken out and moved, as seen from outside."""

from __future__ import annotations

from strawberry import ID

from models import Scope
from resolvers.assignments import assign_agent, move_agent, unassign_agent
from schema.commands import command
from schema.declare import root_fields
from schema.inputs import form, optional, required
from schema.registry import WorkspacePayload


@form("Which agent goes where.")
class AssignAgentInput:
    """Input of assignAgent."""

    workspace_id: ID = required("Where it goes.", of="workspace")
    agent_id: ID = required("Which agent.", of="agent")
    replace: bool | None = optional("Take the place of the agent that is there; false when absent.")


@form("Which agent leaves.")
class UnassignAgentInput:
    """Input of unassignAgent."""

    workspace_id: ID = required("What it leaves.", of="workspace")
    agent_id: ID = required("Which agent.", of="agent")
    reason: str | None = optional("Why; kept with the assignment.")


@form("Where an agent moves.")
class MoveAgentInput:
    """Input of moveAgent."""

    agent_id: ID = required("Which agent; it works somewhere.", of="agent")
    workspace_id: ID = required("Where it goes; no agent is there.", of="workspace")


@root_fields
class PlacementMutations:
    """What can be done with agents and workspaces together."""

    assign_agent: WorkspacePayload | None = command(
        assign_agent,
        "Assigns an agent to a workspace.",
        input=AssignAgentInput,
        payload=WorkspacePayload,
        scope=Scope.WORKSPACES_WRITE,
    )
    unassign_agent: WorkspacePayload | None = command(
        unassign_agent,
        "Takes an agent out of a workspace.",
        input=UnassignAgentInput,
        payload=WorkspacePayload,
        scope=Scope.WORKSPACES_WRITE,
    )
    move_agent: WorkspacePayload | None = command(
        move_agent,
        "Takes an agent from where it works to an empty workspace. CONFLICT when another agent is there.",
        input=MoveAgentInput,
        payload=WorkspacePayload,
        scope=Scope.WORKSPACES_WRITE,
    )
