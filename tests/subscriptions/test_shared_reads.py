"""This module is where shared reads are specified: one at a time, and none older than the question."""

from __future__ import annotations

import asyncio

import pytest

from subscriptions.shared_reads import SharedReads


class Source:
    """Counts its reads; each waits until it is let go."""

    def __init__(self) -> None:
        self.reads = 0
        self.failure: Exception | None = None
        self.begun = asyncio.Event()
        self.let_go = asyncio.Event()

    async def read(self, key: str) -> str:
        """The number of this read."""
        self.reads += 1
        number = self.reads
        self.begun.set()
        await self.let_go.wait()
        if self.failure is not None:
            raise self.failure
        return f"{key} {number}"


async def test_those_who_ask_together_share_one_read() -> None:
    source = Source()
    source.let_go.set()
    shared = SharedReads(source.read, "test")
    assert await asyncio.gather(*(shared.get("a") for _ in range(100))) == ["a 1"] * 100
    assert await shared.get("a") == "a 2"


async def test_who_asks_during_a_read_gets_the_next_one() -> None:
    source = Source()
    shared = SharedReads(source.read, "test")
    first = asyncio.create_task(shared.get("a"))
    await source.begun.wait()
    later = [asyncio.create_task(shared.get("a")) for _ in range(5)]
    await asyncio.sleep(0)
    source.let_go.set()
    assert await first == "a 1"
    assert await asyncio.gather(*later) == ["a 2"] * 5


async def test_keys_do_not_wait_for_each_other() -> None:
    source = Source()
    shared = SharedReads(source.read, "test")
    both = [asyncio.create_task(shared.get(key)) for key in "ab"]
    await source.begun.wait()
    await asyncio.sleep(0)
    source.let_go.set()
    assert await asyncio.gather(*both) == ["a 1", "b 2"]


async def test_who_stops_waiting_takes_nothing_from_the_others() -> None:
    source = Source()
    shared = SharedReads(source.read, "test")
    leaving, staying = (asyncio.create_task(shared.get("a")) for _ in range(2))
    await source.begun.wait()
    leaving.cancel()
    await asyncio.wait({leaving})
    source.let_go.set()
    assert await staying == "a 1"


async def test_a_failure_is_everybodys_and_nobody_elses_afterwards() -> None:
    source = Source()
    source.let_go.set()
    source.failure = ZeroDivisionError("a defect")
    shared = SharedReads(source.read, "test")
    answers = await asyncio.gather(*(shared.get("a") for _ in range(3)), return_exceptions=True)
    assert [type(one) for one in answers] == [ZeroDivisionError] * 3
    source.failure = None
    assert await shared.get("a") == "a 2"


async def test_stopping_ends_who_waits() -> None:
    source = Source()
    shared = SharedReads(source.read, "test")
    waiting = asyncio.create_task(shared.get("a"))
    await source.begun.wait()
    await shared.stop()
    with pytest.raises(asyncio.CancelledError):
        await waiting
