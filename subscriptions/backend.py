"""This module is where a broker's connection is kept: opened, subscribed, lost, opened again."""

import asyncio
import contextlib
import random
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import structlog
from broadcaster import BroadcastBackend, Event

from subscriptions.channels import CONTROL_PREFIX

CONFIRM_SECONDS: Final = 1.0
_BACKOFF_FIRST_SECONDS: Final = 0.05
_BACKOFF_CAP_SECONDS: Final = 2.0
# A burst lies whole in the socket's buffer and is read without a pause; the smallest queues we use hold
# more than this, so a subscriber that keeps up loses nothing to it.
_READS_PER_TURN: Final = 64
_log = structlog.get_logger(__name__)


class BrokerError(Exception):
    """The broker did not answer, or not in time."""


@dataclass(slots=True)
class BusCounters:
    """What happened since the start, for the metrics. The bus's own canaries do not count."""

    published: int = 0
    failed: int = 0
    received: int = 0
    gaps: int = 0
    reconnects: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class HashScript:
    """What is done to one hash, all at once: in Lua for brokers, and its twin for the one in the process.

    The Lua sees to the key's expiry by itself; of the twin's hash, ``seconds`` after it last ran, nothing is left.
    """

    lua: bytes
    twin: Callable[[dict[bytes, bytes], Sequence[bytes]], list[bytes]]
    seconds: int


class Delivery(Event):
    """One published message. `message`, the text that broadcaster knows, is a view of `data`."""

    def __init__(self, channel: str, data: bytes) -> None:
        super().__init__(channel, data.decode("utf-8", "replace"))
        self.data = data


class Confirmed(Event):
    """The broker confirmed that it sends this channel from here on; what came before may be lost."""

    def __init__(self, channel: str) -> None:
        super().__init__(channel, "")


class Refused(Event):
    """The broker will never send this channel: not allowed."""

    def __init__(self, channel: str) -> None:
        super().__init__(channel, "")


class Link(Protocol):
    """One connection to the broker, used once. After any BrokerError it is closed and replaced."""

    async def subscribe(self, channels: Collection[str]) -> None: ...
    async def unsubscribe(self, channels: Collection[str]) -> None: ...
    async def read(self) -> Event | None:
        """The next event, or None when nothing came for a while. Raises BrokerError once closed."""

    async def close(self) -> None: ...


