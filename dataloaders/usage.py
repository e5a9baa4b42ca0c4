"""This module is where what was asked and answered is fetched."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from sqlalchemy import update

from dataloaders.pages import Direction, Listing, Order, any_of, equals
from models import QueryEvent
from models.database import TenantSession

query_events: Final = Listing(
    QueryEvent,
    filters={
        "user_id": equals(QueryEvent.user_id),
        "agent_id": equals(QueryEvent.agent_id),
        "conversation_id": equals(QueryEvent.conversation_id),
        "department": equals(QueryEvent.department),
        "hitl_mode": any_of(QueryEvent.hitl_mode),
        "occurred_after": lambda moment: QueryEvent.occurred_at >= moment,
        "occurred_before": lambda moment: QueryEvent.occurred_at < moment,
    },
    orders={"occurred_at": Order(QueryEvent.occurred_at)},
    default=("occurred_at", Direction.DESC),
)


async def mark_approved(session: TenantSession, query_id: UUID) -> None:
    """Keep that somebody approved what was asked, where that is kept at all. One statement; does not commit."""
    await session.execute(
        update(QueryEvent)
        .where(QueryEvent.tenant_id == session.tenant_id, QueryEvent.id == query_id)
        .values(was_approved=True)
        .execution_options(synchronize_session=False)
    )
