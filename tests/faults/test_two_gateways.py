"""This module is where two gateways are one: what happens at either is seen at both, with and without a broker."""

from __future__ import annotations

import asyncio
import statistics
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from tests.faults.checker import Audience, check
from tests.faults.journal import Follower, all_stopped
from tests.faults.stage import REPOSITORY, Guest, Stage
from tests.faults.transports import NO_TLS, TRANSPORTS
from tests.faults.writers import CREATE, mutate
from tests.patience import DEADLINE, promised
from tests.report import record

ALL = Audience(frozenset({"workspaces:read"}))
SWEPT_SECONDS = 1.5
"""The sweep's half second, a read, and a machine that does other things, too."""

CHANGE = """
mutation Change($input: ChangeWorkspaceStateInput!) {
  changeWorkspaceState(input: $input) { workspace { status } userErrors { code message } }
}
"""


@asynccontextmanager
async def followed(stage: Stage, guest: Guest) -> AsyncIterator[list[Follower]]:
    """A subscriber by every transport on each gateway, each with its Ready."""
    followers = [
        Follower(f"{name} at {gateway.name}", [gateway.url], guest.key, transport).start()
        for name, transport in TRANSPORTS.items()
        for gateway in stage.gateways
    ]
    try:
        for one in followers:
            await one.until(lambda journal: bool(journal.items), DEADLINE)
        yield followers
    finally:
        await all_stopped(followers)


@asynccontextmanager
async def operator(guest: Guest) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who may change things."""
    async with httpx.AsyncClient(
        headers={"authorization": f"Bearer {guest.key}"}, trust_env=False, verify=NO_TLS, timeout=DEADLINE
    ) as client:
        yield client


async def all_see(followers: Sequence[Follower], seq: int, seconds: float = DEADLINE) -> None:
    """Every follower has come to ``seq``."""
    for one in followers:
        await one.until_seq(seq, seconds)


@pytest.mark.parametrize("rounds", [pytest.param(2, id="tenth"), pytest.param(20, id="full", marks=pytest.mark.faults)])
async def test_a_change_at_one_gateway_is_seen_at_both_whatever_becomes_of_valkey(stage: Stage, rounds: int) -> None:
    guest = await stage.guest()
    async with followed(stage, guest) as followers, operator(guest) as client:
        first, second = stage.gateways
        created = await mutate(client, first.url, CREATE, {"name": "Marketing"})
        place = created["createWorkspace"]["workspace"]["id"]

        async def change(command: str) -> None:
            done = await mutate(client, second.url, CHANGE, {"id": place, "command": command})
            assert done["changeWorkspaceState"]["userErrors"] == []
            await all_see(followers, await stage.head(guest.tenant_id))

        for _ in range(rounds):
            await change("PAUSE")
            await asyncio.to_thread(stage.valkey.kill)
            await change("RESUME")
            await change("PAUSE")
            await asyncio.to_thread(stage.valkey.restart)
            await change("RESUME")
        log = await stage.log(guest.tenant_id)
        verdicts = [check(one.journal, log, ALL, log[-1].seq) for one in followers]
        assert [fault for verdict in verdicts for fault in verdict.faults] == []
        assert [one.journal.name for one in followers if len(one.journal.connections) != 1] == []
        n = sum(verdict.deliveries for verdict in verdicts)
        record(
            2,
            "A change through one gateway is seen at the other; Valkey's death leaves both subscribers alive",
            n=n,
            figure=f"0 of {n} deliveries lost, so below {3 / n:.1e} (3/N); {rounds} kills, no connection ended",
        )


@pytest.mark.parametrize("deaths", [pytest.param(5, id="tenth"), pytest.param(50, id="full", marks=pytest.mark.faults)])
async def test_what_a_process_committed_before_its_death_is_swept_up(stage: Stage, deaths: int) -> None:
    guest = await stage.guest()
    async with followed(stage, guest) as followers:
        committed_at = await _die(stage, guest, deaths)
        await all_see(followers, max(committed_at))
    log = await stage.log(guest.tenant_id)
    assert [event.seq for event in log if event.kind == "workspace.created"] == list(committed_at)
    lags: list[float] = []
    for one in followers:
        assert check(one.journal, log, ALL, log[-1].seq).faults == ()
        lags += [item.received_at - committed_at[item.seq] for item in one.journal.changes]
    assert max(lags) < promised(SWEPT_SECONDS)
    record(
        3,
        "Killed between COMMIT and PUBLISH: the sweep delivers",
        n=len(lags),
        figure=f"0 lost, so below {3 / len(lags):.1e} (3/N); "
        f"after {statistics.median(lags) * 1000:.0f} ms, at most {max(lags) * 1000:.0f} ms",
    )


async def _die(stage: Stage, guest: Guest, deaths: int) -> dict[int, float]:
    url = stage.environment["SIGNALBOX_DATABASE_URL"]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.faults.dies_before_publishing",
        url,
        str(guest.tenant_id),
        str(deaths),
        cwd=REPOSITORY,
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await asyncio.wait_for(process.communicate(), DEADLINE + 2 * deaths)
    assert process.returncode == 0
    lines: list[Any] = [line.split() for line in said.decode().splitlines()]
    return {int(seq): float(at) for seq, at in lines}
