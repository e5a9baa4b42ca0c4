"""This module is where a gateway that is told to end does so well: its clients go on elsewhere and miss nothing."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from tests.faults.checker import Audience, check
from tests.faults.journal import Follower, all_stopped
from tests.faults.stage import Stage
from tests.faults.transports import TRANSPORTS
from tests.faults.writers import ApiWriter, DatabaseWriter, Pace, marked, writing
from tests.patience import DEADLINE, promised
from tests.report import record

ALL = Audience(frozenset({"workspaces:read"}))
END_SECONDS = 15.0
TOLD = {"websocket": "1012", "sse": "UNAVAILABLE", "multipart": "UNAVAILABLE"}


@pytest.mark.parametrize(
    ("each", "writers"),
    [pytest.param(2, 2, id="tenth"), pytest.param(20, 16, id="full", marks=pytest.mark.faults)],
)
async def test_a_gateway_told_to_end_hands_its_clients_on(stage: Stage, each: int, writers: int) -> None:
    leaving, staying = stage.gateways
    guest = await stage.guest()
    followers = [
        Follower(f"{name} {number}", [leaving.url], guest.key, transport).start()
        for name, transport in TRANSPORTS.items()
        for number in range(each)
    ]
    for one in followers:
        await one.until(lambda journal: bool(journal.items), DEADLINE)
        one.go_on_at(staying.url)
    by_api = [ApiWriter(guest, [leaving.url, staying.url], Pace(5), f"api {number}") for number in range(writers // 2)]
    direct = [DatabaseWriter(guest, Pace(5), f"direct {number}") for number in range(writers // 2)]
    async with writing(*by_api, *direct):
        for one in followers:
            await one.until(lambda journal: len(journal.changes) > 10, DEADLINE)
        status, seconds = await leaving.terminate()
    marker = await marked(guest)
    for one in followers:
        await one.until_seq(marker, DEADLINE)
    await all_stopped(followers)
    log = await stage.log(guest.tenant_id)
    verdicts = [check(one.journal, log, ALL, marker) for one in followers]
    assert [fault for verdict in verdicts for fault in verdict.faults] == []
    assert [key for writer in by_api for key in writer.missing_from(log)] == []
    assert (status, seconds < promised(END_SECONDS)) == (0, True)
    told = Counter((one.journal.name.split()[0], *one.journal.ends) for one in followers)
    assert told == dict.fromkeys(TOLD.items(), each)
    await leaving.ready()
    n = sum(one.deliveries for one in verdicts)
    record(
        3,
        "SIGTERM under load: exit 0 in time, clients resume elsewhere, nothing lost",
        n=n,
        figure=f"0 lost, so below {3 / n:.1e} (3/N); {len(followers)} clients handed on, exit 0 after {seconds:.1f} s",
    )


@pytest.mark.timed
async def test_an_idle_gateway_ends_at_once(stage: Stage) -> None:
    gateway = stage.gateways[0]
    status, seconds = await gateway.terminate()
    assert status == 0
    assert seconds < promised(3)
    async with asyncio.timeout(DEADLINE):
        await gateway.ready()
