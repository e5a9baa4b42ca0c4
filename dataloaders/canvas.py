"""This module is where it is fetched and kept where things stand on the canvas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, bindparam, func, select
from sqlalchemy.dialects.postgresql import insert

from dataloaders.base import Batch, ReadBatch
from models import CanvasLayout, CanvasViewport, User
from models.database import TenantSession
from models.reads import Read


def _by_workspace(rows: Sequence[Any], ids: Sequence[UUID]) -> list[CanvasLayout | None]:
    found = {row.workspace_id: row for row in rows}
    return [found.get(one) for one in ids]


layout_by_workspace: Final[Batch[UUID, CanvasLayout | None]] = ReadBatch(
    "layout_by_workspace",
    Read(
        select(CanvasLayout).where(
            CanvasLayout.tenant_id == bindparam("tenant", type_=Uuid()),
            CanvasLayout.workspace_id == func.any(bindparam("keys", type_=ARRAY(Uuid))),
        )
    ),
    _by_workspace,
)
"""Where each workspace is drawn; None where nobody put it anywhere."""


async def folded_among(session: TenantSession, ids: Sequence[UUID]) -> set[UUID]:
    """Which of the workspaces have what is below them folded away; the places of all of them are locked."""
    found = await session.execute(
        select(CanvasLayout.workspace_id, CanvasLayout.collapsed)
        .where(CanvasLayout.tenant_id == session.tenant_id, CanvasLayout.workspace_id == func.any(list(ids)))
        .order_by(CanvasLayout.workspace_id)
        .with_for_update()
    )
    return {row.workspace_id for row in found if row.collapsed}


async def keep_layouts(session: TenantSession, layouts: Sequence[dict[str, Any]]) -> list[CanvasLayout]:
    """Put workspaces where ``layouts`` say, one statement for all; in their order. Does not commit."""
    rows = [{"tenant_id": session.tenant_id, **one} for one in layouts]
    put = insert(CanvasLayout).values(rows)
    kept = {name: put.excluded[name] for name in ("x", "y", "collapsed", "updated_at")}
    statement = put.on_conflict_do_update(index_elements=["tenant_id", "workspace_id"], set_=kept)
    found = await session.scalars(statement.returning(CanvasLayout), execution_options={"populate_existing": True})
    by_workspace = {row.workspace_id: row for row in found}
    return [by_workspace[one["workspace_id"]] for one in layouts]


async def viewport_of(session: TenantSession, user_id: UUID) -> CanvasViewport | None:
    """What the person last looked at."""
    found: CanvasViewport | None = await session.scalar(
        select(CanvasViewport).where(CanvasViewport.tenant_id == session.tenant_id, CanvasViewport.user_id == user_id)
    )
    return found


async def is_person(session: TenantSession, user_id: UUID) -> bool:
    """Whether there is such a person; their row stays as long as the transaction."""
    statement = select(User.id).where(
        User.tenant_id == session.tenant_id, User.id == user_id, User.deleted_at.is_(None)
    )
    return await session.scalar(statement.with_for_update(read=True, key_share=True)) is not None
