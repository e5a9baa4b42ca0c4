"""This module is where machines that speak no GraphQL hand in what they have to say: POST /ingest/heartbeats."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import orjson
from starlette.requests import Request
from starlette.responses import Response

from gateway.beat_json import read_beat, show_outcome
from gateway.senders import ANYWHERE, LimitsRates, Recognises, answering, sender
from gateway.transports.bodies import read_body
from gateway.transports.errors import HttpRefusal
from gateway.transports.options import TransportOptions
from models import Scope
from models.errors import Refusal, Unavailable
from resolvers.heartbeats import Beat, HeartbeatIntake, Outcome
from resolvers.principal import Principal

MAX_BODY_BYTES: Final = 2 * 1024 * 1024
MAX_BEATS: Final = 10_000
_BODY_SECONDS: Final = 15.0
_READ_AT_ONCE: Final = 250  # then the loop gets its turn: a large array must not hold up everyone's beats


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


def heartbeats_endpoint(
    services: TakesBeats, rates: LimitsRates | None = None, options: TransportOptions = ANYWHERE
) -> Callable[[Request], Awaitable[Response]]:
    """The handler of POST /ingest/heartbeats: one beat or an array of at most 10,000, each answered in order.

    ``{"results": [{"workspaceId", "status", "leaseEpoch"} | {"workspaceId", "error": {"code", "message", "field"}}]}``
    with 200, however many of them failed. 400, 401, 403, 413, 415, 421, 429 and 503 carry ``errors`` as GraphQL
    does. Beats reach the caller's own tenant only, whatever ids they name. Of ``options`` hosts and origins count.
    """

    async def take(request: Request, _: str) -> dict[str, Any]:
        principal = await sender(services, request, Scope.HEARTBEATS_WRITE)
        if rates is not None:
            rates.check(principal, None)
        said = _parse(await read_body(request, limit=MAX_BODY_BYTES, timeout=_BODY_SECONDS))
        if rates is not None:
            rates.spend(principal, None, len(said))
        outcomes = await _report(services.heartbeats, principal, said)
        return {"results": [show_outcome(one, outcome) for one, outcome in zip(said, outcomes, strict=True)]}

    return answering(take, options)


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
