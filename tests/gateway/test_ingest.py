"""This module is where POST /ingest/heartbeats is specified: who may, what is answered, and what spoils nothing."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
import orjson
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from gateway.ingest import heartbeats_endpoint
from gateway.transports.options import TransportOptions
from models import Scope, User, UserStatus
from models import WorkspaceStatus as Status
from models.database import Database
from models.errors import Throttled
from models.ids import encode, uuid7
from resolvers.call import Services
from resolvers.principal import Principal
from tests.patience import promised
from tests.resolvers.fleets import BeatingFleet
from tests.world import call_of, principal, running

URL = "/ingest/heartbeats"
NOT_FOUND = {"code": "NOT_FOUND", "message": "There is no such workspace.", "field": "workspaceId"}


@dataclass
class Agent:
    """A client with one credential."""

    http: httpx.AsyncClient
    secret: str | None

    async def post(self, content: Any, **headers: str) -> httpx.Response:
        body = content if isinstance(content, bytes) else orjson.dumps(content)
        sent = {"content-type": "application/json", **headers}
        if self.secret is not None:
            sent["authorization"] = f"Bearer {self.secret}"
        return await self.http.post(URL, content=body, headers=sent)

    async def results(self, content: Any) -> list[dict[str, Any]]:
        response = await self.post(content)
        assert response.status_code == 200, response.text
        results: list[dict[str, Any]] = response.json()["results"]
        return results


@pytest.fixture
async def services(database: Database) -> AsyncIterator[Services]:
    async with running(database) as services:
        yield services


@pytest.fixture
async def fleet(database: Database) -> BeatingFleet:
    return await BeatingFleet.start(database)


@pytest.fixture
async def http(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    app = Starlette(routes=[Route(URL, heartbeats_endpoint(services), methods=["POST"])])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway.test") as client:
        yield client


async def key(
    services: Services, tenant_id: UUID, scope: Scope = Scope.HEARTBEATS_WRITE, workspace_id: UUID | None = None
) -> str:
    """The secret of a new API key; with a workspace it is that workspace's machine token."""
    user = User(tenant_id=tenant_id, id=uuid7(), roles=["admin"], status=UserStatus.ACTIVE)
    async with services.database.session(tenant_id) as session:
        session.add(user)
        await session.commit()
    call = call_of(services, principal(tenant_id, user_id=user.id))
    _, secret = await services.accounts.create_api_key(
        call, name="fleet", scopes=[scope.value], workspace_id=workspace_id
    )
    return secret


@pytest.fixture
async def agent(http: httpx.AsyncClient, services: Services, fleet: BeatingFleet) -> Agent:
    return Agent(http, await key(services, fleet.tenant_id))


def workspace(value: UUID) -> str:
    return encode("workspace", value)


async def test_one_beat_is_answered_with_the_status_and_the_lease(agent: Agent, fleet: BeatingFleet) -> None:
    (one,) = await fleet.add(Status.OFFLINE, lease_epoch=3)
    said = {
        "workspaceId": workspace(one),
        "leaseEpoch": 3,
        "runtimeState": "WEDGED",
        "errorRate": 0,
        "activeTasks": 2,
        "uptimeSeconds": 60,
        "currentTask": "triage",
        "sampleError": None,
    }
    assert await agent.results(said) == [{"workspaceId": workspace(one), "status": "DEGRADED", "leaseEpoch": 3}]
    row = await fleet.row(one)
    assert (row.active_tasks, row.uptime_seconds, row.current_task) == (2, 60, "triage")


@pytest.mark.parametrize("status", [Status.PAUSED, Status.HIBERNATED, Status.REMOVED])
async def test_the_agent_of_a_settled_workspace_learns_it_in_its_answer(
    agent: Agent, fleet: BeatingFleet, status: Status
) -> None:
    (one,) = await fleet.add(status)
    (result,) = await agent.results({"workspaceId": workspace(one)})
    assert result["status"] == status.name


