"""This module is where POST /ingest/alertmanager is specified: who may, what is answered, and what spoils nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import httpx
import pytest
from sqlalchemy import select
from starlette.applications import Starlette
from starlette.routing import Route

from gateway.alertmanager import MAX_BODY_BYTES, alertmanager_endpoint
from gateway.transports.options import TransportOptions
from models import Alert, Scope, User, UserStatus
from models.database import Database
from models.errors import Throttled, Unavailable
from models.ids import decode, uuid7
from resolvers.call import Services
from resolvers.principal import Principal
from tests.world import Tenants, call_of, principal, running

URL: Final = "/ingest/alertmanager"
NONE: Final = "0001-01-01T00:00:00Z"


def nested(levels: int) -> list[Any]:
    """Lists in each other."""
    found: list[Any] = []
    for _ in range(levels - 1):
        found = [found]
    return found


def alert(fingerprint: str = "5f3a", **said: Any) -> dict[str, Any]:
    """An alert as Alertmanager writes it."""
    labels = {"alertname": "HighCPUUsage", "severity": "critical", "instance": "web-server-1", "job": "node-exporter"}
    return {
        "status": "firing",
        "labels": labels,
        "annotations": {"summary": "CPU above 90 %"},
        "startsAt": "2026-01-31T12:00:00.123456789Z",
        "endsAt": NONE,
        "generatorURL": "http://prometheus/graph",
        "fingerprint": fingerprint,
    } | said


def payload(*alerts: Any, **said: Any) -> dict[str, Any]:
    """A webhook's body."""
    return {
        "version": "4",
        "groupKey": '{}:{alertname="HighCPUUsage"}',
        "status": "firing",
        "receiver": "signalbox",
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager",
        "truncatedAlerts": 0,
        "alerts": list(alerts),
    } | said


@dataclass
class Sender:
    """An Alertmanager with one credential."""

    http: httpx.AsyncClient
    secret: str | None

    async def post(self, content: Any, **headers: str) -> httpx.Response:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        sent = {"content-type": "application/json", **headers}
        if self.secret is not None:
            sent["authorization"] = f"Bearer {self.secret}"
        return await self.http.post(URL, content=body, headers=sent)

    async def results(self, *alerts: Any) -> list[dict[str, Any]]:
        response = await self.post(payload(*alerts))
        assert response.status_code == 200, response.text
        results: list[dict[str, Any]] = response.json()["results"]
        return results

    async def refused(self, content: Any, **headers: str) -> tuple[int, str]:
        response = await self.post(content, **headers)
        return response.status_code, response.json()["errors"][0]["extensions"]["code"]


@pytest.fixture
async def services(database: Database) -> AsyncIterator[Services]:
    async with running(database) as services:
        yield services


@pytest.fixture
async def http(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    app = Starlette(routes=[Route(URL, alertmanager_endpoint(services), methods=["POST"])])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway.test") as client:
        yield client


async def key(services: Services, tenant_id: UUID, scope: Scope = Scope.ALERTS_INGEST) -> str:
    """The secret of a new API key."""
    user = User(tenant_id=tenant_id, id=uuid7(), roles=["admin"], status=UserStatus.ACTIVE)
    async with services.database.session(tenant_id) as session:
        session.add(user)
        await session.commit()
    call = call_of(services, principal(tenant_id, user_id=user.id))
    _, secret = await services.accounts.create_api_key(call, name="alertmanager", scopes=[scope.value])
    return secret


@pytest.fixture
async def sender(http: httpx.AsyncClient, services: Services, tenants: Tenants) -> Sender:
    return Sender(http, await key(services, tenants.mine))


async def rows(database: Database, tenant_id: UUID) -> list[Alert]:
    """The tenant's alerts."""
    async with database.session(tenant_id) as session:
        return list(
            await session.scalars(select(Alert).where(Alert.tenant_id == tenant_id).order_by(Alert.fingerprint))
        )


async def test_an_alert_is_stored_and_answered_with_its_id(
    sender: Sender, database: Database, tenants: Tenants
) -> None:
    (result,) = await sender.results(alert(extra={"kept": True}))
    (row,) = await rows(database, tenants.mine)
    assert result == {
        "fingerprint": "5f3a",
        "startsAt": "2026-01-31T12:00:00.123456789Z",
        "alertId": row.typeid,
        "outcome": "stored",
    }
    assert decode(result["alertId"])[1] == row.id
    assert row.starts_at == datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)
    assert (row.ends_at, row.raw_payload["extra"]) == (None, {"kept": True})
    assert await rows(database, tenants.other) == []


