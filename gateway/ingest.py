"""This module is where machines that speak no GraphQL hand in what they have to say: POST /ingest/heartbeats."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import orjson
from starlette.requests import Request
from starlette.responses import Response

from gateway.beat_json import read_beat, show_outcome
from gateway.transports.allow_lists import refuse_strangers
from gateway.transports.bodies import read_body, require_json
from gateway.transports.errors import HttpRefusal, error_entry, errors_of, status_of
from gateway.transports.options import TransportOptions
from gateway.transports.request_ids import HEADER, request_id_from
from gateway.transports.retry_headers import retry_headers
from models import Scope
from models.errors import Refusal, RequestError, Throttled, Unauthenticated, Unavailable
from resolvers.heartbeats import Beat, HeartbeatIntake, Outcome
from resolvers.principal import Principal, require

MAX_BODY_BYTES: Final = 2 * 1024 * 1024
MAX_BEATS: Final = 10_000
_BODY_SECONDS: Final = 15.0
_AUTHENTICATE_SECONDS: Final = 5.0
_ANYWHERE: Final = TransportOptions()
_READ_AT_ONCE: Final = 250  # then the loop gets its turn: a large array must not hold up everyone's beats


class Recognises(Protocol):
    """What the endpoint needs to know who calls."""

    async def authenticate(self, authorization: str | None, tenant_header: str | None = None) -> Principal | None:
        """None without credentials. Raises Unauthenticated for wrong ones."""
        ...


class TakesBeats(Protocol):
    """What the endpoint needs of the services."""

    @property
    def accounts(self) -> Recognises:
        """Who knows the callers."""
        ...

    @property
    def heartbeats(self) -> HeartbeatIntake:
        """Who stores the beats."""
        ...


class LimitsRates(Protocol):
    """What the endpoint needs of the rate limits."""

    def check(self, principal: Principal | None, address: str | None) -> None:
        """Raises Throttled for who has nothing left."""
        ...

    def spend(self, principal: Principal | None, address: str | None, cost: int) -> None:
        """Raises Throttled when so much is not left."""
        ...


def heartbeats_endpoint(
    services: TakesBeats, rates: LimitsRates | None = None, options: TransportOptions = _ANYWHERE
) -> Callable[[Request], Awaitable[Response]]:
    """The handler of POST /ingest/heartbeats: one beat or an array of at most 10,000, each answered in order.

    ``{"results": [{"workspaceId", "status", "leaseEpoch"} | {"workspaceId", "error": {"code", "message", "field"}}]}``
    with 200, however many of them failed. 400, 401, 403, 413, 415, 421, 429 and 503 carry ``errors`` as GraphQL
    does. Beats reach the caller's own tenant only, whatever ids they name. Of ``options`` hosts and origins count.
    """

    async def handle(request: Request) -> Response:
        request_id = request_id_from(request.headers.get(HEADER))
        try:
            refuse_strangers(request.headers, options)
            principal = await _caller(services, request)
            if rates is not None:
                rates.check(principal, None)
            said = _parse(await read_body(request, limit=MAX_BODY_BYTES, timeout=_BODY_SECONDS))
            if rates is not None:
                rates.spend(principal, None, len(said))
            outcomes = await _report(services.heartbeats, principal, said)
        except HttpRefusal as refusal:
            errors = [error_entry(refusal.code, refusal.message, request_id)]
            return _answer(refusal.status, {"errors": errors}, request_id, refusal.headers)
        except Exception as failure:
            errors = errors_of(failure, request_id)
            return _answer(status_of(errors), {"errors": errors}, request_id, _headers_of(failure))
        results = [show_outcome(one, outcome) for one, outcome in zip(said, outcomes, strict=True)]
        return _answer(200, {"results": results}, request_id, {})

    return handle


async def _caller(services: TakesBeats, request: Request) -> Principal:
    # Before the body is read, so that nobody without credentials can make us hold 2 MiB.
    require_json(request)
    try:
        async with asyncio.timeout(_AUTHENTICATE_SECONDS):
            principal = await services.accounts.authenticate(request.headers.get("authorization"), None)
    except TimeoutError as error:
        raise Unavailable from error
    require(principal, Scope.HEARTBEATS_WRITE)
    if principal is None:
        raise Unauthenticated
    return principal


def _parse(body: bytes) -> list[Any]:
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise HttpRefusal(400, "The request body is not JSON.") from error
    beats = said if isinstance(said, list) else [said]
    if len(beats) > MAX_BEATS:
        raise HttpRefusal(413, f"An array holds at most {MAX_BEATS} beats.", code="LIMIT_EXCEEDED")
    if not isinstance(said, list | dict):
        raise HttpRefusal(400, "The request body is a beat or an array of beats.")
    return beats


async def _report(intake: HeartbeatIntake, principal: Principal, said: list[Any]) -> list[Outcome]:
    read: list[Beat | Refusal] = []
    for start in range(0, len(said), _READ_AT_ONCE):
        read += [read_beat(one, principal) for one in said[start : start + _READ_AT_ONCE]]
        await asyncio.sleep(0)
    beats = [one for one in read if isinstance(one, Beat)]
    reported = iter(await intake.report_many(beats) if beats else [])
    outcomes: list[Outcome] = [next(reported) if isinstance(one, Beat) else one for one in read]
    if outcomes and all(isinstance(outcome, Unavailable) for outcome in outcomes):
        raise Unavailable
    return outcomes


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
