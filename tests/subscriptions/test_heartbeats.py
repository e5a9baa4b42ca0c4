"""This module is where watching beats live is specified: conflated, bounded, and honest about gaps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID, uuid4

import pytest

from models import WorkspaceStatus
from models.ids import uuid7
from subscriptions import heartbeats
from subscriptions.beats import BeatSeen, encode_beats
from subscriptions.bus import Bus, Gap
from subscriptions.channels import beats_channel
from subscriptions.heartbeats import RESEND, HeartbeatBoard
from tests.patience import DEADLINE, promised
from tests.subscriptions.brokers import Broker, Buses, until

TENANT = uuid7()
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
A, B = uuid7(), uuid7()


def beat(workspace_id: UUID, tasks: int = 0, received_at: datetime = NOW) -> BeatSeen:
    return BeatSeen(workspace_id, WorkspaceStatus.ONLINE, received_at, 0.0, tasks, 0, None, None)


@pytest.fixture
async def bus(broker: Broker, buses: Buses) -> Bus:
    return await buses.start(broker.backend())


@pytest.fixture
def board(bus: Bus) -> HeartbeatBoard:
    return HeartbeatBoard(bus)


async def send(bus: Bus, *beats: BeatSeen, tenant_id: UUID = TENANT) -> None:
    for message in encode_beats(tenant_id, beats):
        assert await bus.publish(beats_channel(tenant_id), message)


async def following(beats: AsyncIterator[list[BeatSeen] | Gap]) -> list[BeatSeen] | Gap:
    async with asyncio.timeout(DEADLINE):
        return await anext(beats)


def board_tasks() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("reads ")]


async def test_the_first_lone_watcher_sees_the_first_beat(bus: Bus, board: HeartbeatBoard) -> None:
    async with board.subscribe(TENANT, None, 0) as beats:
        await send(bus, beat(A, 1), beat(B, 2))
        assert await following(beats) == [beat(A, 1), beat(B, 2)]


async def test_a_watcher_sees_its_own_tenant_only(bus: Bus, board: HeartbeatBoard) -> None:
    # The same low four bits, so both travel in one channel.
    neighbour = UUID(int=TENANT.int ^ (1 << 70))
    assert beats_channel(neighbour) == beats_channel(TENANT)
    async with board.subscribe(TENANT, None, 0) as mine, board.subscribe(neighbour, None, 0) as theirs:
        await send(bus, beat(A, 1), tenant_id=neighbour)
        await send(bus, beat(A, 2))
        assert await following(theirs) == [beat(A, 1)]
        assert await following(mine) == [beat(A, 2)]


async def test_a_watcher_of_some_workspaces_sees_no_other(bus: Bus, board: HeartbeatBoard) -> None:
    async with board.subscribe(TENANT, frozenset({B}), 0) as beats:
        await send(bus, beat(A, 1), beat(B, 2))
        await send(bus, beat(A, 3), beat(B, 4))
        seen = await following(beats)
        if seen == [beat(B, 2)]:
            seen = await following(beats)
        assert seen == [beat(B, 4)]


async def test_a_slow_watcher_gets_the_newest_beat_of_each_workspace_and_no_backlog(
    bus: Bus, board: HeartbeatBoard
) -> None:
    async with board.subscribe(TENANT, None, 0) as slow, board.subscribe(TENANT, None, 0) as quick:
        for tasks in range(1, 51):
            await send(bus, beat(A, tasks), beat(B, tasks))
        last: list[BeatSeen] | Gap = []
        while beat(B, 50) not in (last if isinstance(last, list) else []):
            last = await following(quick)
        assert await following(slow) == [beat(A, 50), beat(B, 50)]


async def test_of_two_gateways_messages_that_pass_each_other_the_newer_beat_stands(
    bus: Bus, board: HeartbeatBoard
) -> None:
    async with board.subscribe(TENANT, None, 0.2) as beats:
        await send(bus, beat(A, 2, NOW + timedelta(seconds=1)), beat(A, 1, NOW))
        await send(bus, beat(B))
        seen = await following(beats)
        assert seen == [beat(A, 2, NOW + timedelta(seconds=1)), beat(B)]


async def test_a_workspace_is_seen_at_most_once_an_interval_and_never_later_than_that(
    bus: Bus, board: HeartbeatBoard
) -> None:
    clock = asyncio.get_running_loop().time
    seen: dict[UUID, list[tuple[float, int]]] = {A: [], B: []}
    entered_at = clock()
    async with board.subscribe(TENANT, None, 0.3) as beats:
        sending = asyncio.create_task(_send_often(bus))
        while len(seen[A]) < 4:
            delivery = await following(beats)
            assert isinstance(delivery, list)
            for one in delivery:
                seen[one.workspace_id].append((clock(), one.active_tasks))
        sending.cancel()
    for deliveries in seen.values():
        times = [entered_at, *(at for at, _ in deliveries)]  # the state that the caller showed counts as one
        assert all(later - earlier > 0.29 for earlier, later in pairwise(times)), times
        assert all(later - earlier < promised(1) for earlier, later in pairwise(times)), times
        tasks = [count for _, count in deliveries]
        assert tasks == sorted(set(tasks))


async def _send_often(bus: Bus) -> None:
    for tasks in range(1_000):
        await send(bus, beat(A, tasks, NOW + timedelta(seconds=tasks)))
        await send(bus, beat(B, tasks, NOW + timedelta(seconds=tasks)))
        await asyncio.sleep(0.01)


async def test_a_workspace_that_rested_long_enough_is_seen_at_once(bus: Bus, board: HeartbeatBoard) -> None:
    async with board.subscribe(TENANT, None, 0.2) as beats:
        await send(bus, beat(A, 1))
        await following(beats)
        await send(bus, beat(B, 1))
        assert await following(beats) == [beat(B, 1)]
        await send(bus, beat(A, 2), beat(B, 2))
        seen = await following(beats)
        assert isinstance(seen, list)
        assert beat(A, 2) in seen


async def test_after_a_break_every_watcher_is_told_to_show_the_state_again(
    broker: Broker, bus: Bus, board: HeartbeatBoard
) -> None:
    async with board.subscribe(TENANT, None, 0) as one, board.subscribe(TENANT, None, 0) as two:
        await send(bus, beat(A, 1))
        assert await following(one) == [beat(A, 1)]
        broker.kill()
        broker.restart()
        # What waited for the second one is older than the state it reads now.
        assert await following(one) is RESEND
        assert await following(two) in ([beat(A, 1)], RESEND)
        await until(lambda: bus.healthy)
        await send(bus, beat(A, 2))
        assert await following(one) == [beat(A, 2)]


async def test_a_broker_that_is_away_at_the_start_is_a_gap_when_it_comes(broker: Broker, buses: Buses) -> None:
    broker.kill()
    bus = await buses.start(broker.backend())
    board = HeartbeatBoard(bus)
    async with board.subscribe(TENANT, None, 0) as beats:
        broker.restart()
        assert await following(beats) is RESEND
        await send(bus, beat(A, 1))
        assert await following(beats) == [beat(A, 1)]


async def test_more_waiting_beats_than_a_watcher_may_hold_become_one_gap(
    bus: Bus, board: HeartbeatBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeats, "MAX_WORKSPACES", 10)
    async with board.subscribe(TENANT, None, 0) as beats:
        await send(bus, *(beat(uuid4()) for _ in range(11)))
        await send(bus, beat(A, 1))
        assert await following(beats) is RESEND
        assert await following(beats) == [beat(A, 1)]


@pytest.mark.parametrize(
    "forged",
    [b"", b"{}", b"null", b"\xff" * 100, b'{"tenant":"%s","beats":[[1]]}' % TENANT.hex.encode(), b"[" * 16_000],
)
async def test_what_nobody_of_us_can_have_written_is_ignored(bus: Bus, board: HeartbeatBoard, forged: bytes) -> None:
    async with board.subscribe(TENANT, None, 0) as beats:
        await bus.publish(beats_channel(TENANT), forged)
        await send(bus, beat(A, 1))
        assert await following(beats) == [beat(A, 1)]
    assert board.counters.malformed == 1


async def test_all_watchers_share_one_subscription_and_the_last_one_ends_it(bus: Bus, board: HeartbeatBoard) -> None:
    async with board.subscribe(TENANT, None, 0) as one:
        async with board.subscribe(TENANT, frozenset({A}), 0):
            assert board_tasks() == [f"reads {beats_channel(TENANT)}"]
        await send(bus, beat(A, 1))
        assert await following(one) == [beat(A, 1)]
    assert board_tasks() == []
    assert board.counters.watchers == 0
    async with board.subscribe(TENANT, None, 0) as again:
        await send(bus, beat(A, 2))
        assert await following(again) == [beat(A, 2)]


async def test_many_watchers_come_and_go_at_once_without_losing_anyones_beats(bus: Bus, board: HeartbeatBoard) -> None:
    async def watch() -> None:
        async with board.subscribe(TENANT, None, 0) as beats:
            await send(bus, beat(A, 1))
            assert await following(beats) == [beat(A, 1)]

    await asyncio.gather(*(watch() for _ in range(50)))
    assert board_tasks() == []


async def test_when_the_bus_stops_every_watcher_ends(bus: Bus, board: HeartbeatBoard) -> None:
    async with board.subscribe(TENANT, None, 0) as beats:
        await bus.stop()
        with pytest.raises(StopAsyncIteration):
            await following(beats)
    async with board.subscribe(TENANT, None, 0) as late:
        with pytest.raises(StopAsyncIteration):
            await following(late)
    assert board_tasks() == []
