"""This module is where processes tell each other how many connections they hold, so that limits hold for all together.

Each publishes its own counts once a second; what a process last said counts until it is five seconds old. So the limits
are a second late, and while the broker is away each process keeps them alone.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from typing import Final, Protocol

import orjson
import structlog

from gateway.transports.seats import Seats
from subscriptions.inbox import GAP, Gap, Message

CHANNEL: Final = "signalbox:seats"
TELL_SECONDS: Final = 1.0
BELIEVE_SECONDS: Final = 5.0
_HOLDERS_A_MESSAGE: Final = 500
_MOST_PARTS: Final = 64
_MOST_PROCESSES: Final = 256
_LARGEST_COUNT: Final = 1_000_000

_log = structlog.get_logger(__name__)


class Speaks(Protocol):
    """What the ledger needs of a bus."""

    async def publish(self, channel: str, data: bytes) -> bool:
        """Hand ``data`` to the broker; False when it could not."""
        ...

    def subscribe(
        self, *channels: str, queue_size: int = 1024
    ) -> AbstractAsyncContextManager[AsyncIterator[Message | Gap]]:
        """Messages and gaps of ``channels``."""
        ...


@dataclass(frozen=True, slots=True)
class _Said:
    """One part of what a process holds, by the digest of who holds it."""

    process: str
    part: int
    counts: dict[str, int]

    def encode(self) -> bytes:
        """The message."""
        return orjson.dumps([self.process, self.part, self.counts])

    @classmethod
    def decode(cls, data: bytes) -> _Said | None:
        """What a process said; None for anything else: whoever reaches the broker can write what they like."""
        try:
            process, part, counts = orjson.loads(data)
        except (ValueError, TypeError):
            return None
        if not isinstance(process, str) or type(part) is not int or not isinstance(counts, dict):
            return None
        if len(process) > 32 or not 0 <= part < _MOST_PARTS or len(counts) > _HOLDERS_A_MESSAGE:
            return None
        if not all(type(count) is int and 0 < count <= _LARGEST_COUNT for count in counts.values()):
            return None
        return cls(process, part, counts)


class SeatLedger:
    """Keeps ``seats`` to the limits together with every other process."""

    def __init__(self, bus: Speaks, seats: Seats, timer: Callable[[], float] = time.monotonic) -> None:
        self._bus = bus
        self._seats = seats
        self._timer = timer
        self._process = secrets.token_hex(8)
        self._heard: dict[tuple[str, int], tuple[float, dict[str, int]]] = {}
        self._parts_told = 0
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Tell and listen in the background; from now on the others count."""
        self._seats.elsewhere = self.elsewhere
        self._tasks = [
            asyncio.create_task(self._tell_always(), name="seats told"),
            asyncio.create_task(self._listen(), name="seats heard"),
        ]

    async def stop(self) -> None:
        """End both tasks."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)

    def elsewhere(self, holder: Hashable) -> int:
        """How many connections the holder has at other processes, as far as they have said lately."""
        if not self._heard:
            return 0
        digest, oldest = _digest(holder), self._timer() - BELIEVE_SECONDS
        return sum(counts.get(digest, 0) for heard_at, counts in self._heard.values() if heard_at > oldest)

    async def tell(self) -> None:
        """Publish what this process holds; once more when it holds nothing any more."""
        parts = list(_parts({_digest(holder): count for holder, count in self._seats.counts().items()}))[:_MOST_PARTS]
        # Parts that are not needed any more are told as empty, so that nobody goes on believing them.
        for number in range(max(len(parts), self._parts_told)):
            counts = parts[number] if number < len(parts) else {}
            await self._bus.publish(CHANNEL, _Said(self._process, number, counts).encode())
        self._parts_told = len(parts)

    def hear(self, data: bytes) -> None:
        """Take note of what another process holds."""
        said = _Said.decode(data)
        if said is None or said.process == self._process:
            return
        key = (said.process, said.part)
        self._heard.pop(key, None)
        if said.counts:
            self._forget_old()
            if len(self._heard) < _MOST_PROCESSES:
                self._heard[key] = (self._timer(), said.counts)

    def _forget_old(self) -> None:
        oldest = self._timer() - BELIEVE_SECONDS
        self._heard = {key: one for key, one in self._heard.items() if one[0] > oldest}

    async def _tell_always(self) -> None:
        while True:
            await asyncio.sleep(TELL_SECONDS)
            try:
                await self.tell()
            except Exception:
                _log.exception("the seats could not be told")

    async def _listen(self) -> None:
        async with self._bus.subscribe(CHANNEL) as messages:
            async for message in messages:
                if message is not GAP:
                    self.hear(message.data)


def _digest(holder: Hashable) -> str:
    return blake2b(repr(holder).encode(), digest_size=8).hexdigest()


def _parts(counts: dict[str, int]) -> Iterator[dict[str, int]]:
    items = iter(counts.items())
    while part := dict(islice(items, _HOLDERS_A_MESSAGE)):
        yield part
