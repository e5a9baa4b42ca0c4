"""This module is where the demo's workspaces get their places on the canvas, and something that they did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import cycle
from random import Random
from typing import Final
from uuid import UUID

from gateway.demo.samples import PlaceSample, TenantSample
from gateway.demo.together import SharingCall
from models import ActivityStatus, ActivityType
from models import WorkspaceStatus as Status
from models.activity_logs import OUTCOMES
from resolvers.activity_logs import report_activity
from resolvers.canvas import Layout, set_canvas_layouts

_WIDTH: Final = 260.0
_HEIGHT: Final = 180.0
_SAID: Final = {
    ActivityType.A2A_SEND: "asked for a page about opening hours",
    ActivityType.A2A_RECEIVE: "was asked for a page about opening hours",
    ActivityType.TASK_UPDATE: "three of five pages are written",
    ActivityType.AGENT_LOG: "started with two skills",
    ActivityType.ERROR: "the provider's rate limit was reached",
    ActivityType.SKILL_PROMOTION: "keeps audit-seo-page as a skill",
    ActivityType.MEMORY_WRITE: "remembers the house style",
    ActivityType.DELEGATION: "handed the audit on",
}
_CALLS: Final = frozenset({ActivityType.A2A_SEND, ActivityType.A2A_RECEIVE, ActivityType.DELEGATION})


async def draw(call: SharingCall, sample: TenantSample, places: Mapping[str, UUID]) -> None:
    """Put every workspace that is there on the canvas: a row for each level of the tree."""
    levels: dict[str, int] = {}
    counts: dict[int, int] = {}
    layouts: list[Layout] = []
    for one in _present(sample):
        level = levels[one.key] = levels[one.parent] + 1 if one.parent in levels else 0
        column = counts[level] = counts.get(level, -1) + 1
        layouts.append(
            Layout(
                workspace_id=places[one.key],
                x=column * _WIDTH,
                y=level * _HEIGHT,
                collapsed=one.status is Status.HIBERNATED,
            )
        )
    await set_canvas_layouts(call, layouts=layouts)


async def live(call: SharingCall, sample: TenantSample, places: Mapping[str, UUID], rng: Random) -> None:
    """Something of every type and with every status, by workspaces that are there, some of it begun by others."""
    present = [places[one.key] for one in _present(sample)]
    for number, (kind, status) in enumerate(_cases()):
        here, there = present[number % len(present)], present[(number + 1) % len(present)]
        calls = kind in _CALLS
        await report_activity(
            call,
            workspace_id=here,
            activity_type=kind,
            status=status,
            source_workspace_id=there if kind is ActivityType.A2A_RECEIVE else here if calls else None,
            target_workspace_id=there if calls and kind is not ActivityType.A2A_RECEIVE else None,
            method="message/send" if calls else None,
            summary=_SAID[kind],
            duration_milliseconds=rng.randint(20, 4_000),
            error_detail="no answer in 30 s" if status is ActivityStatus.TIMEOUT else None,
        )


def _present(sample: TenantSample) -> list[PlaceSample]:
    return [one for one in sample.places if one.status is not Status.REMOVED]


def _cases() -> Iterator[tuple[ActivityType, ActivityStatus]]:
    outcomes = cycle(sorted(OUTCOMES))
    for kind in ActivityType:
        if kind is not ActivityType.DELEGATION:
            yield kind, next(outcomes)
    yield from ((ActivityType.DELEGATION, status) for status in ActivityStatus if status not in OUTCOMES)
