"""This module is where workspaces find each other: who may talk to whom, and where each is."""

from __future__ import annotations

from typing import Any

from strawberry import ID

from models import Scope, Workspace, WorkspaceStatus
from models.errors import Refusal
from models.ids import parse
from resolvers import discovery as use_cases
from resolvers.call import Call
from resolvers.discovery import WorkspaceRelation
from schema.commands import Answer, UserError
from schema.common import JSON
from schema.declare import Argument, column, computed, describe, part, root_fields
from schema.registry import Workspace as WorkspaceType

describe(
    WorkspaceRelation,
    "What another workspace is to one.",
    SELF="The same.",
    PARENT="Right above it.",
    ANCESTOR="Further above it.",
    SIBLING="Below the same parent; roots are each other's siblings.",
    CHILD="Right below it.",
    DESCENDANT="Further below it.",
)


@part("Whether one workspace may talk to another: to those beside, above and below it.")
class WorkspaceAccess:
    """What checkAccess says."""

    allowed: bool = column("Whether it may.")
    relation: WorkspaceRelation | None = column("What the other is to it; null when it may not.")
    levels: int | None = column("Levels between them in the tree, 0 for siblings; null when it may not.")


@part("A workspace as another one may know it; its machine needs no scope to read this.")
class WorkspacePeer:
    """What workspaces know of each other."""

    workspace_id: ID = column("Which workspace.", "typeid")
    name: str = column("What people call it.")
    role: str | None = column("Its role in the organisation, e.g. Marketing.")
    tier: int = column("1 sandboxed, 2 standard, 3 privileged, 4 full host.")
    status: WorkspaceStatus = column("Where it stands in its life.")
    url: str | None = column("Where it can be reached.")
    agent_card: JSON | None = column("What its agent says of itself (A2A agent card).")
    relation: WorkspaceRelation | None = column(
        "What it is to whoever asks; null for people, and where a forwarding led to it."
    )
    levels: int | None = column("Levels between them in the tree, 0 for siblings; null where relation is.")
    workspace: WorkspaceType | None = column(
        "All of it, for whoever may read workspaces.", "row", scope=Scope.WORKSPACES_READ
    )


@part("Where a workspace is to be found now.")
class WorkspaceDiscovery:
    """What discoverWorkspace says."""

    peer: WorkspacePeer | None = column("The workspace, or the one that its forwardings lead to.")
    hops: int | None = column("How many forwardings were followed, at most 5.")
    user_errors: list[UserError] = column(
        "Why it is not to be found: NOT_FOUND, EXPIRED where it was removed and forwards nowhere, LIMIT_EXCEEDED "
        "beyond five hops, CYCLE where they lead back."
    )


async def _discover(_: Any, call: Call, id: str) -> Answer:
    try:
        found = await use_cases.discover_workspace(call, parse(id, Workspace.__typeid__))
    except Refusal as refusal:
        return Answer(["peer", "hops"], None, [refusal])
    return Answer(["peer", "hops"], found, [])


def _peers(_: Any, call: Call, id: str) -> Any:
    return use_cases.peers(call, parse(id, Workspace.__typeid__))


def _check(_: Any, call: Call, from_id: str, to_id: str) -> Any:
    return use_cases.check_access(call, parse(from_id, Workspace.__typeid__), parse(to_id, Workspace.__typeid__))


def _by_machine(_: Any, call: Call) -> bool:
    return call.principal is not None and call.principal.workspace_id is not None


@root_fields
class DiscoveryQueries:
    """Root fields over who may talk to whom."""

    discover_workspace: WorkspaceDiscovery | None = computed(
        _discover,
        "Where a workspace is to be found; its forwardings are followed. A workspace's token is answered for those "
        "that it may talk to, and FORBIDDEN for every other id. UNAVAILABLE while it does not run.",
        [Argument("id", ID, "Its TypeID.")],
        scope=Scope.WORKSPACES_READ,
        own=_by_machine,
        cost=5,
    )
    peers: list[WorkspacePeer] | None = computed(
        _peers,
        "Whom a workspace may talk to, nearest first, then by name: at most 32 above it, 200 beside it and 250 below "
        "it. A workspace's token asks for its own workspace.",
        [Argument("id", ID, "The workspace's TypeID.")],
        scope=Scope.WORKSPACES_READ,
        own=_by_machine,
        cost=10,
    )
    check_access: WorkspaceAccess | None = computed(
        _check,
        "Whether a workspace may talk to another: a sibling, an ancestor or a descendant. Not allowed for ids that "
        "name nothing. A workspace's token asks for its own workspace.",
        [
            Argument("from_id", ID, "The TypeID of the one that talks."),
            Argument("to_id", ID, "The TypeID of the one that is talked to."),
        ],
        scope=Scope.WORKSPACES_READ,
        own=_by_machine,
        cost=5,
    )
