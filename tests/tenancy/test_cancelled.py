"""This module is where requests of two tenants are given up half way, on a pool so small that they must share."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import Counter
from typing import Any, Final

import orjson
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.patience import DEADLINE
from tests.report import record
from tests.schema.conftest import Gateway
from tests.tenancy.neighbours import Neighbour, move_in, serving

REQUESTS: Final = 10_000
AT_ONCE: Final = 4
PATIENT: Final = 0.1
"""The part of the requests that is seen through, to be looked at."""
IMPATIENT_SECONDS: Final = 0.012
SHOW: Final = "cancelled requests alternating tenants on a pool of two connections: no crossing, none left open"
READ: Final = """{ tenant { id name } workspaces { totalCount nodes { id name agents { id name } } }
  users(first: 5) { nodes { id displayName } } }"""
WRITE: Final = "mutation($input: SetSecretInput!) { setSecret(input: $input) { secret { id } userErrors { code } } }"
SEARCH: Final = "query($text: String) { users(filter: {search: $text}) { nodes { id displayName } } }"


class Crossing:
    """Two tenants that take turns, and what was seen of each other."""

    def __init__(self, gateway: Gateway, neighbours: tuple[Neighbour, Neighbour], dice: random.Random) -> None:
        self._gateway = gateway
        self._neighbours = neighbours
        self._dice = dice
        self.ends: Counter[str] = Counter()
        self.crossed: list[bytes] = []

    async def request(self, number: int) -> None:
        """One request of the tenant whose turn it is, most often given up after a few milliseconds."""
        mine, theirs = self._neighbours if number % 2 else self._neighbours[::-1]
        patience = DEADLINE if self._dice.random() < PATIENT else self._dice.random() * IMPATIENT_SECONDS
        asking = asyncio.create_task(self._ask(number, mine), name=f"request {number}")
        done, _ = await asyncio.wait({asking}, timeout=patience)
        if not done:
            asking.cancel()
        try:
            answer = await asking
        except asyncio.CancelledError:
            self.ends["cancelled"] += 1
            return
        said = orjson.dumps(answer)
        self.ends["failed" if "errors" in answer else "answered"] += 1
        if any(trace.encode() in said for trace in theirs.traces):
            self.crossed.append(said)

    async def _ask(self, number: int, mine: Neighbour) -> dict[str, Any]:
        kind = number // 2 % 4
        if kind == 0:
            said = {"key": f"K{number % 50}", "value": mine.mark}
            return await self._gateway.answer(mine.who(), WRITE, input=said)
        if kind == 1:
            return await self._gateway.answer(mine.who(), SEARCH, text=mine.mark[:8])
        return await self._gateway.answer(mine.who(), READ)


@pytest.mark.parametrize("requests", [REQUESTS // 10, pytest.param(REQUESTS, marks=pytest.mark.faults)])
async def test_a_request_that_is_given_up_leaves_its_tenant_in_no_connection(
    migrated: str, owner: AsyncEngine, requests: int
) -> None:
    seed = secrets.randbits(32)
    async with serving(migrated, filtered=True, protected=True, size=2) as gateway:
        neighbours = await move_in(gateway, owner), await move_in(gateway, owner)
        crossing = Crossing(gateway, neighbours, random.Random(seed))
        # Between cancellations rather than until one: what counts is how many were given up.
        number = 0
        while crossing.ends["cancelled"] < requests:
            await asyncio.gather(*(crossing.request(number + one) for one in range(AT_ONCE)))
            number += AT_ONCE
        pool: Any = gateway.services.database.app.pool
        async with asyncio.timeout(DEADLINE):
            # Loaders finish what they began, whoever gave up waiting for it.
            while pool.checkedout():  # noqa: ASYNC110 - a pool tells nobody
                await asyncio.sleep(0.01)
        assert await _left_in_a_transaction(owner) == 0
        for mine, theirs in (neighbours, neighbours[::-1]):
            answer = orjson.dumps(await gateway.data(mine.who(), READ))
            assert mine.mark.encode() in answer
            assert not [one for one in theirs.traces if one.encode() in answer]
    assert crossing.crossed == []
    assert crossing.ends["answered"] > requests / 50, crossing.ends
    record(
        4,
        SHOW,
        n=crossing.ends["cancelled"],
        figure=f"beside {crossing.ends['answered']} answered and {crossing.ends['failed']} refused as unavailable; "
        f"0 crossings, 0 in a transaction; seed {seed}",
    )


async def _left_in_a_transaction(owner: AsyncEngine) -> int:
    async with owner.connect() as connection:
        statement = (
            "SELECT count(*) FROM pg_stat_activity WHERE usename = 'signalbox_app' "
            "AND datname = current_database() AND state LIKE 'idle in transaction%'"
        )
        return int(await connection.scalar(text(statement)) or 0)
