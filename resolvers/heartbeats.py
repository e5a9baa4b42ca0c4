"""This module is where beats are taken in: collected into batches, stored in one statement each, answered."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog

from dataloaders.heartbeats import Beat, Reception, StoredBeat, store_beats
from models import WorkspaceStatus
from models.database import Database
from models.errors import Refusal, RefusalCode, Unavailable, not_found
from models.registry import LIVE
from resolvers.beat_queue import BeatAnswer, BeatQueue, IntakeCounters, Outcome, Waiting
from resolvers.beat_transitions import BeatTransitions, SeenRow
from resolvers.intake_lease import IntakeLease
from resolvers.unit_of_work import Announces
from subscriptions.beat_publisher import BeatBus, BeatPublisher, Offer
from subscriptions.beats import BeatSeen

__all__ = ["Beat", "BeatAnswer", "HeartbeatIntake", "IntakeCounters", "Outcome"]

_ANSWER_SECONDS: Final = 10.0
_STATEMENT_SECONDS: Final = 8.0  # the server gives up after 5; this is for one that does not answer at all
_LOCKED_SECONDS: Final = 5.0
_STOP_SECONDS: Final = 1.0
_log = structlog.get_logger(__name__)

_Stored = list[tuple[Waiting, StoredBeat]]


class HeartbeatIntake:
    """Takes beats of all tenants: at most eight statements a second, whatever the number of either.

    A batch goes out after ``max_wait_seconds``, or at once when ``max_batch`` beats wait.
    """

    def __init__(
        self,
        database: Database,
        bus: BeatBus,
        announcer: Announces,
        clock: Callable[[], datetime],
        max_batch: int = 500,
        max_wait_seconds: float = 0.25,
    ) -> None:
        self._database = database
        self._queue = BeatQueue(max_batch, max_wait_seconds)
        self.lease = IntakeLease(database)
        self._task: asyncio.Task[None] | None = None
        self._follow_ups: set[asyncio.Task[None]] = set()
        self.transitions = BeatTransitions(database, announcer, clock)
        self.publisher = BeatPublisher(bus)

    @property
    def counters(self) -> IntakeCounters:
        """What became of all beats since the start."""
        return self._queue.counters

    def start(self) -> None:
        """Begin taking beats; ``stop`` ends it."""
        self._task = asyncio.create_task(self._run(), name="heartbeat-intake")
        self.publisher.start()
        self.lease.start()

    async def stop(self) -> None:
        """Store what waits (for at most a second), answer the rest UNAVAILABLE, and end."""
        if self._task is None:
            return
        task, self._task = self._task, None
        await self.lease.stop()
        task.cancel()
        await asyncio.wait({task})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                left = len(self._queue)
                while left > 0:  # one try each: a row that is locked must not be asked for without pause
                    batch = self._queue.take()
                    left -= len(batch)
                    await self._pass_on(batch)
                while self._follow_ups:
                    await asyncio.wait(self._follow_ups)
        for follow_up in self._follow_ups:
            follow_up.cancel()
        if self._follow_ups:
            await asyncio.wait(self._follow_ups)
        while rest := self._queue.take():
            self._answer_all(rest, Unavailable())
        await self.publisher.stop()

    async def report(self, beat: Beat) -> BeatAnswer:
        """Store one beat with its batch. The status answered is the one after the beat.

        Raises INVALID, NOT_FOUND (unknown or another tenant's), FENCED (an older lease), Unavailable.
        """
        outcome = (await self.report_many([beat]))[0]
        if isinstance(outcome, BeatAnswer):
            return outcome
        raise outcome

    async def report_many(self, beats: Sequence[Beat]) -> list[Outcome]:
        """Store beats with their batches; outcomes stand in their order, one bad beat fails no other.

        Beats are pictures, so one that came out Unavailable may simply be sent again. Raises Unavailable when
        none can be taken.
        """
        if self._task is None:
            raise Unavailable
        try:
            submission = self._queue.submit(beats)
        except Unavailable:
            self.lease.note_failure()
            raise
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ANSWER_SECONDS):
                await submission.done
        return [outcome if outcome is not None else Unavailable() for outcome in submission.outcomes]

    async def _run(self) -> None:
        while True:
            await self._pass_on(await self._queue.batch())

    async def _pass_on(self, batch: list[Waiting]) -> None:
        """Store a batch and answer it; what leads to another status is answered by a task of its tenant."""
        self.counters.statements += 1
        try:
            async with asyncio.timeout(_STATEMENT_SECONDS):
                stored = await store_beats(self._database, [waiting.beat for waiting in batch])
        except asyncio.CancelledError:
            self._queue.put_back(batch)  # stop() tries once more
            raise
        except Exception as error:
            self.lease.note_failure()
            # Trouble that passes needs no traceback; anything else is ours to mend.
            _log.error("heartbeats.not_stored", beats=len(batch), exc_info=not _is_passing(error))
            self._answer_all(batch, Unavailable())
            return
        self.lease.note_success()
        for tenant_id, beats in self._sort(batch, stored).items():
            seen = {w.beat.workspace_id: _seen(row) for w, row in beats if row.next_status is not row.status}
            if seen:
                self._follow(tenant_id, beats, seen)
            else:
                self._conclude(tenant_id, beats, {})

    def _sort(self, batch: list[Waiting], stored: list[StoredBeat]) -> dict[UUID, _Stored]:
        """What was stored, by tenant. The rest is answered or waits for the next batch."""
        tenants: dict[UUID, _Stored] = {}
        now = asyncio.get_running_loop().time()
        locked: list[Waiting] = []
        for waiting, row in zip(batch, stored, strict=True):
            if row.reception is Reception.STORED:
                tenants.setdefault(waiting.beat.tenant_id, []).append((waiting, row))
            elif row.reception is not Reception.LOCKED:
                self._queue.answer(waiting, _refused(waiting.beat, row))
            elif now - waiting.since < _LOCKED_SECONDS:
                locked.append(waiting)
            else:
                self._queue.answer(waiting, Unavailable("The workspace is being changed; try again."))
        self.counters.locked_again += len(locked)
        self._queue.put_back(locked)
        return tenants

    def _follow(self, tenant_id: UUID, beats: _Stored, seen: Mapping[UUID, SeenRow]) -> None:
        follow_up = asyncio.create_task(
            self._change_and_conclude(tenant_id, beats, seen), name=f"heartbeat-transitions {tenant_id}"
        )
        self._follow_ups.add(follow_up)
        follow_up.add_done_callback(self._follow_ups.discard)

    async def _change_and_conclude(self, tenant_id: UUID, beats: _Stored, seen: Mapping[UUID, SeenRow]) -> None:
        statuses: Mapping[UUID, WorkspaceStatus] = {}
        try:
            statuses = await self.transitions.follow(tenant_id, seen)
        except Exception as error:
            _log.error(
                "heartbeats.transitions_put_off",
                tenant_id=str(tenant_id),
                workspaces=len(seen),
                exc_info=not _is_passing(error),
            )
        finally:
            # Even then the beats are stored; the next one leads to the same change.
            self._conclude(tenant_id, beats, statuses)

    def _conclude(self, tenant_id: UUID, beats: _Stored, statuses: Mapping[UUID, WorkspaceStatus]) -> None:
        offers: dict[UUID, Offer] = {}
        for waiting, row in beats:
            workspace_id = waiting.beat.workspace_id
            status = statuses.get(workspace_id, row.status)
            offers[workspace_id] = _offer(waiting.beat, row, status)
            self._queue.answer(waiting, BeatAnswer(workspace_id, status, row.lease_epoch, row.received_at))
        self.publisher.offer(tenant_id, offers.values())

    def _answer_all(self, batch: Sequence[Waiting], outcome: Outcome) -> None:
        for waiting in batch:
            self._queue.answer(waiting, outcome)


def _is_passing(error: Exception) -> bool:
    return isinstance(error, Unavailable | TimeoutError)


def _seen(row: StoredBeat) -> SeenRow:
    return SeenRow(row.status, row.lease_epoch)


def _refused(beat: Beat, row: StoredBeat) -> Outcome:
    if row.reception is Reception.UNKNOWN:
        return not_found("workspace", "input", "workspaceId")
    if row.reception is Reception.REMOVED:
        # Not an error: this is how the agent learns that it may stop.
        return BeatAnswer(beat.workspace_id, row.status, row.lease_epoch, row.received_at)
    return Refusal(
        RefusalCode.FENCED,
        f"Another runtime took this workspace over: its lease is {row.lease_epoch} now.",
        field=("input", "leaseEpoch"),
    )


def _offer(beat: Beat, row: StoredBeat, status: WorkspaceStatus) -> Offer:
    seen = BeatSeen(
        beat.workspace_id,
        status,
        row.received_at,
        beat.error_rate,
        beat.active_tasks,
        beat.uptime_seconds,
        beat.current_task,
        beat.sample_error,
    )
    return Offer(seen, row.ttl_seconds if status in LIVE else None)
