"""This module is where counts are kept for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, Final

from prometheus_client import REGISTRY, Counter
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.transports.open_connections import OpenConnections
from resolvers.call import Services
from resolvers.webhook_counters import WebhookCounters

OPERATIONS: Final = Counter(
    "signalbox_operations_total", "GraphQL operations by kind and outcome.", ["kind", "outcome"]
)
THROTTLED: Final = Counter("signalbox_throttled_total", "Operations and ingest requests refused by a rate limit.")


class _Observed(Collector):
    """Reads the services' own counts when Prometheus asks; they count without knowing it."""

    def __init__(self, services: Services, connections: OpenConnections) -> None:
        self._services = services
        self._connections = connections

    def collect(self) -> Iterable[Metric]:
        """Every number, as of now."""
        yield GaugeMetricFamily("signalbox_sockets", "Open WebSockets.", self._connections.sockets)
        yield GaugeMetricFamily("signalbox_http_streams", "Open HTTP streams.", self._connections.streams)
        yield GaugeMetricFamily("signalbox_tails", "Tenants whose log is followed.", self._services.tails.followed)
        yield GaugeMetricFamily("signalbox_bus_healthy", "1 while the bus hears itself.", self._services.bus.healthy)
        yield from _counters("signalbox_bus", self._services.bus.counters)
        yield from _counters("signalbox_beats", self._services.heartbeats.counters)
        if self._services.webhooks is not None:
            yield from webhook_metrics(self._services.webhooks.counters)
        for name in ("published", "failed"):
            yield CounterMetricFamily(
                f"signalbox_wakeups_{name}", f"Wake-ups {name}.", getattr(self._services.announcer, name, 0)
            )


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


@contextmanager
def observed(services: Services, connections: OpenConnections) -> Iterator[None]:
    """Show the numbers of ``services`` while the block lasts."""
    collector = _Observed(services, connections)
    REGISTRY.register(collector)
    try:
        yield
    finally:
        REGISTRY.unregister(collector)
