"""This module is where Alertmanager hands in its alerts: POST /ingest/alertmanager, its webhook of version 4.

Alertmanager sends again what was answered with 5xx, and forgets what was answered with 4xx. So 4xx is said only of what
will never be right, and whatever passes, a rate limit included, is 503.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Final, Protocol

import orjson
from starlette.requests import Request
from starlette.responses import Response

from gateway.senders import ANYWHERE, LimitsRates, Recognises, answering, sender
from gateway.transports.bodies import read_body
from gateway.transports.errors import HttpRefusal
from gateway.transports.options import TransportOptions
from models import Alert, Scope
from models.database import Database
from models.errors import Refusal, RefusalCode, Unavailable
from models.ids import encode
from resolvers.alert_ingestion import AlertIntake, Receipt, SentAlert
from resolvers.alert_payloads import MOST_ALERTS, read_alert
from resolvers.audit import origin_of
from resolvers.unit_of_work import Announces

MAX_BODY_BYTES: Final = 8 * 1024 * 1024
_BODY_SECONDS: Final = 15.0
_STORE_SECONDS: Final = 30.0
_READ_AT_ONCE: Final = 100  # then the loop gets its turn
_SHOWN_CHARACTERS: Final = 128


class TakesAlerts(Protocol):
    """What the endpoint needs of the services."""

    @property
    def accounts(self) -> Recognises:
        """Who knows the callers."""
        ...

    @property
    def database(self) -> Database:
        """Where alerts are stored."""
        ...

    @property
    def announcer(self) -> Announces:
        """Where commits are made known."""
        ...

    @property
    def clock(self) -> Callable[[], datetime]:
        """When they are received."""
        ...


def alertmanager_endpoint(
    services: TakesAlerts, rates: LimitsRates | None = None, options: TransportOptions = ANYWHERE
) -> Callable[[Request], Awaitable[Response]]:
    """The handler of POST /ingest/alertmanager: at most 5,000 alerts in 8 MiB, each answered in order.

    ``{"results": [{"fingerprint", "startsAt", "alertId", "outcome"} | {…, "error": {"code", "message", "field"}}]}``
    with 200, however many of them failed; outcomes are those of ``Reception``. 400, 401, 403, 413, 415, 421 and 503
    carry ``errors`` as GraphQL does. Alerts reach the caller's own tenant only.
    """
    intake = AlertIntake(services.database, services.announcer, services.clock)

    async def take(request: Request, request_id: str) -> dict[str, Any]:
        principal = await sender(services, request, Scope.ALERTS_INGEST)
        if rates is not None:
            rates.check(principal, None)
        said = _parse(await read_body(request, limit=MAX_BODY_BYTES, timeout=_BODY_SECONDS))
        if rates is not None:
            rates.spend(principal, None, len(said))
        read: list[SentAlert | Refusal] = []
        for start in range(0, len(said), _READ_AT_ONCE):
            read += [read_alert(one) for one in said[start : start + _READ_AT_ONCE]]
            await asyncio.sleep(0)
        sent = [one for one in read if isinstance(one, SentAlert)]
        origin = origin_of(None, request.headers.get("user-agent"), request_id, at_home=True)
        try:
            async with asyncio.timeout(_STORE_SECONDS):
                receipts = iter(await intake.receive(principal.tenant_id, sent, principal.actor, origin))
        except TimeoutError as error:
            raise Unavailable from error
        outcomes = [next(receipts) if isinstance(one, SentAlert) else one for one in read]
        return {"results": [_show(one, outcome) for one, outcome in zip(said, outcomes, strict=True)]}

    return answering(take, options, {429: 503})


def _parse(body: bytes) -> list[Any]:
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise HttpRefusal(400, "The request body is not JSON.") from error
    alerts = said.get("alerts") if isinstance(said, dict) else None
    if not isinstance(alerts, list):
        raise HttpRefusal(400, "The request body is an object with a list of alerts.")
    if len(alerts) > MOST_ALERTS:
        raise HttpRefusal(413, f"A payload holds at most {MOST_ALERTS} alerts.", code="LIMIT_EXCEEDED")
    return alerts


def _repeated(value: Any) -> str | None:
    # What is no text, or too long a one, is what the error is about: it is not sent back.
    return value if isinstance(value, str) and len(value) <= _SHOWN_CHARACTERS else None


def _show(said: Any, outcome: Receipt | Refusal) -> dict[str, Any]:
    shown = {
        name: _repeated(said.get(name) if isinstance(said, dict) else None) for name in ("fingerprint", "startsAt")
    }
    if isinstance(outcome, Receipt):
        return {**shown, "alertId": encode(Alert.__typeid__, outcome.alert_id), "outcome": outcome.reception.value}
    return {
        **shown,
        "error": {
            "code": RefusalCode(outcome.code).name,
            "message": outcome.message,
            "field": ".".join(outcome.field) if outcome.field else None,
        },
    }
