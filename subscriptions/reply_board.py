"""This module is where replies that are being written reach their viewers: joined for the slow, whole for the late.

A process keeps each watched reply once, as the pieces that it consists of; a viewer owns no more than how many of them
it was shown. So a slow viewer costs nothing, and what it is shown next is everything since. A piece that got lost on
the way shows by the next one's index, and is read where the text is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final, Protocol, Self
from uuid import UUID

from subscriptions.channels import replies_channel
from subscriptions.inbox import Gap, Message
from subscriptions.replies import HEAD_BYTES, KEPT_SECONDS, Ended, Keeps, Kept, Piece, Place, Replies, Typing, decode
from subscriptions.shared_channels import LISTEN_SECONDS, SharedChannel, SharedChannels, Subscribes
from subscriptions.typing_signs import TypingViewer

SHORTEST_SECONDS: Final = 0.04
"""Between two deliveries to one viewer; what comes in between is joined."""

_WAITING_PIECES: Final = 256
_RETRY_SECONDS: Final = 0.5


class BoardBus(Keeps, Subscribes, Protocol):
    """What the board needs of a bus."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What one viewer is shown of a reply: all of it when ``is_snapshot``, else what follows the last it was shown."""

    message_id: UUID
    index: int
    text: str
    is_snapshot: bool
    is_final: bool


@dataclass(slots=True, eq=False)
class _Reply:
    """One reply as this process knows it."""

    message_id: UUID
    index: int = -1
    parts: list[str] = field(default_factory=list)
    length: int = 0
    is_final: bool = False
    is_over: bool = False
    at: float = 0.0
    waiting: dict[int, Piece] = field(default_factory=dict)

    def add(self, piece: Piece, now: float) -> bool:
        """Take a piece, and those that waited for it; False when something before it is missing."""
        if piece.index > self.index + 1:
            if len(self.waiting) < _WAITING_PIECES:
                self.waiting[piece.index] = piece
            return False
        if piece.index == self.index + 1:
            self._append(piece.text, piece.index, piece.is_final, now)
        while (following := self.waiting.pop(self.index + 1, None)) is not None:
            self._append(following.text, following.index, following.is_final, now)
        return not self.waiting

    def catch_up(self, kept: Kept, now: float) -> bool:
        """Take what is kept of it, which is never less than what was told; False while something is missing."""
        if kept.index > self.index:
            self._append(kept.text[self.length :], kept.index, kept.is_final, now)
        self.waiting = {index: one for index, one in self.waiting.items() if index > self.index}
        while (following := self.waiting.pop(self.index + 1, None)) is not None:
            self._append(following.text, following.index, following.is_final, now)
        return not self.waiting

    def _append(self, text: str, index: int, is_final: bool, now: float) -> None:
        self.parts.append(text)
        self.length += len(text)
        self.index, self.is_final, self.at = index, is_final, now


class ReplyBoard:
    """Hands each viewer the replies of one conversation. Whatever is malformed on the bus is ignored."""

    def __init__(self, bus: BoardBus) -> None:
        self.replies = Replies(bus)
        self._channels = SharedChannels(lambda name: _Conversations(bus, name, self.replies))

    @contextlib.asynccontextmanager
    async def watch(self, place: Place) -> AsyncIterator[AsyncIterator[Shown]]:
        """Once entered, every reply of the conversation: those that are being written first, as snapshots."""
        async with self._channels.used(replies_channel(place.tenant_id)) as channel:
            thread = channel.thread(place)
            viewer = _Viewer(thread)
            thread.viewers.add(viewer)
            try:
                await thread.until_loaded()
                viewer.begin()
                yield viewer
            finally:
                thread.viewers.discard(viewer)
                thread.rest()
                await channel.leave(place)

    @contextlib.asynccontextmanager
    async def watch_typing(self, place: Place) -> AsyncIterator[AsyncIterator[Typing]]:
        """Once entered, who begins to type and who stops; whoever is silent for six seconds has stopped."""
        async with self._channels.used(replies_channel(place.tenant_id)) as channel:
            thread = channel.thread(place)
            viewer = TypingViewer()
            thread.typing.add(viewer)
            try:
                yield viewer
            finally:
                thread.typing.discard(viewer)
                await channel.leave(place)


class _Conversations(SharedChannel):
    """What is told in one channel, and the conversations that are watched through it."""

    def __init__(self, bus: BoardBus, name: str, replies: Replies) -> None:
        self._replies = replies
        self._threads: dict[bytes, _Thread] = {}
        super().__init__(bus, name)

    def thread(self, place: Place) -> _Thread:
        """The conversation, watched from now on."""
        thread = self._threads.get(place.head)
        if thread is None:
            thread = self._threads[place.head] = _Thread(place, self._replies)
        thread.is_closed = self.is_over
        return thread

    async def leave(self, place: Place) -> None:
        """Forget the conversation when nobody watches it any more."""
        thread = self._threads.get(place.head)
        if thread is not None and not thread.viewers and not thread.typing:
            del self._threads[place.head]
            await thread.close()

    def end(self) -> None:
        for thread in self._threads.values():
            thread.end()

    def hand_out(self, message: Message | Gap) -> None:
        if isinstance(message, Gap):
            for thread in self._threads.values():
                thread.miss()
            return
        # Of conversations that nobody here watches, nothing is read but the head.
        watched = self._threads.get(message.data[:HEAD_BYTES])
        said = decode(message.data) if watched is not None else None
        if watched is not None and said is not None:
            watched.take(said)