async def test_an_array_is_answered_in_its_order_and_one_bad_beat_fails_no_other(
    agent: Agent, fleet: BeatingFleet
) -> None:
    a, b = await fleet.add(count=2, lease_epoch=2)
    beats: list[Any] = [
        {"workspaceId": workspace(a)},
        {"workspaceId": workspace(b), "errorRate": -1},
        {"workspaceId": workspace(b), "leaseEpoch": 1},
        {"workspaceId": workspace(b), "leaseEpoch": 2},
        "beat",
        {},
    ]
    good = {"status": "ONLINE", "leaseEpoch": 2}
    results = await agent.results(beats)
    assert results[0] == {"workspaceId": workspace(a)} | good
    assert results[3] == {"workspaceId": workspace(b)} | good
    errors = [(one["error"]["code"], one["error"]["field"]) for one in results if "error" in one]
    assert errors == [
        ("INVALID", "errorRate"),
        ("FENCED", "leaseEpoch"),
        ("INVALID", None),
        ("INVALID", "workspaceId"),
    ]


async def test_ten_thousand_beats_with_one_bad_one_among_them_are_each_answered(
    agent: Agent, fleet: BeatingFleet
) -> None:
    workspaces = await fleet.add(count=50)
    beats = [{"workspaceId": workspace(workspaces[n % 50]), "errorRate": 0.01} for n in range(10_000)]
    beats[7777]["errorRate"] = "NaN"
    results = await agent.results(beats)
    assert len(results) == 10_000
    assert [n for n, one in enumerate(results) if "error" in one] == [7777]
    assert results[7777]["error"]["field"] == "errorRate"
    assert results[7778] == {"workspaceId": beats[7778]["workspaceId"], "status": "ONLINE", "leaseEpoch": 1}


async def test_no_beats_are_no_results(agent: Agent) -> None:
    assert await agent.results([]) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("errorRate", True),
        ("errorRate", "0.5"),
        ("errorRate", 1.5),
        ("activeTasks", 1.0),
        ("activeTasks", -1),
        ("activeTasks", 2**40),
        ("uptimeSeconds", False),
        ("uptimeSeconds", 2**60),
        ("leaseEpoch", "1"),
        ("leaseEpoch", -1),
        ("runtimeState", "wedged"),
        ("runtimeState", 1),
        ("currentTask", 5),
        ("currentTask", "x" * 1001),
        ("sampleError", "a\0b"),
    ],
)
async def test_a_bad_value_is_refused_by_its_fields_name(
    agent: Agent, fleet: BeatingFleet, field: str, value: object
) -> None:
    (one,) = await fleet.add()
    (result,) = await agent.results({"workspaceId": workspace(one), field: value})
    assert (result["error"]["code"], result["error"]["field"]) == ("INVALID", field)
    assert (await fleet.row(one)).last_heartbeat_at is None


async def test_a_field_that_is_none_is_refused_rather_than_lost(agent: Agent, fleet: BeatingFleet) -> None:
    (one,) = await fleet.add()
    (result,) = await agent.results({"workspaceId": workspace(one), "error_rate": 0.9})
    assert result["error"]["code"] == "INVALID"
    assert "error_rate" in result["error"]["message"]


async def test_foreign_unknown_and_malformed_ids_get_one_answer(
    database: Database, agent: Agent, fleet: BeatingFleet
) -> None:
    other = await BeatingFleet.start(database)
    (theirs,) = await other.add(Status.OFFLINE)
    names: list[Any] = [workspace(theirs), workspace(uuid7()), encode("agent", uuid7()), "nonsense", "", str(theirs), 5]
    results = await agent.results([{"workspaceId": name} for name in names])
    assert results == [{"workspaceId": name, "error": NOT_FOUND} for name in names]
    assert (await other.row(theirs)).last_heartbeat_at is None


