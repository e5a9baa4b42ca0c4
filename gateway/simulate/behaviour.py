"""This module is where a simulated agent's life is drawn: what it goes through, for how long, what its beats say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Any, Final

Span = tuple[float, float]
"""Shortest and longest, in seconds."""

_TASKS: Final = (
    "answering a customer about an invoice",
    "auditing a landing page",
    "drafting a press release",
    "qualifying a lead",
    "summarising the terms of an NDA",
    "syncing contacts to the CRM",
    "writing a page about opening hours",
)
_ERRORS: Final = (
    "anthropic API rate limit exceeded",
    "the CRM answers 502",
    "the tool brave_web_search timed out",
)
_MOST_TASKS: Final = 5


class Mood(StrEnum):
    """How an agent is doing."""

    IDLE = "idle"
    BUSY = "busy"
    FAILING = "failing"
    RECOVERING = "recovering"
    WEDGED = "wedged"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Phase:
    """One stretch of a life. ``new_runtime``: it ends with a restart, so the agent registers again."""

    mood: Mood
    seconds: float
    new_runtime: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What a fleet goes through. After each calm stretch comes one trouble, drawn by weight; weight 0 never comes.

    A silence is meant to be longer than the workspaces' time-to-live, 60 seconds unless it was changed.
    """

    calm_seconds: Span = (20.0, 90.0)
    failing_seconds: Span = (10.0, 30.0)
    recovering_seconds: Span = (3.0, 10.0)
    wedged_seconds: Span = (10.0, 20.0)
    silent_seconds: Span = (70.0, 120.0)
    failing_weight: float = 3.0
    wedged_weight: float = 1.0
    silent_weight: float = 2.0
    busy_share: float = 0.6
    new_runtime_share: float = 0.3
    graphql_share: float = 0.0
    """Agents that beat by reportHeartbeat; the others POST to /ingest/heartbeats."""


STEADY: Final = Behaviour(failing_weight=0, wedged_weight=0, silent_weight=0)
"""Agents that only work."""


def life(behaviour: Behaviour, rng: Random) -> Iterator[Phase]:
    """Phases without end, the same ones for the same generator, whatever the network does meanwhile."""
    yield _calm(behaviour, rng, rng.random())  # so that a fleet started together does not stay in step
    troubles = {
        Mood.FAILING: behaviour.failing_weight,
        Mood.WEDGED: behaviour.wedged_weight,
        Mood.SILENT: behaviour.silent_weight,
    }
    while True:
        if any(troubles.values()):
            yield from _trouble(behaviour, rng, rng.choices(list(troubles), list(troubles.values()))[0])
        yield _calm(behaviour, rng)


def figures(mood: Mood, rng: Random) -> dict[str, Any]:
    """What a beat in this mood says, by the names of HeartbeatInput."""
    tasks = rng.randint(1, _MOST_TASKS) if mood in {Mood.BUSY, Mood.FAILING, Mood.RECOVERING, Mood.WEDGED} else 0
    said: dict[str, Any] = {"activeTasks": tasks, "errorRate": _error_rate(mood, rng)}
    if tasks:
        said["currentTask"] = rng.choice(_TASKS)
    if mood is Mood.WEDGED:
        said["runtimeState"] = "WEDGED"
    if mood in {Mood.FAILING, Mood.RECOVERING}:
        said["sampleError"] = rng.choice(_ERRORS)
    return said


def _error_rate(mood: Mood, rng: Random) -> float:
    # The gateway degrades from 0.5 up and is content again below 0.1: recovering lies between.
    low, high = {Mood.FAILING: (0.5, 1.0), Mood.RECOVERING: (0.15, 0.45)}.get(mood, (0.0, 0.08))
    return round(rng.uniform(low, high), 3)


def _calm(behaviour: Behaviour, rng: Random, share: float = 1.0) -> Phase:
    mood = Mood.BUSY if rng.random() < behaviour.busy_share else Mood.IDLE
    return Phase(mood, share * rng.uniform(*behaviour.calm_seconds))


def _trouble(behaviour: Behaviour, rng: Random, mood: Mood) -> Iterator[Phase]:
    if mood is Mood.SILENT:
        new_runtime = rng.random() < behaviour.new_runtime_share
        yield Phase(mood, rng.uniform(*behaviour.silent_seconds), new_runtime)
    elif mood is Mood.WEDGED:
        yield Phase(mood, rng.uniform(*behaviour.wedged_seconds))
    else:
        yield Phase(mood, rng.uniform(*behaviour.failing_seconds))
        yield Phase(Mood.RECOVERING, rng.uniform(*behaviour.recovering_seconds))
