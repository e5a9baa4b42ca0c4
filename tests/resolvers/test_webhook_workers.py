"""This module is where it is specified how workers share webhooks: none is lost when one dies, none sent by two."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import orjson
import pytest
from sqlalchemy import event, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from dataloaders.webhook_queue import claim_deliveries, endpoints_behind
from dataloaders.webhooks import dead_deliveries
from gateway.egress import Egress
from gateway.embedded import EmbeddedPostgres
from gateway.metrics import webhook_metrics
from gateway.settings import SettingsError, load
from gateway.worker import Worker
from models import WebhookDeliveryState
from resolvers.call import Services
from resolvers.webhook_rules import WebhookRules
from tests.conftest import counted
from tests.gateway.test_worker import until
from tests.patience import DEADLINE
from tests.report import record
from tests.resolvers.hooks import Hooks
from tests.resolvers.receiver import Notice, Receiver, receiving
from tests.world import QUICK

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


async def test_a_gateways_worker_does_both_jobs(hooks: Hooks, webhook_services: Services, receiver: Receiver) -> None:
    await hooks.endpoint(receiver.url)
    worker = Worker(webhook_services, webhooks=hooks.worker(), webhook_seconds=0.05)
    worker.start()
    try:
        await hooks.emit(3)
        await until(lambda: len(receiver.ids) == 3)
        await until(lambda: min(worker.states[f"webhook-{one}"].runs for one in ("planning", "sending")) > 0)
        assert worker.states["webhook-planning"].failures == worker.states["webhook-sending"].failures == 0
    finally:
        await worker.stop()


async def test_under_constant_load_the_job_says_that_it_lives_and_nothing_is_cut_short(
    hooks: Hooks, webhook_services: Services
) -> None:
    may_answer = asyncio.Event()

    async def late(_: Notice, __: int) -> int:
        await may_answer.wait()
        return 204

    async with receiving(answer=late) as receiver:
        await hooks.endpoint(receiver.url)
        await hooks.emit()
        webhooks = hooks.worker(replace(QUICK, run_seconds=0.05, timeout_seconds=DEADLINE))
        worker = Worker(webhook_services, webhooks=webhooks, webhook_seconds=0.05)
        worker.start()
        try:
            await until(lambda: bool(receiver.heard))
            runs = worker.states["webhook-sending"].runs
            await until(lambda: worker.states["webhook-sending"].runs > runs + 1)
            assert worker.states["webhook-sending"].last_success_at is not None
            assert (len(receiver.heard), len(_under_way())) == (1, 1)
            may_answer.set()
            await until(lambda: webhooks.counters.delivered == 1)
            may_answer.clear()
            await hooks.emit()
            await until(lambda: len(receiver.heard) == 2)
        finally:
            await worker.stop()
        # What no worker looks after any more is due again when its time is over.
        assert _under_way() == []
        may_answer.set()
    assert [one.state for one in await hooks.deliveries()] == [DELIVERED, PENDING]


def _under_way() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("webhook ")]


def test_the_settings_say_how_often_and_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(profile="demo").webhook_delays() == WebhookRules().delays_seconds
    monkeypatch.setenv("SIGNALBOX_WEBHOOK_RETRY_SECONDS", "0.5, 60")
    settings = load(profile="demo")
    assert settings.webhook_delays() == (0.5, 60.0)
    assert all(isinstance(one, str) for one in settings.webhook_retry_seconds)
    for bad in ("soon", "-1", "700000", ",".join(["1"] * 21)):
        monkeypatch.setenv("SIGNALBOX_WEBHOOK_RETRY_SECONDS", bad)
        with pytest.raises(SettingsError, match="SIGNALBOX_WEBHOOK_RETRY_SECONDS"):
            load(profile="demo")


def test_a_delay_is_the_rules_and_up_to_a_fifth_more() -> None:
    rules = WebhookRules(delays_seconds=(10.0, 100.0))
    seen = [rules.delay(2).total_seconds() for _ in range(1_000)]
    assert 100.0 <= min(seen) < 105.0 < 115.0 < max(seen) <= 120.0
    assert [rules.is_last(attempt) for attempt in (1, 2, 3)] == [False, False, True]
    assert rules.lease.total_seconds() > rules.timeout_seconds + 1


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
    shown = {one.name: one.samples[0].value for one in webhook_metrics(worker.counters)}
    assert (shown["signalbox_webhooks_delivered"], shown["signalbox_webhooks_failed"]) == (7, 0)
    assert shown["signalbox_webhooks_waited_seconds"] == 0


_MANY: Final = """
INSERT INTO webhook_deliveries (tenant_id, id, endpoint_id, kind, event_seq, event_id, state, attempt_count,
  next_attempt_at, expires_at)
