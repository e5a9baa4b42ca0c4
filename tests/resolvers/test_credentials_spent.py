"""This module is where it is specified which credentials are deleted, and which stay."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import func, select

from models import (
    ForgottenSecret,
    MailKind,
    OneTimePurpose,
    OneTimeToken,
    OutgoingMail,
    RefreshToken,
    SecretOwner,
    Session,
    SignInFailure,
    Tenant,
    User,
    utcnow,
)
from models.database import Database
from resolvers.retention import delete_spent
from tests.resolvers.people import House

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


async def go_on() -> bool:
    return True


async def stop() -> bool:
    return False


async def count(database: Database, tenant: Tenant, model: Any) -> int:
    async with database.session(tenant.id) as session:
        return int(await session.scalar(select(func.count()).select_from(model)) or 0)


async def put(house: House, tenant: Tenant, user: User, *, old: bool) -> None:
    """One row of each kind, just old enough or just not."""
    more = timedelta(minutes=1 if old else -1)
    now = utcnow()
    session = Session(user_id=user.id, started_at=now - 60 * DAY - more, last_seen_at=now - 31 * DAY)
    async with house.work(tenant.id) as work:
        work.add(session)
        await work.session.flush()
        work.add(
            RefreshToken(
                user_id=user.id,
                family_id=session.id,
                token_hash=session.id.bytes,
                expires_at=now,
                absolute_expires_at=now,
            )
        )
        work.add(
            OneTimeToken(
                user_id=user.id,
                purpose=OneTimePurpose.INVITATION,
                token_hash=b"",
                sent_to="",
                expires_at=now - DAY - more,
            )
        )
        work.add(OutgoingMail(kind=MailKind.INVITATION, due_at=now - 8 * DAY - more, asked_at=now))
        work.session.add(
            ForgottenSecret(
                tenant_id=tenant.id,
                owner_type=SecretOwner.TENANT,
                owner_id=tenant.id,
                key=str(old),
                updated_at=now - 90 * DAY - more,
            )
        )
        work.session.add(SignInFailure(tenant_id=tenant.id, account=b"a", network="n", failed_at=now - 2 * HOUR - more))


async def test_what_is_spent_is_deleted_and_what_is_not_stays(house: House, acme: Tenant, ada: User) -> None:
    kinds = (Session, RefreshToken, OneTimeToken, OutgoingMail, SignInFailure, ForgottenSecret)
    for old in (True, False):
        await put(house, acme, ada, old=old)
    await delete_spent(house.database, stop)
    assert [await count(house.database, acme, kind) for kind in kinds] == [2] * 6
    # Other tests' rows may be spent as well.
    assert await delete_spent(house.database, go_on) >= 5
    assert [await count(house.database, acme, kind) for kind in kinds] == [1] * 6