async def test_a_workspaces_token_speaks_for_its_own_workspace_only(
    http: httpx.AsyncClient, services: Services, fleet: BeatingFleet
) -> None:
    mine, sibling = await fleet.add(count=2)
    agent = Agent(http, await key(services, fleet.tenant_id, workspace_id=mine))
    first, second = await agent.results([{"workspaceId": workspace(mine)}, {"workspaceId": workspace(sibling)}])
    assert first["status"] == "ONLINE"
    assert second == {"workspaceId": workspace(sibling), "error": NOT_FOUND}
    assert (await fleet.row(sibling)).last_heartbeat_at is None


async def refused(agent: Agent, content: Any, **headers: str) -> tuple[int, str]:
    response = await agent.post(content, **headers, **{"x-request-id": "mine"})
    (error,) = response.json()["errors"]
    assert error["message"]
    assert error["extensions"]["requestId"] == response.headers["x-request-id"] == "mine"
    return response.status_code, error["extensions"]["code"]


@pytest.mark.parametrize("secret", [None, "sbx_nonsense", "x.y.z"])
async def test_without_good_credentials_nothing_is_read(http: httpx.AsyncClient, secret: str | None) -> None:
    agent = Agent(http, secret)
    assert await refused(agent, b"not even JSON") == (401, "UNAUTHENTICATED")
    response = await agent.post({})
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("headers", "answer"),
    [
        ({"host": "gateway.example"}, None),
        ({"host": "gateway.example", "origin": "https://app.example"}, None),
        ({"host": "gateway.example", "origin": "http://gateway.example"}, None),
        ({"host": "evil.example"}, (421, "BAD_REQUEST")),
        ({"host": "evil.example", "origin": "http://evil.example"}, (421, "BAD_REQUEST")),
        ({"host": "gateway.example", "origin": "https://evil.example"}, (403, "FORBIDDEN")),
        ({"host": "gateway.example", "origin": "null"}, (403, "FORBIDDEN")),
    ],
    ids=["an agent", "a listed page", "the host's own page", "another host", "rebound", "another page", "a sandbox"],
)
async def test_beats_are_taken_from_where_queries_are(
    services: Services, fleet: BeatingFleet, headers: dict[str, str], answer: tuple[int, str] | None
) -> None:
    (one,) = await fleet.add(Status.OFFLINE)
    options = TransportOptions(
        allowed_hosts=frozenset({"gateway.example"}), allowed_origins=frozenset({"https://app.example"})
    )
    app = Starlette(routes=[Route(URL, heartbeats_endpoint(services, options=options), methods=["POST"])])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway.test") as http:
        agent, beat = Agent(http, await key(services, fleet.tenant_id)), {"workspaceId": workspace(one)}
        if answer is None:
            assert (await agent.post(beat, **headers)).status_code == 200
        else:
            assert await refused(agent, beat, **headers) == answer
            # Turned away before anything is looked at, credentials included.
            assert await refused(Agent(http, None), beat, **headers) == answer
    assert ((await fleet.row(one)).last_heartbeat_at is not None) == (answer is None)


async def test_a_key_without_the_scope_is_forbidden(
    http: httpx.AsyncClient, services: Services, fleet: BeatingFleet
) -> None:
    (one,) = await fleet.add()
    agent = Agent(http, await key(services, fleet.tenant_id, Scope.WORKSPACES_READ))
    assert await refused(agent, {"workspaceId": workspace(one)}) == (403, "FORBIDDEN")
    assert (await fleet.row(one)).last_heartbeat_at is None


@pytest.mark.parametrize("body", [b"", b"{", b"nonsense", b"\xff", b'"text"', b"5", b"null", b'{"errorRate": NaN}'])
async def test_a_body_that_is_neither_a_beat_nor_an_array_is_a_bad_request(agent: Agent, body: bytes) -> None:
    assert await refused(agent, body) == (400, "BAD_REQUEST")