async def test_another_tenants_key_stores_for_its_own(
    sender: Sender, http: httpx.AsyncClient, services: Services, database: Database, tenants: Tenants
) -> None:
    theirs = Sender(http, await key(services, tenants.other))
    (mine,), (other,) = await sender.results(alert()), await theirs.results(alert())
    assert mine["alertId"] != other["alertId"]
    assert [len(await rows(database, one)) for one in (tenants.mine, tenants.other)] == [1, 1]


BAD: Final = [
    ({"fingerprint": None}, "fingerprint"),
    ({"fingerprint": ""}, "fingerprint"),
    ({"fingerprint": 7}, "fingerprint"),
    ({"fingerprint": "x" * 129}, "fingerprint"),
    ({"labels": None}, "labels"),
    ({"labels": {}}, "labels.alertname"),
    ({"labels": {"alertname": ""}}, "labels.alertname"),
    ({"labels": {"alertname": "x" * 501}}, "labels.alertname"),
    ({"labels": {"alertname": "a", "n": 1}}, "labels.n"),
    ({"labels": ["alertname"]}, "labels"),
    ({"annotations": {"summary": None}}, "annotations.summary"),
    ({"status": "pending"}, "status"),
    ({"status": None}, "status"),
    ({"status": ["firing"]}, "status"),
    ({"startsAt": None}, "startsAt"),
    ({"startsAt": NONE}, "startsAt"),
    ({"startsAt": "yesterday"}, "startsAt"),
    ({"startsAt": "2026-01-31"}, "startsAt"),
    ({"startsAt": "2026-01-31T12:00:00"}, "startsAt"),
    ({"startsAt": "2026-02-31T12:00:00Z"}, "startsAt"),
    ({"startsAt": 1738324800}, "startsAt"),
    ({"startsAt": "9999-12-31T23:59:59-23:00"}, "startsAt"),
    ({"endsAt": "never"}, "endsAt"),
    ({"endsAt": "2026-01-31T11:59:59Z"}, "endsAt"),
    ({"annotations": {"summary": "a\0b"}}, None),
    ({"extra": "x" * 131_072}, None),
    ({"extra": [{"a\0b": 1}]}, None),
    ({"extra": nested(64)}, None),
    ({"extra": nested(300)}, None),
    ({"fingerprint": nested(300)}, None),
    ({"startsAt": nested(300)}, "startsAt"),
]


@pytest.mark.parametrize(("said", "field"), BAD)
async def test_one_bad_alert_is_refused_by_its_field_and_fails_no_other(
    sender: Sender, database: Database, tenants: Tenants, said: dict[str, Any], field: str | None
) -> None:
    results = await sender.results(alert("a"), alert("b") | said, alert("c"))
    assert [one.get("outcome") for one in results] == ["stored", None, "stored"]
    assert (results[1]["error"]["code"], results[1]["error"]["field"]) == ("INVALID", field)
    assert results[1]["error"]["message"]
    assert [one.fingerprint for one in await rows(database, tenants.mine)] == ["a", "c"]


async def test_what_is_no_text_or_too_long_a_one_is_not_sent_back(sender: Sender) -> None:
    results = await sender.results(alert() | {"fingerprint": nested(300), "startsAt": "x" * 1_000_000}, alert("é"))
    assert (results[0]["fingerprint"], results[0]["startsAt"]) == (None, None)
    assert results[1]["fingerprint"] == "é"


