"""This module is where a whole fleet beats at a gateway process, and every silence is looked for in the log.

Counted at PostgreSQL itself: what it was sent for beats, and which offline events were committed when.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from gateway.embedded import EmbeddedPostgres, EmbeddedValkey
from gateway.servers import in_database, prepare_database
from gateway.simulate import Behaviour, FleetReport, run_fleet
from gateway.simulate.behaviour import STEADY
from models import Event
from models.database import role_url
from models.ids import encode
from models.roles import OWNER
from tests.faults.gateway_process import GatewayProcess, gateway_process
from tests.faults.statements import Statements, log_statements, read_statements
from tests.patience import DEADLINE, promised
from tests.report import record

SHOW = "a fleet at one beat a second: no error, every silence exactly one offline event, statements for beats"
OFFLINE = "workspace.went_offline"
GRACE_SECONDS = 5.0
MOST_STATEMENTS_A_SECOND = 10.0


@dataclass(frozen=True, slots=True)
class Scale:
    """How large the fleet is and how fast it lives."""

    agents: int
    rate: float
    seconds: float
    ttl_seconds: int
    behaviour: Behaviour


FULL = Scale(
    agents=200,
    rate=1.0,
    seconds=120.0,
    ttl_seconds=10,
    # Silences outlast the time-to-live and the grace, so each must be told before it ends.
    behaviour=Behaviour(calm_seconds=(15.0, 60.0), silent_seconds=(16.0, 25.0), silent_weight=4.0),
)
SMALL = Scale(
    agents=20,
    rate=1.0,
    seconds=30.0,
    ttl_seconds=6,
    behaviour=Behaviour(
        calm_seconds=(3.0, 6.0),
        failing_seconds=(2.0, 4.0),
        wedged_seconds=(2.0, 3.0),
        silent_seconds=(13.0, 15.0),
        silent_weight=4.0,
    ),
)


class Told(NamedTuple):
    """One event of a workspace."""

    kind: str
    at: datetime


@dataclass(slots=True)
class House:
    """Servers of this test's own, with a gateway over them."""

    gateway: GatewayProcess
    owner: AsyncEngine
    postgres_log: Path

    @property
    def key(self) -> str:
        """The demo's fleet key."""
        secret = self.gateway.demo.secret("acme", "fleet")
        assert secret is not None
        return secret


@contextmanager
def _servers(folder: Path) -> Iterator[tuple[EmbeddedPostgres, EmbeddedValkey]]:
    postgres = EmbeddedPostgres.start(folder)
    try:
        valkey = EmbeddedValkey.start(folder)
        try:
            yield postgres, valkey
        finally:
            valkey.stop()
    finally:
        postgres.stop()


@pytest.fixture
async def house() -> AsyncIterator[House]:
    """A gateway process that nothing else uses."""
    with TemporaryDirectory(prefix="sbx-fleet-") as name, _servers(Path(name)) as (postgres, valkey):
        await prepare_database(postgres.url)
        await log_statements(postgres.url)
        owner = create_async_engine(role_url(in_database(postgres.url), OWNER))
        try:
            async with gateway_process(Path(name), postgres, valkey) as gateway:
                yield House(gateway, owner, Path(name) / "postgres.log")
        finally:
            await owner.dispose()


@pytest.mark.faults
async def test_a_fleet_of_200_at_full_number(house: House) -> None:
    await _show(house, FULL)


async def test_a_small_fleet(house: House) -> None:
    await _show(house, SMALL)


async def _show(house: House, scale: Scale) -> None:
    await _take_places(house, scale)
    seen_to = await _head(house)
    report, statements = await _live(house, scale)
    lives = await _lives(house, scale, seen_to)
    assert report.errors == {}
    assert report.ended == {}
    assert report.enlisted == scale.agents
    latest = _match(report, lives, scale.ttl_seconds)
    a_second = statements.for_beats / scale.seconds
    # At least one batch a second, or it was not the beats that were counted.
    assert scale.seconds <= statements.by_purpose["beats"]
    assert a_second <= MOST_STATEMENTS_A_SECOND, statements
    assert not _levels(house.gateway.log) & {"error", "critical"}
    record(
        2,
        SHOW,
        n=len(report.silences),
        figure=f"{scale.agents} agents, {report.beats:,} beats, no error, "
        f"slowest answer {report.slowest_seconds:.1f} s; {len(report.silences)} silences and as many offline events, "
        f"the latest {latest:.1f} s after the last beat (TTL {scale.ttl_seconds} s); "
        f"{a_second:.1f} statements/s for beats ({_shown(statements, scale.seconds)})",
    )


