"""This module is where servers and terminal sessions are fetched."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, select

from dataloaders.pages import Direction, Listing, Order, any_of, equals
from models import Server, TerminalSession
from models.database import TenantSession

servers: Final = Listing(
    Server,
    filters={
        "name": equals(Server.name),
        "hostname": equals(Server.hostname),
        "environment": equals(Server.environment),
        "auth_type": any_of(Server.auth_type),
    },
    orders={"created_at": Order(Server.created_at), "name": Order(Server.name)},
)


def _is_open(value: Any) -> ColumnElement[bool]:
    ended: ColumnElement[bool] = TerminalSession.ended_at.is_(None)
    return ended if value else ~ended


terminal_sessions: Final = Listing(
    TerminalSession,
    filters={
        "user_id": equals(TerminalSession.user_id),
        "server_id": equals(TerminalSession.server_id),
        "alert_id": equals(TerminalSession.alert_id),
        "is_open": _is_open,
        "started_after": lambda moment: TerminalSession.started_at >= moment,
        "started_before": lambda moment: TerminalSession.started_at < moment,
    },
    orders={"started_at": Order(TerminalSession.started_at)},
    default=("started_at", Direction.DESC),
)


async def open_session_on(session: TenantSession, server_id: UUID) -> UUID | None:
    """A session on this server that has not ended."""
    found: UUID | None = await session.scalar(
        select(TerminalSession.id)
        .where(
            TerminalSession.tenant_id == session.tenant_id,
            TerminalSession.server_id == server_id,
            TerminalSession.ended_at.is_(None),
        )
        .limit(1)
    )
    return found


async def is_there(session: TenantSession, model: Any, row_id: UUID) -> bool:
    """Whether the tenant has this row; one that was deleted is not there."""
    conditions = [model.tenant_id == session.tenant_id, model.id == row_id]
    if hasattr(model, "deleted_at"):
        conditions.append(model.deleted_at.is_(None))
    return await session.scalar(select(model.id).where(*conditions).limit(1)) is not None
