"""This module is where encoded frames wait for one connection's reader, in bounded number and for bounded time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from enum import Enum

from gateway.transports.options import TransportOptions


class OutboxClosed(Exception):
    """The connection takes no more frames."""


class Loss(Enum):
    """Why an outbox lost its reader."""

    STUCK = "stuck"
    GONE = "gone"


class Outbox:
    """The one way out of a connection: a bounded queue of encoded frames and the task that writes them in order.

    A frame is written in full before the next; a write that takes longer than the deadline means a stuck reader,
    and then ``lost`` is called once. The writer is handed in, so that frames can go to ASGI or straight to a
    transport.
    """

    def __init__(
        self,
        write: Callable[[bytes], Awaitable[None]],
        lost: Callable[[Loss], None],
        options: TransportOptions,
        name: str,
    ) -> None:
        self._write = write
        self._lost = lost
        self._options = options
        self._frames: deque[bytes] = deque()
        self._queued_bytes = 0
        self._closed = False
        self._work = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._writer = asyncio.create_task(self._run(), name=f"outbox {name}")

    @property
    def closed(self) -> bool:
        return self._closed

    def offer(self, frame: bytes) -> bool:
        """Queues a frame without waiting; False when there is no room or the outbox is closed."""
        if self._closed or not self._room.is_set():
            return False
        self._frames.append(frame)
        self._queued_bytes += len(frame)
        if self._is_full():
            self._room.clear()
        self._work.set()
        return True

    def interject(self, frame: bytes) -> None:
        """Queues a frame before all others, room or not: a ping must reach a reader that is merely slow.

        The caller bounds how many there are.
        """
        if not self._closed:
            self._frames.appendleft(frame)
            self._queued_bytes += len(frame)
            self._work.set()

    async def put(self, frame: bytes) -> None:
        """Queues a frame, waiting for room: a slow reader slows its own streams and nobody else's.

        The wait ends within the send deadline, because the writer then gives up. Raises ``OutboxClosed``.
        """
        while not self.offer(frame):
            if self._closed:
                raise OutboxClosed
            await self._room.wait()

    def close(self) -> None:
        """Takes no more frames; those queued are still written."""
        self._closed = True
        self._room.set()
        self._work.set()

    async def flushed(self) -> None:
        """Closes and returns when everything queued is written, or the reader is lost, or the deadline passed."""
        self.close()
        try:
            await asyncio.wait({self._writer}, timeout=self._options.send_deadline)
        finally:
            self._writer.cancel()

    async def discard(self) -> None:
        """Closes and forgets what is still queued."""
        self.close()
        self._frames.clear()
        self._writer.cancel()
        await asyncio.wait({self._writer}, timeout=self._options.send_deadline)

    def _is_full(self) -> bool:
        return len(self._frames) >= self._options.outbox_frames or self._queued_bytes >= self._options.outbox_bytes

    async def _run(self) -> None:
        try:
            while await self._has_work():
                frame = self._frames.popleft()
                async with asyncio.timeout(self._options.send_deadline):
                    await self._write(frame)
                self._queued_bytes -= len(frame)
                if not self._is_full():
                    self._room.set()
        except TimeoutError:
            self._give_up(Loss.STUCK)
        except Exception:
            # Servers tell a lost peer by exceptions of their own kinds; none of them can be mended here.
            self._give_up(Loss.GONE)

    async def _has_work(self) -> bool:
        while not self._frames:
            if self._closed:
                return False
            self._work.clear()
            await self._work.wait()
        return True

    def _give_up(self, loss: Loss) -> None:
        self.close()
        self._frames.clear()
        self._lost(loss)
