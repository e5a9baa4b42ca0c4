"""This module is where a subscriber's queue is specified item by item."""

import asyncio

import pytest

from subscriptions.backend import BusCounters, Confirmed, Delivery
from subscriptions.bus import GAP, Bus
from subscriptions.inbox import Inbox
from subscriptions.memory_backend import MemoryBroker
from tests.subscriptions.brokers import Memory, OnceBroken, bus_tasks, following, hear_again, payloads


def listening(size: int, counters: BusCounters | None = None) -> Inbox:
    inbox = Inbox(size, counters or BusCounters())
    inbox.listen()
    return inbox


async def fill(inbox: Inbox, *numbers: int) -> None:
    for number in numbers:
        await inbox.put(Delivery("orders", b"%d" % number))


async def test_a_full_queue_replaces_its_oldest_by_one_gap_and_never_grows() -> None:
    counters = BusCounters()
    inbox = listening(4, counters)
    for number in range(100):
        await fill(inbox, number)
        assert inbox.qsize() <= 4
    assert await payloads(inbox, 4) == [GAP, b"97", b"98", b"99"]
    assert (counters.dropped, counters.gaps) == (97, 1)


async def test_a_queue_that_overflows_again_after_being_read_has_a_gap_again() -> None:
    counters = BusCounters()
    inbox = listening(2, counters)
    await fill(inbox, 1, 2, 3)
    assert await payloads(inbox, 2) == [GAP, b"3"]
    await fill(inbox, 4, 5, 6)
    assert await payloads(inbox, 2) == [GAP, b"6"]
    assert (counters.dropped, counters.gaps) == (4, 2)


async def test_a_gap_stands_where_the_reconnect_was() -> None:
    inbox = listening(8)
    await fill(inbox, 1)
    await inbox.put(Confirmed("orders"))
    await fill(inbox, 2)
    assert await payloads(inbox, 3) == [b"1", GAP, b"2"]


async def test_gaps_with_nothing_between_them_are_one() -> None:
    inbox = listening(8)
    for channel in "abc":
        await inbox.put(Confirmed(channel))
    await fill(inbox, 1)
    assert await payloads(inbox, 2) == [GAP, b"1"]


async def test_reconnects_without_end_do_not_fill_the_queue_with_gaps() -> None:
    inbox = listening(4)
    for number in range(50):
        await inbox.put(Confirmed("orders"))
        await fill(inbox, number)
        assert inbox.qsize() <= 4
    assert (await payloads(inbox, 4))[-1] == b"49"


async def test_the_first_confirmation_is_no_gap() -> None:
    inbox = Inbox(4, BusCounters())
    await inbox.put(Confirmed("orders"))
    inbox.listen()
    await fill(inbox, 1)
    assert await payloads(inbox, 1) == [b"1"]


async def test_a_closed_queue_yields_what_it_holds_and_ends() -> None:
    inbox = listening(2)
    await fill(inbox, 1, 2)
    inbox.close()
    inbox.close()
    await fill(inbox, 3)
    assert await payloads(inbox, 2) == [b"1", b"2"]
    for _ in range(2):
        with pytest.raises(StopAsyncIteration):
            await following(inbox)


def test_a_queue_without_room_for_a_gap_and_a_message_is_refused() -> None:
    with pytest.raises(ValueError, match="room"):
        Inbox(1, BusCounters())


async def test_a_subscription_to_nothing_is_refused() -> None:
    bus = Bus(Memory().backend())
    with pytest.raises(ValueError, match="at least one"):
        async with bus.subscribe():
            pass


async def test_a_defect_in_the_reader_is_a_gap_and_not_the_end() -> None:
    bus = Bus(OnceBroken(MemoryBroker()))
    await bus.start()
    async with bus.subscribe("orders") as events:
        assert await bus.publish("orders", b"meets the defect")
        assert await following(events) is GAP
        await hear_again(bus, "orders", events)
    await bus.stop()
    assert not bus_tasks()
    await asyncio.sleep(0)
