"""This module is where the worker of docs/alert-analysis.md is run as it stands, ten times at once, and two are killed.

Half of them ask one gateway, half the other. Those that die hold an analysis each, so that there is something to lose.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select

from gateway.embedded.process import tied_command
from models import Alert, AnalysisStatus, Event, Scope, utcnow
from models.alert_analysis import MOST_ATTEMPTS
from models.ids import parse
from resolvers.lost_analyses import LostAnalyses
from tests.faults.stage import Guest, Stage
from tests.patience import DEADLINE
from tests.report import record
from tests.schema.analysts import fire
from tests.world import make_tenant

DOCS = Path(__file__).parents[2] / "docs" / "alert-analysis.md"
SHOW = "Ten analysis workers, two of them killed: each alert analysed once, none forgotten"
LEASE_SECONDS = 5
LOOK_SECONDS = 0.1
WORKERS = 10
DOOMED = ("doomed-1", "doomed-2")


@dataclass(slots=True)
class Hands:
    """A process that runs the documented worker."""

    name: str
    process: asyncio.subprocess.Process
    log: Path


def example() -> str:
    """The worker, as people copy it."""
    found = re.search(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


def test_the_worker_fits_on_a_screen() -> None:
    assert len(example().splitlines()) <= 60


async def _start(stage: Stage, guest: Guest, name: str, url: str, seconds: float) -> Hands:
    log = stage.folder / f"{name}.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *tied_command([sys.executable, "-c", example()], signal.SIGKILL),
            env={
                "PATH": os.environ["PATH"],
                "no_proxy": "*",
                "SIGNALBOX_URL": url,
                "SIGNALBOX_KEY": guest.key,
                "WORKER": name,
                "LEASE_SECONDS": str(LEASE_SECONDS),
                "WORK_SECONDS": str(seconds),
            },
            stdout=output,
            stderr=output,
        )
    return Hands(name, process, log)


@asynccontextmanager
async def _all_ended(hands: list[Hands]) -> AsyncIterator[None]:
    """Whoever is at work when the block ends is at work no more."""
    try:
        yield
    finally:
        for one in hands:
            if one.process.returncode is None:
                one.process.kill()
            await one.process.wait()


@asynccontextmanager
async def _sweeping(stage: Stage) -> AsyncIterator[None]:
    """Two worker processes' sweeps, side by side."""

    async def sweep() -> None:
        lost = LostAnalyses(stage.services.database, stage.services.announcer, utcnow)
        while True:
            await lost.sweep()
            await asyncio.sleep(LOOK_SECONDS)

    tasks = [asyncio.create_task(sweep(), name=f"sweep {number}") for number in range(2)]
    try:
        yield
        assert not any(one.done() for one in tasks)
    finally:
        for one in tasks:
            one.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _rows(stage: Stage, tenant_id: UUID) -> list[Alert]:
    async with stage.services.database.session(tenant_id) as session:
        return list(await session.scalars(select(Alert).where(Alert.tenant_id == tenant_id)))


async def _until(stage: Stage, guest: Guest, hands: list[Hands], reached: Callable[[list[Alert]], bool]) -> None:
    async with asyncio.timeout(2 * DEADLINE):
        while not reached(await _rows(stage, guest.tenant_id)):
            for one in hands:
                assert one.process.returncode in (None, -signal.SIGKILL), one.log.read_text()
            await asyncio.sleep(LOOK_SECONDS)


async def _events(stage: Stage, tenant_id: UUID) -> dict[UUID, list[Event]]:
    told: dict[UUID, list[Event]] = {}
    for one in await stage.log(tenant_id):
        if one.kind.startswith("alert.analysis_"):
            told.setdefault(one.entity_id, []).append(one)
    return told


@pytest.mark.parametrize(
    "alerts", [pytest.param(40, id="tenth"), pytest.param(400, id="full", marks=pytest.mark.faults)]
)
async def test_each_alert_is_analysed_once_and_none_is_forgotten(stage: Stage, alerts: int) -> None:
    guest = await stage.guest()
    scopes = [Scope.ALERTS_READ.value, Scope.ALERTS_ANALYZE.value]
    _, guest_key = await stage.services.accounts.create_api_key(guest.call, name="analysts", scopes=scopes)
    guest = Guest(guest.tenant_id, guest_key, guest.call)
    neighbour = await make_tenant(stage.services.database)
    ids = {parse(one, "alert") for one in await fire(stage, guest.tenant_id, alerts)}
    foreign = await fire(stage, neighbour)

    def both_are_at_work(rows: list[Alert]) -> bool:
        return {one.analysis_worker for one in rows} >= set(DOOMED)

    def all_is_done(rows: list[Alert]) -> bool:
        return {one.analysis_status for one in rows} == {AnalysisStatus.COMPLETED}

    def some_is_done(rows: list[Alert]) -> bool:
        return both_are_at_work(rows) and any(one.analyzed for one in rows)

    hands: list[Hands] = []
    async with _sweeping(stage), _all_ended(hands):
        # Those that are to die come first and think for so long that they are met at work.
        for number, name in enumerate(DOOMED):
            hands.append(await _start(stage, guest, name, stage.gateways[number % 2].url, 9.0))
        await _until(stage, guest, hands, both_are_at_work)
        for number in range(WORKERS - len(DOOMED)):
            hands.append(await _start(stage, guest, f"worker-{number}", stage.gateways[number % 2].url, 0.15))
        await _until(stage, guest, hands, some_is_done)
        for one in hands[: len(DOOMED)]:
            one.process.kill()
        await _until(stage, guest, hands, all_is_done)
    rows = await _rows(stage, guest.tenant_id)
    assert {one.id for one in rows} == ids
    assert {(one.analyzed, one.analysis_count, one.analysis_progress) for one in rows} == {(True, 1, 100)}
    assert all(one.ai_analysis and one.recommendations == ["Look at the runbook."] for one in rows)
    told = await _events(stage, guest.tenant_id)
    completed = [one for events in told.values() for one in events if one.kind.endswith("completed")]
    assert sorted(one.entity_id for one in completed) == sorted(ids)
    lost = [one for events in told.values() for one in events if one.payload.get("reason") == "lease_lost"]
    # A worker that got no processor for five seconds loses its lease, too; what it then says counts for nothing.
    assert len(lost) >= len(DOOMED)
    assert all(one.analysis_attempts <= MOST_ATTEMPTS for one in rows)
    assert [one.analysis_status for one in await _rows(stage, neighbour)] == [AnalysisStatus.QUEUED] * len(foreign)
    record(
        7,
        SHOW,
        n=alerts,
        figure=f"{WORKERS} processes over two gateways, {len(DOOMED)} killed at work, {len(lost)} leases lost; "
        f"{len(completed)} analyses of {alerts} alerts, 0 twice, 0 forgotten",
    )
