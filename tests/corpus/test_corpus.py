"""This module is where every attack is shown to be refused with its code, cheaply, while others are answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import httpx
import pytest

from tests.corpus.attacks import CORPUS, JSON, Attack
from tests.corpus.bearers import forged
from tests.corpus.conftest import ORDINARY, Target
from tests.patience import DEADLINE
from tests.report import record

CPU_SECONDS = 0.150
ROUNDS = 3
REPEATS = 8


async def attack(target: Target, one: Attack) -> httpx.Response:
    """The answer to an attack."""
    headers = dict(one.headers)
    if one.signed_in:
        headers["authorization"] = f"Bearer {target.token}"
    return await target.http.request(one.method, one.path, content=one.body, headers=headers)


def fault(one: Attack, response: httpx.Response) -> str | None:
    """What is not as it must be: one clear error with its code, and nothing of the inside."""
    said = response.json()
    first = said["errors"][0]["extensions"] if "errors" in said else {}
    wanted = {
        "no 5xx": response.status_code < 500,
        "no data": said.get("data") is None,
        f"the code {one.code}": first.get("code") == one.code,
        f"the limit {one.limit}": one.limit is None or first.get("limit") == one.limit,
        "a request id": bool(first.get("requestId")),
        "a short answer": len(response.content) < 8192 and len(said.get("errors", [])) <= 6,
        "nothing of the inside": "Traceback" not in response.text,
        "no suggestion": one.signed_in or "Did you mean" not in response.text,
    }
    missing = [name for name, found in wanted.items() if not found]
    return f"{one.name}: {missing}, not {response.text[:300]}" if missing else None


def test_every_attack_has_a_name_of_its_own() -> None:
    assert len({one.name for one in CORPUS}) == len(CORPUS)


async def test_every_attack_is_refused_with_its_code_for_next_to_nothing(target: Target) -> None:
    """Measured one at a time: the least of three, since the machine's other work is nobody's attack."""
    assert (await target.ask(ORDINARY)).json()["data"]["workspaces"]["totalCount"] == 7
    spent: dict[str, float] = {}
    faults = []
    for one in CORPUS:
        times = []
        for _ in range(ROUNDS):
            before = target.process.cpu_seconds()
            response = await attack(target, one)
            times.append(target.process.cpu_seconds() - before)
            faults.append(fault(one, response))
        # What was read before is known by its text, so the first time is the dear one.
        spent[one.name] = times[0] if times[0] <= CPU_SECONDS else min(times)
    assert "\n".join(one for one in faults if one) == ""
    assert {name: seconds for name, seconds in spent.items() if seconds > CPU_SECONDS} == {}
    worst = max(spent, key=lambda name: spent[name])
    figure = f"at most {spent[worst] * 1000:.0f} ms of process time ({worst}); allowed 150"
    record(4, "hostile requests are refused with their code, cheaply", len(CORPUS), figure)


async def test_every_forged_token_is_refused_in_the_same_words(target: Target) -> None:
    tokens = dict(forged(target.token, target.deployment.token_seed))
    worst = 0.0
    for name, token in tokens.items():
        before = target.process.cpu_seconds()
        headers = {**JSON, "authorization": f"Bearer {token}"}
        response = await target.http.post("/graphql", json={"query": ORDINARY}, headers=headers)
        worst = max(worst, target.process.cpu_seconds() - before)
        assert response.status_code == 401, name
        assert response.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED", name
        expected = "The access token has expired" if name == "expired" else "The access token is not valid"
        assert response.json()["errors"][0]["message"].startswith(expected), name
        assert "data" not in response.json()
    assert worst <= CPU_SECONDS
    record(4, "forged tokens are refused", len(tokens), f"at most {worst * 1000:.0f} ms of process time; allowed 150")


class Wait(NamedTuple):
    """What an ordinary answer took: on the clock, and of the process meanwhile."""

    seconds: float
    cpu_seconds: float


@asynccontextmanager
async def ordinary_life(target: Target) -> AsyncIterator[list[Wait]]:
    """Somebody who asks ordinary things all the while, and what each answer took."""
    waits: list[Wait] = []

    async def live() -> None:
        while True:
            started, spent = time.monotonic(), target.process.cpu_seconds()
            answer = await target.ask(ORDINARY)
            assert answer.json()["data"]["workspaces"]["totalCount"] == 7
            waits.append(Wait(time.monotonic() - started, target.process.cpu_seconds() - spent))

    living = asyncio.create_task(live(), name="ordinary life")
    try:
        yield waits
    finally:
        living.cancel()
        (end,) = await asyncio.gather(living, return_exceptions=True)
        assert isinstance(end, asyncio.CancelledError), end


async def test_ordinary_queries_go_on_beside_the_attacks(target: Target) -> None:
    gate = asyncio.Semaphore(4)

    async def strike(one: Attack) -> str | None:
        async with gate:
            return fault(one, await attack(target, one))

    async with ordinary_life(target) as waits, asyncio.timeout(300):
        faults = await asyncio.gather(*(strike(one) for one in CORPUS * REPEATS))
    assert "\n".join(one for one in faults if one) == ""
    assert len(waits) > REPEATS
    # Four attacks at once, each of at most its allowance, may stand before an ordinary query.
    assert max(wait.cpu_seconds for wait in waits) <= 3 * 4 * CPU_SECONDS
    slowest = max(waits)
    figure = (
        f"{len(waits)} answered, the slowest in {slowest.seconds * 1000:.0f} ms, "
        f"{slowest.cpu_seconds * 1000:.0f} ms of process time"
    )
    record(4, "ordinary queries go on beside the hostile ones", len(CORPUS) * REPEATS, figure)


@pytest.mark.parametrize("name", ["authorization", "x-request-id", "accept", "user-agent", "x-signalbox-tenant"])
async def test_headers_as_long_as_they_come_are_no_trouble(target: Target, name: str) -> None:
    value = "Bearer " + "A" * 60_000 if name == "authorization" else "A" * 60_000
    response = await target.http.post("/graphql", json={"query": "{ __typename }"}, headers={name: value})
    assert response.status_code < 500


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        (None, "https://evil.example"),
        (None, "null"),
        (None, "http://localhost:1"),
        ("evil.example", None),
        ("evil.example", "http://evil.example"),
    ],
    ids=["another origin", "a sandbox", "another port", "another host", "a name that was rebound"],
)
async def test_a_socket_is_opened_for_no_foreign_page(target: Target, host: str | None, origin: str | None) -> None:
    here = httpx.URL(target.process.url)
    reader, writer = await asyncio.open_connection(here.host, here.port)
    lines = [
        "GET /graphql HTTP/1.1",
        f"host: {host or here.netloc.decode()}",
        *([f"origin: {origin}"] if origin else []),
        "upgrade: websocket",
        "connection: upgrade",
        "sec-websocket-version: 13",
        "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==",
        "sec-websocket-protocol: graphql-transport-ws",
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    async with asyncio.timeout(DEADLINE):
        assert b" 403 " in await reader.readline()
    writer.close()
    await writer.wait_closed()