SELECT :tenant, gen_random_uuid(), :endpoint, 'thing.happened', 1000000 + n, gen_random_uuid(),
  CASE n % 3 WHEN 0 THEN 'pending' WHEN 1 THEN 'dead' ELSE 'delivered' END, 0,
  CASE n % 3 WHEN 0 THEN now() + n * interval '1 minute' END, CASE n % 3 WHEN 0 THEN NULL ELSE now() END
FROM generate_series(1, 6000) AS n
"""


def _scans(plan: dict[str, Any]) -> Iterator[str]:
    """How the table of deliveries is read."""
    # Through a bitmap it is read as its indexes say, which stand below.
    is_read = plan.get("Relation Name") == "webhook_deliveries" and "Scan" in plan["Node Type"]
    if "Index Name" in plan and (is_read or plan["Node Type"] == "Bitmap Index Scan"):
        yield plan["Index Name"]
    elif is_read and plan["Node Type"] != "Bitmap Heap Scan":
        yield plan["Node Type"]
    for inner in plan.get("Plans", ()):
        yield from _scans(inner)


async def _plans(hooks: Hooks, statements: list[tuple[str, Any]]) -> list[set[str]]:
    found = []
    async with hooks.services.database.session(hooks.tenant) as session:
        connection = await session.connection()
        for sql, values in statements:
            said = (await connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {sql}", values)).scalar_one()
            (whole,) = orjson.loads(said) if isinstance(said, str) else said
            found.append(set(_scans(whole["Plan"])))
    return found


async def test_the_queue_is_read_by_its_indexes_under_row_level_security(
    hooks: Hooks, webhook_services: Services, postgres: EmbeddedPostgres
) -> None:
    made = await hooks.endpoint("https://hooks.example/")
    ids = {"tenant": hooks.tenant, "endpoint": made.webhook_endpoint.id}
    async with webhook_services.database.session(hooks.tenant) as session:
        await session.execute(text(_MANY), ids)
        await session.commit()
    superuser = create_async_engine(make_url(postgres.url).set(database="webhooks"), isolation_level="AUTOCOMMIT")
    async with superuser.connect() as connection:
        await connection.exec_driver_sql("VACUUM ANALYZE webhook_deliveries")
    await superuser.dispose()
    asked: list[tuple[str, Any]] = []

    def note(_: object, __: object, statement: str, parameters: Any, *___: object) -> None:
        if "webhook_deliveries" in statement:
            asked.append((statement, parameters))

    engine = webhook_services.database.app.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        async with webhook_services.database.session(hooks.tenant) as session:
            await claim_deliveries(session, made.webhook_endpoint.id, 4, timedelta(seconds=1))
            await endpoints_behind(session, 1_000)
            await dead_deliveries(session, made.webhook_endpoint.id, 100)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    claim, behind, dead = await _plans(hooks, asked)
    assert claim == {"ix_webhook_deliveries_due", "pk_webhook_deliveries"}
    assert behind == {"ix_webhook_deliveries_due"}
    assert dead == {"ix_webhook_deliveries_dead"}
