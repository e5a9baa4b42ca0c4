"""This module is where following a log is specified: one reader a tenant, woken by hints that may be lost or forged."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from uuid import UUID

import pytest
from sqlalchemy import event, text

import subscriptions.tail
from models import Event
from models.database import Database, DatabaseUrls, PoolOptions
from models.errors import Unavailable
from subscriptions.bus import Bus
from subscriptions.channels import encode_wakeup, events_channel
from subscriptions.memory_backend import MemoryBackend, MemoryBroker
from subscriptions.tail import BATCH, Tail, Tails
from tests.conftest import counted
from tests.patience import DEADLINE
from tests.subscriptions.brokers import until
from tests.subscriptions.test_log import commit, envelope
from tests.world import Tenants

NEVER = 3600.0


@dataclass(slots=True)
class Process:
    """One process's tails, and the broker that rings for them."""

    tails: Tails
    bus: Bus
    broker: MemoryBroker

    async def ring(self, tenant_id: UUID, seq: int) -> None:
        """The wake-up that a commit sends."""
        await self.bus.publish(events_channel(tenant_id), encode_wakeup(tenant_id, seq))


@asynccontextmanager
async def process(database: Database, sweep_seconds: float) -> AsyncIterator[Process]:
    """A process that sweeps that often."""
    broker = MemoryBroker()
    bus = Bus(MemoryBackend(broker))
    await bus.start()
    tails = Tails(database, bus, sweep_seconds)
    await tails.start()
    try:
        yield Process(tails, bus, broker)
    finally:
        await tails.stop()
        await bus.stop()


@pytest.fixture
async def woken(database: Database) -> AsyncIterator[Process]:
    """A process that hears wake-ups and does not sweep."""
    async with process(database, NEVER) as made:
        yield made


@pytest.fixture
async def deaf(database: Database) -> AsyncIterator[Process]:
    """A process whose broker is gone: only the sweep is left."""
    async with process(database, 0.02) as made:
        made.broker.stop()
        yield made


async def seqs(tail: Tail, after: int, until_seq: int) -> list[int]:
    """The numbers that follow ``after``, up to ``until_seq``; fails at the deadline."""
    found: list[int] = []
    async with asyncio.timeout(DEADLINE):
        while (found[-1] if found else after) < until_seq:
            found += [one.seq for one in await tail.after(found[-1] if found else after)]
    return found


