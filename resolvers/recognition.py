"""This module is where a request's credentials become a principal: a signature or a hash, then what it is worth now.

Security boundary: nothing here is older than a second, so whatever is revoked, suspended or re-ruled is so at once.
What a credential is worth is kept for as long as its tenant's credentials have the same version, and one statement a
second asks for the versions of all tenants: its cost grows neither with callers nor with tenants.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Final
from uuid import UUID

from dataloaders.credentials import (
    KeyStanding,
    SessionStanding,
    credential_versions,
    key_standings,
    session_standings,
)
from models import Role, Scope
from models.database import Database
from models.errors import Unauthenticated
from models.scopes import ROLE_SCOPES, scopes_of
from resolvers.bearers import read_api_key
from resolvers.last_used import LastUsed
from resolvers.platform_access import PlatformAccess
from resolvers.principal import Principal
from resolvers.recent import RecentRows
from resolvers.tokens import AccessTokens, TokenExpired
from resolvers.unit_of_work import Announces

_KEY_START: Final = "sbx_"
# What is read together: the versions of all tenants are.
_ALL_TENANTS: Final = UUID(int=0)
_PLATFORM_SCOPES: Final = ROLE_SCOPES[Role.ADMIN] | {Scope.PLATFORM_ADMIN}


class Recognition:
    """Knows callers by access token and by API key."""

    def __init__(
        self,
        database: Database,
        announcer: Announces,
        tokens: AccessTokens,
        environment: str,
        clock: Callable[[], datetime],
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tokens = tokens
        self._environment = environment
        self._clock = clock
        self._versions = RecentRows[int]("versions", lambda _, ids: credential_versions(database, ids), timer)
        self._sessions = RecentRows[SessionStanding](
            "sessions", partial(session_standings, database), timer, self._holds
        )
        self._keys = RecentRows[KeyStanding]("keys", partial(key_standings, database), timer, self._holds)
        self._last_used = LastUsed(database, clock)
        self._platform = PlatformAccess(database, announcer, clock)

    async def close(self) -> None:
        """Note the last uses and end what runs in the background."""
        await self._last_used.close()
        await self._sessions.close()
        await self._keys.close()
        await self._versions.close()

    def forget(self, tenant_id: UUID) -> None:
        """Look at this tenant's credentials anew; others see a change within a second by themselves."""
        self._sessions.forget(tenant_id)
        self._keys.forget(tenant_id)

    async def _holds(self, tenant_id: UUID, standing: SessionStanding | KeyStanding) -> bool:
        return await self._versions.get(_ALL_TENANTS, tenant_id) == standing.version

    async def authenticate(self, authorization: str | None, tenant_header: str | None = None) -> Principal | None:
        """Who calls; None without credentials.

        Raises UNAUTHENTICATED for credentials that are not (or no longer) good, as TokenExpired when refreshing
        helps; FORBIDDEN or BAD_REQUEST for a tenant header that does not suit them; UNAVAILABLE.
        """
        if not authorization:
            return None
        scheme, _, token = authorization.strip().partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthenticated("Credentials are given as a bearer token.")
        known = self._machine if token.startswith(_KEY_START) else self._person
        principal, slug = await known(token.strip())
        return await self._platform.enter(principal, slug, tenant_header) if tenant_header else principal

    async def recheck(self, principal: Principal) -> Principal:
        """``principal`` as it stands now, for what stays open; when its token ends is the caller's to watch.

        Raises UNAUTHENTICATED for what was revoked, deleted or suspended, as TokenExpired when refreshing helps;
        UNAVAILABLE.
        """
        if principal.user_id is not None and principal.session_id is not None:
            standing = await self._session(
                principal.home_tenant_id, principal.session_id, principal.user_id, principal.authorization_version
            )
            now = person(principal.tenant_id, principal.session_id, standing, principal.expires_at)
        elif principal.api_key_id is not None:
            key = await self._keys.get(principal.tenant_id, principal.api_key_id)
            if key is None or not key.alive:
                raise Unauthenticated("The API key is not valid.")
            now = machine(principal.tenant_id, principal.api_key_id, key)
        else:
            now = principal
        return now

    async def _session(self, tenant_id: UUID, session_id: UUID, user_id: UUID, version: int) -> SessionStanding:
        standing = await self._sessions.get(tenant_id, session_id)
        if standing is None or not standing.alive or standing.user_id != user_id:
            raise Unauthenticated("The session has ended.")
        if standing.authorization_version != version:
            # The session lives: clients must refresh, not give up.
            raise TokenExpired("What this account may do has changed; refresh the session.")
        return standing

    async def _person(self, token: str) -> tuple[Principal, str]:
        claims = self._tokens.verify(token)
        standing = await self._session(
            claims.tenant_id, claims.session_id, claims.user_id, claims.authorization_version
        )
        principal = person(claims.tenant_id, claims.session_id, standing, claims.expires_at)
        return principal, standing.tenant_slug

    async def _machine(self, text: str) -> tuple[Principal, str]:
        bearer = read_api_key(text, self._environment)
        standing = await self._keys.get(bearer.tenant_id, bearer.row_id) if bearer else None
        if bearer is None or standing is None or not bearer.proves(standing.secret_hash) or not standing.alive:
            raise Unauthenticated("The API key is not valid.")
        if standing.expires_at is not None and standing.expires_at <= self._clock():
            raise Unauthenticated("The API key has expired.")
        self._last_used.note(bearer.tenant_id, bearer.row_id, standing.last_used_at)
        return machine(bearer.tenant_id, bearer.row_id, standing), standing.tenant_slug


def machine(tenant_id: UUID, key_id: UUID, standing: KeyStanding) -> Principal:
    """The principal of an API key that is worth ``standing``."""
    return Principal(
        tenant_id=tenant_id,
        api_key_id=key_id,
        scopes=standing.scopes,
        roles=frozenset({Role.API_CLIENT}),
        workspace_id=standing.workspace_id,
        expires_at=standing.expires_at,
        limits=standing.limits,
    )


def person(tenant_id: UUID, session_id: UUID, standing: SessionStanding, expires_at: datetime | None) -> Principal:
    """The principal of a session that is worth ``standing``."""
    return Principal(
        tenant_id=tenant_id,
        user_id=standing.user_id,
        session_id=session_id,
        scopes=_PLATFORM_SCOPES if standing.is_platform_admin else scopes_of(list(standing.roles)),
        roles=standing.roles,
        authorization_version=standing.authorization_version,
        expires_at=expires_at,
        is_platform_admin=standing.is_platform_admin,
        limits=standing.limits,
    )
