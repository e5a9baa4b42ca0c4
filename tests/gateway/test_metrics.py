"""This module is where it is specified what an operator reads of streams and connections at ``/metrics``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.embedded import EmbeddedValkey
from gateway.metrics import job_metrics
from gateway.worker import JobState
from models import Role, Scope
from resolvers.call import Call, Services
from subscriptions.cursor import Cursor
from subscriptions.lags import Lags
from tests.faults.transports import NO_TLS, TRANSPORTS, Ended, Operation, opened
from tests.gateway.fleet_gateway import serving, settings_for
from tests.patience import DEADLINE
from tests.schema.test_activity import envelope
from tests.world import call_of, make_tenant, principal

FEED = """
subscription Feed($after: EventCursor) {
  activityFeed(after: $after) {
    ... on StreamReady { cursor recovered } ... on ActivityItem { cursor event { kind } }
  }
}
"""
SCOPES = [Scope.ACTIVITY_READ.value, Scope.WORKSPACES_READ.value]
Numbers = dict[str, float]


@dataclass(frozen=True, slots=True)
class Observed:
    """A running gateway, a tenant and its key."""

    url: str
    services: Services
    tenant_id: UUID
    key: str

    @property
    def admin(self) -> Call:
        """A new operation of the tenant's admin."""
        return call_of(self.services, principal(self.tenant_id, Role.ADMIN))

    async def tell(self, kind: str) -> None:
        """Commit an event."""
        async with self.admin.work() as work:
            work.record(envelope(kind))

    async def text(self) -> str:
        """What Prometheus would read."""
        async with httpx.AsyncClient(trust_env=False, verify=NO_TLS, timeout=DEADLINE) as client:
            return (await client.get(f"{self.url}/metrics")).text

    async def numbers(self) -> Numbers:
        """Every sample of ours: its name, and the value of its one label where it has one."""
        families = text_string_to_metric_families(await self.text())
        return {
            " ".join((one.name, *one.labels.values())): one.value
            for family in families
            if family.name.startswith("signalbox")
            for one in family.samples
        }

    async def until(self, holds: Callable[[Numbers], bool]) -> Numbers:
        """Waits for it."""
        async with asyncio.timeout(DEADLINE):
            while not holds(found := await self.numbers()):  # noqa: ASYNC110 - nobody says when they change
                await asyncio.sleep(0.02)
        return found


@pytest.fixture(scope="module")
async def observed(
    app_url: str, valkey: EmbeddedValkey, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Observed]:
    """A gateway on loopback."""
    settings = settings_for(app_url, valkey.url, tmp_path_factory.mktemp("metrics"))
    async with serving(settings) as app:
        services: Services = app.state.services
        tenant_id = await make_tenant(services.database)
        admin = call_of(services, principal(tenant_id, Role.ADMIN))
        _, key = await services.accounts.create_api_key(admin, name="watcher", scopes=SCOPES)
        yield Observed(settings.url, services, tenant_id, key)


@pytest.mark.parametrize(
    ("transport", "opened_as"), [("websocket", "sockets"), ("sse", "streams"), ("multipart", "streams")]
)
async def test_a_stream_shows_by_its_field_its_group_its_deliveries_and_its_lag(
    observed: Observed, transport: str, opened_as: str
) -> None:
    before = await observed.numbers()
    async with aclosing(TRANSPORTS[transport](observed.url, observed.key, Operation(FEED, {}))) as answers:
        await anext(answers)
        await observed.tell("workspace.created")
        assert (await anext(answers))["data"]["activityFeed"]["event"]["kind"] == "workspace.created"
        during = await observed.numbers()
        assert during["signalbox_subscriptions activityFeed"] == 1
        assert during["signalbox_stream_groups"] == 1
        assert during["signalbox_tails"] == 1
    after = await observed.until(lambda now: now["signalbox_subscriptions activityFeed"] == 0)

    def grown(name: str) -> float:
        return after[name] - before[name]

    assert grown(f"signalbox_{opened_as}_opened_total") == 1
    assert grown("signalbox_stream_deliveries_total") == 1
    assert grown("signalbox_stream_lag_seconds_count") == 1
    assert grown("signalbox_stream_gaps_total") == 0
    assert 0 <= grown("signalbox_stream_lag_seconds_sum") < DEADLINE


async def test_a_gap_and_a_read_behind_what_is_kept_are_counted(observed: Observed) -> None:
    await observed.tell("workspace.created")
    begin = Cursor(await observed.services.tails.epoch(), 0).encode()
    before = await observed.numbers()
    for place in (begin, "nonsense"):
        operation = Operation(FEED, {"after": place})
        async with aclosing(TRANSPORTS["websocket"](observed.url, observed.key, operation)) as answers:
            ready = (await anext(answers))["data"]["activityFeed"]
            assert ready["recovered"] is (place == begin)
            if ready["recovered"]:
                await anext(answers)
    after = await observed.numbers()
    assert after["signalbox_stream_catch_up_reads_total"] - before["signalbox_stream_catch_up_reads_total"] == 1
    assert after["signalbox_stream_gaps_total"] - before["signalbox_stream_gaps_total"] == 1


async def test_sockets_that_we_close_are_counted_by_their_code(observed: Observed) -> None:
    with pytest.raises(Ended, match="4401"):
        await opened(observed.url, "sbx_nonsense")
    found = await observed.until(lambda now: "signalbox_socket_closes_total 4401" in now)
    assert found["signalbox_socket_closes_total 4401"] == 1
    assert found["signalbox_connections_cut_total stuck"] == 0
    assert found["signalbox_connections_cut_total silent"] == 0


async def test_nobody_is_named_in_the_numbers(observed: Observed) -> None:
    text = await observed.text()
    assert str(observed.tenant_id) not in text
    assert observed.key not in text


def test_a_job_shows_its_runs_its_failures_in_a_row_and_its_last_success() -> None:
    at = datetime(2026, 11, 22, tzinfo=UTC)
    jobs = {"liveness": JobState(runs=7, last_success_at=at), "mail": JobState(runs=2, failures=3)}
    found = {(metric.name, *one.labels.values()): one.value for metric in job_metrics(jobs) for one in metric.samples}
    assert found == {
        ("signalbox_job_runs", "liveness"): 7,
        ("signalbox_job_runs", "mail"): 2,
        ("signalbox_job_failures", "liveness"): 0,
        ("signalbox_job_failures", "mail"): 3,
        ("signalbox_job_last_success_timestamp_seconds", "liveness"): at.timestamp(),
    }


async def test_the_jobs_of_the_worker_inside_are_shown(observed: Observed) -> None:
    found = await observed.until(lambda numbers: numbers.get("signalbox_job_runs_total liveness", 0) > 0)
    assert found["signalbox_job_failures liveness"] == 0
    assert time.time() - found["signalbox_job_last_success_timestamp_seconds liveness"] < DEADLINE


def test_a_lag_counts_in_its_bucket_and_in_all_above() -> None:
    lags = Lags()
    for seconds in (-1.0, 0.0025, 0.4, 60.0):
        lags.note(seconds)
    buckets = dict(lags.buckets())
    assert (buckets["0.0025"], buckets["0.25"], buckets["0.5"], buckets["10.0"], buckets["+Inf"]) == (2, 2, 3, 3, 4)
    assert lags.total_seconds == pytest.approx(60.4025)
