"""This module is where wrong passwords are counted: five in a row lock the account for half an hour.

Security boundary: a locked account reads like a wrong password and costs as much; a try while it is locked is not
counted, so nobody is kept out longer by whoever keeps trying. The rule that knows networks comes with auditing.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import case, or_, update

from models import EventTopic, Scope, User
from resolvers.unit_of_work import UnitOfWork
from subscriptions.log import Envelope

LIMIT: Final = 5
LOCKED_FOR: Final = timedelta(minutes=30)


def is_locked(user: User, now: datetime) -> bool:
    """Whether the account takes no password now."""
    return user.locked_until is not None and user.locked_until > now


async def count_failure(work: UnitOfWork, user: User) -> None:
    """Count one wrong password; the last one allowed locks the account and is told. One atomic statement."""
    over = User.locked_until <= work.now
    attempts = case((over, 1), else_=User.failed_login_attempts + 1)
    locked = await work.session.scalar(
        update(User)
        .where(
            User.tenant_id == work.tenant_id,
            User.id == user.id,
            or_(User.locked_until.is_(None), over),
        )
        .values(
            failed_login_attempts=attempts,
            locked_until=case((attempts >= LIMIT, work.now + LOCKED_FOR), else_=None),
            updated_at=User.updated_at,
        )
        .returning(User.locked_until)
        .execution_options(synchronize_session=False)
    )
    if locked is not None:
        work.record(
            Envelope(
                topic=EventTopic.SECURITY,
                kind="user.locked",
                entity_type=User.__typeid__,
                entity_id=user.id,
                required_scope=Scope.USERS_READ,
                owner_user_id=user.id,
                before=user.facets(),
                after=user.facets(),
            )
        )
