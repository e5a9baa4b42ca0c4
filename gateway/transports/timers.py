"""This module is where connections keep time: one handle per timer, no task."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Timer:
    """Calls back once after a while, unless it is set again or stopped before."""

    def __init__(self) -> None:
        self._handle: asyncio.TimerHandle | None = None

    def set(self, seconds: float, callback: Callable[[], None]) -> None:
        self.stop()
        self._handle = asyncio.get_running_loop().call_later(max(seconds, 0.0), callback)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


class Liveness:
    """Pings at an interval and reports a peer that stays silent for the patience after a ping.

    Any inbound message is a sign of life, not only a pong: under load a client's pong queues behind its others.
    """

    def __init__(
        self, *, interval: float, patience: float, ping: Callable[[], None], silent: Callable[[], None]
    ) -> None:
        self._interval = interval
        self._patience = patience
        self._ping = ping
        self._silent = silent
        self._timer = Timer()
        self._awaiting = False

    def start(self) -> None:
        self._timer.set(self._interval, self._on_interval)

    def heard(self) -> None:
        """An inbound message arrived."""
        if self._awaiting:
            self._awaiting = False
            self.start()

    def stop(self) -> None:
        self._timer.stop()

    def _on_interval(self) -> None:
        self._awaiting = True
        # The patience runs before the ping is sent: a ping that cannot be sent is silence, too.
        self._timer.set(self._patience, self._silent)
        self._ping()
