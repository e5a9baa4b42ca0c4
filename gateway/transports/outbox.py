"""This module is where encoded frames wait for one connection's reader, in bounded number and for bounded time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Protocol

from gateway.transports.options import TransportOptions


class OutboxClosed(Exception):
    """The connection takes no more frames."""


class Loss(Enum):
    """Why an outbox lost its reader."""

    STUCK = "stuck"
    GONE = "gone"


class Direct(Protocol):
    """A way past ASGI to the connection's transport, for frames that are already on the wire's form."""

    is_held: bool

    @property
    def has_room(self) -> bool:
        """Whether the transport's buffer is below its limit."""
        ...

    def write_text(self, text: bytes) -> None:
        """One text message, framed here."""
        ...

    def write(self, data: bytes) -> bool:
        """Whole frames; False, with nothing written, while held or without room."""
        ...

    async def room(self) -> None:
        """Wait until the buffer is below its limit, or the connection is gone."""
        ...


class Outbox:
    """The one way out of a connection. What the transport can take goes to it at once; the rest waits, bounded.

    Messages are written in order, each in full. A write that takes longer than the deadline means a stuck reader,
    and then ``lost`` is called once. Without ``direct`` every message goes through ``write``.
    """

    __slots__ = (
        "_closed",
        "_frames",
        "_is_lost",
        "_lost",
        "_name",
        "_options",
        "_queued_bytes",
        "_room",
        "_write",
        "_writer",
        "direct",
    )

    def __init__(
        self,
        write: Callable[[bytes], Awaitable[None]],
        lost: Callable[[Loss], None],
        options: TransportOptions,
        name: str,
        direct: Direct | None = None,
    ) -> None:
        self._write = write
        self._lost = lost
        self._options = options
        self._name = name
        # The way past this queue, held while something waits here or no more is taken.
        self.direct = direct
        self._frames: list[bytes] = []
        self._queued_bytes = 0
        self._closed = False
        self._is_lost = False
        # Made when the queue is full: a thousand connections that never wait should not pay for it.
        self._room: asyncio.Event | None = None
        # Only while something waits: most connections never need a task for writing.
        self._writer: asyncio.Task[None] | None = None

    @property
    def closed(self) -> bool:
        return self._closed

    def offer(self, frame: bytes) -> bool:
        """Takes a message without waiting; False when there is no room or the outbox is closed."""
        if self._closed or self._room is not None:
            return False
        if self.direct is not None and self._writer is None and self.direct.has_room:
            self.direct.write_text(frame)
            return True
        self._frames.append(frame)
        self._queue(frame)
        return True

    def take(self, frame: bytes) -> None:
        """Queues a message whatever its size; for batches, which the caller bounds by waiting for ``idle``."""
        if not self._closed:
            self._frames.append(frame)
            self._queue(frame)

    @property
    def is_busy(self) -> bool:
        """Whether something waits to be written."""
        return self._writer is not None

    def interject(self, frame: bytes) -> None:
        """Takes a message before all that wait, room or not: a ping must reach a reader that is merely slow.

        The caller bounds how many there are.
        """
        if not self._closed:
            self._frames.insert(0, frame)
            self._queue(frame)

    async def put(self, frame: bytes) -> None:
        """Takes a message, waiting for room: a slow reader slows its own streams and nobody else's.

        The wait ends within the send deadline, because the writer then gives up. Raises ``OutboxClosed``.
        """
        while not self.offer(frame):
            if self._closed:
                raise OutboxClosed
            if self._room is not None:
                await self._room.wait()

    async def idle(self) -> None:
        """Waits until nothing is queued and the transport has room. Raises ``OutboxClosed``.

        Ends within the send deadline: a reader that has not made room by then is stuck, and lost.
        """
        try:
            async with asyncio.timeout(self._options.send_deadline):
                while self._writer is not None or (self.direct is not None and not self.direct.has_room):
                    if self._closed:
                        break
                    if self._writer is not None:
                        await asyncio.wait({self._writer})
                    elif self.direct is not None:
                        await self.direct.room()
        except TimeoutError:
            self._give_up(Loss.STUCK)
        except ConnectionError:
            self._give_up(Loss.GONE)
        if self._closed:
            raise OutboxClosed

    def close(self) -> None:
        """Takes no more messages; those queued are still written."""
        self._closed = True
        self._hold()
        self._make_room()

    async def flushed(self) -> None:
        """Closes and returns when everything queued is written, or the reader is lost, or the deadline passed."""
        self.close()
        writer = self._writer
        if writer is not None:
            try:
                await asyncio.wait({writer}, timeout=self._options.send_deadline)
            finally:
                writer.cancel()

    async def discard(self) -> None:
        """Closes and forgets what is still queued."""
        self.close()
        self._frames.clear()
        writer = self._writer
        if writer is not None:
            writer.cancel()
            await asyncio.wait({writer}, timeout=self._options.send_deadline)

    def _queue(self, frame: bytes) -> None:
        self._queued_bytes += len(frame)
        if self._is_full():
            self._room = self._room or asyncio.Event()
        if self._writer is None:
            self._writer = asyncio.create_task(self._run(), name=f"outbox {self._name}")
            self._hold()

    def _hold(self) -> None:
        if self.direct is not None:
            self.direct.is_held = self._closed or self._writer is not None

    def _make_room(self) -> None:
        if self._room is not None:
            self._room.set()
            self._room = None

    def _is_full(self) -> bool:
        return len(self._frames) >= self._options.outbox_frames or self._queued_bytes >= self._options.outbox_bytes

    async def _run(self) -> None:
        try:
            while self._frames:
                frame = self._frames.pop(0)
                async with asyncio.timeout(self._options.send_deadline):
                    await self._write(frame)
                self._queued_bytes -= len(frame)
                if not self._is_full():
                    self._make_room()
        except TimeoutError:
            self._give_up(Loss.STUCK)
        except Exception:
            # Servers tell a lost peer by exceptions of their own kinds; none of them can be mended here.
            self._give_up(Loss.GONE)
        finally:
            self._writer = None
            self._hold()

    def _give_up(self, loss: Loss) -> None:
        self.close()
        self._frames.clear()
        if not self._is_lost:
            self._is_lost = True
            self._lost(loss)
