"""This module is where it is counted how far a process is behind the log, and what following it has cost."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

BOUNDS_SECONDS: Final = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""A wake-up takes a few milliseconds, a lost one half a second: both sides of that must show."""


@dataclass(slots=True)
class Lags:
    """How long events had been written when a process read them: one figure a read, that of the oldest of it."""

    total_seconds: float = 0.0
    _counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_SECONDS) + 1))

    def note(self, seconds: float) -> None:
        """One read. Clocks of two machines differ: what seems to come from the future took no time."""
        seconds = max(seconds, 0.0)
        self.total_seconds += seconds
        self._counts[bisect_left(BOUNDS_SECONDS, seconds)] += 1

    def buckets(self) -> Iterator[tuple[str, int]]:
        """Upper bounds in seconds as Prometheus writes them, each with how many reads took no longer."""
        return zip((*map(str, BOUNDS_SECONDS), "+Inf"), accumulate(self._counts), strict=True)


@dataclass(slots=True)
class TailCounters:
    """What the tails of one process did since they started; the gateway exports it."""

    catch_up_reads: int = 0
    unrecovered: int = 0
    lags: Lags = field(default_factory=Lags)
