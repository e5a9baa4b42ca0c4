"""This module is where processes tell each other what just happened: messages over a broker, gaps admitted."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final
from urllib.parse import urlsplit

from broadcaster import Event

from subscriptions.backend import BrokerError, BusCounters, Confirmed, Delivery, HashScript, SupervisedBackend
from subscriptions.broadcast import BoundedBroadcast
from subscriptions.channels import CONTROL_PREFIX
from subscriptions.inbox import GAP, Gap, Message
from subscriptions.memory_backend import MemoryBackend
from subscriptions.redis_backend import RedisBackend

__all__ = ["GAP", "Bus", "BusCounters", "Gap", "Message"]

MAX_MESSAGE_BYTES: Final = 16 * 1024
CANARY_SECONDS: Final = 1.0
SILENCE_SECONDS: Final = 3.0
_START_SECONDS: Final = 1.0


class Bus:
    """Publish and subscribe, at most once: what gets lost is admitted by GAP, never by an exception.

    The broker may be away at the start, die or hang: `healthy` turns False, publishing answers False,
    subscribers keep waiting, and hear GAP once they hear again. Owns its backend.
    """

    def __init__(
        self,
        backend: SupervisedBackend,
        *,
        clock: Callable[[], float] = time.monotonic,
        canary_seconds: float = CANARY_SECONDS,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        self._backend = backend
        self._broadcast = BoundedBroadcast(backend)
        self._clock = clock
        self._canary_seconds = canary_seconds
        self._silence_seconds = silence_seconds
        self._control = f"{CONTROL_PREFIX}{uuid.uuid4().hex}"
        self._ear = _Ear(self._note)
        self._heard_at: float | None = None
        self._patient_since = clock()
        self._heard = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None

    @classmethod
    def from_url(cls, url: str, *, clock: Callable[[], float] = time.monotonic) -> "Bus":
        """redis, rediss, unix, cluster (or any `?cluster=true`), memory. Raises ValueError for others."""
        backend = MemoryBackend() if urlsplit(url).scheme == "memory" else RedisBackend(url)
        return cls(backend, clock=clock)

    async def start(self) -> None:
        """Never fails because the broker is away, and takes at most about two seconds to find out."""
        self._patient_since = self._clock()
        await self._broadcast.connect()
        await self._broadcast.register(self._ear, self._control)
        if await self._send_canary():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_START_SECONDS):
                    await self._heard.wait()
        self._watch = asyncio.create_task(self._keep_watch(), name="bus-canary")

    async def stop(self) -> None:
        """Ends every subscription. Idempotent; a stopped bus cannot be started again."""
        if self._watch is None:
            return
        watch, self._watch = self._watch, None
        watch.cancel()
        await asyncio.wait({watch})
        await self._broadcast.disconnect()

    @property
    def healthy(self) -> bool:
        """Whether a message of our own came back within the last three seconds."""
        return (
            self._watch is not None
            and self._heard_at is not None
            and self._clock() - self._heard_at <= self._silence_seconds
        )

    @property
    def counters(self) -> BusCounters:
        return self._backend.counters

    def subscribe(
        self, *channels: str, queue_size: int = 1024
    ) -> AbstractAsyncContextManager[AsyncIterator[Message | Gap]]:
        """Once entered, every message published is yielded in order, or a later GAP stands for it.

        The iterator may be waited for under a timeout. It ends when the bus stops.
        """
        return self._broadcast.subscribe(*channels, queue_size=queue_size)

    async def publish(self, channel: str, data: bytes) -> bool:
        """Whether the broker took it, within half a second. False may still have arrived.

        Raises ValueError above 16 KiB: such a thing belongs into the database.
        """
        _refuse_large(data)
        try:
            await self._broadcast.publish(channel, data)
        except BrokerError:
            self.counters.failed += 1
            return False
        self.counters.published += 1
        return True

    async def refresh_keys(self, keys: Mapping[str, int]) -> bool:
        """Sets each key to expire after its seconds; False when the broker is away."""
        return await self._attempt(self._backend.refresh_keys(keys)) if keys else True

    async def delete_keys(self, keys: Iterable[str]) -> bool:
        """False when the broker is away. A key that is not there is no error."""
        names = list(keys)
        return await self._attempt(self._backend.delete_keys(names)) if names else True

    async def run_script(self, script: bytes, calls: Sequence[tuple[str, Sequence[int]]]) -> list[bytes] | None:
        """Runs the Lua script for each key with its arguments, all in one round trip.

        None when the broker is away, runs no scripts, or answered one with an error.
        """
        try:
            return await self._backend.run_script(script, calls)
        except BrokerError:
            return None

    async def run_on_hash(self, script: HashScript, key: str, *arguments: bytes) -> list[bytes] | None:
        """What the script says of one hash; None when the broker is away or answered with an error."""
        try:
            return await self._backend.run_on_hash(script, key, arguments)
        except BrokerError:
            return None

    async def tell_on_hash(
        self, script: HashScript, key: str, *arguments: bytes, channel: str, data: bytes
    ) -> list[bytes] | None:
        """``run_on_hash``, and ``data`` published when the script says ``ok``: one round trip but in a cluster.

        Raises ValueError as ``publish``. That the message got lost is not said.
        """
        _refuse_large(data)
        try:
            answer = await self._backend.tell_on_hash(script, key, arguments, channel, data)
        except BrokerError:
            self.counters.failed += 1
            return None
        self.counters.published += answer[:1] == [b"ok"]
        return answer

    @property
    def expiry_channel(self) -> str:
        """Where the broker names expired keys, if it names them."""
        return self._backend.expiry_channel

    async def announce_expiry(self) -> bool:
        """Asks the broker to name expired keys; False when it is away or will not."""
        try:
            return await self._backend.announce_expiry()
        except BrokerError:
            return False

    async def _attempt(self, work: Awaitable[None]) -> bool:
        try:
            await work
        except BrokerError:
            self.counters.failed += 1
            return False
        return True

    async def _send_canary(self) -> bool:
        try:
            await self._broadcast.publish(self._control, b"canary")
        except BrokerError:
            return False
        return True

    def _note(self, event: Event | None) -> None:
        if isinstance(event, Delivery):
            self._heard_at = self._patient_since = self._clock()
            self._heard.set()
        elif isinstance(event, Confirmed):
            self._patient_since = self._clock()  # a new connection has its own three seconds

    async def _keep_watch(self) -> None:
        while True:
            await asyncio.sleep(self._canary_seconds)
            await self._send_canary()
            if self._clock() - self._patient_since > self._silence_seconds:
                await self._backend.reconnect()
                self._patient_since = self._clock()


def _refuse_large(data: bytes) -> None:
    if len(data) > MAX_MESSAGE_BYTES:
        raise ValueError(f"a message holds at most {MAX_MESSAGE_BYTES} bytes, not {len(data)}")


class _Ear(asyncio.Queue[Event | None]):
    """Hears the canary while the reader hands it out, so its age is the reader's, not some queue's."""

    def __init__(self, note: Callable[[Event | None], None]) -> None:
        super().__init__()
        self._note = note

    async def put(self, item: Event | None) -> None:
        self._note(item)
