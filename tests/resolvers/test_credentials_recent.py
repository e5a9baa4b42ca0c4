"""This module is where the second's memory of credentials is specified: never older, and one statement for a fleet."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID

import pytest

from models.ids import uuid7
from resolvers.recent import RecentRows
from tests.patience import DEADLINE
from tests.resolvers.people import Clock

TENANT, OTHER = uuid7(), uuid7()


class Shelf:
    """A slow place to read from, which counts its readers."""

    def __init__(self) -> None:
        self.rows: dict[UUID, str] = {}
        self.reads: list[tuple[UUID, list[UUID]]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.error: Exception | None = None

    async def read(self, tenant_id: UUID, ids: Sequence[UUID]) -> dict[UUID, str]:
        self.reads.append((tenant_id, list(ids)))
        found = {one: self.rows[one] for one in ids if one in self.rows}
        async with asyncio.timeout(DEADLINE):
            await self.open.wait()
        if self.error is not None:
            raise self.error
        return found


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def recent(shelf: Shelf, clock: Clock) -> RecentRows[str]:
    return RecentRows("tests", shelf.read, clock.timer)


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_value_is_read_once_a_second(recent: RecentRows[str], shelf: Shelf, clock: Clock) -> None:
    key = uuid7()
    shelf.rows[key] = "old"
    for _ in range(3):
        assert await recent.get(TENANT, key) == "old"
    shelf.rows[key] = "new"
    clock.seconds += 0.999
    assert await recent.get(TENANT, key) == "old"
    clock.seconds += 0.001
    assert await recent.get(TENANT, key) == "new"
    assert len(shelf.reads) == 2


async def test_a_values_age_counts_from_before_it_was_read(recent: RecentRows[str], shelf: Shelf, clock: Clock) -> None:
    key = uuid7()
    shelf.rows[key] = "old"
    shelf.open.clear()
    asking = asyncio.ensure_future(recent.get(TENANT, key))
    await turns()
    clock.seconds += 1.0
    shelf.rows[key] = "new"
    shelf.open.set()
    assert await asking == "old"
    assert await recent.get(TENANT, key) == "new"


async def test_whoever_asks_during_a_read_shares_the_next(recent: RecentRows[str], shelf: Shelf) -> None:
    keys = [uuid7() for _ in range(50)]
    shelf.rows = {key: str(key) for key in keys}
    shelf.open.clear()
    asking = [asyncio.ensure_future(recent.get(TENANT, keys[0]))]
    await turns()
    asking += [asyncio.ensure_future(recent.get(TENANT, key)) for key in keys for _ in range(2)]
    await turns()
    shelf.open.set()
    assert await asyncio.gather(*asking) == [str(keys[0]), *(str(key) for key in keys for _ in range(2))]
    assert len(shelf.reads) == 2


async def test_a_fleet_that_calls_each_second_costs_one_read_a_second(
    recent: RecentRows[str], shelf: Shelf, clock: Clock
) -> None:
    keys = [uuid7() for _ in range(200)]
    shelf.rows = {key: str(key) for key in keys}
    for second in range(10):
        for place, key in enumerate(keys):
            clock.seconds = second + place / len(keys)
            assert await recent.get(TENANT, key) == str(key)
    # The first second has to meet each of them once.
    assert len(shelf.reads) <= len(keys) + 10
    assert all(len(ids) == len(keys) for _, ids in shelf.reads[len(keys) :])


async def test_what_nobody_asks_for_any_more_is_not_renewed(
    recent: RecentRows[str], shelf: Shelf, clock: Clock
) -> None:
    idle, busy = uuid7(), uuid7()
    shelf.rows = {idle: "idle", busy: "busy"}
    await recent.get(TENANT, idle)
    for _ in range(63):
        await recent.get(TENANT, busy)
        clock.seconds += 1
    assert shelf.reads[-1] == (TENANT, [busy])


async def test_what_is_not_there_is_not_kept(recent: RecentRows[str], shelf: Shelf) -> None:
    key = uuid7()
    assert await recent.get(TENANT, key) is None
    shelf.rows[key] = "made"
    assert await recent.get(TENANT, key) == "made"


async def test_one_tenant_never_sees_what_was_read_for_another(recent: RecentRows[str], shelf: Shelf) -> None:
    key = uuid7()
    shelf.rows[key] = "mine"
    assert await recent.get(TENANT, key) == "mine"
    shelf.rows.clear()
    assert await recent.get(OTHER, key) is None
    assert [tenant for tenant, _ in shelf.reads] == [TENANT, OTHER]


async def test_strangers_leave_nothing_behind(recent: RecentRows[str]) -> None:
    for _ in range(100):
        assert await recent.get(uuid7(), uuid7()) is None
    await turns()
    assert recent._tenants == {}


async def test_forgetting_reads_anew_even_while_a_read_is_under_way(recent: RecentRows[str], shelf: Shelf) -> None:
    key = uuid7()
    shelf.rows[key] = "old"
    shelf.open.clear()
    asking = asyncio.ensure_future(recent.get(TENANT, key))
    await turns()
    shelf.rows[key] = "new"
    recent.forget(TENANT)
    shelf.open.set()
    await asking
    assert await recent.get(TENANT, key) == "new"


async def test_trouble_reaches_everyone_who_waits_and_is_over_when_it_is_over(
    recent: RecentRows[str], shelf: Shelf
) -> None:
    key = uuid7()
    shelf.rows[key] = "here"
    shelf.error = ConnectionError("away")
    answers = await asyncio.gather(*(recent.get(TENANT, key) for _ in range(3)), return_exceptions=True)
    assert {type(one) for one in answers} == {ConnectionError}
    shelf.error = None
    assert await recent.get(TENANT, key) == "here"


async def test_whoever_gives_up_spoils_nothing_for_the_others(recent: RecentRows[str], shelf: Shelf) -> None:
    key = uuid7()
    shelf.rows[key] = "here"
    shelf.open.clear()
    first, second = [asyncio.ensure_future(recent.get(TENANT, key)) for _ in range(2)]
    await turns()
    first.cancel()
    await turns()
    shelf.open.set()
    assert await second == "here"
    assert first.cancelled()


async def test_memory_is_bounded(
    recent: RecentRows[str], shelf: Shelf, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resolvers.recent._MOST_KEPT", 10)
    keys = [(uuid7(), uuid7()) for _ in range(40)]
    shelf.rows = {key: str(key) for _, key in keys}
    for tenant, key in keys:
        assert await recent.get(tenant, key) == str(key)
        clock.seconds += 0.3
    await turns()
    assert sum(len(tenant.entries) for tenant in recent._tenants.values()) <= 10
    assert len(recent._tenants) <= 11


async def test_closing_ends_the_read_that_is_under_way(recent: RecentRows[str], shelf: Shelf) -> None:
    shelf.open.clear()
    asking = asyncio.ensure_future(recent.get(TENANT, uuid7()))
    await turns()
    await recent.close()
    with pytest.raises(asyncio.CancelledError):
        await asking


@pytest.mark.parametrize(("lasts", "reads"), [(0.5, 1), (1.0, 2)])
async def test_what_a_short_read_under_way_brings_along_is_not_read_again(
    recent: RecentRows[str], shelf: Shelf, clock: Clock, lasts: float, reads: int
) -> None:
    keys = [uuid7(), uuid7()]
    shelf.rows = dict.fromkeys(keys, "old")
    for key in keys:
        await recent.get(TENANT, key)
    clock.seconds += 1.0
    shelf.reads.clear()
    shelf.open.clear()
    asking = []
    for key in keys:
        asking.append(asyncio.ensure_future(recent.get(TENANT, key)))
        await turns()
    clock.seconds += lasts
    shelf.open.set()
    assert await asyncio.gather(*asking) == ["old", "old"]
    assert len(shelf.reads) == reads


async def test_what_still_holds_is_never_read_again(shelf: Shelf, clock: Clock) -> None:
    key, held = uuid7(), {"old"}
    shelf.rows[key] = "old"

    async def holds(_: UUID, value: str) -> bool:
        return value in held

    recent = RecentRows("tests", shelf.read, clock.timer, holds)
    for _ in range(100):
        assert await recent.get(TENANT, key) == "old"
        clock.seconds += 1.0
    assert len(shelf.reads) == 1
    held.clear()
    shelf.rows[key] = "new"
    assert await recent.get(TENANT, key) == "new"
    assert len(shelf.reads) == 2
