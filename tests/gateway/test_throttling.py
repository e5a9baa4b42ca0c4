"""This module is where rates are shown over the wire: two processes, HTTP, WebSocket and ingest, one bucket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import orjson
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from gateway.embedded import EmbeddedValkey
from models.database import Database
from tests.corpus.conftest import signed_in
from tests.gateway.production_gateway import Deployment, running_gateways
from tests.patience import DEADLINE
from tests.report import record

PER_MINUTE = 40
LOGINS = 5
LOGIN = 'mutation { login(input: {tenantSlug: "none", email: "a@b.example", password: "wrong wrong"}) { accessToken } }'


@dataclass(frozen=True, slots=True)
class Pair:
    """Two gateways over one database and one Redis."""

    urls: list[str]
    deployment: Deployment
    database: Database

    async def token(self) -> str:
        """Somebody new."""
        return await signed_in(self.database, self.deployment, self.deployment.redis_url)


@pytest.fixture(scope="module")
async def pair(
    database: Database, app_url: str, valkey: EmbeddedValkey, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Pair]:
    deployment = Deployment(app_url, valkey.url)
    limits = {"user_requests_per_minute": str(PER_MINUTE), "network_logins_per_minute": str(LOGINS)}
    async with running_gateways(deployment, tmp_path_factory.mktemp("rates"), 2, **limits) as gateways:
        yield Pair([one.url for one in gateways], deployment, database)


@asynccontextmanager
async def client(url: str, token: str | None) -> AsyncIterator[httpx.AsyncClient]:
    """A client of somebody, or of nobody."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=DEADLINE, trust_env=False) as made:
        yield made


def code_of(response: httpx.Response) -> str | None:
    """The first error's code, None where there is no error."""
    errors = response.json().get("errors")
    return errors[0]["extensions"]["code"] if errors else None


async def ask(http: httpx.AsyncClient, query: str = "{ viewer { scopes } }") -> httpx.Response:
    return await http.post("/graphql", json={"query": query})


async def test_two_gateways_hold_one_person_to_one_rate_and_say_when_to_come_back(pair: Pair) -> None:
    token = await pair.token()
    async with client(pair.urls[0], token) as one, client(pair.urls[1], token) as other:
        began = time.monotonic()
        answers = [await ask((one, other)[number % 2]) for number in range(PER_MINUTE + 30)]
        refilled = (time.monotonic() - began) * PER_MINUTE / 60
        allowed = sum(code_of(answer) is None for answer in answers)
        # What each does not know of the other is what comes within its next settling.
        assert PER_MINUTE - 1 <= allowed <= PER_MINUTE + 15 + refilled
        # The last of all may have come when there was enough for one more.
        refused = [answer for answer in answers if answer.status_code != 200][-1]
        assert (refused.status_code, code_of(refused)) == (429, "THROTTLED")
        extensions = refused.json()["errors"][0]["extensions"]
        assert int(refused.headers["retry-after"]) == extensions["retryAfterSeconds"] >= 1
        assert extensions["retryable"] is True
        assert refused.headers["ratelimit-policy"] == f'"user";q={PER_MINUTE};w=60'
        assert refused.headers["ratelimit"] == f'"user";r=0;t={refused.headers["retry-after"]}'
    async with client(pair.urls[0], await pair.token()) as somebody_else:
        assert code_of(await ask(somebody_else)) is None
    figure = f"{allowed} of {len(answers)} answered at {PER_MINUTE} a minute"
    record(4, "two gateways hold one caller to one rate", len(answers), figure)


async def test_a_costly_query_counts_for_several(pair: Pair) -> None:
    dear = "{ workspaces(first: 100) { nodes { parent { parent { parent { parent { name } } } } } } }"
    async with client(pair.urls[0], await pair.token()) as http:
        codes = [code_of(await ask(http, dear)) for _ in range(PER_MINUTE)]
    # 402 points are nine requests.
    assert codes.index("THROTTLED") == PER_MINUTE // 9


async def test_sign_ins_of_a_network_have_a_rate_of_their_own_on_all_gateways_together(pair: Pair) -> None:
    async with client(pair.urls[0], None) as one, client(pair.urls[1], None) as other:
        async with asyncio.timeout(DEADLINE):
            while code_of(await ask(one, LOGIN)) != "THROTTLED":
                pass
            while code_of(await ask(other, LOGIN)) != "THROTTLED":
                pass
        assert code_of(await ask(one, "{ __typename }")) is None, "anything else goes on"
        assert (await ask(one, LOGIN)).status_code == 429


async def receive(socket: ClientConnection) -> dict[str, Any]:
    """The next message that is no ping."""
    async with asyncio.timeout(DEADLINE):
        while True:
            message: dict[str, Any] = orjson.loads(await socket.recv())
            if message["type"] != "ping":
                return message


async def test_a_socket_lives_on_when_its_operations_are_throttled(pair: Pair) -> None:
    token = await pair.token()
    address = pair.urls[0].replace("http", "ws") + "/graphql"
    async with connect(address, subprotocols=[Subprotocol("graphql-transport-ws")], proxy=None) as socket:
        hello = {"type": "connection_init", "payload": {"authorization": f"Bearer {token}"}}
        await socket.send(orjson.dumps(hello).decode())
        assert (await receive(socket))["type"] == "connection_ack"
        for number in range(PER_MINUTE * 2):
            operation = {"type": "subscribe", "id": str(number), "payload": {"query": "{ viewer { scopes } }"}}
            await socket.send(orjson.dumps(operation).decode())
            message = await receive(socket)
            if message["type"] == "error":
                break
            assert (await receive(socket))["type"] == "complete"
        assert message["payload"][0]["extensions"]["code"] == "THROTTLED"
        assert message["payload"][0]["extensions"]["retryAfterSeconds"] >= 1
        await socket.send(orjson.dumps({"type": "ping"}).decode())
        assert (await receive(socket))["type"] == "pong"
