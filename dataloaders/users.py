"""This module is where people are fetched: by filter, and by the address they sign in with."""

from __future__ import annotations

from typing import Final

from sqlalchemy import select

from dataloaders.pages import Listing, Order, any_of, equals, overlaps, words
from models import User, UserConsent
from models.database import TenantSession
from models.users import email_key

users: Final = Listing(
    User,
    filters={
        "status": any_of(User.status),
        "roles": overlaps(User.roles),
        "department": equals(User.department),
        "search": words(User),
    },
    orders={
        "created_at": Order(User.created_at),
        "email": Order(User.email_key),
        "last_login_at": Order(User.last_login_at, nullable=True),
    },
    always=lambda _: [User.deleted_at.is_(None)],
)

consents: Final = Listing(
    UserConsent,
    filters={
        "user_id": equals(UserConsent.user_id),
        "consent_type": any_of(UserConsent.consent_type),
        "granted": equals(UserConsent.granted),
    },
    orders={"created_at": Order(UserConsent.created_at)},
)


async def user_by_email(session: TenantSession, email: str) -> User | None:
    """The tenant's person with this address, however it is spelled; None for nobody."""
    key = email_key(email)
    if "\x00" in key:  # no address has one, and the database refuses the question
        return None
    found: User | None = await session.scalar(
        select(User).where(User.tenant_id == session.tenant_id, User.email_key == key, User.deleted_at.is_(None))
    )
    return found
