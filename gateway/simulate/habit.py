"""This module is where it is said what a habit is: something that an agent does again and again beside its beats."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random
from typing import Protocol, TypeVar

from gateway.simulate.public_api import PublicApi, Refused
from gateway.simulate.run import Run, RunOver

Result = TypeVar("Result")


class Worker(Protocol):
    """What a habit knows of the agent that has it."""

    run: Run
    api: PublicApi
    number: int
    workspace_id: str

    @property
    def name(self) -> str:
        """Its workspace's name."""
        ...

    @property
    def credential(self) -> str:
        """What it shows the gateway: its workspace's token, or the fleet's key when that is lost."""
        ...

    @property
    def is_working(self) -> bool:
        """Whether it is at work: not paused, not silent, not wedged."""
        ...

    async def insist(self, ask: Callable[[], Awaitable[Result]]) -> Result:
        """Ask until there is an answer. Raises Refused, RunOver."""
        ...


class Habit(Protocol):
    """One thing that an agent does again and again. What it does, its own random numbers decide."""

    @property
    def period_seconds(self) -> float:
        """The mean rest between two times."""
        ...

    async def practise(self) -> None:
        """Do it once. Raises Refused, and RunOver when the run ends meanwhile; what it began is then closed."""
        ...

    def forget(self) -> None:
        """After a refusal: what was thought to be there may be gone."""
        ...


async def keep_up(worker: Worker, habit: Habit, noise: Random) -> None:
    """Practise a habit until the run ends, never two agents in step. Refusals are counted, and it goes on."""
    run = worker.run
    try:
        await run.rest(noise.uniform(0, habit.period_seconds))
        while True:
            if worker.is_working:
                await _once(worker, habit)
            await run.rest(noise.uniform(0.5, 1.5) * habit.period_seconds)
    except RunOver:
        return


async def _once(worker: Worker, habit: Habit) -> None:
    try:
        await habit.practise()
    except Refused as refusal:
        habit.forget()
        # Its own token is dead: its beats find out why, and end it or go on with the fleet's key.
        if refusal.code != "UNAUTHENTICATED":
            worker.run.report.errors[refusal.code] += 1