class SupervisedBackend(BroadcastBackend):
    """A broadcaster backend that outlives its broker.

    What is wanted (`subscribe`, `unsubscribe`) and what a link was told are kept apart: one task sends the
    difference, so concurrent subscribers cannot overwrite each other and a cancelled one cannot leave a
    command half written. Every new link is told everything; each confirmation goes to the channel's
    queues, where a repeated one means that messages may have been missed.
    """

    def __init__(self) -> None:
        self.counters = BusCounters()
        self._wanted: set[str] = set()
        self._told: set[str] = set()
        self._confirmed: dict[str, asyncio.Event] = {}
        self._link: Link | None = None
        self._links = 0
        self._failures = 0
        self._reads = 0
        self._changed = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None

    @abstractmethod
    async def open_link(self) -> Link:
        """A connection that answers. Raises BrokerError."""

    @abstractmethod
    async def publish(self, channel: str, message: bytes) -> None:
        """Raises BrokerError after at most half a second; the message may have arrived nevertheless."""

    @abstractmethod
    async def refresh_keys(self, keys: Mapping[str, int]) -> None:
        """Sets every key for its number of seconds, in one round trip. Raises BrokerError."""

    @abstractmethod
    async def delete_keys(self, keys: Iterable[str]) -> None:
        """Deletes the keys, in one round trip. Raises BrokerError."""

    @abstractmethod
    async def run_script(self, script: bytes, calls: Sequence[tuple[str, Sequence[int]]]) -> list[bytes]:
        """Runs the script once a key, in one round trip. Raises BrokerError, also for what cannot run scripts."""

    @abstractmethod
    async def run_on_hash(self, script: HashScript, key: str, arguments: Sequence[bytes]) -> list[bytes]:
        """What the script says of the hash at ``key``. Raises BrokerError."""

    @abstractmethod
    async def tell_on_hash(
        self, script: HashScript, key: str, arguments: Sequence[bytes], channel: str, message: bytes
    ) -> list[bytes]:
        """``run_on_hash``; when the script says ``ok``, ``message`` is published, if it can be in the same round trip.

        Raises BrokerError when the script did not run; that the message got lost is not said.
        """

    @property
    @abstractmethod
    def expiry_channel(self) -> str:
        """Where the broker names expired keys, if it names them."""

    @abstractmethod
    async def announce_expiry(self) -> bool:
        """Asks the broker to name expired keys; False when it will not. Raises BrokerError."""

    @abstractmethod
    async def close_clients(self) -> None:
        """Closes what publishing uses."""

    async def connect(self) -> None:
        """Starts; never fails because the broker is away."""
        self._writer = asyncio.create_task(self._tell(), name="bus-subscriptions")

    async def disconnect(self) -> None:
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.wait({self._writer})
        self._release()
        await self.reconnect()
        await self.close_clients()

    async def subscribe(self, group: str, *more: str) -> None:
        """Returns when the broker has confirmed all of them, when it is away, or after a second."""
        channels = {group, *more}
        waited_for = [self._confirmed.setdefault(channel, asyncio.Event()) for channel in channels]
        self._wanted |= channels
        self._changed.set()
        if self._failures:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CONFIRM_SECONDS):
                for confirmed in waited_for:
                    await confirmed.wait()

    async def unsubscribe(self, group: str) -> None:
        """Returns at once."""
        self._wanted.discard(group)
        if group not in self._told:
            self._confirmed.pop(group, None)
        self._changed.set()

    async def reconnect(self) -> None:
        """Gives the current link up; the reader opens the next one."""
        if self._link is not None:
            await self._link.close()

    async def next_published(self) -> Event:
        """The next message or confirmation. One reader at a time; survives everything that brokers do."""
        while True:
            link = self._link
            if link is None:
                await self._open()
                continue
            self._reads += 1
            if self._reads % _READS_PER_TURN == 0:
                await asyncio.sleep(0)
            try:
                event = await link.read()
            except BrokerError as error:
                await link.close()
                self._lose(error)
                continue
            if event is not None and self._is_news(event):
                return event

    async def _open(self) -> None:
        if self._failures:
            ceiling = min(_BACKOFF_CAP_SECONDS, _BACKOFF_FIRST_SECONDS * 2 ** min(self._failures - 1, 10))
            # Half of it random: gateways that lost one broker must not come back as one.
            await asyncio.sleep(ceiling * random.uniform(0.5, 1.0))  # noqa: S311
        try:
            link = await self.open_link()
        except BrokerError as error:
            self._lose(error)
            return
        self.counters.reconnects += self._links > 0
        self._links += 1
        self._link, self._told = link, set()
        for channel in self._confirmed.keys() - self._wanted:
            del self._confirmed[channel]
        self._changed.set()

    def _lose(self, error: BrokerError) -> None:
        if not self._failures:
            _log.warning("bus.broker_away", reason=str(error))
        self._failures += 1
        self._link = None
        self._release()

    def _release(self) -> None:
        for confirmed in self._confirmed.values():
            confirmed.set()  # nobody waits for a broker that is away
            confirmed.clear()

    def _is_news(self, event: Event) -> bool:
        confirmed = self._confirmed.get(event.channel)
        if isinstance(event, Delivery):
            self.counters.received += not event.channel.startswith(CONTROL_PREFIX)
        elif confirmed is not None and event.channel in self._told:
            confirmed.set()
        if isinstance(event, Refused):
            _log.error("bus.channel_refused", channel=event.channel)
            return False
        if isinstance(event, Confirmed) and self._failures:
            # Only now: a broker that accepts and drops connections must not be asked without pause.
            self._failures = 0
            _log.info("bus.broker_back")
        return True

    async def _tell(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            link = self._link
            if link is None:
                continue
            new, gone = self._wanted - self._told, self._told - self._wanted
            self._told = set(self._wanted)
            for channel in gone:
                self._confirmed.pop(channel, None)
            try:
                if gone:
                    await link.unsubscribe(gone)
                if new:
                    await link.subscribe(new)
            except BrokerError:
                await link.close()  # the reader sees it and opens the next one
            except Exception:
                _log.exception("bus.subscribing_failed")
                await link.close()
