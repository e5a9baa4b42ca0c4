"""This module is where it stands how often webhooks are tried, for how long, and how many at once."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

DELAYS_SECONDS: Final = (5.0, 300.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0, 36_000.0)
"""Between attempts: eight of them over 28 hours, which the log's seven days outlast."""

KEPT: Final = timedelta(days=7)
"""How long a delivery that arrived is kept."""

DEAD_KEPT: Final = timedelta(days=30)
"""How long a delivery that was given up is kept."""

_MARKING_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class WebhookRules:
    """What the settings say, and what follows from it."""

    delays_seconds: tuple[float, ...] = DELAYS_SECONDS
    timeout_seconds: float = 15.0
    at_once: int = 32
    """Requests of one process to endpoints that answer; those that do not wait in a line of their own."""
    at_once_each: int = 4
    """Requests of one process to one endpoint; one, when the last failed."""
    run_seconds: float = 10.0
    """How long a worker sends at a stretch, before it says that it is alive; what is under way then goes on."""
    disabled_after: timedelta = timedelta(days=5)
    """How long nothing may have arrived before an endpoint is told no more."""

    @property
    def lease(self) -> timedelta:
        """For how long a delivery is whoever's who took it up: longer than sending and marking can take."""
        return timedelta(seconds=2 * self.timeout_seconds + _MARKING_SECONDS)

    @property
    def places(self) -> int:
        """How many endpoints are sent to at once."""
        return max(1, self.at_once // self.at_once_each)

    def is_last(self, attempt: int) -> bool:
        """Whether none follows this attempt."""
        return attempt > len(self.delays_seconds)

    def delay(self, attempt: int) -> timedelta:
        """From the failure of this attempt to the next one; up to a fifth more, so that no herd comes back at once."""
        jitter = 1 + random.random() / 5  # noqa: S311 - no secret
        return timedelta(seconds=self.delays_seconds[attempt - 1] * jitter)
