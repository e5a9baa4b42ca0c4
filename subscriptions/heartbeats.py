"""This module is where live beats reach their watchers: newest per workspace, never a backlog.

One bus subscription per channel serves all watchers of this process; the last one to leave ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Final, Self
from uuid import UUID

from subscriptions.beats import BeatSeen, decode_beats, peek_tenant
from subscriptions.channels import beats_channel
from subscriptions.inbox import Gap, Message
from subscriptions.shared_channels import SharedChannel, SharedChannels, Subscribes

RESEND: Final = Gap.GAP
"""Something may have been missed: show the current state."""

MAX_WORKSPACES: Final = 50_000
"""Beats that wait for one watcher; more become a gap, because a watcher is not a queue."""


@dataclass(slots=True)
class BoardCounters:
    """What the board saw."""

    messages: int = 0
    malformed: int = 0
    gaps: int = 0
    watchers: int = 0


class HeartbeatBoard:
    """Hands each watcher the beats of its tenant, conflated. Whatever is malformed on the bus is ignored."""

    def __init__(self, bus: Subscribes) -> None:
        self.counters = BoardCounters()
        self._channels = SharedChannels(lambda name: _Beats(bus, name, self.counters))

    @contextlib.asynccontextmanager
    async def subscribe(
        self, tenant_id: UUID, workspace_ids: frozenset[UUID] | None, min_interval_seconds: float
    ) -> AsyncIterator[AsyncIterator[list[BeatSeen] | Gap]]:
        """Once entered, beats of the tenant's workspaces (of all when None), one per workspace and interval.

        The state comes from the caller: after entering, and again at every RESEND, when beats may have been
        missed; each counts as a delivery. The iterator may be waited for under a timeout; it ends with the bus.
        """
        watcher = _Watcher(workspace_ids, min_interval_seconds)
        async with self._channels.used(beats_channel(tenant_id)) as channel:
            channel.add(tenant_id, watcher)
            try:
                yield watcher
            finally:
                channel.remove(tenant_id, watcher)


class _Beats(SharedChannel):
    """The beats of one channel, and the watchers they go to."""

    def __init__(self, bus: Subscribes, name: str, counters: BoardCounters) -> None:
        self._counters = counters
        self._watchers: dict[UUID, set[_Watcher]] = {}
        super().__init__(bus, name)

    def add(self, tenant_id: UUID, watcher: _Watcher) -> None:
        self._watchers.setdefault(tenant_id, set()).add(watcher)
        self._counters.watchers += 1
        if self.is_over:
            watcher.close()

    def remove(self, tenant_id: UUID, watcher: _Watcher) -> None:
        watchers = self._watchers[tenant_id]
        watchers.discard(watcher)
        self._counters.watchers -= 1
        if not watchers:
            del self._watchers[tenant_id]

    def end(self) -> None:
        for watcher in self._everyone():
            watcher.close()

    def hand_out(self, message: Message | Gap) -> None:
        if isinstance(message, Gap):
            self._counters.gaps += 1
            for watcher in self._everyone():
                watcher.miss()
            return
        self._counters.messages += 1
        tenant_id = peek_tenant(message.data)
        watchers = self._watchers.get(tenant_id) if tenant_id else None
        if not watchers:
            self._counters.malformed += tenant_id is None
            return
        decoded = decode_beats(message.data)
        if decoded is None:
            self._counters.malformed += 1
            return
        for watcher in watchers:
            watcher.take(decoded[1])

    def _everyone(self) -> list[_Watcher]:
        return [watcher for watchers in self._watchers.values() for watcher in watchers]


class _Watcher:
    """What one watcher has yet to see: at most one beat per workspace, and a gap in the place of too many."""

    def __init__(self, wanted: frozenset[UUID] | None, interval_seconds: float) -> None:
        self._wanted = wanted
        self._interval = interval_seconds
        self._clock = asyncio.get_running_loop().time
        self._ready: dict[UUID, BeatSeen] = {}
        self._held: dict[UUID, BeatSeen] = {}
        # Shown less than an interval ago, in the order in which that interval ends; the state shows them all.
        self._resting: set[UUID] = set()
        self._rests: deque[tuple[float, UUID]] = deque()
        self._are_all_resting = True
        self._all_rest_until = self._clock() + interval_seconds
        self._is_gap = False
        self._is_closed = False
        self._news = asyncio.Event()

    def take(self, beats: Iterable[BeatSeen]) -> None:
        for beat in beats:
            workspace_id = beat.workspace_id
            if self._wanted is not None and workspace_id not in self._wanted:
                continue
            waiting = self._held if self._are_all_resting or workspace_id in self._resting else self._ready
            older = waiting.get(workspace_id)
            # Two gateways' messages may pass each other on the way.
            if older is None or older.received_at <= beat.received_at:
                waiting[workspace_id] = beat
        if len(self._ready) + len(self._held) > MAX_WORKSPACES:
            self.miss()
        self._news.set()

    def miss(self) -> None:
        self._is_gap = True
        # What waits may be older than the state that the watcher reads now.
        self._ready.clear()
        self._held.clear()
        self._news.set()

    def close(self) -> None:
        self._is_closed = True
        self._news.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[BeatSeen] | Gap:
        while True:
            self._news.clear()
            now = self._clock()
            if self._is_gap:
                self._is_gap = False
                self._are_all_resting = True
                self._all_rest_until = now + self._interval
                return RESEND
            self._end_rests(now)
            if self._ready:
                return self._deliver(now)
            if self._is_closed:
                raise StopAsyncIteration
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._next_end()):
                    await self._news.wait()

    def _next_end(self) -> float | None:
        if not self._held:
            return None
        return self._all_rest_until if self._are_all_resting else self._rests[0][0]

    def _end_rests(self, now: float) -> None:
        if self._are_all_resting and now >= self._all_rest_until:
            # The rests of single workspaces began earlier and are over too.
            self._are_all_resting = False
            self._resting.clear()
            self._rests.clear()
            self._ready, self._held = self._held, {}
        while self._rests and self._rests[0][0] <= now:
            workspace_id = self._rests.popleft()[1]
            self._resting.discard(workspace_id)
            if held := self._held.pop(workspace_id, None):
                self._ready[workspace_id] = held

    def _deliver(self, now: float) -> list[BeatSeen]:
        beats = list(self._ready.values())
        self._ready.clear()
        for beat in beats:
            self._resting.add(beat.workspace_id)
            self._rests.append((now + self._interval, beat.workspace_id))
        return beats
