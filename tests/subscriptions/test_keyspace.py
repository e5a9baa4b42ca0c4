"""This module is where keys that expire are heard of, on every backend."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from subscriptions.bus import GAP, Bus, Gap
from subscriptions.keyspace import expired_keys
from subscriptions.redis_backend import RedisBackend
from tests.patience import DEADLINE
from tests.subscriptions.brokers import Broker, Buses, TcpValkey, Valkey


class Hints:
    """Runs expired_keys and notes what it yields."""

    def __init__(self, bus: Bus, prefix: str = "signalbox:ws:") -> None:
        self._bus, self._prefix = bus, prefix
        self._seen: asyncio.Queue[str | Gap] = asyncio.Queue()

    async def run(self) -> None:
        async for key in expired_keys(self._bus, self._prefix):
            self._seen.put_nowait(key)

    async def next(self) -> str | Gap:
        async with asyncio.timeout(DEADLINE):
            return await self._seen.get()


@contextlib.asynccontextmanager
async def hints(bus: Bus) -> AsyncIterator[Hints]:
    hints = Hints(bus)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(hints.run())
        # Keys of the prefix until one is heard of: then it is listening.
        while hints._seen.empty():
            assert await bus.refresh_keys({"signalbox:ws:ready": 1})
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2):
                    assert await hints.next() == "signalbox:ws:ready"
                    break
        yield hints
        task.cancel()


async def test_a_key_that_is_not_refreshed_is_reported_and_others_are_not(broker: Broker, buses: Buses) -> None:
    bus = await buses.start(broker.backend())
    async with hints(bus) as expired:
        assert await bus.refresh_keys({"signalbox:ws:1": 1, "signalbox:ws:2": 1, "signalbox:ws:3": 60, "other:1": 1})
        assert await bus.refresh_keys({"signalbox:ws:2": 2})
        assert await bus.refresh_keys({"signalbox:ws:4": 1})
        assert await bus.delete_keys(["signalbox:ws:4", "signalbox:ws:never-there"])
        assert await expired.next() == "signalbox:ws:1"
        assert await expired.next() == "signalbox:ws:2"


async def test_a_gap_is_passed_on_so_that_the_caller_sweeps(broker: Broker, buses: Buses) -> None:
    bus = await buses.start(broker.backend())
    async with hints(bus) as expired:
        broker.sever()
        assert await expired.next() is GAP


async def test_the_hints_end_when_the_bus_stops(broker: Broker) -> None:
    bus = Bus(broker.backend())
    await bus.start()
    task = asyncio.create_task(Hints(bus).run())
    await asyncio.sleep(0)
    await bus.stop()
    async with asyncio.timeout(DEADLINE):
        await task


async def test_nothing_to_refresh_or_delete_needs_no_broker(broker: Broker) -> None:
    broker.kill()
    bus = Bus(broker.backend())
    assert await bus.refresh_keys({})
    assert await bus.delete_keys([])


@pytest.mark.parametrize(("before", "after"), [("", "xE"), ("Kl", "xKEl"), ("KEA", "AKE"), ("Ex", "xE")])
async def test_the_broker_is_asked_to_notify_without_losing_what_others_asked_for(
    own_valkey: Valkey, buses: Buses, before: str, after: str
) -> None:
    own_valkey.command("CONFIG", "SET", "notify-keyspace-events", before)
    bus = await buses.start(own_valkey.backend())
    assert await bus.announce_expiry()
    _, flags = own_valkey.command("CONFIG", "GET", "notify-keyspace-events")
    assert sorted(flags.decode()) == sorted(after)


async def test_a_restarted_broker_that_forgot_is_asked_again(tmp_path: Path, buses: Buses) -> None:
    server = Valkey(tmp_path)
    try:
        bus = await buses.start(server.backend())
        async with hints(bus) as expired:
            server.command("CONFIG", "SET", "notify-keyspace-events", "")
            server.sever()
            assert await expired.next() is GAP
            assert await bus.refresh_keys({"signalbox:ws:1": 1})
            assert await expired.next() == "signalbox:ws:1"
    finally:
        server.close()


async def test_expiry_in_another_database_is_not_ours(tmp_path: Path, buses: Buses) -> None:
    server = TcpValkey(tmp_path, "--notify-keyspace-events", "KEA")
    try:
        ours = await buses.start(RedisBackend(f"redis://127.0.0.1:{server.port}/3"))
        theirs = await buses.start(RedisBackend(f"redis://127.0.0.1:{server.port}"))
        assert ours.expiry_channel == "__keyevent@3__:expired"
        async with hints(ours) as expired:
            assert await theirs.refresh_keys({"signalbox:ws:theirs": 1})
            assert await ours.refresh_keys({"signalbox:ws:ours": 2})
            assert await expired.next() == "signalbox:ws:ours"
    finally:
        server.close()


async def test_a_broker_that_forbids_configuration_gives_no_hints_but_harms_nothing(
    tmp_path: Path, buses: Buses
) -> None:
    server = TcpValkey(tmp_path)
    try:
        server.command("ACL", "SETUSER", "signalbox", "on", ">secret", "~*", "&signalbox:*", "+@all", "-config")
        bus = await buses.start(RedisBackend(f"redis://signalbox:secret@127.0.0.1:{server.port}"))
        assert not await bus.announce_expiry()
        task = asyncio.create_task(Hints(bus).run())
        async with bus.subscribe("signalbox:events:0") as events, asyncio.timeout(DEADLINE):
            assert await bus.publish("signalbox:events:0", b"unharmed")
            assert await anext(events) is not GAP
        assert bus.counters.reconnects == 0
        assert bus.healthy
        task.cancel()
        await asyncio.wait({task}, timeout=DEADLINE)
    finally:
        server.close()
