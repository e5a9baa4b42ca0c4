"""This module is where the fleet's tree is walked: up and down its levels, and along its forwardings, each bounded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import ARRAY, TextClause, Uuid, bindparam, func, select, text

from dataloaders.registry import MAX_CHILDREN, MAX_DEPTH, MAX_DESCENDANTS
from models import Workspace, WorkspaceStatus
from models.database import TenantSession

MAX_HOPS: Final = 5
"""Forwardings that a caller is sent along, at most."""

MOST_DESCENDANTS: Final = 250
"""Workspaces below one that are told of at once, nearest first."""


class Step(NamedTuple):
    """One workspace on the way."""

    id: UUID
    next_id: UUID | None
    """Its parent, or where it forwards to: whichever way the walk goes."""
    status: WorkspaceStatus


_LINES: Final = text(
    """
WITH RECURSIVE line AS (
  SELECT id AS start, id, parent_id, status, 0 AS levels FROM workspaces
    WHERE tenant_id = :tenant AND id = ANY(:ids)
  UNION ALL
  SELECT line.start, w.id, w.parent_id, w.status, line.levels + 1 FROM workspaces w
    JOIN line ON w.id = line.parent_id WHERE w.tenant_id = :tenant AND line.levels < :levels
) SELECT start, id, parent_id, status FROM line ORDER BY start, levels LIMIT :most
"""
).bindparams(bindparam("ids", type_=ARRAY(Uuid)))

_NEAR: Final = text(
    """
WITH RECURSIVE here AS (
  SELECT id, parent_id FROM workspaces WHERE tenant_id = :tenant AND id = :start AND status <> 'removed'
), up AS (
  SELECT w.id, w.parent_id, w.status, 1 AS levels FROM workspaces w
    JOIN here ON w.id = here.parent_id WHERE w.tenant_id = :tenant
  UNION ALL
  SELECT w.id, w.parent_id, w.status, up.levels + 1 FROM workspaces w
    JOIN up ON w.id = up.parent_id WHERE w.tenant_id = :tenant AND up.levels < :levels
), down AS (
  SELECT w.id, 1 AS levels FROM workspaces w
    JOIN here ON w.parent_id = here.id WHERE w.tenant_id = :tenant AND w.status <> 'removed'
  UNION ALL
  SELECT w.id, down.levels + 1 FROM workspaces w
    JOIN down ON w.parent_id = down.id
    WHERE w.tenant_id = :tenant AND w.status <> 'removed' AND down.levels < :levels
)
SELECT * FROM (SELECT id, 'up' AS way, levels FROM up WHERE status <> 'removed' ORDER BY levels LIMIT :levels) above
UNION ALL
SELECT * FROM (SELECT id, 'down' AS way, levels FROM down LIMIT :descendants) below
UNION ALL
SELECT * FROM (
  SELECT w.id, 'beside' AS way, 0 AS levels FROM workspaces w JOIN here ON w.parent_id = here.parent_id
    WHERE w.tenant_id = :tenant AND w.status <> 'removed' AND w.id <> here.id ORDER BY w.name, w.id LIMIT :children
) siblings
UNION ALL
SELECT * FROM (
  SELECT w.id, 'beside' AS way, 0 AS levels FROM workspaces w JOIN here ON here.parent_id IS NULL
    WHERE w.tenant_id = :tenant AND w.parent_id IS NULL AND w.status <> 'removed' AND w.id <> here.id
    ORDER BY w.name, w.id LIMIT :children
) roots
"""
)

_FORWARDS: Final = text(
    """
WITH RECURSIVE chain AS (
  SELECT id, forwarded_to, status, 0 AS hops FROM workspaces WHERE tenant_id = :tenant AND id = :start
  UNION ALL
  SELECT w.id, w.forwarded_to, w.status, chain.hops + 1 FROM workspaces w
    JOIN chain ON w.id = chain.forwarded_to WHERE w.tenant_id = :tenant AND chain.hops < :hops
) SELECT id, forwarded_to, status FROM chain ORDER BY hops LIMIT :hops + 1
"""
)

_FORWARDERS: Final = text(
    """
