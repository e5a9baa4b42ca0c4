"""This module is where a journal proves the bus's one promise: what it loses, it admits."""

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest

from subscriptions.bus import GAP, Bus, Gap, Message
from tests.patience import DEADLINE
from tests.report import record
from tests.subscriptions.brokers import IMPATIENT, Buses, Valkey, following, until

LAST = b"last"


class GapRead(NamedTuple):
    """A gap in the journal; whoever read it then read the truth up to the newest message sent by then."""

    sent: int


class Publisher:
    """Publishes 1, 2, 3, … and remembers which the broker took."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.sent = 0
        self.taken: set[int] = set()

    async def run(self) -> None:
        while True:
            self.sent += 1
            if await self._bus.publish("orders", b"%d" % self.sent):
                self.taken.add(self.sent)
            else:
                await asyncio.sleep(0.005)

    async def publish_more(self, count: int) -> None:
        target = len(self.taken) + count
        async with asyncio.timeout(DEADLINE):
            while len(self.taken) < target:  # noqa: ASYNC110 - it announces nothing
                await asyncio.sleep(0.002)


async def journal(events: AsyncIterator[Message | Gap], publisher: Publisher) -> list[int | GapRead]:
    """Everything heard, until the last message."""
    heard: list[int | GapRead] = []
    while True:
        item = await following(events)
        if item is GAP:
            heard.append(GapRead(publisher.sent))
        elif item.data == LAST:
            return heard
        else:
            heard.append(int(item.data))


def losses(heard: list[int | GapRead], taken: set[int]) -> tuple[set[int], set[int]]:
    """Numbers that the broker took and nobody heard: all of them, and those that no gap admitted in time.

    In time: before anything newer was heard, and after the lost one was sent.
    """
    lost: set[int] = set()
    unadmitted: set[int] = set()
    newest = admitted = 0
    for item in heard:
        if isinstance(item, GapRead):
            admitted = item.sent
        else:
            skipped = {number for number in range(newest + 1, item) if number in taken}
            lost |= skipped
            unadmitted |= {number for number in skipped if number > admitted}
            newest = max(newest, item)
    return lost, unadmitted


def test_the_checker_finds_a_loss_that_no_gap_admits() -> None:
    assert losses([1, 2, 4], {1, 2, 3, 4}) == ({3}, {3})
    assert losses([1, 2, GapRead(2), 4], {1, 2, 3, 4}) == ({3}, {3}), "read before the lost one was sent"
    assert losses([1, 2, 4, GapRead(4)], {1, 2, 3, 4}) == ({3}, {3}), "too late"
    assert losses([1, 2, GapRead(3), 4], {1, 2, 3, 4}) == ({3}, set())
    assert losses([1, 2, 4], {1, 2, 4}) == (set(), set())


async def inflict(fault: int, own_valkey: Valkey, subscriber: Bus) -> None:
    """Cuts, kills or hangs the broker in turn, and returns when the subscriber's bus has noticed."""
    gaps = subscriber.counters.gaps
    match fault % 5:
        case 0 | 2:
            own_valkey.sever()
        case 1 | 3:
            own_valkey.kill()
            await asyncio.to_thread(own_valkey.restart)
        case _:
            own_valkey.hang()
            await until(lambda: not subscriber.healthy)
            own_valkey.resume()
            return  # what the broker held back may have come through, with nothing to admit
    await until(lambda: subscriber.counters.gaps > gaps)


@pytest.mark.parametrize("faults", [10, pytest.param(100, marks=pytest.mark.faults)])
async def test_every_message_lost_to_a_cut_killed_or_hung_broker_is_admitted_by_a_gap(
    own_valkey: Valkey, buses: Buses, faults: int
) -> None:
    here = await buses.start(own_valkey.backend())
    there = await buses.start(own_valkey.backend(), **IMPATIENT)
    publisher = Publisher(here)
    async with there.subscribe("orders") as events, asyncio.TaskGroup() as group:
        reading = group.create_task(journal(events, publisher))
        publishing = group.create_task(publisher.run())
        for fault in range(faults):
            await publisher.publish_more(50)
            await inflict(fault, own_valkey, there)
        await publisher.publish_more(50)
        publishing.cancel()
        await asyncio.wait({publishing}, timeout=DEADLINE)
        while not reading.done():
            await here.publish("orders", LAST)
            await asyncio.wait({reading}, timeout=0.1)
    lost, unadmitted = losses(reading.result(), publisher.taken)
    assert lost, "no fault lost anything: this run proved nothing"
    assert not unadmitted
    record(2, "bus: losses admitted by a gap", faults, f"{len(lost)} lost of {len(publisher.taken)}, 0 unadmitted")
