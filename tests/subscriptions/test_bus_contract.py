"""This module is where every backend shows what the bus promises, broker faults included."""

import asyncio
import contextlib
import time

import pytest
from broadcaster import Broadcast

from subscriptions.bus import GAP, MAX_MESSAGE_BYTES, Bus, Gap, Message
from tests.patience import DEADLINE, promised
from tests.subscriptions.brokers import (
    IMPATIENT,
    ONCE,
    Broker,
    Buses,
    bus_tasks,
    following,
    hear_again,
    heard,
    payloads,
    until,
)


async def test_the_first_lone_subscriber_hears(broker: Broker, buses: Buses) -> None:
    bus = await buses.start(broker.backend())
    async with bus.subscribe("orders") as events:
        assert await bus.publish("orders", b"\x00 any bytes \xff")
        assert await following(events) == Message("orders", b"\x00 any bytes \xff")


async def test_a_subscriber_hears_its_channels_in_order_and_no_other(broker: Broker, buses: Buses) -> None:
    bus = await buses.start(broker.backend())
    async with bus.subscribe("a", "b", "a") as events:
        for number in range(50):
            assert await bus.publish("ab"[number % 2], b"%d" % number)
            assert await bus.publish("c", b"not yours")
        assert await payloads(events, 50) == [b"%d" % number for number in range(50)]


async def test_another_process_is_heard(broker: Broker, buses: Buses) -> None:
    here, there = await buses.start(broker.backend()), await buses.start(broker.backend())
    async with here.subscribe("orders") as mine, there.subscribe("orders") as theirs:
        assert await here.publish("orders", b"one")
        assert await payloads(mine, 1) == await payloads(theirs, 1) == [b"one"]


async def test_concurrent_first_subscribers_all_hear(broker: Broker, buses: Buses) -> None:
    bus = await buses.start(broker.backend())
    ready = asyncio.Barrier(51)

    async def first_heard(number: int) -> list[bytes | object]:
        async with bus.subscribe("orders", f"own:{number}") as events:
            await ready.wait()
            return [*await payloads(events, 2)]

    async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as group:
        subscribers = [group.create_task(first_heard(number)) for number in range(50)]
        await ready.wait()
        assert await bus.publish("orders", b"all")
        for number in range(50):
            assert await bus.publish(f"own:{number}", b"%d" % number)
    assert [task.result() for task in subscribers] == [[b"all", b"%d" % number] for number in range(50)]


async def test_subscribers_that_are_cancelled_while_they_subscribe_disturb_nobody(broker: Broker, buses: Buses) -> None:
    bus = await buses.start(broker.backend())

    async def come_and_be_gone(number: int) -> None:
        async with bus.subscribe("orders", f"own:{number}"):
            await asyncio.Event().wait()

    async with bus.subscribe("orders") as events:
        for turns in range(8):
            tasks = [asyncio.create_task(come_and_be_gone(number)) for number in range(20)]
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=DEADLINE)
        assert await bus.publish("orders", b"still here")
        assert await payloads(events, 1) == [b"still here"]
    assert bus.counters.reconnects == 0


async def test_the_next_subscriber_hears_though_the_last_just_left(broker: Broker, buses: Buses) -> None:
    bus = await buses.start(broker.backend())
    for number in range(30):
        async with bus.subscribe("orders") as events:
            assert await bus.publish("orders", b"%d" % number)
            assert (await heard(events, b"%d" % number))[-1] == b"%d" % number


async def test_one_subscriber_leaving_does_not_silence_another(broker: Broker, buses: Buses) -> None:
    bus = await buses.start(broker.backend())
    async with bus.subscribe("orders") as stays:
        async with bus.subscribe("orders"):
            pass
        assert await bus.publish("orders", b"one")
        assert await payloads(stays, 1) == [b"one"]


async def test_a_dropped_connection_is_a_gap_for_every_subscriber_and_then_all_is_well(
    broker: Broker, buses: Buses
) -> None:
    bus = await buses.start(broker.backend())
    async with bus.subscribe("a") as one, bus.subscribe("a") as two, bus.subscribe("b", "c") as three:
        broker.sever()
        for events in (one, two, three):
            assert await following(events) is GAP
        for channel in "abc":
            assert await bus.publish(channel, channel.encode())
        assert (await heard(one, b"a"))[-1] == (await heard(two, b"a"))[-1] == b"a"
        assert [item for item in await heard(three, b"c") if item is not GAP] == [b"b", b"c"]
    assert bus.counters.reconnects == 1


async def test_a_killed_broker_is_a_gap_and_meanwhile_publishing_says_so(broker: Broker, buses: Buses) -> None:
    bus = await buses.start(broker.backend(), **IMPATIENT)
    async with bus.subscribe("orders") as events:
        broker.kill()
        assert not await bus.publish("orders", b"lost")
        assert not await bus.refresh_keys({"key": 5})
        assert not await bus.delete_keys(["key"])
        await until(lambda: not bus.healthy)
        broker.restart()
        assert await following(events) is GAP
        await hear_again(bus, "orders", events)
        await until(lambda: bus.healthy)
    assert bus.counters.failed >= 3


