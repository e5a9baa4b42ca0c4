"""This module is where stored beats go out to dashboards and their liveness keys are renewed, best effort."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final, Protocol
from uuid import UUID

import structlog

from models.ids import suffix
from subscriptions.beats import BeatSeen, encode_beats
from subscriptions.channels import beats_channel

LIVENESS_PREFIX: Final = "signalbox:ws:"
MAX_WAITING: Final = 50_000
_KEYS_AT_ONCE: Final = 1000
_log = structlog.get_logger(__name__)


class BeatBus(Protocol):
    """What beats need of a bus."""

    async def publish(self, channel: str, data: bytes) -> bool:
        """False when the broker is away."""
        ...

    async def refresh_keys(self, keys: Mapping[str, int]) -> bool:
        """False when the broker is away."""
        ...


@dataclass(frozen=True, slots=True)
class Offer:
    """A beat to publish; with a TTL its workspace's liveness key lives on for that long."""

    beat: BeatSeen
    ttl_seconds: int | None


@dataclass(slots=True)
class PublisherCounters:
    """How beats fared on their way to the bus."""

    messages: int = 0
    failed_rounds: int = 0
    dropped: int = 0


def liveness_key(workspace_id: UUID) -> str:
    """The key whose expiry hints that a workspace fell silent."""
    return LIVENESS_PREFIX + suffix(workspace_id)


class BeatPublisher:
    """One task that publishes what was offered, newest per workspace. A broker that is away costs beats nothing."""

    def __init__(self, bus: BeatBus) -> None:
        self._bus = bus
        self._waiting: dict[tuple[UUID, UUID], Offer] = {}
        self._offered = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.counters = PublisherCounters()

    def start(self) -> None:
        """Begin publishing in the background; ``stop`` ends it."""
        self._task = asyncio.create_task(self._run(), name="beat-publisher")

    async def stop(self) -> None:
        """End; what was offered and is not out yet is not worth waiting for: the rows have it."""
        if self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            await asyncio.wait({task})

    def offer(self, tenant_id: UUID, offers: Iterable[Offer]) -> None:
        """Publish the tenant's beats soon, in the place of older ones that still wait. Returns at once."""
        for offer in offers:
            key = (tenant_id, offer.beat.workspace_id)
            if len(self._waiting) >= MAX_WAITING and key not in self._waiting:
                self.counters.dropped += 1
            else:
                self._waiting[key] = offer
        self._offered.set()

    async def _run(self) -> None:
        while True:
            await self._offered.wait()
            self._offered.clear()
            waiting, self._waiting = self._waiting, {}
            try:
                if not await self._publish(waiting):
                    self.counters.failed_rounds += 1
            except Exception:
                _log.exception("beats.publishing_failed")

    async def _publish(self, waiting: Mapping[tuple[UUID, UUID], Offer]) -> bool:
        """False at the first refusal: a hanging broker costs one time-out a round, not one a message."""
        beats: dict[UUID, list[BeatSeen]] = {}
        for (tenant_id, _), offer in waiting.items():
            beats.setdefault(tenant_id, []).append(offer.beat)
        for tenant_id, newest in beats.items():
            for message in encode_beats(tenant_id, newest):
                if not await self._bus.publish(beats_channel(tenant_id), message):
                    return False
                self.counters.messages += 1
        keys = ((liveness_key(one.beat.workspace_id), one.ttl_seconds) for one in waiting.values())
        living = ((key, seconds) for key, seconds in keys if seconds is not None)
        while part := dict(islice(living, _KEYS_AT_ONCE)):
            if not await self._bus.refresh_keys(part):
                return False
        return True
