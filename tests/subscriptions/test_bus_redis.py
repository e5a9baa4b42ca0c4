"""This module is where the Redis backend shows what only a real server and redis-py can get wrong."""

import asyncio
import contextlib
import time
from pathlib import Path

import pytest

from subscriptions.bus import GAP, SILENCE_SECONDS, Bus, Message
from subscriptions.memory_backend import MemoryBackend
from subscriptions.redis_address import RedisAddress
from subscriptions.redis_backend import RedisBackend
from tests.patience import DEADLINE, promised
from tests.subscriptions.brokers import (
    IMPATIENT,
    Buses,
    TcpValkey,
    Valkey,
    bus_tasks,
    following,
    hear_again,
    payloads,
    until,
)


@pytest.mark.parametrize("suffix", ["", "?db=5"])
async def test_a_unix_url_works(own_valkey: Valkey, suffix: str) -> None:
    bus = Bus.from_url(own_valkey.url + suffix)
    await bus.start()
    async with bus.subscribe("orders") as events:
        assert await bus.publish("orders", b"one")
        assert await payloads(events, 1) == [b"one"]
    await bus.stop()


async def test_a_tcp_url_with_password_and_database_works(tmp_path: Path) -> None:
    server = TcpValkey(tmp_path, "--requirepass", "p@ss:word/")
    bus = Bus.from_url(f"redis://:p%40ss%3Aword%2F@127.0.0.1:{server.port}/2")
    await bus.start()
    async with bus.subscribe("orders") as events:
        assert await bus.publish("orders", b"one")
        assert await payloads(events, 1) == [b"one"]
        assert await bus.refresh_keys({"key": 10})
    await bus.stop()
    server.close()


async def test_a_wrong_password_degrades_the_bus_and_raises_nothing(tmp_path: Path) -> None:
    server = TcpValkey(tmp_path, "--requirepass", "right")
    bus = Bus.from_url(f"redis://:wrong@127.0.0.1:{server.port}")
    await bus.start()
    assert not bus.healthy
    assert not await bus.publish("orders", b"one")
    await bus.stop()
    server.close()


