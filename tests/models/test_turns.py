"""This module is where turns are specified: a tenant has its places, and no tenant has another's."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from uuid import UUID

import pytest

from models.errors import Unavailable
from models.ids import uuid7
from models.turns import Turns
from tests.patience import DEADLINE


async def test_one_more_than_the_places_waits_and_is_told_so_in_time() -> None:
    turns, tenant = Turns(2, wait_seconds=0.05), uuid7()
    async with turns.taken(tenant), turns.taken(tenant):
        with pytest.raises(Unavailable):
            async with turns.taken(tenant):
                pass


async def test_another_tenant_does_not_wait() -> None:
    turns, busy = Turns(1, wait_seconds=60), uuid7()
    async with turns.taken(busy), asyncio.timeout(DEADLINE), turns.taken(uuid7()):
        pass


async def test_places_are_given_back_whatever_happens() -> None:
    turns, tenant = Turns(1, wait_seconds=DEADLINE), uuid7()
    for failure in (None, ZeroDivisionError("a defect"), asyncio.CancelledError()):
        try:
            async with turns.taken(tenant):
                if failure is not None:
                    raise failure
        except (ZeroDivisionError, asyncio.CancelledError):
            pass
    async with turns.taken(tenant):
        pass


async def test_all_get_their_turn_and_never_more_at_once_than_there_are_places() -> None:
    turns, tenant = Turns(3, wait_seconds=DEADLINE), uuid7()
    inside = most = done = 0

    async def work(whose: UUID) -> None:
        nonlocal inside, most, done
        async with turns.taken(whose):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1
        done += 1

    await asyncio.gather(*(work(tenant) for _ in range(50)))
    assert (done, most) == (50, 3)


async def test_nothing_is_remembered_of_tenants_that_are_through() -> None:
    turns = Turns(2, wait_seconds=0.01)
    async with AsyncExitStack() as stack:
        for _ in range(10):
            await stack.enter_async_context(turns.taken(uuid7()))
        assert len(turns._turns) == 10
    assert not turns._turns
