"""This module is where groups are specified: one execution for many, and an unbroken chain for each of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import delete

from models import Event
from models.database import Database
from models.errors import LimitExceeded
from resolvers.call import Services
from tests.patience import DEADLINE
from tests.subscriptions.audience import Answers, Audience, Reader, ended, gathered
from tests.world import running


@pytest.fixture(scope="session")
async def services(database: Database) -> AsyncIterator[Services]:
    """One process's services."""
    async with running(database) as services:
        yield services


@pytest.fixture
async def audience(services: Services, database: Database) -> AsyncIterator[Audience]:
    """A tenant of the test's own."""
    async with gathered(services, database) as audience:
        yield audience


async def test_the_first_item_is_ready_and_events_follow_in_order_once(audience: Audience) -> None:
    reader = await audience.joined(audience.question())
    await audience.commit(1, 2)
    last = await audience.commit(3)
    await reader.until_seq(last)
    assert [one["type"] for one in reader.items] == ["Ready"] + ["Delivery"] * 3
    assert reader.seqs == [1, 2, 3]
    assert reader.has_unbroken_chain()


async def test_subscribers_of_one_question_are_one_execution(audience: Audience) -> None:
    readers = [await audience.joined(audience.question()) for _ in range(50)]
    assert audience.fanout.groups == 1
    for _ in range(3):
        last = await audience.commit(1, 1, 1)
        for reader in readers:
            await reader.until_seq(last)
    assert all(reader.seqs == list(range(1, 10)) and reader.has_unbroken_chain() for reader in readers)
    assert sum(map(len, audience.answers.of_events())) == 9


async def test_another_question_is_another_execution(audience: Audience) -> None:
    all_tiers = await audience.joined(audience.question())
    second_tier = await audience.joined(audience.question(2))
    assert audience.fanout.groups == 2
    last = await audience.commit(1, 2, 1, 2)
    await all_tiers.until_seq(last)
    await second_tier.until_seq(last)
    assert (all_tiers.seqs, second_tier.seqs) == ([1, 2, 3, 4], [2, 4])
    assert second_tier.has_unbroken_chain()


async def test_the_last_to_leave_takes_the_group_along(audience: Audience) -> None:
    _, one = audience.follow(audience.question())
    reader, another = audience.follow(audience.question())
    await reader.until(lambda reader: bool(reader.items))
    await ended(one)
    assert audience.fanout.groups == 1
    await ended(another)
    assert audience.fanout.groups == 0
    assert not [task for task in asyncio.all_tasks() if task.get_name() == f"group {audience.tenant_id}"]


async def test_who_comes_later_catches_up_alone_and_joins_without_gap_or_repeat(audience: Audience) -> None:
    start = await audience.cursor(0)
    early = await audience.joined(audience.question())
    await early.until_seq(await audience.commit(*[1] * 450))
    late = await audience.joined(audience.question(), start)
    for _ in range(3):
        last = await audience.commit(1)
    await late.until_seq(last)
    await early.until_seq(last)
    assert late.seqs == early.seqs == list(range(1, 454))
    assert late.has_unbroken_chain()
    assert early.has_unbroken_chain()


async def test_a_thousand_that_resume_together_are_one_execution(audience: Audience) -> None:
    start = await audience.cursor(0)
    last = await audience.commit(*[1] * 50)
    readers = [audience.follow(audience.question(), start)[0] for _ in range(1000)]
    for reader in readers:
        await reader.until_seq(last)
    assert all(reader.seqs == list(range(1, 51)) and reader.has_unbroken_chain() for reader in readers)
    assert sum(map(len, audience.answers.of_events())) == 50


async def test_who_was_rendering_for_others_may_leave(audience: Audience) -> None:
    start = await audience.cursor(0)
    last = await audience.commit(1, 1)
    audience.answers.gate.clear()
    _, first = audience.follow(audience.question(), start)
    other, _ = audience.follow(audience.question(), start)
    await other.until(lambda reader: len(reader.items) == 1 and len(audience.answers.of_events()) == 1)
    await ended(first)
    audience.answers.gate.set()
    await other.until_seq(last)
    assert other.seqs == [1, 2]


async def test_a_reader_without_room_holds_nobody_up_and_misses_nothing(audience: Audience) -> None:
    slow = await audience.joined(audience.question())
    quick = await audience.joined(audience.question())
    await slow.until_seq(await audience.commit(1))
    slow.dawdle()
    for _ in range(5):
        await quick.until_seq(await audience.commit(1, 1))
    assert slow.seqs == [1]
    assert slow.refused == 1
    slow.read_on()
    last = await audience.commit(1)
    await slow.until_seq(last)
    await quick.until_seq(last)
    assert slow.seqs == quick.seqs == list(range(1, last + 1))
    assert slow.has_unbroken_chain()


async def test_an_event_that_leaves_the_filter_says_so(audience: Audience) -> None:
    reader = await audience.joined(audience.question(1))
    await audience.commit_changes((1, 2), (2, 1), (2, 3))
    last = await audience.commit(1)
    await reader.until_seq(last)
    assert [(one["seq"], one["matches"]) for one in reader.kinds("Delivery")] == [(1, False), (2, True), (4, True)]


async def test_large_answers_leave_in_parts_and_are_made_once(audience: Audience) -> None:
    audience.answers.size = 9_000
    readers = [await audience.joined(audience.question()) for _ in range(5)]
    last = await audience.commit(*[1] * 600)
    for reader in readers:
        await reader.until_seq(last)
        assert reader.seqs == list(range(1, 601))
        assert reader.has_unbroken_chain()
    assert sum(map(len, audience.answers.of_events())) == 600


async def test_a_broken_execution_ends_its_streams_and_no_later_one(audience: Audience) -> None:
    broken = Answers(failure=ZeroDivisionError("a defect"))
    question = audience.question(answers=broken)
    reader, task = audience.follow(question)
    await reader.until(lambda one: bool(one.items))
    await audience.commit(1)
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(task, DEADLINE)
    assert audience.fanout.groups == 0
    again = await audience.joined(audience.question())
    await again.until_seq(await audience.commit(1))


async def test_what_retention_took_is_admitted_with_the_readers_own_place(audience: Audience) -> None:
    slow, task = audience.follow(audience.question())
    await slow.until(lambda reader: bool(reader.items))
    await slow.until_seq(await audience.commit(1))
    slow.dawdle()
    await audience.commit(1, 1)
    await slow.until(lambda reader: bool(reader.refused))
    # The ring would still hold these two; a process that has just started knows them from the database alone.
    audience.services.tails._tails[audience.tenant_id]._ring.clear()
    async with audience.services.database.session(audience.tenant_id) as session:
        await session.execute(delete(Event).where(Event.tenant_id == audience.tenant_id, Event.seq <= 2))
        await session.commit()
    slow.read_on()
    with pytest.raises(LimitExceeded) as refused:
        await asyncio.wait_for(task, DEADLINE)
    assert refused.value.extensions == {"cursor": await audience.cursor(1), "retryable": True}


def _reader_of(items: list[dict[str, Any]]) -> Reader:
    reader = Reader()
    reader.items = items
    return reader


def test_the_chain_check_can_fail() -> None:
    ready: dict[str, Any] = {"type": "Ready", "cursor": "a"}
    assert _reader_of([ready, {"type": "Delivery", "cursor": "b", "previous": "a"}]).has_unbroken_chain()
    assert not _reader_of([ready, {"type": "Delivery", "cursor": "c", "previous": "b"}]).has_unbroken_chain()