async def test_members_that_nobody_here_knows_are_kept_as_they_came(
    sender: Sender, database: Database, tenants: Tenants
) -> None:
    unknown = {"extra": nested(63), "path": "C:\\u0000", "annotations": {"pattern": "\\u0000"}}
    (result,) = await sender.results(alert() | unknown)
    (row,) = await rows(database, tenants.mine)
    assert result["outcome"] == "stored"
    assert {name: row.raw_payload[name] for name in unknown} == unknown


@pytest.mark.parametrize("bad", ["alert", None, 7, ["firing"]])
async def test_what_is_no_object_is_no_alert(sender: Sender, bad: Any) -> None:
    results = await sender.results(bad, alert())
    assert (results[0]["error"]["code"], results[1]["outcome"]) == ("INVALID", "stored")


async def test_no_alerts_are_no_results(sender: Sender) -> None:
    assert await sender.results() == []


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"{", 400, "BAD_REQUEST"),
        (b"[]", 400, "BAD_REQUEST"),
        (b"{}", 400, "BAD_REQUEST"),
        (b'{"alerts": {}}', 400, "BAD_REQUEST"),
        (payload(*[{}] * 5_001), 413, "LIMIT_EXCEEDED"),
    ],
)
async def test_a_body_that_is_no_webhook_is_refused_whole(sender: Sender, content: Any, status: int, code: str) -> None:
    assert await sender.refused(content) == (status, code)


async def test_nine_megabytes_are_refused_and_store_nothing(
    sender: Sender, database: Database, tenants: Tenants
) -> None:
    response = await sender.post(payload(alert(), more="x" * (MAX_BODY_BYTES + 1_000_000)))
    assert response.status_code == 413
    assert await rows(database, tenants.mine) == []


async def test_only_a_key_with_the_scope_hands_in(
    sender: Sender, http: httpx.AsyncClient, services: Services, database: Database, tenants: Tenants
) -> None:
    assert await Sender(http, None).refused(payload(alert())) == (401, "UNAUTHENTICATED")
    assert await Sender(http, f"{sender.secret}x").refused(payload(alert())) == (401, "UNAUTHENTICATED")
    reader = Sender(http, await key(services, tenants.mine, Scope.ALERTS_READ))
    assert await reader.refused(payload(alert())) == (403, "FORBIDDEN")
    assert await sender.refused(payload(alert()), **{"content-type": "text/plain"}) == (415, "BAD_REQUEST")
    assert await rows(database, tenants.mine) == []


async def test_strangers_hosts_are_refused(services: Services, tenants: Tenants) -> None:
    options = TransportOptions(allowed_hosts=frozenset({"gateway.example"}))
    app = Starlette(routes=[Route(URL, alertmanager_endpoint(services, None, options), methods=["POST"])])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://evil.test") as client:
        assert (await Sender(client, await key(services, tenants.mine)).post(payload(alert()))).status_code == 421


class Strict:
    """Rate limits that nobody keeps."""

    def check(self, principal: Principal | None, address: str | None) -> None:
        raise Throttled

    def spend(self, principal: Principal | None, address: str | None, cost: int) -> None:
        raise AssertionError


class NoDatabase:
    """Services whose store is away once the caller is known."""

    def __init__(self, services: Services) -> None:
        self.accounts, self.announcer, self.clock = services.accounts, services.announcer, services.clock
        self.database: Any = _Away()


class _Away:
    @property
    def turns(self) -> Any:
        raise Unavailable


async def test_whatever_passes_is_503_so_that_the_sender_tries_again(services: Services, tenants: Tenants) -> None:
    secret = await key(services, tenants.mine)
    away: Any = NoDatabase(services)
    for endpoint in (alertmanager_endpoint(services, Strict()), alertmanager_endpoint(away)):
        app = Starlette(routes=[Route(URL, endpoint, methods=["POST"])])
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway.test") as client:
            response = await Sender(client, secret).post(payload(alert()))
            assert (response.status_code, "retry-after" in response.headers) == (503, True)
