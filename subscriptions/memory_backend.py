"""This module is where a broker inside the process stands in for Redis: for unit tests and single processes."""

import asyncio
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from broadcaster import Event

from subscriptions.backend import BrokerError, Confirmed, Delivery, HashScript, Link, SupervisedBackend

_LINK_ITEMS: Final = 65_536  # as a real broker does, cut a reader off rather than buffer without end
_EXPIRY_CHANNEL: Final = "__keyevent@0__:expired"


class MemoryBroker:
    """What several MemoryBackends of one event loop meet at. May be stopped, silenced and started again."""

    def __init__(self) -> None:
        self._links: set[_MemoryLink] = set()
        self._expiries: dict[str, asyncio.TimerHandle] = {}
        self._hashes: dict[str, tuple[float, dict[bytes, bytes]]] = {}
        self._is_up = True
        self._is_silent = False

    def stop(self) -> None:
        """Goes away like a killed server: links lost, keys forgotten, everything refused."""
        self._is_up = False
        for expiry in self._expiries.values():
            expiry.cancel()
        self._expiries.clear()
        self._hashes.clear()
        self.sever()

    def silence(self) -> None:
        """Hangs like a stopped process: connections stay, nothing comes through."""
        self._is_silent = True

    def start(self) -> None:
        self._is_up, self._is_silent = True, False

    def sever(self) -> None:
        """Cuts every link; they may come back at once."""
        for link in list(self._links):
            link.cut()

    def open_link(self) -> "_MemoryLink":
        self._answer()
        link = _MemoryLink(self)
        self._links.add(link)
        return link

    def publish(self, channel: str, data: bytes) -> None:
        self._answer()
        for link in list(self._links):
            link.receive(channel, data)

    def set_keys(self, keys: Mapping[str, int]) -> None:
        self._answer()
        self.drop_keys(keys)
        loop = asyncio.get_running_loop()
        for key, seconds in keys.items():
            self._expiries[key] = loop.call_later(seconds, self._expire, key)

    def drop_keys(self, keys: Iterable[str]) -> None:
        self._answer()
        for key in keys:
            if expiry := self._expiries.pop(key, None):
                expiry.cancel()

    def run_on_hash(self, script: HashScript, key: str, arguments: Sequence[bytes]) -> list[bytes]:
        self._answer()
        now = asyncio.get_running_loop().time()
        expires_at, found = self._hashes.pop(key, (0.0, {}))
        held = found if expires_at > now else {}
        answer = script.twin(held, arguments)
        if held:
            self._hashes[key] = (now + script.seconds, held)
        return answer

    def forget(self, link: "_MemoryLink") -> None:
        self._links.discard(link)

    def confirm(self, link: "_MemoryLink", channel: str) -> None:
        if not self._is_silent:
            link.append(Confirmed(channel))

    def _answer(self) -> None:
        if not self._is_up:
            raise BrokerError("the broker is stopped")
        if self._is_silent:
            raise BrokerError("the broker does not answer")

    def _expire(self, key: str) -> None:
        del self._expiries[key]
        if not self._is_silent:
            self.publish(_EXPIRY_CHANNEL, key.encode())


class _MemoryLink(Link):
    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._channels: set[str] = set()
        self._events: deque[Event] = deque()
        self._arrived = asyncio.Event()
        self._is_cut = False

    async def subscribe(self, channels: Collection[str]) -> None:
        for channel in channels:
            self._channels.add(channel)
            self._broker.confirm(self, channel)

    async def unsubscribe(self, channels: Collection[str]) -> None:
        self._channels.difference_update(channels)

    async def read(self) -> Event | None:
        while not self._events:
            if self._is_cut:
                raise BrokerError("the connection was lost")
            self._arrived.clear()
            await self._arrived.wait()
        return self._events.popleft()

    async def close(self) -> None:
        self.cut()

    def receive(self, channel: str, data: bytes) -> None:
        if channel in self._channels:
            self.append(Delivery(channel, data))

    def append(self, event: Event) -> None:
        if len(self._events) >= _LINK_ITEMS:
            self.cut()
        elif not self._is_cut:
            self._events.append(event)
            self._arrived.set()

    def cut(self) -> None:
        self._is_cut = True
        self._broker.forget(self)
        self._arrived.set()


class MemoryBackend(SupervisedBackend):
    """A backend on a broker in this process; without one given it is alone on its own."""

    def __init__(self, broker: MemoryBroker | None = None) -> None:
        super().__init__()
        self._broker = broker or MemoryBroker()

    async def open_link(self) -> Link:
        return self._broker.open_link()

    async def publish(self, channel: str, message: bytes) -> None:
        self._broker.publish(channel, bytes(message))
        await asyncio.sleep(0)  # as over a socket, others get their turn

    async def refresh_keys(self, keys: Mapping[str, int]) -> None:
        self._broker.set_keys(keys)

    async def delete_keys(self, keys: Iterable[str]) -> None:
        self._broker.drop_keys(keys)

    async def run_script(self, script: bytes, calls: Sequence[tuple[str, Sequence[int]]]) -> list[bytes]:
        raise BrokerError("a broker in the process runs no scripts")

    async def run_on_hash(self, script: HashScript, key: str, arguments: Sequence[bytes]) -> list[bytes]:
        answer = self._broker.run_on_hash(script, key, arguments)
        await asyncio.sleep(0)
        return answer

    async def tell_on_hash(
        self, script: HashScript, key: str, arguments: Sequence[bytes], channel: str, message: bytes
    ) -> list[bytes]:
        answer = self._broker.run_on_hash(script, key, arguments)
        if answer[:1] == [b"ok"]:
            self._broker.publish(channel, message)
        await asyncio.sleep(0)
        return answer

    @property
    def expiry_channel(self) -> str:
        return _EXPIRY_CHANNEL

    async def announce_expiry(self) -> bool:
        return True

    async def close_clients(self) -> None:
        return
