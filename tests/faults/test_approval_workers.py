"""This module is where three worker processes race over requests that come due, and one of them is killed at it."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

import pytest

from gateway.embedded.process import tied_command
from models import ApprovalKind, ApprovalRequest, HitlMode, Priority, utcnow
from models.approvals import SLA
from models.ids import uuid7
from tests.faults.stage import REPOSITORY, Stage
from tests.patience import DEADLINE, promised
from tests.report import record
from tests.world import make_tenant

SHOW: Final = "Three workers racing: each expiry and escalation happens once, within 3 s of its time"
WORKERS: Final = 3
TENANTS: Final = 2
TOLD_SECONDS: Final = 3.0
SPREAD_SECONDS: Final = 8.0
LEAD_SECONDS: Final = 2.0
CLOCKS_SECONDS: Final = 0.05
"""The database says when something is due, the worker when it did it: one machine, two clocks."""
DUE: Final = ("approval.escalated", "approval.expired")


class WorkerProcess:
    """`signalbox worker`."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self._log = log

    async def started(self) -> None:
        """Waits until its jobs run."""
        while b"worker.started" not in self._log.read_bytes():
            assert self.process.returncode is None, self._log.read_text()
            await asyncio.sleep(0.05)


@asynccontextmanager
async def workers(stage: Stage) -> AsyncIterator[list[WorkerProcess]]:
    """Three that look after what is due."""
    environment = {"PATH": os.environ["PATH"], **stage.environment}
    hands: list[WorkerProcess] = []
    try:
        for number in range(WORKERS):
            log = stage.folder / f"approval-worker-{uuid7()}-{number}.log"
            with log.open("wb") as output:
                command = tied_command([sys.executable, "-m", "gateway", "worker"], signal.SIGKILL)
                process = await asyncio.create_subprocess_exec(
                    *command, cwd=REPOSITORY, env=environment, stdout=output, stderr=output
                )
            hands.append(WorkerProcess(process, log))
        async with asyncio.timeout(DEADLINE):
            await asyncio.gather(*(one.started() for one in hands))
        yield hands
    finally:
        for one in hands:
            if one.process.returncode is None:
                one.process.kill()
            await one.process.wait()


async def ask(stage: Stage, tenant_id: UUID, count: int, chance: random.Random) -> dict[UUID, datetime]:
    """So many requests that escalate, and as many that expire, within the next seconds; when each is due."""
    due: dict[UUID, datetime] = {}
    async with stage.services.database.session(tenant_id) as session:
        for number in range(2 * count):
            row = ApprovalRequest(
                tenant_id=tenant_id,
                id=uuid7(),
                kind=ApprovalKind.ACTION,
                priority=Priority.URGENT,
                hitl_mode=HitlMode.ESCALATE,
                requester="key:x",
                original_query="?",
                required_approvals=1,
                approvals_given=0,
                escalations=0,
            )
            now = utcnow()
            due[row.id] = now + timedelta(seconds=LEAD_SECONDS + chance.uniform(0, SPREAD_SECONDS))
            if number % 2:
                row.begin(now, due[row.id] - now)
            else:
                row.begin(due[row.id] - SLA[row.priority], None)
            session.add(row)
        await session.commit()
    return due


async def told(stage: Stage, tenant_id: UUID) -> list[tuple[str, UUID, datetime]]:
    """What the log tells of what came due: kind, request, time."""
    return [(one.kind, one.entity_id, one.occurred_at) for one in await stage.log(tenant_id) if one.kind in DUE]


@pytest.mark.parametrize("count", [30, pytest.param(300, marks=pytest.mark.faults)], ids=["tenth", "full"])
async def test_each_expiry_and_escalation_happens_once_and_in_time(stage: Stage, count: int) -> None:
    chance = random.Random(f"due {count}")
    tenants = [await make_tenant(stage.services.database) for _ in range(TENANTS)]
    async with workers(stage) as hands:
        due = {tenant: await ask(stage, tenant, count, chance) for tenant in tenants}
        await asyncio.sleep(LEAD_SECONDS + SPREAD_SECONDS / 2)
        hands[0].process.kill()
        async with asyncio.timeout(DEADLINE):
            for tenant in tenants:
                while len(await told(stage, tenant)) < len(due[tenant]):  # noqa: ASYNC110 - nothing tells of a row
                    await asyncio.sleep(0.1)
        # Whoever would do one a second time does it at its next look.
        await asyncio.sleep(TOLD_SECONDS / 2)
    late: list[float] = []
    for tenant in tenants:
        events = await told(stage, tenant)
        assert Counter(kind for kind, _, _ in events) == dict.fromkeys(DUE, count)
        assert len({request for _, request, _ in events}) == 2 * count
        late += [(at - due[tenant][request]).total_seconds() for _, request, at in events]
    assert min(late) > -CLOCKS_SECONDS
    assert max(late) < promised(TOLD_SECONDS)
    figure = f"{WORKERS} processes, one killed, {TENANTS} tenants, none twice, none before its time, at most"
    record(6, SHOW, len(late), f"{figure} {max(late):.2f} s after it")
