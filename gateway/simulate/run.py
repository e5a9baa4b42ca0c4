"""This module is where what the agents of one run share stands, and how each of them waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Final, TypeVar

from gateway.simulate.behaviour import Behaviour
from gateway.simulate.public_api import Away
from gateway.simulate.report import FleetReport
from gateway.simulate.talking import Talking

_FIRST_BACKOFF_SECONDS: Final = 0.5
_MAX_BACKOFF_SECONDS: Final = 30.0

Result = TypeVar("Result")


class RunOver(Exception):
    """The run's time is up."""


@dataclass(slots=True)
class Run:
    """What the agents of one run share."""

    key: str
    seed: int
    period_seconds: float
    behaviour: Behaviour
    report: FleetReport
    stop: asyncio.Event
    gate: asyncio.Semaphore
    """How many ask for their places at once: a fleet that starts must not be a flood."""
    talking: Talking | None = None
    """With whom the agents talk; None when nobody asks them anything."""

    def name_of(self, number: int) -> str:
        """The workspace's name: a fleet that is started again takes the same places."""
        return f"sim-{self.seed}-{number:03}"

    def random_of(self, number: int, what: str) -> Random:
        """The numbers that decide ``what`` of one agent: the same ones for the same seed."""
        return Random(f"{self.seed}/{number}/{what}")  # noqa: S311 - nothing secret is drawn

    async def rest(self, seconds: float) -> None:
        """Wait. Raises RunOver when the run ends before or meanwhile."""
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self.stop.wait()
        except TimeoutError:
            if not self.stop.is_set():
                return
        raise RunOver

    async def insist(
        self, ask: Callable[[], Awaitable[Result]], noise: Random, waiting: Callable[[], None] | None = None
    ) -> Result:
        """Ask until there is an answer, waiting longer each time, and never two agents in step.

        ``waiting`` is called before each wait. Raises Refused, and RunOver once the run's time is up.
        """
        backoff = _FIRST_BACKOFF_SECONDS
        while True:
            try:
                return await ask()
            except Away as away:
                self.report.errors[away.code] += 1
                if waiting is not None:
                    waiting()
                await self.rest(away.retry_after_seconds + noise.uniform(backoff / 2, backoff))
                backoff = min(backoff * 2, _MAX_BACKOFF_SECONDS)
