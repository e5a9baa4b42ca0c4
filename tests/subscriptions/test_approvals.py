"""This module is where it is specified how whoever waits for a request is woken: by its events, and by no others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from models import EventTopic, Scope
from models.database import Database
from models.errors import Unavailable
from models.ids import uuid7
from resolvers.call import Services
from subscriptions.approvals import ApprovalWatch, Waiter
from subscriptions.log import Envelope
from tests.patience import DEADLINE
from tests.world import Tenants, call_of, principal, running


@pytest.fixture
async def services(database: Database) -> AsyncIterator[Services]:
    async with running(database) as made:
        yield made


async def _happen(services: Services, tenant: object, approval: object, kind: str = "approval") -> None:
    async with call_of(services, principal(tenant)).work() as work:  # type: ignore[arg-type]
        work.record(
            Envelope(
                topic=EventTopic.APPROVALS,
                kind=f"{kind}.touched",
                entity_type=kind,
                entity_id=approval,  # type: ignore[arg-type]
                required_scope=Scope.APPROVALS_READ,
                before=None,
                after=None,
            )
        )


async def _is_woken(waiter: Waiter) -> bool:
    try:
        async with asyncio.timeout(0.1):
            await waiter.wait()
    except TimeoutError:
        return False
    return True


async def test_an_event_wakes_those_who_wait_for_its_request_and_nobody_else(
    services: Services, tenants: Tenants
) -> None:
    watch, mine, other = ApprovalWatch(), uuid7(), uuid7()
    async with AsyncExitStack() as stack:
        first, second, elsewhere = [
            await stack.enter_async_context(watch.waiting(services.tails, tenants.mine, one))
            for one in (mine, mine, other)
        ]
        assert services.tails.followed == 1
        await _happen(services, tenants.mine, mine, "agent")
        await _happen(services, tenants.other, mine)
        await _happen(services, tenants.mine, mine)
        async with asyncio.timeout(DEADLINE):
            await asyncio.gather(first.wait(), second.wait())
        assert not await _is_woken(elsewhere)
        first.forget()
        assert not await _is_woken(first)
        await _happen(services, tenants.mine, other)
        async with asyncio.timeout(DEADLINE):
            await elsewhere.wait()
    assert services.tails.followed == 0


async def test_when_the_log_cannot_be_followed_those_who_wait_are_told(services: Services, tenants: Tenants) -> None:
    watch = ApprovalWatch()
    async with watch.waiting(services.tails, tenants.mine, uuid7()) as waiter:
        for tail in services.tails._tails.values():
            tail.give_up()
        with pytest.raises(Unavailable):
            async with asyncio.timeout(DEADLINE):
                await waiter.wait()
        # Whoever comes now is served again.
        services.tails._tails.clear()
        async with watch.waiting(services.tails, tenants.mine, uuid7()) as late:
            assert not await _is_woken(late)
