"""This module is where wrong passwords are counted, and where they lock an account for whom.

Security boundary: five lock the account for the network they came from; twenty within the hour lock it for every
network that did not sign in lately, so an outsider can keep others out for a while but never the person from where
they work. What does not exist is counted like what does. A try while it is locked is not counted, so nobody is kept
out longer by whoever keeps trying.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import delete, exists, func, select, update

from models import EventTopic, Session, SignInFailure, User
from models.database import TenantSession
from models.ids import NIL
from models.users import email_key
from resolvers.unit_of_work import UnitOfWork

WINDOW: Final = timedelta(hours=1)
NETWORK_LIMIT: Final = 5
NETWORK_LOCKED_FOR: Final = timedelta(minutes=30)
ACCOUNT_LIMIT: Final = 20
ACCOUNT_LOCKED_FOR: Final = (timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=30))
KNOWN_FOR: Final = timedelta(days=30)
_MOST_READ: Final = 100
"""Of one account and hour; the locks let through no more than half of it."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Whom somebody tries to sign in as, and from where."""

    account: bytes
    network: str


@dataclass(frozen=True, slots=True)
class Record:
    """What an attempt has behind it: the account's wrong passwords of the last hour, newest first."""

    failures: Sequence[SignInFailure]
    network: str
    is_known: bool
    """Whether the person signed in from this network lately."""

    def is_locked(self, now: datetime, imposed: datetime | None = None) -> bool:
        """Whether no password is taken from this network; ``imposed`` locks the account from elsewhere."""
        network = (one.network_locked_until for one in self.failures if one.network == self.network)
        if any(until is not None and until > now for until in network):
            return True
        account = (imposed, *(one.account_locked_until for one in self.failures))
        return not self.is_known and any(until is not None and until > now for until in account)

    def network_lock(self, now: datetime) -> datetime | None:
        """Until when one more failure locks the account for this network."""
        count = 1
        for one in self.failures:
            if one.network == self.network:
                if one.network_locked_until is not None:
                    break
                count += 1
        return now + NETWORK_LOCKED_FOR if count >= NETWORK_LIMIT else None

    def account_lock(self, now: datetime) -> datetime | None:
        """Until when one more failure locks the account for all networks that are not known."""
        beyond = len(self.failures) + 1 - ACCOUNT_LIMIT
        return now + ACCOUNT_LOCKED_FOR[min(beyond, len(ACCOUNT_LOCKED_FOR) - 1)] if beyond >= 0 else None


def account_of(key: bytes, tenant_id: UUID, email: str, slug: str = "") -> bytes:
    """What failures are kept under; ``slug`` where it names no tenant. Nobody reads an address out of it."""
    said = f"{slug}\x00{email_key(email)}".encode("utf-8", "surrogatepass")
    return hmac.digest(key, b"sign-in" + tenant_id.bytes + said, "sha256")


async def read_record(session: TenantSession, attempt: Attempt, user_id: UUID | None, now: datetime) -> Record:
    """What is behind the attempt, in two statements whoever it is."""
    failures = await session.scalars(
        select(SignInFailure)
        .where(
            SignInFailure.tenant_id == session.tenant_id,
            SignInFailure.account == attempt.account,
            SignInFailure.failed_at > now - WINDOW,
        )
        .order_by(SignInFailure.failed_at.desc(), SignInFailure.id.desc())
        .limit(_MOST_READ)
    )
    known = exists().where(
        Session.tenant_id == session.tenant_id,
        Session.user_id == (user_id or NIL),
        Session.network == attempt.network,
        Session.started_at > now - KNOWN_FOR,
    )
    return Record(failures.all(), attempt.network, bool(await session.scalar(select(known))))


async def count_failure(work: UnitOfWork, attempt: Attempt, user: User | None) -> None:
    """Count one wrong password, unless it is locked by now; a lock of somebody who exists is told."""
    # Of parallel tries each must see those before it, or the fifth would not know that it is.
    await work.session.execute(select(func.pg_advisory_xact_lock(int.from_bytes(attempt.account[:8], signed=True))))
    record = await read_record(work.session, attempt, user.id if user else None, work.now)
    if record.is_locked(work.now):
        return
    failure = SignInFailure(
        tenant_id=work.tenant_id,
        account=attempt.account,
        network=attempt.network,
        failed_at=work.now,
        network_locked_until=record.network_lock(work.now),
        account_locked_until=record.account_lock(work.now),
    )
    work.session.add(failure)
    if user is not None and (failure.network_locked_until or failure.account_locked_until):
        await _lock(work, user, failure)


async def forget_failures(work: UnitOfWork, attempt: Attempt, *, everywhere: bool = False) -> int:
    """Start the count anew: for the network that a right password came from, or for all; how many there were."""
    where = [] if everywhere else [SignInFailure.network == attempt.network]
    forgotten = await work.session.scalars(
        delete(SignInFailure)
        .where(SignInFailure.tenant_id == work.tenant_id, SignInFailure.account == attempt.account, *where)
        .returning(SignInFailure.id)
        .execution_options(synchronize_session=False)
    )
    return len(forgotten.all())


async def _lock(work: UnitOfWork, user: User, failure: SignInFailure) -> None:
    if failure.account_locked_until is not None:
        # For people to see, and for whoever looks at the row alone.
        await work.session.execute(
            update(User)
            .where(User.tenant_id == work.tenant_id, User.id == user.id)
            .values(locked_until=failure.account_locked_until, updated_at=User.updated_at)
            .execution_options(synchronize_session=False)
        )
    payload = {"for": "network" if failure.account_locked_until is None else "account"}
    work.tell(user, "user.locked", user.facets(), payload, topic=EventTopic.SECURITY)