WITH RECURSIVE chain AS (
  SELECT id, 0 AS hops FROM workspaces WHERE tenant_id = :tenant AND id = :start
  UNION ALL
  SELECT w.id, chain.hops + 1 FROM workspaces w
    JOIN chain ON w.forwarded_to = chain.id WHERE w.tenant_id = :tenant AND chain.hops < :hops
) SELECT max(hops) FROM (SELECT hops FROM chain LIMIT :most) bounded
"""
)

_LEVELS: Final = text(
    """
WITH RECURSIVE tree AS (
  SELECT id, 1 AS levels FROM workspaces WHERE tenant_id = :tenant AND id = :start
  UNION ALL
  SELECT w.id, tree.levels + 1 FROM workspaces w
    JOIN tree ON w.parent_id = tree.id
    WHERE w.tenant_id = :tenant AND w.status <> 'removed' AND tree.levels <= :levels
) SELECT max(levels) FROM (SELECT levels FROM tree LIMIT :most) bounded
"""
)


async def lines_of(session: TenantSession, ids: Iterable[UUID]) -> dict[UUID, list[Step]]:
    """Each workspace there is with its ancestors, nearest first, at most 32 above it; one statement for all."""
    wanted = list(set(ids))
    most = len(wanted) * (MAX_DEPTH + 1)
    rows = await _rows(session, _LINES, ids=wanted, levels=MAX_DEPTH, most=most)
    lines: dict[UUID, list[Step]] = {}
    for start, *step in rows:
        lines.setdefault(start, []).append(_step(*step))
    return lines


async def near_to(session: TenantSession, workspace_id: UUID) -> list[tuple[UUID, str, int]]:
    """Who stands above (``up``), below (``down``) and ``beside`` a workspace, with the levels between them.

    At most 32 above, 250 below and 200 beside, one statement; empty for one that is not there.
    """
    rows = await _rows(
        session,
        _NEAR,
        start=workspace_id,
        levels=MAX_DEPTH,
        descendants=MOST_DESCENDANTS,
        children=MAX_CHILDREN,
    )
    return [(row.id, row.way, row.levels) for row in rows]


async def forwards_of(session: TenantSession, workspace_id: UUID) -> list[Step]:
    """The workspace and where it forwards to, hop by hop; one hop more than is allowed, so that too many show."""
    return [_step(*row) for row in await _rows(session, _FORWARDS, start=workspace_id, hops=MAX_HOPS + 1)]


async def hops_before(session: TenantSession, workspace_id: UUID) -> int:
    """How many hops the longest way is that forwards to the workspace; no more than are allowed are counted."""
    rows = await _rows(session, _FORWARDERS, start=workspace_id, hops=MAX_HOPS, most=MAX_DESCENDANTS)
    return rows[0][0] or 0


async def levels_of(session: TenantSession, workspace_id: UUID) -> int:
    """How many levels the tree below and with the workspace has; one more than are allowed is the most."""
    rows = await _rows(session, _LEVELS, start=workspace_id, levels=MAX_DEPTH, most=MAX_DESCENDANTS)
    return rows[0][0] or 0


async def children_of(session: TenantSession, workspace_id: UUID) -> int:
    """How many children the workspace has; the removed ones are not counted, nor more than are allowed."""
    some = (
        select(Workspace.id)
        .where(
            Workspace.tenant_id == session.tenant_id,
            Workspace.parent_id == workspace_id,
            Workspace.status != WorkspaceStatus.REMOVED,
        )
        .limit(MAX_CHILDREN)
    )
    return await session.scalar(select(func.count()).select_from(some.subquery())) or 0


async def _rows(session: TenantSession, statement: TextClause, **values: object) -> list[Any]:
    return list((await session.execute(statement, {"tenant": session.tenant_id, **values})).all())


def _step(id: UUID, next_id: UUID | None, status: str) -> Step:
    return Step(id, next_id, WorkspaceStatus(status))