async def test_a_hanging_broker_degrades_the_bus_and_a_gap_ends_it(
    broker: Broker, buses: Buses, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = broker.backend()
    bus = await buses.start(backend, **IMPATIENT)
    given_up = asyncio.Event()
    give_up = backend.reconnect

    async def reconnect() -> None:
        await give_up()
        given_up.set()

    monkeypatch.setattr(backend, "reconnect", reconnect)
    async with bus.subscribe("orders") as events:
        broker.hang()
        began = time.monotonic()
        assert not await bus.publish("orders", b"into the void")
        assert time.monotonic() - began < promised(1.0), "half a second is promised; the rest is this machine's"
        async with asyncio.timeout(DEADLINE):
            await given_up.wait()
        assert not bus.healthy
        broker.resume()
        while await following(events) is not GAP:
            pass
        await hear_again(bus, "orders", events)
        await until(lambda: bus.healthy)


async def test_a_bus_starts_without_its_broker_and_recovers_by_itself(broker: Broker, buses: Buses) -> None:
    broker.kill()
    began = time.monotonic()
    bus = await buses.start(broker.backend())
    assert time.monotonic() - began < promised(3.0)
    assert not bus.healthy
    async with bus.subscribe("orders") as events:
        assert not await bus.publish("orders", b"lost")
        broker.restart()
        assert await following(events) is GAP
        await hear_again(bus, "orders", events)
        await until(lambda: bus.healthy)


async def test_a_slow_subscriber_keeps_the_newest_behind_a_gap_and_delays_nobody(broker: Broker, buses: Buses) -> None:
    bus = await buses.start(broker.backend())
    async with bus.subscribe("orders", queue_size=8) as slow, bus.subscribe("orders", queue_size=4096) as fast:
        broker.flood("orders", 2000)
        assert await payloads(fast, 2000) == [b"%d" % number for number in range(2000)]
        assert await payloads(slow, 8) == [GAP, *[b"%d" % number for number in range(1993, 2000)]]
        assert await bus.publish("orders", b"next")
        assert await payloads(slow, 1) == [b"next"]
    assert bus.counters.dropped == 1993
    assert bus.counters.gaps == 1


async def test_a_subscriber_that_keeps_up_loses_nothing_in_a_burst(broker: Broker, buses: Buses) -> None:
    bus = await buses.start(broker.backend())
    async with bus.subscribe("orders", queue_size=128) as events:
        for _ in range(5):
            broker.flood("orders", 2000)
            async with asyncio.timeout(DEADLINE):
                assert [await anext(events) for _ in range(2000)] == [
                    Message("orders", b"%d" % number) for number in range(2000)
                ]


async def test_waiting_with_a_timeout_loses_no_message(broker: Broker, buses: Buses) -> None:
    bus = await buses.start(broker.backend())
    seen: list[bytes | Gap] = []
    async with bus.subscribe("orders") as events:
        for number in range(100):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(number / 10_000):
                    item = await anext(events)
                    seen.append(item if item is GAP else item.data)
            assert await bus.publish("orders", b"%d" % number)
        seen += await payloads(events, 100 - len(seen))
    assert seen == [b"%d" % number for number in range(100)]


async def test_stopping_the_bus_ends_every_subscription_and_leaves_no_task(broker: Broker) -> None:
    bus = Bus(broker.backend())
    await bus.start()
    async with bus.subscribe("orders") as events:
        await bus.stop()
        with pytest.raises(StopAsyncIteration):
            await following(events)
        with pytest.raises(StopAsyncIteration):
            await following(events)
    async with bus.subscribe("orders") as events:
        with pytest.raises(StopAsyncIteration):
            await following(events)
    await bus.stop()
    assert not bus.healthy
    assert not bus_tasks()


async def test_broadcaster_itself_can_use_the_backend(broker: Broker) -> None:
    async with Broadcast(backend=broker.backend()) as broadcast, broadcast.subscribe("orders") as subscriber:
        await broadcast.publish("orders", b"text")
        async with asyncio.timeout(DEADLINE):
            event = await subscriber.get()
            while not event.message:  # its subscribers see our confirmation as an empty event
                event = await subscriber.get()
        assert (event.channel, event.message) == ("orders", "text")


async def test_what_happened_is_counted_without_the_canaries(broker: Broker, buses: Buses) -> None:
    bus = await buses.start(broker.backend(), canary_seconds=0.01)
    async with bus.subscribe("orders") as events:
        for _ in range(3):
            assert await bus.publish("orders", b"x")
        await payloads(events, 3)
        assert (bus.counters.published, bus.counters.received) == (3, 3)
        assert (bus.counters.failed, bus.counters.gaps, bus.counters.reconnects, bus.counters.dropped) == (0, 0, 0, 0)


async def test_what_a_script_has_done_is_told_and_what_it_refused_is_not(broker: Broker, buses: Buses) -> None:
    bus = await buses.start(broker.backend())
    async with bus.subscribe("orders") as events:
        assert await bus.tell_on_hash(ONCE, "hash", b"first", channel="orders", data=b"one") == [b"ok"]
        assert await bus.tell_on_hash(ONCE, "hash", b"first", channel="orders", data=b"two") == [b"known", b"first"]
        assert await bus.tell_on_hash(ONCE, "hash", b"second", channel="orders", data=b"three") == [b"ok"]
        assert await payloads(events, 2) == [b"one", b"three"]
    assert bus.counters.published == 2
    with pytest.raises(ValueError, match="16384"):
        await bus.tell_on_hash(ONCE, "hash", b"third", channel="orders", data=bytes(MAX_MESSAGE_BYTES + 1))
    broker.kill()
    assert await bus.tell_on_hash(ONCE, "hash", b"third", channel="orders", data=b"four") is None
    assert bus.counters.published == 2


async def test_a_message_above_16_kib_is_the_callers_mistake(broker: Broker, buses: Buses) -> None:
    bus = await buses.start(broker.backend())
    async with bus.subscribe("orders") as events:
        with pytest.raises(ValueError, match="16384"):
            await bus.publish("orders", bytes(MAX_MESSAGE_BYTES + 1))
        assert await bus.publish("orders", bytes(MAX_MESSAGE_BYTES))
        assert await payloads(events, 1) == [bytes(MAX_MESSAGE_BYTES)]