class _Thread:
    """One watched conversation: its replies, and who is shown them."""

    def __init__(self, place: Place, replies: Replies) -> None:
        self._place = place
        self._replies = replies
        self._clock = asyncio.get_running_loop().time
        self._open: dict[UUID, _Reply] = {}
        self._loading: asyncio.Task[None] | None = None
        self._must_load = False
        self._loaded = asyncio.Event()
        self.viewers: set[_Viewer] = set()
        self.typing: set[TypingViewer] = set()
        self.is_closed = False

    def present(self) -> list[_Reply]:
        """What is being written, or was finished and is no message yet."""
        oldest = self._clock() - KEPT_SECONDS
        return [one for one in self._open.values() if one.at >= oldest]

    async def until_loaded(self) -> None:
        """Until what was said so far is known; with the broker away it comes later."""
        if not self._loaded.is_set():
            self.miss()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LISTEN_SECONDS):
                    await self._loaded.wait()

    def miss(self) -> None:
        """Something may have been lost: read what is kept."""
        self._must_load = True
        if self.viewers and (self._loading is None or self._loading.done()):
            self._loading = asyncio.create_task(self._load(), name="replies read")

    def rest(self) -> None:
        """Without viewers nothing is followed, and what was known gets old."""
        if not self.viewers:
            self._open.clear()
            self._loaded.clear()

    def take(self, said: Piece | Ended | Typing) -> None:
        """Something was published."""
        if isinstance(said, Typing):
            for one in self.typing:
                one.take(said)
        elif isinstance(said, Ended):
            self._close(said.message_id)
        elif self.viewers:
            reply = self._open.get(said.message_id) or self._begin(said.message_id)
            if not reply.add(said, self._clock()):
                self.miss()
        self._tell()

    def end(self) -> None:
        """The bus has stopped."""
        self.is_closed = True
        self._loaded.set()
        self._tell()
        for one in self.typing:
            one.close()

    async def close(self) -> None:
        """Returns when nothing runs any more."""
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.wait({self._loading})

    async def _load(self) -> None:
        while self._must_load:
            self._must_load = False
            known = {one.message_id: one.index for one in self._open.values()}
            kept = await self._replies.read(self._place)
            if kept is None:
                self._must_load = True
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            self._compare(known, kept)
            self._loaded.set()
            self._tell()

    def _compare(self, known: dict[UUID, int], kept: list[Kept]) -> None:
        for one in kept:
            reply = self._open.get(one.message_id) or self._begin(one.message_id)
            if not reply.catch_up(one, self._clock()):
                self._must_load = True
        gone = known.keys() - {one.message_id for one in kept}
        for message_id in gone:
            # Whatever has grown since was not there yet when the broker was asked.
            left = self._open.get(message_id)
            if left is not None and left.index == known[message_id]:
                self._close(message_id)

    def _begin(self, message_id: UUID) -> _Reply:
        reply = self._open[message_id] = _Reply(message_id, at=self._clock())
        for viewer in self.viewers:
            viewer.notice(reply)
        return reply

    def _close(self, message_id: UUID) -> None:
        reply = self._open.pop(message_id, None)
        if reply is not None:
            reply.is_over = True

    def _tell(self) -> None:
        for viewer in self.viewers:
            viewer.news.set()


@dataclass(slots=True)
class _Progress:
    """How far one viewer has come with one reply."""

    parts: int = 0
    is_new: bool = True
    was_told_end: bool = False


class _Viewer:
    """What one viewer has yet to see."""

    def __init__(self, thread: _Thread) -> None:
        self._thread = thread
        self._clock = asyncio.get_running_loop().time
        self._places: dict[_Reply, _Progress] = {}
        self._has_begun = False
        self._out: deque[Shown] = deque()
        self._next_at = 0.0
        self.news = asyncio.Event()

    def begin(self) -> None:
        """From here on: what is there already comes as snapshots."""
        self._places = {reply: _Progress(is_new=False) for reply in self._thread.present()}
        self._has_begun = True
        self.news.set()

    def notice(self, reply: _Reply) -> None:
        """A reply has begun."""
        if self._has_begun:
            self._places[reply] = _Progress()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Shown:
        while True:
            if self._out:
                return self._out.popleft()
            self.news.clear()
            now = self._clock()
            if now >= self._next_at:
                self._collect()
                if self._out:
                    # All viewers look at the same times, so that those in step are shown the same and share the answer.
                    self._next_at = (now // SHORTEST_SECONDS + 1) * SHORTEST_SECONDS
                    continue
                if self._thread.is_closed:
                    raise StopAsyncIteration
                await self.news.wait()
            else:
                await asyncio.sleep(self._next_at - now)

    def _collect(self) -> None:
        for reply, place in list(self._places.items()):
            is_end = reply.is_final or reply.is_over
            has_more = len(reply.parts) > place.parts or (is_end and not place.was_told_end)
            if has_more and reply.index >= 0:
                text = "".join(reply.parts[place.parts :])
                self._out.append(Shown(reply.message_id, reply.index, text, not place.is_new, is_end))
                place.parts, place.is_new, place.was_told_end = len(reply.parts), True, is_end
            if reply.is_over:
                del self._places[reply]
