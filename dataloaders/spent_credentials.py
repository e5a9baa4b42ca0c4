"""This module is where credentials and messages that are good for nothing any more are found, and deleted by chunks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import delete, func, select

from dataloaders.retention import CHUNK
from models import ForgottenSecret, OneTimeToken, OutgoingMail, Session, SignInFailure, WebhookDelivery
from models.database import Database, TenantSession

_TENANTS: Final = 500


@dataclass(frozen=True, slots=True)
class Spent:
    """Rows that may go once ``column`` is ``age`` ago."""

    model: Any
    column: str
    age: timedelta

    @property
    def condition(self) -> Any:
        """What is true of them, by the database's clock."""
        return getattr(self.model, self.column) < func.now() - self.age


SPENT: Final = (
    # 30 days at most, and 30 in which the network it began from is known; refresh tokens go along.
    Spent(Session, "started_at", timedelta(days=60)),
    Spent(OneTimeToken, "expires_at", timedelta(days=1)),
    Spent(SignInFailure, "failed_at", timedelta(hours=2)),
    # The last are given up after seven days; these were left by a gateway whose mail server was taken away.
    Spent(OutgoingMail, "due_at", timedelta(days=8)),
    # Each says itself when it may go: a week after it arrived, a month after it was given up.
    Spent(WebhookDelivery, "expires_at", timedelta()),
    # Which runtimes still know them: one that has not started anew for so long is not told to any more.
    Spent(ForgottenSecret, "updated_at", timedelta(days=90)),
)


async def tenants_with_spent(database: Database, spent: Spent) -> list[UUID]:
    """Tenants that hold such rows; some of them, when there are many."""
    statement = select(spent.model.tenant_id).where(spent.condition).distinct().limit(_TENANTS)
    async with database.connection(database.platform) as connection:
        return list(await connection.scalars(statement))


async def delete_old_rows(session: TenantSession, spent: Spent) -> int:
    """Delete a chunk of the tenant's; how many. Does not commit."""
    model = spent.model
    some = select(model.id).where(model.tenant_id == session.tenant_id, spent.condition).limit(CHUNK)
    # By itself: within the condition the planner may ask it again for each row, and its limit is none.
    chosen = some.with_for_update(skip_locked=True).cte("chosen")
    result: Any = await session.execute(
        delete(model)
        .where(model.tenant_id == session.tenant_id, model.id.in_(select(chosen.c.id)))
        .execution_options(synchronize_session=False)
    )
    return int(result.rowcount)
