"""This module is where a socket's credentials are checked, compared and renewed, and their refusals get a code."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.datastructures import Headers
from starlette.types import Scope

from gateway.transports.close_codes import CloseCode
from gateway.transports.messages import BadMessage
from gateway.transports.operations import Operations
from models.errors import LimitExceeded, RequestError, Throttled, Unauthenticated, Unavailable
from resolvers.principal import Principal
from resolvers.tokens import TokenExpired

# A close frame has room for 123 bytes; our messages are ASCII.
_REASON_LENGTH = 120


class Refused(Exception):
    """The socket ends because of its credentials."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class SocketCredentials:
    """Authenticates by the payloads of one socket; the handshake's own Authorization header counts for nothing."""

    def __init__(self, scope: Scope, operations: Operations, timeout: float) -> None:
        self._scope = scope
        self._operations = operations
        self._timeout = timeout

    async def admit(self, payload: dict[str, Any]) -> Principal:
        """Raises ``Refused`` with the close code that tells the client whether to come back."""
        try:
            principal = await self._principal_of(payload)
        except RequestError as failure:
            raise refusal_of(failure) from failure
        if principal is None:
            # Every stream needs a scope, so an anonymous socket could only take up room.
            raise Refused(CloseCode.UNAUTHORIZED, "Unauthorized")
        return principal

    async def renew(self, payload: dict[str, Any], current: Principal) -> Principal:
        """The same user, tenant and session with a newer token; raises ``Refused`` with 4403 for anyone else.

        When nobody can check it now, the current principal stays: its token is as good as it was.
        """
        try:
            principal = await self._principal_of(payload)
        except (Unavailable, Throttled):
            return current
        except RequestError:
            principal = None
        if principal is None or not same_identity(principal, current):
            raise Refused(CloseCode.FORBIDDEN, "The token is not a newer one of this connection's session")
        return principal

    async def _principal_of(self, payload: dict[str, Any]) -> Principal | None:
        authorization = payload.get("authorization")
        if authorization is not None and not isinstance(authorization, str):
            raise BadMessage("The authorization is not a string")
        headers = {**Headers(scope=self._scope), **_platform_tenant(payload)}
        try:
            async with asyncio.timeout(self._timeout):
                return await self._operations.authenticate(authorization, headers)
        except TimeoutError as error:
            raise Unavailable from error


def refusal_of(failure: RequestError) -> Refused:
    """4401 ends graphql-ws clients for good; whatever may pass later gets a code that lets them come back."""
    match failure:
        case TokenExpired():
            return Refused(CloseCode.FORBIDDEN, "The access token expired")
        case LimitExceeded() | Throttled() | Unavailable():
            return Refused(CloseCode.TRY_AGAIN_LATER, failure.message[:_REASON_LENGTH])
        case Unauthenticated():
            return Refused(CloseCode.UNAUTHORIZED, "Unauthorized")
        case _:
            return Refused(CloseCode.UNAUTHORIZED, failure.message[:_REASON_LENGTH])


def same_identity(one: Principal, other: Principal) -> bool:
    """Whether two tokens differ in nothing but their age."""
    return (one.tenant_id, one.key, one.session_id) == (other.tenant_id, other.key, other.session_id)


def _platform_tenant(payload: dict[str, Any]) -> dict[str, str]:
    # The one header that a browser cannot set on a socket and a platform administrator needs there.
    value = payload.get("x-signalbox-tenant")
    return {"x-signalbox-tenant": value} if isinstance(value, str) else {}
