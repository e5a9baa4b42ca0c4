"""This module is where passwords are tried, and where a right one begins a session.

Security boundary: an unknown tenant or person, a wrong password, a locked, suspended or pending account get one
answer after the same statements and one evaluation; and no refusal comes sooner than the slowest of them would.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import case, update

from dataloaders.tenants import tenant_by_slug
from dataloaders.users import user_by_email
from models import PLATFORM_SLUG, PLATFORM_TENANT_ID, TenantStatus, User, UserStatus
from models.database import Database
from models.errors import LimitExceeded, Refusal, RefusalCode
from resolvers.caller import Caller
from resolvers.lockout import Attempt, Record, account_of, count_failure, forget_failures, read_record
from resolvers.networks import network_of
from resolvers.passwords import Passwords, Verdict
from resolvers.sessions import Carried, start_session
from resolvers.unit_of_work import Announces, UnitOfWork, unit_of_work

REFUSED_AFTER_SECONDS: Final = 0.5
"""Longer than any evaluation takes on an idle machine; an imported bcrypt hash costs a quarter of a second."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where somebody says they belong: a tenant that is served, or nowhere."""

    tenant_id: UUID
    """The platform's where there is no such tenant: what is tried there is counted there."""
    is_open: bool
    slug: str = ""
    """What was said instead of a tenant's slug."""


class SignIn:
    """Passwords of one deployment."""

    def __init__(
        self,
        database: Database,
        announcer: Announces,
        passwords: Passwords,
        account_key: bytes,
        clock: Callable[[], datetime],
        timer: Callable[[], float],
        refused_after_seconds: float = REFUSED_AFTER_SECONDS,
    ) -> None:
        self._database = database
        self._announcer = announcer
        self._passwords = passwords
        self._account_key = account_key
        self._clock = clock
        self._timer = timer
        self._refused_after_seconds = refused_after_seconds

    async def by_password(
        self, call: Caller, tenant_slug: str | None, email: str, password: str
    ) -> tuple[User, Carried]:
        """A new session. Raises INVALID_CREDENTIALS for anything wrong, LIMIT_EXCEEDED, THROTTLED. Commits."""
        spend_password(call)
        async with self.evenly():
            place = await self.place(tenant_slug)
            attempt = Attempt(
                account_of(self._account_key, place.tenant_id, email, place.slug), network_of(call.address)
            )
            for _ in range(2):
                user, record = await self._look(place, email, attempt)
                verdict = await self._evaluate(call, place.tenant_id, user, record, attempt, password)
                if user is None or not verdict.ok:
                    break
                carried = await self.begin(call, user, attempt, verdict)
                if carried is not None:
                    return user, carried
                # The hash moved under us (another sign-in renewed it, or the password changed): look once more.
            raise wrong("The tenant, the e-mail address or the password is wrong.")

    async def confirm(self, call: Caller, tenant_id: UUID, user_id: UUID, password: str) -> User:
        """The caller, whose password this is. Raises INVALID_CREDENTIALS, LIMIT_EXCEEDED, THROTTLED. Commits."""
        spend_password(call)
        async with self._database.session(tenant_id) as session:
            user = await session.get(User, (tenant_id, user_id))
            attempt = self.attempt_of(user, call.address) if user is not None else None
            record = await read_record(session, attempt, user_id, self._clock()) if attempt is not None else None
        if user is None or attempt is None or record is None:
            raise wrong("The current password is wrong.", "currentPassword")
        verdict = await self._evaluate(call, tenant_id, user, record, attempt, password)
        if not verdict.ok:
            raise wrong("The current password is wrong.", "currentPassword")
        return user

    async def begin(
        self, call: Caller, seen: User, attempt: Attempt | None = None, verdict: Verdict | None = None
    ) -> Carried | None:
        """A session, unless the row has changed since it was ``seen``; ``verdict`` where a password was right."""
        actor = (User.__typeid__, seen.id)
        async with self._work(call, seen.tenant_id, actor) as work:
            user = await work.session.get(User, (work.tenant_id, seen.id), with_for_update={"key_share": True})
            if user is None or user.status is not UserStatus.ACTIVE:
                return None
            if attempt is not None:
                # Of many guesses at once the right one must not get in after the wrong ones have locked.
                record = await read_record(work.session, attempt, user.id, work.now)
                if user.password_hash != seen.password_hash or record.is_locked(work.now, user.locked_until):
                    return None
                await forget_failures(work, attempt)
            await _note_sign_in(work, user, verdict)
            return await start_session(work, user, call.address, call.user_agent)

    async def place(self, tenant_slug: str | None) -> Place:
        """Where ``tenant_slug`` leads; without one to the platform."""
        slug = PLATFORM_SLUG if tenant_slug is None else tenant_slug
        found = await tenant_by_slug(self._database, slug)
        if found is None:
            return Place(PLATFORM_TENANT_ID, is_open=False, slug=slug)
        return Place(found[0], found[1] is TenantStatus.ACTIVE)

    def attempt_of(self, user: User, address: str | None) -> Attempt:
        """What signing in as this person from there is counted under."""
        email = user.email if user.email is not None else str(user.id)
        return Attempt(account_of(self._account_key, user.tenant_id, email), network_of(address))

    async def unlock(self, work: UnitOfWork, user: User) -> bool:
        """Forget every wrong password for ``user``, whose row is locked; whether there was anything to forget."""
        forgotten = await self.forget_failures(work, user)
        if not forgotten and user.locked_until is None:
            return False
        user.locked_until, user.failed_login_attempts = None, 0
        return True

    async def forget_failures(self, work: UnitOfWork, user: User) -> int:
        """Delete what was counted of wrong passwords for the address that ``user`` has; how many there were."""
        return await forget_failures(work, self.attempt_of(user, None), everywhere=True)

    @asynccontextmanager
    async def evenly(self, *, always: bool = False) -> AsyncIterator[None]:
        """Let a refusal inside come out no sooner than any other; ``always`` whatever comes of it."""
        began = self._timer()
        try:
            yield
        except Refusal:
            await self._rest_of(began)
            raise
        if always:
            await self._rest_of(began)

    async def _rest_of(self, began: float) -> None:
        await asyncio.sleep(max(0.0, self._refused_after_seconds - (self._timer() - began)))

    async def _look(self, place: Place, email: str, attempt: Attempt) -> tuple[User | None, Record]:
        async with self._database.session(place.tenant_id) as session:
            user = await user_by_email(session, email)
            if not place.is_open or (user is not None and not _may_sign_in(user)):
                user = None
            record = await read_record(session, attempt, user.id if user is not None else None, self._clock())
        return user, record

    async def _evaluate(
        self, call: Caller, tenant_id: UUID, user: User | None, record: Record, attempt: Attempt, password: str
    ) -> Verdict:
        """One evaluation, whoever asks; a wrong password counts towards a lock, wherever it was tried."""
        locked = record.is_locked(self._clock(), user.locked_until if user is not None else None)
        usable = user is not None and not locked
        verdict = await self._passwords.verify(user.password_hash if user is not None and usable else None, password)
        if not verdict.ok and not locked:
            async with self._work(call, tenant_id) as work:
                await count_failure(work, attempt, user)
        return verdict

    def _work(
        self, call: Caller, tenant_id: UUID, actor: tuple[str, UUID] | None = None
    ) -> AbstractAsyncContextManager[UnitOfWork]:
        origin = call.origin(tenant_id)
        return unit_of_work(self._database, self._announcer, self._clock, tenant_id, actor, origin=origin)


