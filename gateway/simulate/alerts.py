"""This module is where a simulated Alertmanager raises alerts, lets them flap, and resolves them.

What it sends depends on its seed and on the hour alone; how often it may send is its caller's to say. It sends again
what was not taken, as Alertmanager does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final, Protocol

from gateway.simulate.public_api import Away

PATH: Final = "/ingest/alertmanager"
_NONE: Final = "0001-01-01T00:00:00Z"
_MOST_FIRING: Final = 20
_MOST_UNSENT: Final = 200
_NAMES: Final = (
    ("HighCPUUsage", "critical", "node-exporter"),
    ("HighMemoryUsage", "warning", "node-exporter"),
    ("DiskSpaceLow", "warning", "node-exporter"),
    ("NetworkLatencyHigh", "info", "blackbox-exporter"),
    ("ServiceDown", "critical", "http-probe"),
    ("QueueLong", "error", "queue-exporter"),
)


class Posts(Protocol):
    """What alerts are sent with."""

    async def post(self, path: str, token: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a POST of JSON. Raises Away, Refused."""
        ...


@dataclass(slots=True)
class _Firing:
    """One alert that goes on."""

    labels: dict[str, str]
    starts_at: datetime
    flaps_left: int

    @property
    def fingerprint(self) -> str:
        """The same for every firing of the same labels."""
        said = "/".join(f"{name}={value}" for name, value in sorted(self.labels.items()))
        return hashlib.sha256(said.encode()).hexdigest()[:16]

    def payload(self, ends_at: datetime | None) -> dict[str, Any]:
        """As Alertmanager writes it."""
        return {
            "status": "resolved" if ends_at is not None else "firing",
            "labels": self.labels,
            "annotations": {"summary": f"{self.labels['alertname']} at {self.labels['instance']}"},
            "startsAt": self.starts_at.isoformat(),
            "endsAt": ends_at.isoformat() if ends_at is not None else _NONE,
            "generatorURL": "https://prometheus.example/graph",
            "fingerprint": self.fingerprint,
        }


class AlertStorm:
    """Alerts of one simulated landscape. ``step`` is one delivery; at most twenty alerts fire at once."""

    def __init__(self, seed: str, clock: Callable[[], datetime], *, instances: int = 8) -> None:
        self._random = Random(seed)  # noqa: S311 - nothing secret is drawn
        self._clock = clock
        self._instances = instances
        self._firing: dict[str, _Firing] = {}
        self._unsent: dict[tuple[str, str], dict[str, Any]] = {}
        self.raised = self.resolved = self.flapped = 0

    async def step(self, api: Posts, token: str) -> None:
        """Change something and tell of it. Raises Away, with nothing lost, and Refused."""
        if len(self._unsent) < _MOST_UNSENT:
            # Of each firing the last word; while too much waits to be sent, nothing new happens.
            self._unsent |= {(one["fingerprint"], one["startsAt"]): one for one in self._changes()}
        alerts = list(self._unsent.values())
        await api.post(PATH, token, {"version": "4", "receiver": "signalbox", "groupKey": "{}:{}", "alerts": alerts})
        # Not when it was not taken: then all of it is sent again, and what has been sent twice is one alert.
        self._unsent = {}

    async def run(self, api: Posts, token: str, rest: Callable[[], Awaitable[None]]) -> None:
        """Step until ``rest``, which waits between two steps, raises or is cancelled."""
        while True:
            await rest()
            try:
                await self.step(api, token)
            except Away:
                continue

    def _changes(self) -> list[dict[str, Any]]:
        told = []
        if len(self._firing) < _MOST_FIRING and self._random.random() < 0.6:
            told.append(self._raise())
        if self._firing and self._random.random() < 0.5:
            told += self._end(self._random.choice(sorted(self._firing)))
        # Alertmanager repeats what goes on.
        told += [one.payload(None) for one in self._firing.values()]
        return told

    def _raise(self) -> dict[str, Any]:
        name, severity, job = self._random.choice(_NAMES)
        instance = f"sim-{self._random.randrange(self._instances)}"
        labels = {"alertname": name, "severity": severity, "instance": instance, "job": job}
        one = _Firing(labels, self._now(), self._random.choice((0, 0, 0, 3)))
        self._firing.setdefault(one.fingerprint, one)
        self.raised += 1
        return self._firing[one.fingerprint].payload(None)

    def _end(self, fingerprint: str) -> list[dict[str, Any]]:
        one = self._firing.pop(fingerprint)
        ended = [one.payload(self._now())]
        self.resolved += 1
        if one.flaps_left:
            again = _Firing(one.labels, self._now() + timedelta(milliseconds=1), one.flaps_left - 1)
            self._firing[fingerprint] = again
            self.flapped += 1
        return ended

    def _now(self) -> datetime:
        return self._clock()
