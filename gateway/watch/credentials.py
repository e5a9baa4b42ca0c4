"""This module is where a follower's credentials come from: a token that it was given, or a sign-in that it keeps up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

import httpx

RENEW_BEFORE: Final = timedelta(seconds=60)
REQUEST_SECONDS: Final = 10.0

_FIELDS: Final = "{ accessToken accessTokenExpiresAt refreshToken userErrors { message } }"
_LOGIN: Final = f"mutation($input: LoginInput!) {{ done: login(input: $input) {_FIELDS} }}"
_REFRESH: Final = f"mutation($input: RefreshSessionInput!) {{ done: refreshSession(input: $input) {_FIELDS} }}"


class WatchError(Exception):
    """Following makes no sense (any more); the message is one line."""


class Unreachable(Exception):
    """Nobody answers, or nobody can right now; later may be better."""


class Credentials(Protocol):
    """What a follower shows the gateway."""

    async def authorization(self, *, fresh: bool = False) -> str:
        """The value of the header; ``fresh`` when the last one was refused. Raises WatchError, Unreachable."""
        ...

    @property
    def renewable(self) -> bool:
        """Whether a fresh one can be had."""
        ...


class KeyCredentials:
    """An API key or an access token, as it was given."""

    renewable = False

    def __init__(self, token: str) -> None:
        self._token = token

    async def authorization(self, *, fresh: bool = False) -> str:
        """Always the same."""
        if fresh:
            raise WatchError("The token has expired or may no longer do this; give a new one.")
        return f"Bearer {self._token}"


class PasswordCredentials:
    """A sign-in by password, renewed by refresh token for as long as the session lasts."""

    renewable = True

    def __init__(self, url: str, tenant: str | None, email: str, password: str) -> None:
        self._url = url
        self._login = {"tenantSlug": tenant, "email": email, "password": password}
        self._access_token: str | None = None
        self._refresh_token: str | None = None
        self._expires_at = datetime.min.replace(tzinfo=UTC)

    async def authorization(self, *, fresh: bool = False) -> str:
        """A token with a minute left at least."""
        if fresh or self._access_token is None or datetime.now(UTC) + RENEW_BEFORE >= self._expires_at:
            await self._renew()
        return f"Bearer {self._access_token}"

    async def _renew(self) -> None:
        if self._refresh_token is not None:
            done = await self._ask(_REFRESH, {"refreshToken": self._refresh_token})
            if not done["userErrors"]:
                self._take(done)
                return
            # The session was ended; the password may begin another.
            self._refresh_token = None
        done = await self._ask(_LOGIN, self._login)
        for error in done["userErrors"]:
            raise WatchError(error["message"])
        self._take(done)

    def _take(self, done: dict[str, Any]) -> None:
        self._access_token, self._refresh_token = done["accessToken"], done["refreshToken"]
        self._expires_at = datetime.fromisoformat(done["accessTokenExpiresAt"])

    async def _ask(self, document: str, said: dict[str, Any]) -> dict[str, Any]:
        body = {"query": document, "variables": {"input": said}}
        try:
            async with httpx.AsyncClient(timeout=REQUEST_SECONDS) as client:
                response = await client.post(f"{self._url}/graphql", json=body)
            answer = response.json()
        except (httpx.TransportError, ValueError) as error:
            raise Unreachable(f"{self._url} does not answer as a gateway.") from error
        if response.status_code >= 500:
            raise Unreachable(f"{self._url} cannot answer now.")
        done: dict[str, Any] | None = (answer.get("data") or {}).get("done")
        if done is None:
            code = answer["errors"][0].get("extensions", {}).get("code")
            raise (Unreachable if code in {"UNAVAILABLE", "THROTTLED"} else WatchError)(answer["errors"][0]["message"])
        return done