def spend_password(call: Caller) -> None:
    """Raises LIMIT_EXCEEDED the second time in an operation."""
    # Counted inside the document: aliases would make one request a hundred guesses.
    if call.password_tried:
        raise LimitExceeded("One operation signs in, or changes a password, once.")
    call.password_tried = True


def wrong(message: str, *field: str) -> Refusal:
    """The one answer to everything that is wrong with a credential."""
    return Refusal(RefusalCode.INVALID_CREDENTIALS, message, field=("input", *field) if field else None)


def _may_sign_in(user: User) -> bool:
    if user.tenant_id == PLATFORM_TENANT_ID and not user.is_platform_admin:
        return False
    return user.status is UserStatus.ACTIVE and user.password_hash is not None


async def _note_sign_in(work: UnitOfWork, user: User, verdict: Verdict | None) -> None:
    await work.session.execute(
        update(User)
        .where(User.tenant_id == work.tenant_id, User.id == user.id)
        .values(
            failed_login_attempts=0,
            # A lock that does not hold here still holds for strangers.
            locked_until=case((User.locked_until > work.now, User.locked_until), else_=None),
            last_login_at=work.now,
            password_hash=(verdict.rehash if verdict else None) or user.password_hash,
            updated_at=User.updated_at,
        )
        .execution_options(synchronize_session=False)
    )