def test_a_memory_url_needs_no_server() -> None:
    assert isinstance(Bus.from_url("memory://")._backend, MemoryBackend)


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("http://localhost", "not 'http'"),
        ("", "not ''"),
        ("unix:///run/valkey.sock?cluster=true", "over TCP"),
        ("redis://localhost?colour=red", "colour"),
        ("redis://localhost:notaport", "port|Port"),
        ("redis://localhost?socket_timeout=soon", "socket_timeout"),
    ],
)
def test_a_url_that_cannot_work_is_refused_in_words(url: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Bus.from_url(url)


@pytest.mark.parametrize("url", ["cluster://node:7000", "redis://node:7000?cluster=true", "rediss://node?cluster=true"])
def test_a_url_can_name_a_cluster(url: str) -> None:
    assert RedisAddress.parse(url).is_cluster
    assert not RedisAddress.parse("redis://node:7000?cluster=false").is_cluster


def test_nothing_is_left_to_redis_pys_defaults_and_no_url_overrules_it() -> None:
    address = RedisAddress.parse("redis://node?protocol=3&socket_timeout=60&decode_responses=true&max_connections=1")
    assert address.publishing["retry"].get_retries() == 1
    assert address.publishing["socket_timeout"] == address.publishing["socket_connect_timeout"] == 0.2
    assert address.publishing["protocol"] == 2
    link = address.connection()
    assert (link.socket_timeout, link.socket_connect_timeout, link.protocol) == (1.0, 1.0, 2)
    assert link.retry.get_retries() == 0
    assert not link.encoder.decode_responses


async def test_the_publishers_connections_try_once_more(own_valkey: Valkey, buses: Buses) -> None:
    bus = await buses.start(own_valkey.backend())
    assert await bus.publish("orders", b"opens a connection")
    own_valkey.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert await bus.publish("orders", b"over a dead one")
    assert bus.counters.failed == 0


def test_a_password_is_not_in_the_address_when_printed() -> None:
    assert "secret" not in repr(RedisAddress.parse("redis://user:secret@node"))


async def test_a_server_that_accepts_but_never_answers_costs_half_a_second() -> None:
    async def keep_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(keep_silent, "127.0.0.1", 0)
    bus = Bus.from_url(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    began = time.monotonic()
    await bus.start()
    assert time.monotonic() - began < promised(3.0)
    began = time.monotonic()
    assert not await bus.publish("orders", b"one")
    assert time.monotonic() - began < promised(1.0)
    assert not bus.healthy
    await bus.stop()
    server.close()
    await server.wait_closed()


async def test_many_publishers_at_a_hung_broker_do_not_queue_behind_each_other(
    own_valkey: Valkey, buses: Buses
) -> None:
    bus = await buses.start(own_valkey.backend())
    own_valkey.hang()
    began = time.monotonic()
    assert not any(await asyncio.gather(*(bus.publish("orders", b"one") for _ in range(100))))
    assert time.monotonic() - began < promised(2.0), "half a second is promised; in turns it would be six"


async def test_a_channel_that_nobody_listens_to_any_more_is_no_longer_sent(own_valkey: Valkey, buses: Buses) -> None:
    bus = await buses.start(own_valkey.backend())

    def listeners() -> int:
        _, count = own_valkey.command("PUBSUB", "NUMSUB", "orders")
        return int(count)

    async with bus.subscribe("orders"):
        async with bus.subscribe("orders"):
            assert listeners() == 1
        assert listeners() == 1
    await until(lambda: listeners() == 0)


async def test_a_channel_that_the_broker_forbids_takes_no_other_with_it(tmp_path: Path, buses: Buses) -> None:
    server = TcpValkey(tmp_path)
    server.command("ACL", "SETUSER", "signalbox", "on", ">secret", "&signalbox:*", "+@all")
    bus = await buses.start(RedisBackend(f"redis://signalbox:secret@127.0.0.1:{server.port}"))
    async with bus.subscribe("forbidden", "signalbox:one") as events, bus.subscribe("signalbox:two") as others:
        assert not await bus.publish("forbidden", b"unheard")
        for channel, subscriber in (("signalbox:one", events), ("signalbox:two", others)):
            assert await bus.publish(channel, b"heard")
            assert await following(subscriber) == Message(channel, b"heard")
    assert bus.counters.reconnects == 0
    await bus.stop()
    server.close()


async def test_a_stopped_broker_is_noticed_in_three_seconds_and_forgiven(own_valkey: Valkey, buses: Buses) -> None:
    bus = await buses.start(own_valkey.backend())
    await until(lambda: bus.healthy)
    async with bus.subscribe("orders") as events:
        own_valkey.hang()
        began = time.monotonic()
        await until(lambda: not bus.healthy)
        assert SILENCE_SECONDS - 1.2 < time.monotonic() - began < promised(SILENCE_SECONDS + 1.0)
        own_valkey.resume()
        await until(lambda: bus.healthy)
        await hear_again(bus, "orders", events)


async def test_a_cancelled_publisher_ends_at_whatever_step_it_was(own_valkey: Valkey, buses: Buses) -> None:
    bus = await buses.start(own_valkey.backend())

    async def publish_for_ever() -> None:
        while True:
            await bus.publish("orders", b"one")

    for steps in range(200):
        task = asyncio.create_task(publish_for_ever())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=DEADLINE)
        assert task in done, f"forgot its cancellation after {steps} steps"
        assert task.cancelled()


async def test_a_bus_stops_at_whatever_step_it_was(own_valkey: Valkey) -> None:
    for steps in range(60):
        bus = Bus(own_valkey.backend())
        await bus.start()
        own_valkey.sever()
        for _ in range(steps):
            await asyncio.sleep(0)
        async with asyncio.timeout(DEADLINE):
            await bus.stop()
        assert not bus_tasks()


async def test_two_processes_survive_a_kill_of_their_broker(own_valkey: Valkey, buses: Buses) -> None:
    here, there = [await buses.start(own_valkey.backend(), **IMPATIENT) for _ in range(2)]
    async with here.subscribe("orders") as mine, there.subscribe("orders") as theirs:
        own_valkey.kill()
        own_valkey.restart()
        assert await following(mine) is GAP
        assert await following(theirs) is GAP
        await hear_again(here, "orders", theirs)
        await hear_again(there, "orders", mine)
