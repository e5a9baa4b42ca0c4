"""This module is where streams are shown to lose nothing while brokers, gateways and the database fail."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from models import Event
from tests.faults.checker import Audience, Verdict, check, check_contiguous
from tests.faults.journal import Follower, all_stopped
from tests.faults.stage import Guest, Stage
from tests.faults.storm import Faults, Storm
from tests.faults.transports import TRANSPORTS
from tests.faults.writers import ApiWriter, DatabaseWriter, Pace, marked, writing
from tests.report import record

SHOW = "Nothing lost, out of order or twice through kills of Valkey, both gateways and PostgreSQL"
SETTLE_SECONDS = 60.0
API_EVENTS_PER_SECOND = 3.0
ALL = Audience(frozenset({"workspaces:read"}))
LOW = Audience(frozenset({"workspaces:read"}), tiers=frozenset({1, 2}))
LOW_FILTER = {"filter": {"tier": [1, 2]}}


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything. ``events_per_second`` is offered, more than is promised: outages cost some of it."""

    writers: int
    events_per_second: float
    followers: int
    faults: Faults


FULL = Scale(16, 240, 20, Faults(valkey_kills=20, kills_per_gateway=10, postgres_restarts=2))
TENTH = Scale(4, 40, 4, Faults(valkey_kills=2, kills_per_gateway=1, postgres_restarts=1))


@dataclass(slots=True)
class Crowd:
    """Followers of two groups: half from the start, half joining during the storm, some of these from the past."""

    stage: Stage
    guest: Guest
    followers: list[Follower]

    @classmethod
    def gather(cls, stage: Stage, guest: Guest, transport: str, count: int) -> Crowd:
        """``count`` followers, every other one with a filter."""
        urls = [one.url for one in stage.gateways]
        followers = [
            Follower(
                f"{transport} {number}",
                urls,
                guest.key,
                TRANSPORTS[transport],
                variables=LOW_FILTER if number % 2 else None,
            )
            for number in range(count)
        ]
        return cls(stage, guest, followers)

    async def start(self) -> None:
        """The first half, each with its Ready."""
        early = self.followers[: len(self.followers) // 2]
        for one in early:
            one.start()
        for one in early:
            await one.until(lambda journal: bool(journal.items), SETTLE_SECONDS)

    async def join_later(self, within_seconds: float) -> None:
        """The second half, at any time; every third one after the cursor of somebody's first item."""
        chance = random.Random("join")
        late = self.followers[len(self.followers) // 2 :]
        past = self.followers[0].journal.items[0].cursor
        for number, one in enumerate(late):
            await asyncio.sleep(chance.uniform(0, 2 * within_seconds / len(late)))
            if number % 3 == 0:
                one.resume_after(past)
            one.start()

    def verdicts(self, log: Sequence[Event], until_seq: int) -> list[Verdict]:
        """What the checker says of each journal."""
        return [
            check(one.journal, log, LOW if number % 2 else ALL, until_seq) for number, one in enumerate(self.followers)
        ]


@pytest.mark.parametrize(
    ("transport", "scale"),
    [
        *(pytest.param(one, TENTH, id=f"{one}-tenth") for one in TRANSPORTS),
        *(pytest.param(one, FULL, id=f"{one}-full", marks=pytest.mark.faults) for one in TRANSPORTS),
    ],
)
async def test_journals_equal_the_log_whatever_fails(stage: Stage, transport: str, scale: Scale) -> None:
    guest = await stage.guest()
    urls = [one.url for one in stage.gateways]
    crowd = Crowd.gather(stage, guest, transport, scale.followers)
    by_api = [ApiWriter(guest, urls, Pace(API_EVENTS_PER_SECOND), f"api {n}") for n in range(scale.writers // 4)]
    others = scale.writers - len(by_api)
    each = (scale.events_per_second - len(by_api) * API_EVENTS_PER_SECOND) / others
    direct = [DatabaseWriter(guest, Pace(each), f"{transport} {n}") for n in range(others)]
    storm = Storm(stage, scale.faults)
    await crowd.start()
    async with writing(*by_api, *direct), asyncio.TaskGroup() as group:
        group.create_task(crowd.join_later(scale.faults.valkey_kills), name="late joiners")
        await storm.rage()
    marker = await marked(guest)
    for one in crowd.followers:
        await one.until_seq(marker, SETTLE_SECONDS)
    await all_stopped(crowd.followers)
    log = await stage.log(guest.tenant_id)
    verdicts = crowd.verdicts(log, marker)
    assert check_contiguous(log) == []
    assert [fault for verdict in verdicts for fault in verdict.faults] == []
    for writer in by_api:
        assert writer.missing_from(log) == []
    _record(scale, transport, log, storm, verdicts)


def _record(scale: Scale, transport: str, log: Sequence[Event], storm: Storm, verdicts: Sequence[Verdict]) -> None:
    deliveries = sum(one.deliveries for one in verdicts)
    resumes = sum(one.resumes for one in verdicts)
    seconds = (log[-1].occurred_at - log[0].occurred_at).total_seconds()
    figure = (
        f"0 lost, so below {3 / deliveries:.1e} (3/N); {transport}, {scale.writers} writers, "
        f"{len(log) / seconds:.0f} events/s, {len(verdicts)} subscribers, {resumes} resumes, "
        f"{len(storm.done)} faults in {seconds:.0f} s"
    )
    record(3, SHOW, n=deliveries, figure=figure)
