"""This module is where one transaction holds a tenant's event counter: that tenant waits, is told, and nobody else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from models.errors import Unavailable
from models.ids import encode
from tests.faults.checker import Audience, check
from tests.faults.journal import Follower
from tests.faults.stage import Guest, Stage
from tests.faults.transports import NO_TLS, TRANSPORTS
from tests.faults.writers import CREATE, mutate
from tests.patience import DEADLINE, promised
from tests.report import record

ALL = Audience(frozenset({"workspaces:read"}))
LOCK_SECONDS = 2.0
LAG_SECONDS = 1.0
IDLE_SECONDS = 10.0
PER_SECOND = 2.0
_HOLD = text("UPDATE tenant_streams SET seq = seq WHERE tenant_id = :tenant")


@dataclass(slots=True)
class Bystander:
    """Another tenant: it writes through one gateway and watches at the other."""

    guest: Guest
    follower: Follower
    written_at: dict[str, float] = field(default_factory=dict)

    async def write(self, url: str, enough: asyncio.Event) -> None:
        """Until it is enough; every refusal is a failure."""
        async with httpx.AsyncClient(
            headers=_headers(self.guest), timeout=DEADLINE, trust_env=False, verify=NO_TLS
        ) as client:
            while not enough.is_set():
                done = await mutate(client, url, CREATE, {"name": "life goes on"})
                self.written_at[done["createWorkspace"]["workspace"]["id"]] = time.monotonic()
                await asyncio.sleep(1 / PER_SECOND)

    def lags(self) -> list[float]:
        """Seconds from each answer to its event's arrival; negative when the event was faster."""
        arrived_at = {item.entity_id: item.received_at for item in self.follower.journal.changes}
        return [arrived_at[place] - at for place, at in self.written_at.items()]


@dataclass(slots=True)
class Blocked:
    """The tenant whose counter is held: several of its people try at once, all the time."""

    guest: Guest
    waits: list[float] = field(default_factory=list)
    done: list[object] = field(default_factory=list)

    async def insist(self, url: str, enough: asyncio.Event) -> None:
        """Until it is enough; the last try is waited for."""
        async with httpx.AsyncClient(
            headers=_headers(self.guest), timeout=DEADLINE, trust_env=False, verify=NO_TLS
        ) as client:
            while not enough.is_set():
                started_at = time.monotonic()
                try:
                    self.done.append(await mutate(client, url, CREATE, {"name": "not now"}))
                except Unavailable:
                    self.waits.append(time.monotonic() - started_at)


@asynccontextmanager
async def held(stage: Stage, guest: Guest) -> AsyncIterator[None]:
    """The guest's counter is locked by the owner, whose own time-outs are off, while the block lasts."""
    async with stage.owner.begin() as connection:
        for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
            await connection.execute(text(f"SET LOCAL {name} = 0"))
        await connection.execute(_HOLD, {"tenant": guest.tenant_id})
        yield


@pytest.mark.parametrize(
    ("seconds", "others", "insistent"),
    [pytest.param(5.0, 2, 4, id="tenth"), pytest.param(20.0, 10, 40, id="full", marks=pytest.mark.faults)],
)
async def test_a_held_counter_stops_its_tenant_and_nobody_else(
    stage: Stage, seconds: float, others: int, insistent: int
) -> None:
    writes_at, watches_at = (one.url for one in stage.gateways)
    blocked = Blocked(await stage.guest())
    async with AsyncExitStack() as stack:
        transports = list(TRANSPORTS.values())
        bystanders = []
        for number in range(others):
            guest = await stage.guest()
            follower = Follower(f"other {number}", [watches_at], guest.key, transports[number % len(transports)])
            stack.push_async_callback(follower.start().stop)
            await follower.until(lambda journal: bool(journal.items), DEADLINE)
            bystanders.append(Bystander(guest, follower))
        async with held(stage, blocked.guest):
            await _live(writes_at, bystanders, blocked, insistent, seconds)
        log = await stage.log(blocked.guest.tenant_id)
        assert blocked.done == []
        assert [event.kind for event in log] == ["key.created"]
        lags = [lag for one in bystanders for lag in await _lags(stage, one)]
    assert min(blocked.waits) >= LOCK_SECONDS * 0.9
    assert max(lags) < promised(LAG_SECONDS)
    record(
        3,
        "A held counter: its tenant is told UNAVAILABLE, the others do not notice",
        n=len(lags),
        figure=f"{len(blocked.waits)} mutations refused after {min(blocked.waits):.1f} to {max(blocked.waits):.1f} s; "
        f"{others} other tenants' lag at most {max(lags) * 1000:.0f} ms over {seconds:.0f} s",
    )


async def _live(url: str, bystanders: list[Bystander], blocked: Blocked, insistent: int, seconds: float) -> None:
    enough = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for one in bystanders:
            group.create_task(one.write(url, enough), name="bystander")
        for _ in range(insistent):
            group.create_task(blocked.insist(url, enough), name="insistent")
        await asyncio.sleep(seconds)
        enough.set()


async def _lags(stage: Stage, one: Bystander) -> list[float]:
    log = await stage.log(one.guest.tenant_id)
    await one.follower.until_seq(log[-1].seq, DEADLINE)
    assert check(one.follower.journal, log, ALL, log[-1].seq).faults == ()
    created = [encode("workspace", event.entity_id) for event in log if event.kind == "workspace.created"]
    assert created == list(one.written_at)
    return one.lags()


async def test_the_application_cannot_hold_a_counter_for_longer_than_ten_seconds(stage: Stage) -> None:
    guest = await stage.guest()
    engine = create_async_engine(stage.environment["SIGNALBOX_DATABASE_URL"])
    try:
        started_at = time.monotonic()
        with pytest.raises(DBAPIError):
            async with engine.begin() as connection:
                await connection.execute(
                    text("SELECT set_config('app.tenant_id', :tenant, true)"), {"tenant": str(guest.tenant_id)}
                )
                await connection.execute(_HOLD, {"tenant": guest.tenant_id})
                held_for = await _until_free(stage, guest) - started_at
                await connection.execute(text("SELECT 1"))
    finally:
        await engine.dispose()
    assert IDLE_SECONDS * 0.9 <= held_for < IDLE_SECONDS + promised(LOCK_SECONDS + 1)
    record(
        3,
        "The application's own transaction with a counter is ended at 10 s",
        n=1,
        figure=f"the tenant could write again after {held_for:.1f} s",
    )


async def _until_free(stage: Stage, guest: Guest) -> float:
    """When the tenant's next mutation went through."""
    async with httpx.AsyncClient(headers=_headers(guest), timeout=DEADLINE, trust_env=False, verify=NO_TLS) as client:
        while True:
            try:
                await mutate(client, stage.gateways[0].url, CREATE, {"name": "at last"})
                return time.monotonic()
            except Unavailable:
                continue


def _headers(guest: Guest) -> dict[str, str]:
    return {"authorization": f"Bearer {guest.key}"}
