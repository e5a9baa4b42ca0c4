"""This module is where it is specified how workers share webhooks: none is lost when one dies, none sent by two."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from sqlalchemy import text

from gateway.egress import Egress
from models import WebhookDeliveryState
from tests.conftest import counted
from tests.patience import DEADLINE
from tests.report import record
from tests.resolvers.hooks import Hooks
from tests.resolvers.receiver import Receiver

PENDING, DELIVERED, DEAD = WebhookDeliveryState


class Dying:
    """Sends, and then its worker is no more."""

    def __init__(self, egress: Egress) -> None:
        self.egress = egress
        self.sent = asyncio.Event()

    def refuses(self, url: str) -> bool:
        """As the egress."""
        return self.egress.refuses(url)

    async def notify(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """Never comes back."""
        await self.egress.notify(url, body, headers)
        self.sent.set()
        await asyncio.Event().wait()
        return 200


async def test_a_worker_that_dies_between_sending_and_marking_loses_nothing(hooks: Hooks, receiver: Receiver) -> None:
    await hooks.endpoint(receiver.url)
    await hooks.emit()
    dying = Dying(hooks.egress)
    first, second = hooks.worker(notices=dying), hooks.worker()
    await first.plan()
    sending = asyncio.create_task(first.send(), name="a worker that dies")
    async with asyncio.timeout(DEADLINE):
        await dying.sent.wait()
    # While its time lasts nobody else sends it.
    assert await second.send() == 0
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    assert [one.state for one in await hooks.deliveries()] == [PENDING]
    await hooks.make_due()
    assert await second.send() == 1
    assert [one.id for one in receiver.taken] == await hooks.event_ids() * 2
    assert receiver.taken[0].body == receiver.taken[1].body
    assert [(one.state, one.attempt_count) for one in await hooks.deliveries()] == [(DELIVERED, 2)]
    record(6, "a worker killed between sending and marking: twice under the same id, never lost", 1, "2 requests, 1 id")


@pytest.mark.parametrize("count", [100, pytest.param(1_000, marks=pytest.mark.faults)])
async def test_of_three_workers_one_at_a_time_sends_a_delivery(hooks: Hooks, receiver: Receiver, count: int) -> None:
    await hooks.endpoint(receiver.url)
    await hooks.emit(count)
    workers = [hooks.worker() for _ in range(3)]
    planned = await asyncio.gather(*(one.plan() for one in workers))
    if sum(planned) < count:
        planned.append(await workers[0].plan())
    assert sum(planned) == count
    async with asyncio.timeout(DEADLINE):
        while len(receiver.ids) < count:
            await asyncio.gather(*(one.send() for one in workers))
    assert set(receiver.ids.values()) == {1}
    assert set(receiver.most_at_once.values()) == {1}
    assert sum(one.counters.delivered for one in workers) == count
    record(6, "three workers racing: at most one send at a time per delivery", count, f"{count} requests, none twice")


async def test_an_endpoint_that_does_not_keep_up_has_a_bounded_queue(hooks: Hooks, receiver: Receiver) -> None:
    made = await hooks.endpoint(receiver.url)
    await hooks.emit(260)
    worker = hooks.worker(most_pending=50)
    # A page more than the bound, then its cursor waits in the log.
    assert await worker.plan() <= 50 + 200
    assert await worker.plan() == 0
    async with asyncio.timeout(DEADLINE):
        while len(receiver.ids) < 260:
            await worker.send()
            await worker.plan()
    assert (await hooks.row(made)).cursor >= 260


async def test_a_suspended_tenants_endpoints_wait(hooks: Hooks, receiver: Receiver) -> None:
    await hooks.endpoint(receiver.url)
    await hooks.emit()
    worker = hooks.worker()

    async def status(word: str) -> None:
        async with hooks.services.database.session(hooks.tenant) as session:
            await session.execute(text("UPDATE tenants SET status = :word"), {"word": word})
            await session.commit()

    await status("suspended")
    assert (await worker.plan(), await worker.send()) == (0, 0)
    await status("active")
    assert (await worker.plan(), await worker.send()) == (1, 1)


async def test_statements_do_not_grow_with_events(hooks: Hooks, receiver: Receiver) -> None:
    await hooks.endpoint(receiver.url)
    worker = hooks.worker()
    await worker.plan()
    seen = []
    for count in (1, 150):
        await hooks.emit(count)
        with counted(hooks.services.database) as statements:
            assert await worker.plan() == count
        seen.append(len(statements))
        await worker.send()
    assert seen == [4, 4]


async def test_numbers_say_how_far_behind_it_is(hooks: Hooks, receiver: Receiver) -> None:
    await hooks.endpoint(receiver.url)
    await hooks.emit(7)
    worker = hooks.worker()
    await worker.plan()
    assert worker.counters.events_behind >= 7
    await worker.send()
    assert worker.counters.waited_seconds == 0.0
    await worker.plan()
    assert worker.counters.events_behind == 0
