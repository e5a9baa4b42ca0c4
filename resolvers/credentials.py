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

from dataloaders.credentials import SessionStanding, session_standings
from models import (
    ApiKey,
    MailKind,
    User,
    Workspace,
    utcnow,
)
from models.database import Database
from models.errors import Forbidden
from resolvers.api_keys import create_key, replace_workspace_token, revoke_key, rotate_key
from resolvers.bearers import Bearer, read_refresh_token
from resolvers.caller import Caller
from resolvers.passwords import Passwords, refuse_unfit
from resolvers.post import ask_for_mail, record, void_tokens
from resolvers.principal import Principal
from resolvers.recognition import Recognition, person
from resolvers.sessions import Carried, carry_on, end_session, end_sessions_of, session_of
from resolvers.sign_in import REFUSED_AFTER_SECONDS, Place, SignIn, wrong
from resolvers.tokens import AccessTokens
from resolvers.unit_of_work import Announces, UnitOfWork, unit_of_work


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
        refused_after_seconds: float = REFUSED_AFTER_SECONDS,
        sends_mail: bool = False,
    ) -> None:
        self._database = database
        self._announcer = announcer
        self._passwords = passwords
        self._tokens = tokens
        self._refresh_key = refresh_key
        self._environment = environment
        self._clock = clock
        self._sends_mail = sends_mail
        self._sign_in = SignIn(database, announcer, passwords, refresh_key, clock, timer, refused_after_seconds)
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
        user, carried = await self._sign_in.by_password(call, tenant_slug, email, password)
        return await self._signed(user.tenant_id, carried)

    async def open_session(self, call: Caller, user: User) -> Signed:
        """Begin a session of somebody who has proven elsewhere who they are. Raises INVALID_CREDENTIALS. Commits.

        Refused unless the person, as the row stands now, and the tenant are active. No password is looked at.
        """
        carried = await self._sign_in.begin(call, user)
        if carried is None:
            raise wrong("This account cannot sign in.")
        return await self._signed(user.tenant_id, carried)

    async def refresh_session(self, call: Caller, *, refresh_token: str) -> Signed:
        """Exchange a refresh token. Raises INVALID_CREDENTIALS; a reused token ends its session. Commits."""
        bearer = _refresh_bearer(refresh_token)
        standing = await self._standing(bearer.tenant_id, bearer.row_id)
        if standing is None or not standing.alive:
            # Before the exchange: a suspended tenant's clients keep their token for the day it is served again.
            raise wrong("The refresh token is not valid.", "refreshToken")
        async with self._work(call, bearer.tenant_id, standing.user_id) as work:
            carried = await carry_on(work, refresh_token, bearer, self._refresh_key)
        if carried is None:
            self.forget(bearer.tenant_id)
            raise wrong("The refresh token is not valid.", "refreshToken")
        return self._sign(bearer.tenant_id, carried, standing)

    async def logout(self, call: Caller, *, refresh_token: str) -> None:
        """End the token's session, as its person; again is no error. Raises INVALID_CREDENTIALS. Commits."""
        bearer = _refresh_bearer(refresh_token)
        async with self._work(call, bearer.tenant_id) as work:
            session = await session_of(work, bearer)
            if session is None:
                raise wrong("The refresh token is not valid.", "refreshToken")
            # Known only now: whoever has the token of a session acts as its person, with credentials or without.
            work.actor = (User.__typeid__, session.user_id)
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
        user = await self._sign_in.confirm(call, who.home_tenant_id, who.user_id, current_password)
        fresh = await self._passwords.hash(new_password)
        async with self._work(call, who.home_tenant_id, user.id) as work:
            row = await work.locked(User, user.id)
            if row.password_hash != user.password_hash:
                raise wrong("The current password is wrong.", "currentPassword")
            row.password_hash = fresh
            ended = await end_sessions_of(work, row.id, keep=who.session_id)
            await void_tokens(work, row)
            record(work, row, "user.password_changed", {"sessionsEnded": ended})
            if self._sends_mail and row.email is not None:
                ask_for_mail(work, MailKind.PASSWORD_CHANGED, row.id)
        self.forget(who.home_tenant_id)
        return row

    def evenly(self) -> AbstractAsyncContextManager[None]:
        """Let what happens inside take no less time than a refused sign-in."""
        return self._sign_in.evenly(always=True)

    async def place(self, tenant_slug: str | None) -> Place:
        """Where ``tenant_slug`` leads; without one to the platform."""
        return await self._sign_in.place(tenant_slug)

    async def unlock(self, work: UnitOfWork, user: User) -> bool:
        """Forget the wrong passwords of a locked ``user`` row, inside the caller's unit of work; whether any were."""
        return await self._sign_in.unlock(work, user)

    async def forget_failures(self, work: UnitOfWork, user: User) -> int:
        """Delete the wrong passwords counted for ``user``'s address, inside the caller's unit of work; how many."""
        return await self._sign_in.forget_failures(work, user)

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

    async def rotate_api_key(
        self, call: Caller, *, id: UUID, overlap_seconds: int | None = None, expires_at: datetime | None = None
    ) -> tuple[ApiKey, str]:
        """A key's successor and its secret, shown only here; the old key ends after the overlap. Commits.

        Raises FORBIDDEN, INVALID, NOT_FOUND, ILLEGAL_TRANSITION for a key that has ended.
        """
        made = await rotate_key(call, self._environment, id, overlap_seconds=overlap_seconds, expires_at=expires_at)
        self.forget(made[0].tenant_id)
        return made

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

    async def _standing(self, tenant_id: UUID, session_id: UUID) -> SessionStanding | None:
        # Past the cache: what a new token says must be what is true after the commit.
        return (await session_standings(self._database, tenant_id, [session_id])).get(session_id)

    async def _signed(self, tenant_id: UUID, carried: Carried) -> Signed:
        standing = await self._standing(tenant_id, carried.session_id)
        if standing is None or not standing.alive:
            # Suspended or closed while the session began.
            raise wrong("This account cannot sign in.")
        return self._sign(tenant_id, carried, standing)

    def _sign(self, tenant_id: UUID, carried: Carried, standing: SessionStanding) -> Signed:
        token, expires_at = self._tokens.sign(
            tenant_id=tenant_id,
            user_id=carried.user_id,
            session_id=carried.session_id,
            authorization_version=standing.authorization_version,
        )
        principal = person(tenant_id, carried.session_id, standing, expires_at)
        return Signed(token, expires_at, carried.refresh_token, principal)

    def _work(
        self, call: Caller, tenant_id: UUID, user_id: UUID | None = None
    ) -> AbstractAsyncContextManager[UnitOfWork]:
        actor = (User.__typeid__, user_id) if user_id is not None else None
        origin = call.origin(tenant_id)
        return unit_of_work(self._database, self._announcer, self._clock, tenant_id, actor, origin=origin)


def _refresh_bearer(text: str) -> Bearer:
    bearer = read_refresh_token(text)
    if bearer is None:
        raise wrong("The refresh token is not valid.", "refreshToken")
    return bearer
