"""This module is where beats wait for their batch, and every one of them for its answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from dataloaders.heartbeats import Beat
from models import WorkspaceStatus
from models.errors import Refusal, Unavailable
from resolvers.beat_rules import refusal_of

MAX_UNANSWERED: Final = 20_000
"""Beats of this process that wait for their answer; two of the largest arrays."""

_MOST_IN_A_BATCH: Final = 2000  # under a backlog a batch grows, so that statements do not become more
_SPACING_SECONDS: Final = 0.125  # eight statements a second at most; the lease takes less than one more


@dataclass(frozen=True, slots=True)
class BeatAnswer:
    """What the agent learns: its status now (PAUSED and REMOVED tell it to stop) and the lease that counts."""

    workspace_id: UUID
    status: WorkspaceStatus
    lease_epoch: int
    received_at: datetime


Outcome = BeatAnswer | Refusal | Unavailable
"""A beat's own result: answered, refused for good, or to be sent again."""


@dataclass(slots=True)
class IntakeCounters:
    """What became of all beats since the start."""

    reported: int = 0
    answered: int = 0
    refused: int = 0
    unavailable: int = 0
    turned_away: int = 0
    locked_again: int = 0
    statements: int = 0


class Submission:
    """Beats that came together and whose answers go back together."""

    __slots__ = ("done", "left", "outcomes")

    def __init__(self, count: int) -> None:
        self.outcomes: list[Outcome | None] = [None] * count
        self.left = count
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not count:
            self.done.set_result(None)

    def settle(self, index: int, outcome: Outcome) -> None:
        """Note one outcome; the last one makes the submission done, unless nobody waits for it any more."""
        self.outcomes[index] = outcome
        self.left -= 1
        if not self.left and not self.done.done():
            self.done.set_result(None)


@dataclass(slots=True)
class Waiting:
    """A beat that has no answer yet; ``since`` is the event loop's time."""

    beat: Beat
    submission: Submission
    index: int
    since: float


class BeatQueue:
    """A bounded queue whose batches open with their first beat and are never closer than eight a second."""

    def __init__(self, max_batch: int, max_wait_seconds: float) -> None:
        self._max_batch = max_batch
        self._max_wait_seconds = max_wait_seconds
        self._beats: deque[Waiting] = deque()
        self._arrived = asyncio.Event()
        self._last_batch_at = float("-inf")
        self.unanswered = 0
        self.counters = IntakeCounters()

    def __len__(self) -> int:
        return len(self._beats)

    def submit(self, beats: Sequence[Beat]) -> Submission:
        """Queue what is well-formed and answer the rest at once. Raises Unavailable when there is no room for all."""
        if self.unanswered + len(beats) > MAX_UNANSWERED:
            self.counters.turned_away += len(beats)
            raise Unavailable
        submission = Submission(len(beats))
        now = asyncio.get_running_loop().time()
        self.counters.reported += len(beats)
        self.unanswered += len(beats)
        for index, beat in enumerate(beats):
            waiting = Waiting(beat, submission, index, now)
            refusal = refusal_of(beat)
            if refusal is None:
                self._beats.append(waiting)
            else:
                self.answer(waiting, refusal)
        self._arrived.set()
        return submission

    def answer(self, waiting: Waiting, outcome: Outcome) -> None:
        """Settle one beat, once."""
        self.unanswered -= 1
        if isinstance(outcome, BeatAnswer):
            self.counters.answered += 1
        elif isinstance(outcome, Refusal):
            self.counters.refused += 1
        else:
            self.counters.unavailable += 1
        waiting.submission.settle(waiting.index, outcome)

    async def batch(self) -> list[Waiting]:
        """The next batch, oldest first: when it is full, or a batch's time after its first beat."""
        clock = asyncio.get_running_loop().time
        await self._until_queued(1)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._max_wait_seconds):
                await self._until_queued(self._max_batch)
        await asyncio.sleep(max(0.0, self._last_batch_at + _SPACING_SECONDS - clock()))
        self._last_batch_at = clock()
        return self.take()

    def take(self) -> list[Waiting]:
        """What waits, at once; as much as one statement takes."""
        return [self._beats.popleft() for _ in range(min(len(self._beats), _MOST_IN_A_BATCH))]

    def put_back(self, batch: Sequence[Waiting]) -> None:
        """Queue ``batch`` again, before whatever came later for the same workspaces."""
        self._beats.extendleft(reversed(batch))

    async def _until_queued(self, count: int) -> None:
        while len(self._beats) < count:
            self._arrived.clear()
            await self._arrived.wait()
