"""This module is where counts are kept for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, Final

from prometheus_client import REGISTRY, Counter, Gauge
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.transports.open_connections import OpenConnections, TransportCounters
from gateway.worker import JobState
from resolvers.call import Services
from resolvers.webhook_counters import WebhookCounters
from subscriptions.fanout import Fanout

OPERATIONS: Final = Counter(
    "signalbox_operations_total", "GraphQL operations by kind and outcome.", ["kind", "outcome"]
)
THROTTLED: Final = Counter("signalbox_throttled_total", "Operations and ingest requests refused by a rate limit.")
SUBSCRIPTIONS: Final = Gauge("signalbox_subscriptions", "Subscriptions under way, by the field they follow.", ["field"])


class _Observed(Collector):
    """Reads the services' own counts when Prometheus asks; they count without knowing it."""

    def __init__(self, services: Services, connections: OpenConnections, jobs: Mapping[str, JobState]) -> None:
        self._services = services
        self._connections = connections
        self._jobs = jobs

    def collect(self) -> Iterable[Metric]:
        """Every number, as of now."""
        yield GaugeMetricFamily("signalbox_sockets", "Open WebSockets.", self._connections.sockets)
        yield GaugeMetricFamily("signalbox_http_streams", "Open HTTP streams.", self._connections.streams)
        yield from transport_metrics(self._connections.counters)
        yield from stream_metrics(self._services.fanout)
        yield GaugeMetricFamily("signalbox_bus_healthy", "1 while the bus hears itself.", self._services.bus.healthy)
        yield from _counters("signalbox_bus", self._services.bus.counters)
        yield from _counters("signalbox_beats", self._services.heartbeats.counters)
        if self._services.webhooks is not None:
            yield from webhook_metrics(self._services.webhooks.counters)
        for name in ("published", "failed"):
            yield CounterMetricFamily(
                f"signalbox_wakeups_{name}", f"Wake-ups {name}.", getattr(self._services.announcer, name, 0)
            )
        yield from job_metrics(self._jobs)


def _counters(prefix: str, counters: Any) -> Iterator[Metric]:
    for one in fields(counters):
        yield CounterMetricFamily(f"{prefix}_{one.name}", f"Since the start: {one.name}.", getattr(counters, one.name))


def webhook_metrics(counters: WebhookCounters) -> Iterator[Metric]:
    """How webhooks fare, as far as this process does them."""
    for name in ("planned", "gaps", "delivered", "failed", "dead", "disabled"):
        yield CounterMetricFamily(
            f"signalbox_webhooks_{name}", f"Webhooks {name} since the start.", getattr(counters, name)
        )
    yield GaugeMetricFamily(
        "signalbox_webhooks_events_behind", "Events that some endpoint was not planned for yet.", counters.events_behind
    )
    yield GaugeMetricFamily(
        "signalbox_webhooks_waited_seconds", "For how long the longest due delivery is due.", counters.waited_seconds
    )


def transport_metrics(counters: TransportCounters) -> Iterator[Metric]:
    """How connections came and went."""
    for name, what in (("sockets", "WebSockets"), ("streams", "HTTP streams")):
        opened = getattr(counters, f"{name}_opened")
        yield CounterMetricFamily(f"signalbox_{name}_opened", f"{what} opened since the start.", opened)
    closes = CounterMetricFamily("signalbox_socket_closes", "WebSockets closed by us, by close code.", labels=["code"])
    for code, number in sorted(counters.closes.items()):
        closes.add_metric([str(code)], number)
    yield closes
    cut = CounterMetricFamily(
        "signalbox_connections_cut", "Connections cut off: they read too slowly, or answered no ping.", labels=["why"]
    )
    cut.add_metric(["stuck"], counters.cut_stuck)
    cut.add_metric(["silent"], counters.cut_silent)
    yield cut


def stream_metrics(fanout: Fanout) -> Iterator[Metric]:
    """How durable streams fare."""
    tails = fanout.tails
    yield GaugeMetricFamily("signalbox_tails", "Tenants whose log is followed.", tails.followed)
    yield GaugeMetricFamily("signalbox_stream_groups", "Questions answered once for all who ask them.", fanout.groups)
    yield CounterMetricFamily("signalbox_stream_deliveries", "Events delivered to subscribers.", fanout.delivered)
    yield CounterMetricFamily(
        "signalbox_stream_catch_up_reads", "Reads of the log behind what is kept.", tails.counters.catch_up_reads
    )
    yield CounterMetricFamily(
        "signalbox_stream_gaps", "Streams told that what they missed is not to be had.", tails.counters.unrecovered
    )
    yield HistogramMetricFamily(
        "signalbox_stream_lag_seconds",
        "From a change's writing to its reading by this process.",
        buckets=list(tails.counters.lags.buckets()),
        sum_value=tails.counters.lags.total_seconds,
    )


def job_metrics(jobs: Mapping[str, JobState]) -> Iterator[Metric]:
    """How a worker's jobs fare; one that only the leader does has no success to show elsewhere."""
    runs = CounterMetricFamily("signalbox_job_runs", "Runs of a job that ended well.", labels=["job"])
    failures = GaugeMetricFamily("signalbox_job_failures", "Failures since a job's last success.", labels=["job"])
    succeeded = GaugeMetricFamily(
        "signalbox_job_last_success_timestamp_seconds", "When a job last ended well.", labels=["job"]
    )
    for name, state in jobs.items():
        runs.add_metric([name], state.runs)
        failures.add_metric([name], state.failures)
        if state.last_success_at is not None:
            succeeded.add_metric([name], state.last_success_at.timestamp())
    yield from (runs, failures, succeeded)


@contextmanager
def observed(services: Services, connections: OpenConnections, jobs: Mapping[str, JobState]) -> Iterator[None]:
    """Show the numbers of ``services``, and of the worker's jobs where one runs here, while the block lasts."""
    collector = _Observed(services, connections, jobs)
    REGISTRY.register(collector)
    try:
        yield
    finally:
        REGISTRY.unregister(collector)