async def test_a_body_that_is_not_declared_as_json_is_refused(agent: Agent) -> None:
    for content_type in ("text/plain", "application/x-www-form-urlencoded", ""):
        assert await refused(agent, {}, **{"content-type": content_type}) == (415, "BAD_REQUEST")


async def test_an_unknown_encoding_is_refused(agent: Agent) -> None:
    assert await refused(agent, {}, **{"content-encoding": "br"}) == (415, "BAD_REQUEST")


async def test_ten_megabytes_are_too_much(agent: Agent) -> None:
    assert await refused(agent, b" " * 10 * 1024 * 1024) == (413, "LIMIT_EXCEEDED")


async def test_a_small_body_that_inflates_beyond_the_limit_is_too_much(agent: Agent) -> None:
    bomb = gzip.compress(b" " * 200 * 1024 * 1024)
    assert len(bomb) < 1024 * 1024
    assert await refused(agent, bomb, **{"content-encoding": "gzip"}) == (413, "LIMIT_EXCEEDED")


async def test_a_compressed_body_is_read(agent: Agent, fleet: BeatingFleet) -> None:
    (one,) = await fleet.add()
    body = orjson.dumps({"workspaceId": workspace(one)})
    for encoding, packed in (("gzip", gzip.compress(body)), ("deflate", zlib.compress(body))):
        response = await agent.post(packed, **{"content-encoding": encoding})
        assert response.json()["results"][0]["status"] == "ONLINE"


async def test_ten_thousand_and_one_beats_are_too_many(agent: Agent) -> None:
    assert await refused(agent, [{}] * 10_001) == (413, "LIMIT_EXCEEDED")


async def test_when_beats_cannot_be_taken_the_agent_is_told_to_come_again(
    agent: Agent, services: Services, fleet: BeatingFleet
) -> None:
    (one,) = await fleet.add()
    await services.heartbeats.stop()
    assert await refused(agent, {"workspaceId": workspace(one)}) == (503, "UNAVAILABLE")
    assert (await agent.post({"workspaceId": workspace(one)})).headers["retry-after"] == "1"


class Spent:
    """Rates of which nothing is left."""

    def check(self, principal: Principal | None, address: str | None) -> None:
        limit = {"policy": "key", "quota": 120, "windowSeconds": 60, "remaining": 0}
        raise Throttled(retryAfterSeconds=7, rateLimit=limit)

    def spend(self, principal: Principal | None, address: str | None, cost: int) -> None:
        raise AssertionError("nothing is spent that is not left")


async def test_a_fleet_that_beats_too_often_is_told_the_rate_and_when_to_come_again(
    services: Services, fleet: BeatingFleet
) -> None:
    (one,) = await fleet.add(Status.OFFLINE)
    app = Starlette(routes=[Route(URL, heartbeats_endpoint(services, Spent()), methods=["POST"])])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway.test") as http:
        response = await Agent(http, await key(services, fleet.tenant_id)).post({"workspaceId": workspace(one)})
    assert (response.status_code, response.json()["errors"][0]["extensions"]["code"]) == (429, "THROTTLED")
    names = ("retry-after", "ratelimit-policy", "ratelimit")
    assert [response.headers[name] for name in names] == ["7", '"key";q=120;w=60', '"key";r=0;t=7']
    assert (await fleet.row(one)).last_heartbeat_at is None


async def test_two_hundred_agents_at_once_are_answered_within_a_batchs_time(agent: Agent, fleet: BeatingFleet) -> None:
    workspaces = await fleet.add(count=200)
    loop = asyncio.get_running_loop()
    await agent.results({"workspaceId": workspace(workspaces[0])})
    began_at = loop.time()
    answers = await asyncio.gather(*(agent.results({"workspaceId": workspace(one)}) for one in workspaces))
    assert [answer[0]["status"] for answer in answers] == ["ONLINE"] * 200
    assert loop.time() - began_at < promised(2)
