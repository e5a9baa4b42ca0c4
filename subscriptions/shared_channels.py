"""This module is where one bus subscription serves all of this process who listen to its channel."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, Generic, Protocol, TypeVar

import structlog

from subscriptions.inbox import Gap, Message

LISTEN_SECONDS: Final = 2.0
"""For so long a newcomer waits for the broker; with it away, a gap will tell later."""

_log = structlog.get_logger(__name__)


class Subscribes(Protocol):
    """What listening needs of a bus."""

    def subscribe(
        self, *channels: str, queue_size: int = 1024
    ) -> AbstractAsyncContextManager[AsyncIterator[Message | Gap]]:
        """Messages and gaps of ``channels``."""
        ...


class SharedChannel(ABC):
    """One bus subscription, read by one task. What it reads goes to whom a subclass knows."""

    def __init__(self, bus: Subscribes, name: str) -> None:
        self._bus = bus
        self._listening = asyncio.Event()
        self.name = name
        self.users = 0
        self.is_over = False
        self._task = asyncio.create_task(self._read(), name=f"reads {name}")

    @abstractmethod
    def hand_out(self, message: Message | Gap) -> None:
        """Give what arrived to those it concerns."""

    @abstractmethod
    def end(self) -> None:
        """Tell everybody that the bus has stopped."""

    async def until_listening(self) -> None:
        """Until what is published reaches us. With the broker away, a gap will tell when it does."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LISTEN_SECONDS):
                await self._listening.wait()

    async def close(self) -> None:
        """Returns when nothing reads any more."""
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _read(self) -> None:
        try:
            async with self._bus.subscribe(self.name) as messages:
                self._listening.set()
                async for message in messages:
                    self.hand_out(message)
        except Exception:
            _log.exception("channel.reading_failed", channel=self.name)
        finally:
            self.is_over = True
            self._listening.set()
            self.end()


Channel = TypeVar("Channel", bound=SharedChannel)


class SharedChannels(Generic[Channel]):
    """The channels that somebody in this process listens to; the last one to leave ends the subscription."""

    def __init__(self, opened: Callable[[str], Channel]) -> None:
        self._opened = opened
        self._channels: dict[str, Channel] = {}

    def __len__(self) -> int:
        return len(self._channels)

    @contextlib.asynccontextmanager
    async def used(self, name: str) -> AsyncIterator[Channel]:
        """The channel, listening; opened for the first who asks."""
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = self._opened(name)
        channel.users += 1
        try:
            await channel.until_listening()
            yield channel
        finally:
            channel.users -= 1
            if not channel.users:
                # Before the wait: whoever comes now must open a channel of its own.
                if self._channels.get(name) is channel:
                    del self._channels[name]
                await channel.close()
