"""This module is where callers are recognised: by access token, by API key, by password, by refresh token.

Security boundary: every wrong password, unknown tenant or person, locked or suspended account and dead token gets
one answer, at the cost of one password evaluation where a password was asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import update

from dataloaders.credentials import SessionStanding, session_standings
from dataloaders.tenants import tenant_by_slug
from dataloaders.users import user_by_email
from models import (
    PLATFORM_SLUG,
    PLATFORM_TENANT_ID,
    ApiKey,
    EventTopic,
    Scope,
    TenantStatus,
    User,
    UserStatus,
    Workspace,
    utcnow,
)
from models.database import Database
from models.errors import Forbidden, LimitExceeded, Refusal, RefusalCode
from resolvers.api_keys import create_key, replace_workspace_token, revoke_key
from resolvers.bearers import Bearer, read_refresh_token
from resolvers.caller import Caller
from resolvers.lockout import count_failure, is_locked
from resolvers.passwords import Passwords, Verdict, refuse_unfit
from resolvers.principal import Principal
from resolvers.recognition import Recognition, person
from resolvers.sessions import Carried, carry_on, end_session, end_sessions_of, session_of, start_session
from resolvers.tokens import AccessTokens
from resolvers.unit_of_work import Announces, UnitOfWork, unit_of_work
from subscriptions.log import Envelope


@dataclass(frozen=True, slots=True)
class Signed:
    """A session's credentials, and who they belong to."""

    access_token: str
    access_token_expires_at: datetime
    refresh_token: str
    principal: Principal


