"""This module is where the fleet's tree keeps its shape: no cycles, at most 200 children, 32 levels and five hops."""

from __future__ import annotations

from uuid import UUID

from dataloaders.hierarchy import MAX_HOPS, children_of, forwards_of, hops_before, levels_of
from dataloaders.registry import MAX_CHILDREN, MAX_DEPTH, line_of
from models import Workspace, WorkspaceStatus
from models.errors import Refusal, RefusalCode, not_found
from resolvers.unit_of_work import UnitOfWork


async def lock_structure(work: UnitOfWork) -> None:
    """Let a tenant's tree change one at a time until COMMIT; taken before any workspace is locked.

    Two moves that each look harmless can close a cycle together.
    """
    await work.lock_name("structure")


async def parent_with_room(
    work: UnitOfWork, parent_id: UUID, *, below: Workspace | None = None, levels: int = 1
) -> Workspace:
    """The parent, locked, if there is room under it for ``below``, or for something new of so many ``levels``.

    Raises NOT_FOUND, CYCLE, and LIMIT_EXCEEDED for the 201st child or the 33rd level.
    """
    field = "input", "parentId"
    parent = await work.locked(Workspace, parent_id, *field, what="parent workspace")
    if parent.status is WorkspaceStatus.REMOVED:
        raise not_found("parent workspace", *field)
    above = await line_of(work.session, parent_id)
    if below is not None:
        if below.id in above:
            raise Refusal(RefusalCode.CYCLE, "A workspace cannot move below itself.", field=field, current=below)
        levels = await levels_of(work.session, below.id)
    if len(above) + levels > MAX_DEPTH:
        raise Refusal(RefusalCode.LIMIT_EXCEEDED, f"A tree has at most {MAX_DEPTH} levels.", field=field, current=below)
    if await children_of(work.session, parent_id) >= MAX_CHILDREN:
        raise Refusal(
            RefusalCode.LIMIT_EXCEEDED,
            f"A workspace has at most {MAX_CHILDREN} children.",
            field=field,
            current=below,
        )
    return parent


async def refuse_long_way(work: UnitOfWork, workspace: Workspace, target_id: UUID) -> None:
    """Refuse a forwarding that leads back, or makes anybody's way longer than five hops. Locks the target.

    Raises NOT_FOUND, CYCLE, LIMIT_EXCEEDED.
    """
    field = "input", "forwardedToId"
    if target_id == workspace.id:
        raise Refusal(RefusalCode.CYCLE, "It cannot forward to itself.", field=field, current=workspace)
    await work.locked(Workspace, target_id, *field, what="workspace")
    ahead = await forwards_of(work.session, target_id)
    if workspace.id in {step.id for step in ahead}:
        raise Refusal(RefusalCode.CYCLE, "It would forward back to itself.", field=field, current=workspace)
    if await hops_before(work.session, workspace.id) + len(ahead) > MAX_HOPS:
        raise Refusal(
            RefusalCode.LIMIT_EXCEEDED,
            f"Callers are sent on at most {MAX_HOPS} times.",
            field=field,
            current=workspace,
        )