async def _take_places(house: House, scale: Scale) -> None:
    """Let the fleet make its workspaces, then shorten their time-to-live."""
    enlisted = asyncio.Event()
    task = asyncio.create_task(_fleet(house, scale, STEADY, enlisted, stop=enlisted), name="fleet takes its places")
    await asyncio.wait_for(task, 2 * DEADLINE)
    async with house.owner.begin() as connection:
        changed = await connection.execute(
            text("UPDATE workspaces SET heartbeat_ttl_seconds = :ttl WHERE name LIKE 'sim-%'"),
            {"ttl": scale.ttl_seconds},
        )
    assert changed.rowcount == scale.agents


async def _live(house: House, scale: Scale) -> tuple[FleetReport, Statements]:
    """The fleet's run, and the statements of exactly ``scale.seconds`` in which all of it was there."""
    enlisted, stop = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(_fleet(house, scale, scale.behaviour, enlisted, stop=stop), name="fleet")
    await asyncio.wait_for(enlisted.wait(), 2 * DEADLINE)
    start = house.postgres_log.stat().st_size
    await asyncio.wait({task}, timeout=scale.seconds)
    end = house.postgres_log.stat().st_size
    stop.set()
    report = await asyncio.wait_for(task, DEADLINE)
    return report, read_statements(house.postgres_log, start, end)


async def _fleet(
    house: House, scale: Scale, behaviour: Behaviour, enlisted: asyncio.Event, stop: asyncio.Event
) -> FleetReport:
    def note(report: FleetReport) -> None:
        if report.enlisted == scale.agents:
            enlisted.set()

    return await run_fleet(
        house.gateway.url,
        house.key,
        agents=scale.agents,
        rate=scale.rate,
        script=behaviour,
        stop=stop,
        progress=note,
        progress_seconds=0.05,
    )


async def _head(house: House) -> int:
    async with house.owner.connect() as connection:
        return int(await connection.scalar(text("SELECT max(seq) FROM events")) or 0)


async def _lives(house: House, scale: Scale, after: int) -> dict[str, list[Told]]:
    """What was told of each workspace, oldest first, once the last silence's time is over."""
    # To the end, even when every silence has its event: a second one would come late.
    await asyncio.sleep(scale.ttl_seconds + GRACE_SECONDS)
    found: dict[str, list[Told]] = defaultdict(list)
    async with house.owner.connect() as connection:
        rows = await connection.execute(
            select(Event.entity_id, Event.kind, Event.occurred_at)
            .where(Event.entity_type == "workspace", Event.seq > after)
            .order_by(Event.seq)
        )
        for entity_id, kind, occurred_at in rows:
            found[encode("workspace", entity_id)].append(Told(kind, occurred_at))
    return found


def _match(report: FleetReport, lives: dict[str, list[Told]], ttl_seconds: int) -> float:
    """Every silence and its one event; the longest time that one took."""
    own: dict[str, list[datetime]] = defaultdict(list)
    for silence in report.silences:
        own[silence.workspace_id].append(silence.began_at)
    delays, wrong = [], []
    for workspace_id, life in lives.items():
        began, offline = sorted(own[workspace_id]), [told.at for told in life if told.kind == OFFLINE]
        delays += [(event - beat).total_seconds() for beat, event in zip(began, offline, strict=False)]
        if len(began) != len(offline):
            wrong.append(_story(began, life))
    assert not wrong, f"{len(wrong)} of {len(lives)} workspaces:\n" + "\n\n".join(wrong)
    assert len(delays) == len(report.silences)
    # A silence begins with an answer, the time-to-live with the storing before it: no more apart than answers took.
    assert min(delays) >= ttl_seconds - report.slowest_seconds
    assert max(delays) <= ttl_seconds + promised(GRACE_SECONDS)
    return max(delays)


def _story(began: list[datetime], life: list[Told]) -> str:
    lines = [*(Told("silent from here", at) for at in began), *life]
    return "\n".join(f"{told.at:%H:%M:%S.%f} {told.kind}" for told in sorted(lines, key=lambda told: told.at))


def _levels(log: Path) -> set[str]:
    return {line.partition("[")[2].partition("]")[0].strip() for line in log.read_text().splitlines() if "[" in line}


def _shown(statements: Statements, seconds: float) -> str:
    return ", ".join(f"{purpose} {count / seconds:.1f}" for purpose, count in statements.by_purpose.most_common())