class Accounts:
    """The credentials of one deployment; close it before the database."""

    def __init__(
        self,
        database: Database,
        announcer: Announces,
        passwords: Passwords,
        tokens: AccessTokens,
        refresh_key: bytes,
        environment: str,
        clock: Callable[[], datetime] = utcnow,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._announcer = announcer
        self._passwords = passwords
        self._tokens = tokens
        self._refresh_key = refresh_key
        self._environment = environment
        self._clock = clock
        self._recognition = Recognition(database, announcer, tokens, environment, clock, timer)

    async def close(self) -> None:
        """Note the last uses and end what runs in the background."""
        await self._recognition.close()

    def forget(self, tenant_id: UUID) -> None:
        """Look at this tenant's credentials anew; others see a change within a second by themselves."""
        self._recognition.forget(tenant_id)

    async def authenticate(self, authorization: str | None, tenant_header: str | None = None) -> Principal | None:
        """Who calls; None without credentials. Revocation, suspension and new roles count within two seconds.

        Raises UNAUTHENTICATED for credentials that are not (or no longer) good, as TokenExpired when refreshing
        helps; FORBIDDEN or BAD_REQUEST for a tenant header that does not suit them; UNAVAILABLE.
        """
        return await self._recognition.authenticate(authorization, tenant_header)

    async def recheck(self, principal: Principal) -> Principal:
        """``principal`` as it stood within the last second, for what stays open.

        Raises UNAUTHENTICATED for what was revoked, deleted or suspended, as TokenExpired when refreshing helps;
        UNAVAILABLE. All of a tenant's that are asked for together cost one statement for people and one for keys.
        """
        return await self._recognition.recheck(principal)

    async def login(self, call: Caller, *, tenant_slug: str | None = None, email: str, password: str) -> Signed:
        """Sign a person in. Raises INVALID_CREDENTIALS for anything wrong, LIMIT_EXCEEDED, THROTTLED. Commits."""
        _spend_password(call)
        user = await self._account(tenant_slug, email)
        for _ in range(2):
            verdict = await self._evaluate(user, password)
            if user is None or not verdict.ok:
                break
            signed = await self._begin(call, user, verdict)
            if signed is not None:
                return signed
            # The hash moved under us (another sign-in renewed it, or the password changed): look once more.
            user = await self._account(tenant_slug, email)
        raise _wrong("The tenant, the e-mail address or the password is wrong.")

    async def open_session(self, call: Caller, user: User) -> Signed:
        """Begin a session of somebody who has proven elsewhere who they are. Raises INVALID_CREDENTIALS. Commits.

        Refused unless the person, as the row stands now, and the tenant are active. No password is looked at.
        """
        signed = await self._begin(call, user)
        if signed is None:
            raise _wrong("This account cannot sign in.")
        return signed

    async def refresh_session(self, call: Caller, *, refresh_token: str) -> Signed:
        """Exchange a refresh token. Raises INVALID_CREDENTIALS; a reused token ends its session. Commits."""
        bearer = _refresh_bearer(refresh_token)
        standing = await self._standing(bearer.tenant_id, bearer.row_id)
        if standing is None or not standing.alive:
            # Before the exchange: a suspended tenant's clients keep their token for the day it is served again.
            raise _wrong("The refresh token is not valid.", "refreshToken")
        async with self._work(bearer.tenant_id, standing.user_id) as work:
            carried = await carry_on(work, refresh_token, bearer, self._refresh_key)
        if carried is None:
            self.forget(bearer.tenant_id)
            raise _wrong("The refresh token is not valid.", "refreshToken")
        return self._sign(bearer.tenant_id, carried, standing)

    async def logout(self, call: Caller, *, refresh_token: str) -> None:
        """End the token's session; again is no error. Raises INVALID_CREDENTIALS. Commits."""
        bearer = _refresh_bearer(refresh_token)
        async with self._work(bearer.tenant_id) as work:
            session = await session_of(work, bearer)
            if session is None:
                raise _wrong("The refresh token is not valid.", "refreshToken")
            await end_session(work, session, "session.ended")
        self.forget(bearer.tenant_id)

    async def change_password(self, call: Caller, *, current_password: str, new_password: str) -> User:
        """Set the caller's own password and end every other session of theirs. Commits.

        Raises FORBIDDEN for a machine, INVALID_CREDENTIALS, INVALID, LIMIT_EXCEEDED, THROTTLED.
        """
        who = call.who
        if who.user_id is None:
            raise Forbidden("Only people have passwords.")
        refuse_unfit(new_password, "newPassword")
        _spend_password(call)
        async with self._database.session(who.home_tenant_id) as session:
            user = await session.get(User, (who.home_tenant_id, who.user_id))
        verdict = await self._evaluate(user, current_password)
        if user is None or not verdict.ok:
            raise _wrong("The current password is wrong.", "currentPassword")
        fresh = await self._passwords.hash(new_password)
        async with self._work(who.home_tenant_id, user.id) as work:
            row = await work.locked(User, user.id)
            if row.password_hash != user.password_hash:
                raise _wrong("The current password is wrong.", "currentPassword")
            row.password_hash = fresh
            ended = await end_sessions_of(work, row.id, keep=who.session_id)
            _record_password_change(work, row, ended)
        self.forget(who.home_tenant_id)
        return row

    async def create_api_key(
        self,
        call: Caller,
        *,
        name: str,
        scopes: Sequence[str],
        workspace_id: UUID | None = None,
        expires_at: datetime | None = None,
    ) -> tuple[ApiKey, str]:
        """A new key and its secret, shown only here. Raises FORBIDDEN, INVALID, NOT_FOUND. Commits."""
        return await create_key(
            call, self._environment, name=name, scopes=scopes, workspace_id=workspace_id, expires_at=expires_at
        )

    async def revoke_api_key(self, call: Caller, *, id: UUID) -> ApiKey:
        """End a key. Raises FORBIDDEN, NOT_FOUND. Commits."""
        key = await revoke_key(call, id)
        self.forget(key.tenant_id)
        return key

    async def issue_workspace_token(
        self, work: UnitOfWork, workspace: Workspace, created_by: Principal
    ) -> tuple[ApiKey, str]:
        """A workspace's new machine token, inside the caller's unit of work; its earlier keys end.

        The workspace must be flushed or locked in ``work``. Raising the lease is the caller's.
        """
        return await replace_workspace_token(work, self._environment, workspace, created_by)

    async def hash_password(self, password: str, *field: str) -> str:
        """The hash of a new password. Raises INVALID, THROTTLED."""
        refuse_unfit(password, *field)
        return await self._passwords.hash(password)

    async def _account(self, tenant_slug: str | None, email: str) -> User | None:
        found = await tenant_by_slug(self._database, PLATFORM_SLUG if tenant_slug is None else tenant_slug)
        if found is None or found[1] is not TenantStatus.ACTIVE:
            return None
        async with self._database.session(found[0]) as session:
            user = await user_by_email(session, email)
        if user is not None and user.tenant_id == PLATFORM_TENANT_ID and not user.is_platform_admin:
            return None
        return user

    async def _evaluate(self, user: User | None, password: str) -> Verdict:
        """One evaluation, whoever asks; a wrong password of an open account counts towards its lock."""
        usable = user is not None and _may_try(user, self._clock())
        verdict = await self._passwords.verify(user.password_hash if user and usable else None, password)
        if user is not None and usable and not verdict.ok:
            async with self._work(user.tenant_id) as work:
                await count_failure(work, user)
        return verdict

    async def _begin(self, call: Caller, seen: User, verdict: Verdict | None = None) -> Signed | None:
        """A session, unless the row has changed since it was ``seen``; ``verdict`` where a password was right."""
        async with self._work(seen.tenant_id, seen.id) as work:
            user = await work.session.get(User, (work.tenant_id, seen.id), with_for_update={"key_share": True})
            if user is None or user.status is not UserStatus.ACTIVE:
                return None
            if verdict is not None and (user.password_hash != seen.password_hash or not _may_try(user, work.now)):
                return None
            await work.session.execute(
                update(User)
                .where(User.tenant_id == work.tenant_id, User.id == user.id)
                .values(
                    failed_login_attempts=0,
                    locked_until=None,
                    last_login_at=work.now,
                    password_hash=(verdict.rehash if verdict else None) or user.password_hash,
                    updated_at=User.updated_at,
                )
                .execution_options(synchronize_session=False)
            )
            carried = await start_session(work, user, call.address, call.user_agent)
        standing = await self._standing(seen.tenant_id, carried.session_id)
        return self._sign(seen.tenant_id, carried, standing) if standing is not None and standing.alive else None

    async def _standing(self, tenant_id: UUID, session_id: UUID) -> SessionStanding | None:
        # Past the cache: what a new token says must be what is true after the commit.
        return (await session_standings(self._database, tenant_id, [session_id])).get(session_id)

    def _sign(self, tenant_id: UUID, carried: Carried, standing: SessionStanding) -> Signed:
        token, expires_at = self._tokens.sign(
            tenant_id=tenant_id,
            user_id=carried.user_id,
            session_id=carried.session_id,
            authorization_version=standing.authorization_version,
        )
        principal = person(tenant_id, carried.session_id, standing, expires_at)
        return Signed(token, expires_at, carried.refresh_token, principal)

    def _work(self, tenant_id: UUID, user_id: UUID | None = None) -> AbstractAsyncContextManager[UnitOfWork]:
        actor = (User.__typeid__, user_id) if user_id is not None else None
        return unit_of_work(self._database, self._announcer, self._clock, tenant_id, actor)


def _spend_password(call: Caller) -> None:
    # Counted inside the document: aliases would make one request a hundred guesses.
    if call.password_tried:
        raise LimitExceeded("One operation signs in, or changes a password, once.")
    call.password_tried = True


def _may_try(user: User, now: datetime) -> bool:
    return user.status is UserStatus.ACTIVE and user.password_hash is not None and not is_locked(user, now)


def _refresh_bearer(text: str) -> Bearer:
    bearer = read_refresh_token(text)
    if bearer is None:
        raise _wrong("The refresh token is not valid.", "refreshToken")
    return bearer


def _wrong(message: str, *field: str) -> Refusal:
    return Refusal(RefusalCode.INVALID_CREDENTIALS, message, field=("input", *field) if field else None)


def _record_password_change(work: UnitOfWork, user: User, ended: int) -> None:
    work.record(
        Envelope(
            topic=EventTopic.SECURITY,
            kind="user.password_changed",
            entity_type=User.__typeid__,
            entity_id=user.id,
            required_scope=Scope.USERS_READ,
            owner_user_id=user.id,
            before=user.facets(),
            after=user.facets(),
            payload={"sessionsEnded": ended},
        )
    )
