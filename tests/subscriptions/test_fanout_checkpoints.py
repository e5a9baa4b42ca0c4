"""This module is where signs of life are specified: one an interval, and every chain goes through them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from models.database import Database
from resolvers.call import Services
from subscriptions.tail import BATCH
from tests.subscriptions.audience import Audience, gathered
from tests.world import running

INTERVAL = 0.2


@pytest.fixture(scope="session")
async def services(database: Database) -> AsyncIterator[Services]:
    """One process's services."""
    async with running(database) as services:
        yield services


@pytest.fixture
async def audience(services: Services, database: Database) -> AsyncIterator[Audience]:
    """Its groups are impatient."""
    async with gathered(services, database, checkpoint_seconds=INTERVAL) as audience:
        yield audience


async def test_an_idle_stream_gets_one_checkpoint_an_interval(audience: Audience) -> None:
    now = asyncio.get_running_loop().time
    reader = await audience.joined(audience.question())
    started_at = now()
    await reader.until(lambda one: len(one.kinds("Checkpoint")) >= 4)
    assert now() - started_at >= 4 * INTERVAL * 0.9
    assert audience.answers.checkpoints() <= 5


async def test_a_checkpoint_moves_on_over_what_does_not_match(audience: Audience) -> None:
    reader = await audience.joined(audience.question(2))
    last = await audience.commit(1, 1, 1)
    expected = await audience.cursor(last)
    await reader.until(lambda one: one.last_cursor == expected)
    assert reader.seqs == []
    matching = await audience.commit(2)
    await reader.until_seq(matching)
    assert reader.has_unbroken_chain()


async def test_who_catches_up_over_much_that_does_not_match_is_told_how_far_it_has_come(
    services: Services, database: Database
) -> None:
    async with gathered(services, database, checkpoint_seconds=0.0) as audience:
        await audience.commit(*[1] * 2 * BATCH)
        matching = await audience.commit(1, 2)
        late = await audience.joined(audience.question(2), await audience.cursor(0))
        await late.until_seq(matching)
        told = [one["cursor"] for one in late.items[: 1 + late.items.index(late.kinds("Delivery")[0])]]
        places = [await audience.cursor(seq) for seq in (0, BATCH, 2 * BATCH, matching)]
        assert told == places
        assert late.has_unbroken_chain()


async def test_who_resumes_across_a_checkpoint_has_a_chain_of_its_own(audience: Audience) -> None:
    start = await audience.cursor(0)
    early = await audience.joined(audience.question(2))
    await early.until_seq(await audience.commit(2))
    await audience.commit(1)
    passed = await audience.cursor(2)
    await early.until(lambda one: one.last_cursor == passed)
    await early.until_seq(await audience.commit(2, 2))
    late = await audience.joined(audience.question(2), start)
    last = await audience.commit(2)
    for reader in (early, late):
        await reader.until_seq(last)
        assert reader.seqs == [1, 3, 4, 5]
        assert reader.has_unbroken_chain()


async def test_a_reader_that_is_ahead_is_not_sent_back(audience: Audience) -> None:
    # The group still renders what this reader, who came after the commit, has read elsewhere.
    early = await audience.joined(audience.question(2))
    audience.answers.gate.clear()
    last = await audience.commit(2, 1)
    await early.until(lambda _: audience.answers.of_events() == [[1]])
    ahead = await audience.joined(audience.question(2), await audience.cursor(last))
    audience.answers.gate.set()
    await early.until_seq(1)
    final = await audience.commit(2)
    for reader in (early, ahead):
        await reader.until_seq(final)
        assert reader.has_unbroken_chain()
    assert ahead.seqs == [final]


async def test_documents_without_a_chain_share_every_byte(audience: Audience) -> None:
    start = await audience.cursor(0)
    question = audience.question(2, chained=False)
    early = await audience.joined(question)
    await early.until_seq(await audience.commit(2))
    await early.until(lambda one: bool(one.kinds("Checkpoint")))
    late = await audience.joined(question, start)
    last = await audience.commit(2)
    for reader in (early, late):
        await reader.until_seq(last)
        assert reader.seqs == [1, 2]
    assert sum(map(len, audience.answers.of_events())) == 2
