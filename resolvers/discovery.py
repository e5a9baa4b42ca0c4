"""This module is where it is decided which workspaces may talk to each other, and where each is to be found.

Security boundary: a workspace's token asks for its own workspace only. It may talk to those beside it, above it and
below it; of everything else it learns nothing, not even whether it is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from dataloaders.base import by_id
from dataloaders.hierarchy import MAX_HOPS, Step, forwards_of, lines_of, near_to
from models import Scope, Workspace, WorkspaceStatus
from models.errors import Forbidden, Refusal, RefusalCode, Unavailable, not_found
from models.registry import LIVE
from resolvers.call import Call


class WorkspaceRelation(StrEnum):
    """What another workspace is to one."""

    SELF = "self"
    PARENT = "parent"
    ANCESTOR = "ancestor"
    SIBLING = "sibling"
    CHILD = "child"
    DESCENDANT = "descendant"


_NEAREST_FIRST: Final = list(WorkspaceRelation)


@dataclass(frozen=True, slots=True)
class Access:
    """Whether one workspace may talk to another, and why; ``levels`` is how many lie between them in the tree."""

    allowed: bool = False
    relation: WorkspaceRelation | None = None
    levels: int | None = None


@dataclass(frozen=True, slots=True)
class Peer:
    """A workspace as another one may know it."""

    row: Workspace
    relation: WorkspaceRelation | None = None
    levels: int | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.row, name)


@dataclass(frozen=True, slots=True)
class Discovery:
    """Where a workspace is to be found, after so many ``hops`` along its forwardings."""

    peer: Peer
    hops: int


def relation_of(mine: Sequence[Step], theirs: Sequence[Step]) -> Access:
    """What the second is to the first; both are lines of a workspace and its ancestors, empty for none."""
    if not mine or not theirs:
        return Access()
    me, other = mine[0], theirs[0]
    if me.id == other.id:
        return Access(True, WorkspaceRelation.SELF, 0)
    for levels, step in enumerate(mine):
        if step.id == other.id:
            return Access(True, WorkspaceRelation.PARENT if levels == 1 else WorkspaceRelation.ANCESTOR, levels)
    for levels, step in enumerate(theirs):
        if step.id == me.id:
            return Access(True, WorkspaceRelation.CHILD if levels == 1 else WorkspaceRelation.DESCENDANT, levels)
    if me.next_id == other.next_id:
        return Access(True, WorkspaceRelation.SIBLING, 0)
    return Access()


async def check_access(call: Call, from_id: UUID, to_id: UUID) -> Access:
    """Whether ``from_id`` may talk to ``to_id``, in one statement. Raises FORBIDDEN.

    Not allowed, without a word more, when either is removed, another tenant's or was never there.
    """
    _require_own(call, from_id)
    async with call.services.database.session(call.tenant_id) as session:
        lines = await lines_of(session, (from_id, to_id))
    mine, theirs = _present(lines.get(from_id)), _present(lines.get(to_id))
    return relation_of(mine, theirs)


async def peers(call: Call, id: UUID) -> list[Peer] | None:
    """Whom a workspace may talk to, nearest first, then by name; None where there is no such workspace.

    At most 32 above it, 200 beside it and 250 below it; two statements. Raises FORBIDDEN.
    """
    _require_own(call, id)
    async with call.services.database.session(call.tenant_id) as session:
        near = await near_to(session, id)
    loader = call.loaders.of(by_id(Workspace))
    one, *rows = await loader.load_many([id, *(other for other, _, _ in near)])
    if one is None or one.status is WorkspaceStatus.REMOVED:
        return None
    found = [
        Peer(row, _named(way, levels), levels)
        for row, (_, way, levels) in zip(rows, near, strict=True)
        if row is not None
    ]
    return sorted(found, key=_nearness)


async def discover_workspace(call: Call, id: UUID) -> Discovery:
    """Where a workspace is to be found now: it, or what it forwards to, at most five hops on.

    Raises NOT_FOUND for an id that names nothing, EXPIRED where the way ends at a removed workspace, LIMIT_EXCEEDED
    and CYCLE where it does not end; FORBIDDEN for whoever may not talk to it, Unavailable while it does not run.
    """
    access = await _allowed(call, id)
    async with call.services.database.session(call.tenant_id) as session:
        way = await forwards_of(session, id)
    last = _end_of(way)
    row = await call.load(by_id(Workspace), last.id)
    if row is None:
        raise not_found("workspace", "id")
    if row.status not in LIVE or row.url is None:
        raise Unavailable(f"The workspace is {row.status.value.upper()}; try again later.")
    if last.id != id and access.relation is not None:
        # What it is to the caller was said of the one that was asked for.
        access = Access(True)
    return Discovery(Peer(row, access.relation, access.levels), len(way) - 1)


async def _allowed(call: Call, id: UUID) -> Access:
    """What the caller's own workspace has to do with ``id``. Raises FORBIDDEN, unless a person asks."""
    own = call.who.workspace_id
    if own is None:
        return Access(True)
    async with call.services.database.session(call.tenant_id) as session:
        lines = await lines_of(session, (own, id))
    # Removed or not: being sent on is what its callers need.
    access = relation_of(_present(lines.get(own)), lines.get(id, ()))
    if not access.allowed:
        raise Forbidden("This workspace may not talk to that one.")
    return access


def _end_of(way: Sequence[Step]) -> Step:
    if not way:
        raise not_found("workspace", "id")
    last = way[-1]
    if last.next_id is not None:
        if len({step.id for step in way}) < len(way):
            raise Refusal(RefusalCode.CYCLE, "Its forwardings lead back to where they began.", field=("id",))
        raise Refusal(RefusalCode.LIMIT_EXCEEDED, f"It is forwarded more than {MAX_HOPS} times.", field=("id",))
    if len(way) - 1 > MAX_HOPS:
        raise Refusal(RefusalCode.LIMIT_EXCEEDED, f"It is forwarded more than {MAX_HOPS} times.", field=("id",))
    if last.status is WorkspaceStatus.REMOVED:
        raise Refusal(RefusalCode.EXPIRED, "It was removed, and forwards nowhere.", field=("id",))
    return last


def _require_own(call: Call, id: UUID) -> None:
    call.require_workspace(id)
    if call.who.workspace_id is None:
        call.require(Scope.WORKSPACES_READ)


def _present(line: Sequence[Step] | None) -> Sequence[Step]:
    return line if line and line[0].status is not WorkspaceStatus.REMOVED else ()


def _named(way: str, levels: int) -> WorkspaceRelation:
    if way == "up":
        return WorkspaceRelation.PARENT if levels == 1 else WorkspaceRelation.ANCESTOR
    if way == "down":
        return WorkspaceRelation.CHILD if levels == 1 else WorkspaceRelation.DESCENDANT
    return WorkspaceRelation.SIBLING


def _nearness(peer: Peer) -> Any:
    order = _NEAREST_FIRST.index(peer.relation) if peer.relation is not None else 0
    return peer.levels, order, peer.row.name, peer.row.id