@contextmanager
def swept(database: Database) -> Iterator[list[str]]:
    """Every statement of the tail role while the block lasts."""
    statements: list[str] = []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        statements.append(statement)

    event.listen(database.tail.sync_engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(database.tail.sync_engine, "before_cursor_execute", note)


async def test_a_wake_up_brings_what_was_committed(woken: Process, database: Database, tenants: Tenants) -> None:
    async with woken.tails.follow(tenants.mine) as tail:
        for _ in range(3):
            await woken.ring(tenants.mine, await commit(database, tenants.mine, envelope(), envelope()))
        assert await seqs(tail, 0, 6) == [1, 2, 3, 4, 5, 6]


async def test_a_wake_up_that_was_lost_costs_one_sweep(deaf: Process, database: Database, tenants: Tenants) -> None:
    async with deaf.tails.follow(tenants.mine) as tail:
        waiting = asyncio.create_task(seqs(tail, 0, 3), name="follower")
        last = await commit(database, tenants.mine, envelope(), envelope(), envelope())
        assert await waiting == [1, 2, 3]
        assert tail.head == last


async def test_one_statement_sweeps_all_tenants(deaf: Process, database: Database, tenants: Tenants) -> None:
    async with deaf.tails.follow(tenants.mine) as mine, deaf.tails.follow(tenants.other) as other:
        await deaf.tails.epoch()
        with swept(database) as statements:
            for tenant_id in (tenants.mine, tenants.other):
                await commit(database, tenant_id, envelope())
            assert await seqs(mine, 0, 1) == await seqs(other, 0, 1) == [1]
            await until(lambda: len(statements) >= 2)
        assert all("tenant_streams" in one and "ANY" in one.upper() for one in statements)


async def test_a_gap_in_the_bus_makes_everyone_look(woken: Process, database: Database, tenants: Tenants) -> None:
    async with woken.tails.follow(tenants.mine) as mine, woken.tails.follow(tenants.other) as other:
        for tenant_id in (tenants.mine, tenants.other):
            await commit(database, tenant_id, envelope())
        woken.broker.sever()
        assert await seqs(mine, 0, 1) == await seqs(other, 0, 1) == [1]


async def test_forged_wake_ups_do_no_more_than_make_it_look(
    woken: Process, database: Database, tenants: Tenants
) -> None:
    async with woken.tails.follow(tenants.mine) as tail:
        with counted(database) as statements:
            for data in (b"", b"nonsense", b"\xff" * 100, encode_wakeup(tenants.other, 7), tenants.mine.hex.encode()):
                await woken.bus.publish(events_channel(tenants.mine), data)
            await woken.ring(tenants.mine, 2**63 - 1)
            await until(lambda: len(statements) > 0)
        last = await commit(database, tenants.mine, envelope())
        await woken.ring(tenants.mine, last)
        assert await seqs(tail, 0, last) == [1]
    assert len(statements) <= 2
    assert woken.tails.listening


async def test_a_wake_up_for_what_is_known_wakes_nobody(
    woken: Process, database: Database, tenants: Tenants, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with woken.tails.follow(tenants.mine) as tail, woken.tails.follow(tenants.other):
        last = await commit(database, tenants.mine, envelope())
        await woken.ring(tenants.mine, last)
        await seqs(tail, 0, last)
        heard: list[UUID] = []
        monkeypatch.setattr(Tail, "wake", lambda one: heard.append(one.tenant_id))
        for tenant_id in (tenants.mine, tenants.other):
            await woken.ring(tenant_id, last)
        # Wake-ups are heard in their order.
        await until(lambda: tenants.other in heard)
        assert heard == [tenants.other]


async def test_all_followers_of_a_tenant_share_one_reader(woken: Process, database: Database, tenants: Tenants) -> None:
    async with woken.tails.follow(tenants.mine) as first, woken.tails.follow(tenants.mine) as second:
        assert first is second
        assert woken.tails.followed == 1
        waiting = [asyncio.create_task(seqs(first, 0, 1), name="follower") for _ in range(50)]
        last = await commit(database, tenants.mine, envelope())
        with counted(database) as statements:
            await woken.ring(tenants.mine, last)
            assert await asyncio.gather(*waiting) == [[1]] * 50
        # The event, and that there is nothing behind it.
        assert len(statements) <= 2


async def test_with_its_last_follower_a_tail_ends(woken: Process, tenants: Tenants) -> None:
    async with woken.tails.follow(tenants.mine):
        async with woken.tails.follow(tenants.mine):
            pass
        assert woken.tails.followed == 1
        assert f"tail {tenants.mine}" in {task.get_name() for task in asyncio.all_tasks()}
    assert woken.tails.followed == 0
    assert f"tail {tenants.mine}" not in {task.get_name() for task in asyncio.all_tasks()}


async def test_what_was_committed_before_anyone_followed_is_read_from_the_database_in_bounded_steps(
    woken: Process, database: Database, tenants: Tenants
) -> None:
    last = await commit(database, tenants.mine, *(envelope() for _ in range(2 * BATCH + 5)))
    async with woken.tails.follow(tenants.mine) as tail:
        assert tail.head == last
        steps = [len(await tail.after(seq)) for seq in (0, BATCH, 2 * BATCH)]
        assert steps == [BATCH, BATCH, 5]
        assert await seqs(tail, 0, last) == list(range(1, last + 1))


@pytest.mark.parametrize(("limit", "value"), [("RING_EVENTS", 3), ("RING_BYTES", 2_000)])
async def test_the_ring_is_bounded_and_what_it_forgot_comes_from_the_database(
    woken: Process, database: Database, tenants: Tenants, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(subscriptions.tail, limit, value)
    async with woken.tails.follow(tenants.mine) as tail:
        last = await commit(database, tenants.mine, *(envelope(payload={"text": "x" * 200}) for _ in range(10)))
        await woken.ring(tenants.mine, last)
        await seqs(tail, last - 1, last)
        with counted(database) as statements:
            assert await seqs(tail, last - 1, last) == [last]
        assert statements == []
        with counted(database) as statements:
            assert await seqs(tail, 0, last) == list(range(1, last + 1))
        assert len(statements) >= 1


async def test_a_follower_hears_of_its_own_tenant_only(woken: Process, database: Database, tenants: Tenants) -> None:
    async with woken.tails.follow(tenants.mine) as tail:
        await woken.ring(tenants.other, await commit(database, tenants.other, envelope(kind="theirs.made")))
        last = await commit(database, tenants.mine, envelope(kind="mine.made"))
        await woken.ring(tenants.mine, last)
        found: list[Event] = await tail.after(0)
    assert [(one.tenant_id, one.kind) for one in found] == [(tenants.mine, "mine.made")]


async def test_a_database_that_throws_everyone_out_is_read_again(migrated: str, tenants: Tenants) -> None:
    database = Database(DatabaseUrls.for_roles(migrated), PoolOptions(size=2))
    async with process(database, 0.02) as made, made.tails.follow(tenants.mine) as tail:
        for turn in range(1, 4):
            async with database.app.connect() as one, database.app.connect() as two:
                pids = [await each.scalar(text("SELECT pg_backend_pid()")) for each in (one, two)]
            async with database.app.connect() as killer:
                for pid in pids:
                    mine = await killer.scalar(text("SELECT pg_backend_pid()"))
                    if pid != mine:
                        await killer.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
            await committed_at_last(database, tenants.mine)
            assert await seqs(tail, turn - 1, turn) == [turn]
    await database.close()


async def committed_at_last(database: Database, tenant_id: UUID) -> None:
    """Commits one event, through connections that may be dead."""
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                await commit(database, tenant_id, envelope())
            except Unavailable:
                continue
            return


async def test_who_comes_while_others_go_is_never_left_with_a_tail_that_nobody_wakes(
    woken: Process, database: Database, tenants: Tenants
) -> None:
    chance = random.Random(7)

    async def come_and_go() -> None:
        for _ in range(10):
            async with woken.tails.follow(tenants.mine):
                for _ in range(chance.randrange(4)):
                    await asyncio.sleep(0)

    await asyncio.gather(*(come_and_go() for _ in range(20)))
    assert woken.tails.followed == 0

    async def stay() -> list[int]:
        async with woken.tails.follow(tenants.mine) as tail:
            return await seqs(tail, 0, 1)

    going = [asyncio.create_task(come_and_go(), name="passer-by") for _ in range(10)]
    staying = [asyncio.create_task(stay(), name="stayer") for _ in range(10)]
    await asyncio.gather(*going)
    last = await commit(database, tenants.mine, envelope())
    await woken.ring(tenants.mine, last)
    assert await asyncio.gather(*staying) == [[1]] * 10
