"""This module is where machines that speak plain HTTP are known, and where they are answered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

import orjson
from starlette.requests import Request
from starlette.responses import Response

from gateway.transports.allow_lists import refuse_strangers
from gateway.transports.bodies import require_json
from gateway.transports.errors import HttpRefusal, error_entry, errors_of, status_of
from gateway.transports.options import TransportOptions
from gateway.transports.request_ids import HEADER, request_id_from
from gateway.transports.retry_headers import retry_headers
from models import Scope
from models.errors import RequestError, Throttled, Unauthenticated, Unavailable
from resolvers.principal import Principal, require

ANYWHERE: Final = TransportOptions()
_AUTHENTICATE_SECONDS: Final = 5.0


class Recognises(Protocol):
    """What an endpoint needs to know who calls."""

    async def authenticate(self, authorization: str | None, tenant_header: str | None = None) -> Principal | None:
        """None without credentials. Raises Unauthenticated for wrong ones."""
        ...


class KnowsSenders(Protocol):
    """What an endpoint needs of the services, whatever it takes."""

    @property
    def accounts(self) -> Recognises:
        """Who knows the callers."""
        ...


class LimitsRates(Protocol):
    """What an endpoint needs of the rate limits."""

    def check(self, principal: Principal | None, address: str | None) -> None:
        """Raises Throttled for who has nothing left."""
        ...

    def spend(self, principal: Principal | None, address: str | None, cost: int) -> None:
        """Raises Throttled when so much is not left."""
        ...


async def sender(services: KnowsSenders, request: Request, scope: Scope) -> Principal:
    """Who hands in, once they are known to hold ``scope``. Raises Unauthenticated, Forbidden, Unavailable.

    Before the body is read, so that nobody without credentials can make us hold one.
    """
    require_json(request)
    principal = await caller(services, request)
    require(principal, scope)
    return principal


async def caller(services: KnowsSenders, request: Request, tenant_header: str | None = None) -> Principal:
    """Who calls; ``tenant_header`` is the tenant that a platform administrator names. Raises Unauthenticated,
    Unavailable."""
    try:
        async with asyncio.timeout(_AUTHENTICATE_SECONDS):
            principal = await services.accounts.authenticate(request.headers.get("authorization"), tenant_header)
    except TimeoutError as error:
        raise Unavailable from error
    if principal is None:
        raise Unauthenticated
    return principal


def answering(
    take: Callable[[Request, str], Awaitable[dict[str, Any] | None]],
    options: TransportOptions = ANYWHERE,
    statuses: Mapping[int, int] | None = None,
) -> Callable[[Request], Awaitable[Response]]:
    """A handler that answers 200 with what ``take(request, request id)`` says, 204 when that is nothing, or with
    ``errors`` as GraphQL does.

    Of ``options`` hosts and origins count. ``statuses`` are those that this endpoint's senders have to be told
    otherwise.
    """

    async def handle(request: Request) -> Response:
        request_id = request_id_from(request.headers.get(HEADER))
        try:
            refuse_strangers(request.headers, options)
            said = await take(request, request_id)
        except HttpRefusal as refusal:
            errors = [error_entry(refusal.code, refusal.message, request_id)]
            return _answer(refusal.status, {"errors": errors}, request_id, refusal.headers)
        except Exception as failure:
            errors = errors_of(failure, request_id)
            status = status_of(errors)
            return _answer((statuses or {}).get(status, status), {"errors": errors}, request_id, _headers_of(failure))
        if said is None:
            return Response(status_code=204, headers={HEADER: request_id, "cache-control": "no-store"})
        return _answer(200, said, request_id, {})

    return handle


def _headers_of(failure: Exception) -> dict[str, str]:
    if isinstance(failure, Unavailable | Throttled):
        return retry_headers({"retryAfterSeconds": 1} | failure.extensions)
    if isinstance(failure, RequestError) and status_of([error_entry(failure.code, "", "")]) == 401:
        return {"www-authenticate": "Bearer"}
    return {}


def _answer(status: int, payload: dict[str, Any], request_id: str, headers: dict[str, str]) -> Response:
    return Response(
        orjson.dumps(payload),
        status_code=status,
        media_type="application/json",
        headers={**headers, HEADER: request_id, "cache-control": "no-store"},
    )
