"""This module is where mails that are due are found across tenants, and claimed within one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import DateTime, Interval, func, literal, select, update

from models import OutgoingMail
from models.database import Database, TenantSession

_TENANTS: Final = 100
FIRST_RETRY: Final = timedelta(seconds=30)
_LONGEST_DOUBLINGS: Final = 7
"""After which a mail is tried about once an hour."""


async def tenants_with_due_mails(database: Database, now: datetime) -> list[UUID]:
    """Tenants that have mails to send; some of them, longest due first, when there are many."""
    due = select(OutgoingMail.tenant_id, OutgoingMail.due_at).where(OutgoingMail.due_at <= now)
    oldest = due.order_by(OutgoingMail.due_at).limit(_TENANTS).subquery()
    async with database.connection(database.platform) as connection:
        return list(await connection.scalars(select(oldest.c.tenant_id).distinct()))


async def claim_mails(session: TenantSession, now: datetime, most: int) -> Sequence[OutgoingMail]:
    """Up to ``most`` due mails, each put off until its next try, which is when whoever takes them may be given up."""
    due = (
        select(OutgoingMail.id)
        .where(OutgoingMail.tenant_id == session.tenant_id, OutgoingMail.due_at <= now)
        .order_by(OutgoingMail.due_at)
        .limit(most)
        .with_for_update(skip_locked=True)
        # By itself: within the condition the planner may ask it again for each row, and its limit is none.
        .cte("due")
    )
    seconds = FIRST_RETRY.total_seconds() * func.power(2.0, func.least(OutgoingMail.attempts, _LONGEST_DOUBLINGS))
    waits = func.make_interval(0, 0, 0, 0, 0, 0, seconds, type_=Interval())
    claimed = await session.scalars(
        update(OutgoingMail)
        .where(OutgoingMail.tenant_id == session.tenant_id, OutgoingMail.id.in_(select(due.c.id)))
        .values(attempts=OutgoingMail.attempts + 1, due_at=literal(now, DateTime(timezone=True)) + waits)
        .returning(OutgoingMail)
        .execution_options(synchronize_session=False)
    )
    return claimed.all()
