"""This module is where workspaces are fetched: by parent, by filter, and along the tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Uuid, any_, bindparam, func, select, text, true
from sqlalchemy.orm import aliased

from dataloaders.base import grouped
from dataloaders.pages import Listing, Order, any_of, equals, words
from models import Workspace, WorkspaceStatus
from models.database import TenantSession

MAX_CHILDREN: Final = 200
MAX_DEPTH: Final = 32
MAX_DESCENDANTS: Final = 10_000


def _present(given: Mapping[str, Any]) -> list[ColumnElement[bool]]:
    # A removed workspace stays as history; a list shows it only to whoever asks for that status.
    return [] if "status" in given else [Workspace.status != WorkspaceStatus.REMOVED]


workspaces: Final = Listing(
    Workspace,
    filters={
        "status": any_of(Workspace.status),
        "parent_id": equals(Workspace.parent_id),
        "tier": any_of(Workspace.tier),
        "search": words(Workspace),
    },
    orders={
        "created_at": Order(Workspace.created_at),
        "name": Order(Workspace.name),
        "last_heartbeat_at": Order(Workspace.last_heartbeat_at, nullable=True),
    },
    always=_present,
)


def _children() -> Any:
    parent = func.unnest(bindparam("keys", type_=ARRAY(Uuid))).table_valued("id", name="parent").render_derived()
    child = (
        select(Workspace)
        .where(
            Workspace.tenant_id == bindparam("tenant", type_=Uuid()),
            Workspace.parent_id == parent.c.id,
            Workspace.status != WorkspaceStatus.REMOVED,
        )
        .order_by(Workspace.name, Workspace.id)
        .limit(MAX_CHILDREN)
        .lateral("child")
    )
    row = aliased(Workspace, child)
    return select(row).select_from(parent.join(child, true())).order_by(row.parent_id, row.name, row.id)


workspaces_by_parent: Final = grouped(_children(), "parent_id")
"""The children of each workspace by name, at most 200, removed ones left out."""

_ANCESTORS: Final = text(
    """
WITH RECURSIVE line AS (
  SELECT id, parent_id, 1 AS depth FROM workspaces WHERE tenant_id = :tenant AND id = :start
  UNION ALL
  SELECT w.id, w.parent_id, line.depth + 1 FROM workspaces w
    JOIN line ON w.id = line.parent_id WHERE w.tenant_id = :tenant AND line.depth < :depth
) SELECT id FROM line LIMIT :depth
"""
)

_DESCENDANTS: Final = text(
    """
WITH RECURSIVE tree AS (
  SELECT id, 1 AS depth FROM workspaces WHERE tenant_id = :tenant AND id = :start
  UNION ALL
  SELECT w.id, tree.depth + 1 FROM workspaces w
    JOIN tree ON w.parent_id = tree.id
    WHERE w.tenant_id = :tenant AND w.status <> 'removed' AND tree.depth <= :depth
) SELECT id FROM tree LIMIT :most
"""
)


async def line_of(session: TenantSession, workspace_id: UUID) -> list[UUID]:
    """The workspace and its ancestors, nearest first; at most 32."""
    rows = await session.scalars(_ANCESTORS, {"tenant": session.tenant_id, "start": workspace_id, "depth": MAX_DEPTH})
    return list(rows)


async def tree_of(session: TenantSession, workspace_id: UUID) -> list[UUID]:
    """The workspace and its descendants that are not removed, parents before children; at most 10,000."""
    rows = await session.scalars(
        _DESCENDANTS,
        {"tenant": session.tenant_id, "start": workspace_id, "depth": MAX_DEPTH, "most": MAX_DESCENDANTS},
    )
    return list(rows)


async def heard_of(session: TenantSession, ids: frozenset[UUID] | None, after: UUID | None) -> list[Workspace]:
    """The next 1,000 workspaces by id that have beaten at least once and are not removed."""
    statement = (
        select(Workspace)
        .where(
            Workspace.tenant_id == session.tenant_id,
            Workspace.last_heartbeat_at.is_not(None),
            Workspace.status != WorkspaceStatus.REMOVED,
        )
        .order_by(Workspace.id)
        .limit(1000)
    )
    if ids is not None:
        statement = statement.where(Workspace.id == any_(bindparam("ids", list(ids), ARRAY(Uuid))))
    if after is not None:
        statement = statement.where(Workspace.id > after)
    return list(await session.scalars(statement))
