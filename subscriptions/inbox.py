"""This module is where one subscriber's messages wait: a bounded queue that admits what it lost."""

import asyncio
import enum
from collections import deque
from dataclasses import dataclass
from typing import Final, Self

from broadcaster import Event

from subscriptions.backend import BusCounters, Confirmed, Delivery


class Gap(enum.Enum):
    """The type of GAP, for annotations."""

    GAP = "gap"


# In a subscription: something may be missing before this point; read the truth again.
GAP: Final = Gap.GAP


@dataclass(frozen=True, slots=True)
class Message:
    """What was published, as it was published."""

    channel: str
    data: bytes


class Inbox(asyncio.Queue[Event | None]):
    """Holds at most `size` items, gaps included: when full, the oldest go and a gap stands for them.

    `put` never waits, so one slow subscriber cannot hold up the reader that serves all of them.
    Iterating it yields Message or GAP until it is closed; one consumer, who may be cancelled while waiting.
    """

    _queue: deque[Event | None]  # asyncio.Queue's own, which its subclasses may use

    def __init__(self, size: int, counters: BusCounters) -> None:
        if size < 2:
            raise ValueError("a queue needs room for a gap and a message")
        super().__init__()
        self._size = size
        self._counters = counters
        self._is_listening = False
        self._is_closed = False

    def listen(self) -> None:
        """From here on a confirmation is a repeated one, or one that came too late: a gap."""
        self._is_listening = True

    def close(self) -> None:
        """Ends the iteration after what is already waiting. Idempotent."""
        if not self._is_closed:
            self._is_closed = True
            self.put_nowait(None)

    async def put(self, item: Event | None) -> None:
        if item is None:
            self.close()
        elif self._is_closed or (isinstance(item, Confirmed) and not self._is_listening):
            return
        elif isinstance(item, Confirmed) and self._queue and isinstance(self._queue[-1], Confirmed):
            return  # two gaps with nothing between them are one
        else:
            self._counters.gaps += isinstance(item, Confirmed)
            if len(self._queue) >= self._size:
                self._drop_oldest(item.channel)
            self.put_nowait(item)

    def _drop_oldest(self, channel: str) -> None:
        lost = [self._queue.popleft()]
        if not isinstance(self._queue[0], Confirmed):
            lost.append(self._queue[0])
            self._queue[0] = Confirmed(channel)
            self._counters.gaps += not isinstance(lost[0], Confirmed)
        self._counters.dropped += sum(isinstance(event, Delivery) for event in lost)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message | Gap:
        if self._is_closed and self.empty():
            raise StopAsyncIteration
        event = await self.get()
        if isinstance(event, Delivery):
            return Message(event.channel, event.data)
        if event is None:
            raise StopAsyncIteration
        return GAP
