"""This module is where the fleet is seen from outside: workspaces, their beats, and what operators do to them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import strawberry
from strawberry import ID

import models
from dataloaders.agents import agents_by_workspace
from dataloaders.canvas import layout_by_workspace
from dataloaders.pages import Direction
from dataloaders.registry import workspaces, workspaces_by_parent
from dataloaders.secrets import restart_needed_by_workspace
from models import Scope, WorkspaceCommand, WorkspaceStatus
from models.registry import RuntimeState
from resolvers import registry as use_cases
from schema.activity_logs import ActivityLog, activity_of
from schema.agents import Agent
from schema.assignments import AgentAssignment, assignments_by
from schema.canvas import CanvasLayout
from schema.commands import UserError, command, payload, user_errors
from schema.common import JSON, Connection, Node, connection, found
from schema.declare import column, computed, describe, node, part, related, root_fields, to_one
from schema.inputs import form, optional, required
from schema.structure_events import StructureEvent, structure_events_of

describe(
    WorkspaceStatus,
    "Where a workspace stands in its life.",
    PROVISIONING="Its runtime is being made ready; its next beat brings it online.",
    AWAITING_AGENT="It was created and nobody has registered yet.",
    ONLINE="It beats and does well.",
    DEGRADED="It beats, but fails at half of its work or more, or says that it is wedged.",
    OFFLINE="It was silent longer than its time-to-live.",
    PAUSED="An operator stopped it; beats do not wake it.",
    HIBERNATED="It sleeps until it is resumed.",
    FAILED="Its runtime could not be made ready.",
    REMOVED="It is gone for good; kept as history.",
)
describe(
    WorkspaceCommand,
    "What an operator may ask of a workspace.",
    PAUSE="Stop working; the agent learns it with its next beat.",
    RESUME="Work again.",
    HIBERNATE="Sleep while there is nothing to do.",
    RESTART="Make its runtime anew.",
)
describe(
    RuntimeState,
    "What the runtime says of itself, whatever its error rate.",
    NORMAL="It works.",
    WEDGED="It is stuck and counts as degraded.",
)


class WorkspaceOrderField(StrEnum):
    """What workspaces can be sorted by."""

    CREATED_AT = "created_at"
    NAME = "name"
    LAST_HEARTBEAT_AT = "last_heartbeat_at"


describe(
    WorkspaceOrderField,
    "What workspaces can be sorted by.",
    CREATED_AT="When it was created.",
    NAME="Its name.",
    LAST_HEARTBEAT_AT="When it was last heard of; never heard of comes last.",
)


@part(
    "Latest state, not history: slow readers get the newest beat of each workspace, never a backlog. "
    "One id per workspace, so caches replace the older beat; not a node."
)
class Heartbeat:
    """What a workspace last said of itself."""

    id: ID = column("One id per workspace, shared by all of its beats.", "heartbeat_id")
    workspace_id: ID = column("Whose beat it is.", "typeid")
    status: WorkspaceStatus = column("The workspace's status after this beat.")
    received_at: datetime = column("When the gateway took it.", "last_heartbeat_at")
    error_rate: float = column("Share of failed work, 0 to 1.", "last_error_rate")
    active_tasks: int = column("Tasks at work.")
    uptime_seconds: int = column("Seconds since the runtime started.")
    current_task: str | None = column("What it is doing, in words.")
    sample_error: str | None = column("One of its recent errors.", "last_sample_error")


@node(
    models.Workspace,
    "A running place for an agent: it registers, sends heartbeats, and its parent decides whom it may talk to.",
    scope=Scope.WORKSPACES_READ,
    own=lambda row, call: call.principal is not None and call.principal.workspace_id == row.id,
)
class Workspace(Node):
    """GraphQL type of models.Workspace."""

    name: str = column("What people call it.")
    role: str | None = column("Its role in the organisation, e.g. Marketing.")
    tier: int = column("1 sandboxed, 2 standard, 3 privileged, 4 full host.")
    status: WorkspaceStatus = column("Where it stands in its life.")
    agent_card: JSON | None = column("What its agent says of itself (A2A agent card).")
    url: str | None = column("Where it can be reached.")
    parent: Annotated[Workspace, strawberry.lazy("schema.registry")] | None = to_one(
        models.Workspace, "The workspace above it.", "parent_id"
    )
    children: list[Annotated[Workspace, strawberry.lazy("schema.registry")]] = related(
        workspaces_by_parent, "The workspaces right below it by name, at most 200; removed ones are left out.", cost=5
    )
    forwarded_to: Annotated[Workspace, strawberry.lazy("schema.registry")] | None = to_one(
        models.Workspace, "Where its callers are sent since it was replaced or moved.", "forwarded_to"
    )
    source_bundle_id: str | None = column("The bundle it was made from.")
    last_heartbeat_at: datetime | None = column("When it was last heard of.")
    last_error_rate: float = column("Share of failed work in its last beat, 0 to 1.")
    last_sample_error: str | None = column("One of its recent errors.")
    active_tasks: int = column("Tasks at work.")
    max_concurrent_tasks: int = column("Tasks it takes on at once.")
    uptime_seconds: int = column("Seconds since its runtime started.")
    current_task: str | None = column("What it is doing, in words.")
    agents: list[Agent] = related(agents_by_workspace, "The agents assigned to it now.", cost=2)
    version: int = column("Rises with every change but beats; say it back as expectedVersion.")
    created_at: datetime = column("When it was created.")
    updated_at: datetime = column("When it last changed, beats aside.")
    latest_heartbeat: Heartbeat | None = computed(
        lambda row, _: row if row.last_heartbeat_at is not None else None,
        "The same object, by id, that the heartbeats subscription sends: a normalised cache updates the board by "
        "itself.",
        cost=0,
        shared=True,
    )
    layout: CanvasLayout | None = related(
        layout_by_workspace, "Where it is drawn on the canvas; null when nobody put it anywhere."
    )
    registered_at: datetime | None = column("When its runtime last took its place.")
    restart_needed: bool = related(
        restart_needed_by_workspace,
        "Whether a secret that reaches it was set or deleted since its runtime last registered; the next registration "
        "clears it.",
        cost=2,
    )
    assignments: Connection[AgentAssignment] | None = assignments_by(
        "workspace_id", "Which agents worked here, the present and the past."
    )
    structure_events: Connection[StructureEvent] | None = structure_events_of(
        "How it came to stand as it does, the latest change first."
    )
    activity_logs: Connection[ActivityLog] | None = activity_of("What it did in the last days.")


@form("Which workspaces; fields combine with and, lists mean any of. Without status, removed ones are left out.")
class WorkspaceFilter:
    """Filter of workspaces."""

    status: list[WorkspaceStatus] | None = optional("One of these statuses.")
    parent_id: ID | None = optional("Right below this workspace.", of="workspace")
    tier: list[int] | None = optional("One of these tiers.")
    search: str | None = optional("Words of name and role that start so; case does not matter.")


@form("How workspaces are sorted; ties are broken by id.")
class WorkspaceOrder:
    """Order of workspaces."""

    field: WorkspaceOrderField = required("What to sort by.")
    direction: Direction = required("Which end comes first.")


@form("A new workspace.")
class CreateWorkspaceInput:
    """Input of createWorkspace."""

    name: str = required("One line of at most 255 characters.")
    role: str | None = optional("Its role in the organisation, at most 1,000 characters.")
    tier: int | None = optional("1 to 4; 2 when absent.")
    parent_id: ID | None = optional("The workspace above it.", of="workspace")
    idempotency_key: str | None = optional("Makes a retry safe for 24 hours; at most 255 characters.")


@form("Changes of a workspace; absent stays, null clears.")
class UpdateWorkspaceInput:
    """Input of updateWorkspace."""

    id: ID = required("Which one.", of="workspace")
    expected_version: int = required("The version these changes were made from.")
    name: str | None = optional("One line of at most 255 characters.")
    role: str | None = optional("At most 1,000 characters.")
    tier: int | None = optional("1 to 4.")
    url: str | None = optional("An http or https address.")
    agent_card: JSON | None = optional("An A2A agent card of at most 64 KiB; it has a name.")
    max_concurrent_tasks: int | None = optional("1 to 10,000.")
    forwarded_to_id: ID | None = optional("Where its callers are sent.", of="workspace")


@form("A command to a workspace.")
class ChangeWorkspaceStateInput:
    """Input of changeWorkspaceState."""

    id: ID = required("Which one.", of="workspace")
    command: WorkspaceCommand = required("What to do.")
    expected_version: int | None = optional("Refuse when it has changed since this version.")


@form("A runtime that takes its place.")
class RegisterWorkspaceInput:
    """Input of registerWorkspace."""

    id: ID = required("Which workspace.", of="workspace")
    url: str | None = optional("Where it can be reached.")
    agent_card: JSON | None = optional("What its agent says of itself: an A2A agent card of at most 64 KiB.")


@form("Which workspace gets a new token.")
class IssueWorkspaceTokenInput:
    """Input of issueWorkspaceToken."""

    id: ID = required("Which workspace.", of="workspace")


@form("What a workspace says of itself.")
class HeartbeatInput:
    """Input of reportHeartbeat; POST /ingest/heartbeats takes the same fields."""

    workspace_id: ID = required("Which workspace.", of="workspace")
    lease_epoch: int | None = optional("The epoch its registration gave; an older one is FENCED.")
    runtime_state: RuntimeState | None = optional("NORMAL when absent.")
    error_rate: float | None = optional("Share of failed work, 0 to 1.")
    active_tasks: int | None = optional("Tasks at work.")
    uptime_seconds: int | None = optional("Seconds since the runtime started.")
    current_task: str | None = optional("What it is doing, in words.")
    sample_error: str | None = optional("One of its recent errors.")


@form("Where a workspace moves.")
class MoveWorkspaceInput:
    """Input of moveWorkspace."""

    id: ID = required("Which one.", of="workspace")
    parent_id: ID | None = optional("Its new parent; the root when absent or null.", of="workspace")
    expected_version: int | None = optional("Refuse when it has changed since this version.")


@form("Which workspace ends.")
class RemoveWorkspaceInput:
    """Input of removeWorkspace."""

    id: ID = required("Which one.", of="workspace")
    include_descendants: bool | None = optional("Remove everything below it too; false when absent.")


@form("What the agent of a workspace says of itself now.")
class UpdateAgentCardInput:
    """Input of updateAgentCard."""

    workspace_id: ID = required("Which workspace; a workspace's token speaks for its own.", of="workspace")
    agent_card: JSON = required("An A2A agent card of at most 64 KiB; it has a name.")


@payload("A workspace after a change.")
class WorkspacePayload:
    """Payload of most workspace mutations."""

    workspace: Workspace | None = column("The workspace as it is now.")
    user_errors: list[UserError] = user_errors()


@payload("A workspace with what its runtime needs.")
class RegisterWorkspacePayload:
    """Payload of registerWorkspace and issueWorkspaceToken."""

    workspace: Workspace | None = column("The workspace as it is now.")
    token: str | None = column("Its machine token, shown once; null when it has one already.")
    lease_epoch: int | None = column("Send it with every beat: it fences a workspace that was replaced while it slept.")
    user_errors: list[UserError] = user_errors()


@payload("removed: the workspace and, where asked for, every descendant, each with status REMOVED.")
class RemoveWorkspacePayload:
    """Payload of removeWorkspace."""

    removed: list[Workspace] = column("What was removed, parents before children.")
    user_errors: list[UserError] = user_errors()


@root_fields
class RegistryQueries:
    """Root fields over workspaces."""

    workspaces: Connection[Workspace] | None = connection(
        workspaces, "The tenant's workspaces.", filter=WorkspaceFilter, order=WorkspaceOrder
    )
    workspace: Workspace | None = found(models.Workspace, "One workspace.")


@root_fields
class RegistryMutations:
    """What can be done to workspaces."""

    create_workspace: WorkspacePayload | None = command(
        use_cases.create_workspace,
        "Creates a workspace that waits for its agent.",
        input=CreateWorkspaceInput,
        payload=WorkspacePayload,
        scope=Scope.WORKSPACES_WRITE,
    )
    update_workspace: WorkspacePayload | None = command(
        use_cases.update_workspace,
        "Changes a workspace.",
        input=UpdateWorkspaceInput,
        payload=WorkspacePayload,
        scope=Scope.WORKSPACES_WRITE,
        keep_null=True,
    )
    change_workspace_state: WorkspacePayload | None = command(
        use_cases.change_workspace_state,
        "Pauses, resumes, hibernates or restarts a workspace.",
        input=ChangeWorkspaceStateInput,
        payload=WorkspacePayload,
        scope=Scope.WORKSPACES_WRITE,
    )
    register_workspace: RegisterWorkspacePayload | None = command(
        use_cases.register_workspace,
        "First call for a workspace returns its machine token, once.",
        input=RegisterWorkspaceInput,
        payload=RegisterWorkspacePayload,
        scope=Scope.WORKSPACES_REGISTER,
    )
    issue_workspace_token: RegisterWorkspacePayload | None = command(
        use_cases.issue_workspace_token,
        "Gives a workspace a new machine token; the old one dies and its holder is fenced.",
        input=IssueWorkspaceTokenInput,
        payload=RegisterWorkspacePayload,
        scope=Scope.WORKSPACES_TOKENS,
    )
    report_heartbeat: WorkspacePayload | None = command(
        use_cases.report_heartbeat,
        "Reports a beat; the answer tells the workspace its status. FENCED when a newer registration holds the lease.",
        input=HeartbeatInput,
        payload=WorkspacePayload,
        scope=Scope.HEARTBEATS_WRITE,
    )
    move_workspace: WorkspacePayload | None = command(
        use_cases.move_workspace,
        "Puts a workspace under another parent, or at the root.",
        input=MoveWorkspaceInput,
        payload=WorkspacePayload,
        scope=Scope.WORKSPACES_WRITE,
    )
    remove_workspace: RemoveWorkspacePayload | None = command(
        use_cases.remove_workspace,
        "Ends a workspace for good.",
        input=RemoveWorkspaceInput,
        payload=RemoveWorkspacePayload,
        scope=Scope.WORKSPACES_WRITE,
    )
    update_agent_card: WorkspacePayload | None = command(
        use_cases.update_agent_card,
        "Keeps what the agent of a workspace says of itself now.",
        input=UpdateAgentCardInput,
        payload=WorkspacePayload,
        scope=Scope.WORKSPACES_REGISTER,
    )
