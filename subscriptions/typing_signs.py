"""This module is where signs of typing reach their viewers; each holds for six seconds and is kept nowhere."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import Final, Self
from uuid import UUID

from subscriptions.replies import Typing

TYPING_SECONDS: Final = 6.0
"""For so long a sign of typing holds."""

MOST_TYPISTS: Final = 100


class TypingViewer:
    """Who types, as one viewer was told, and what it has yet to be told."""

    def __init__(self, seconds: float = TYPING_SECONDS) -> None:
        self._seconds = seconds
        self._clock = asyncio.get_running_loop().time
        self._until: dict[UUID, float] = {}
        self._out: deque[Typing] = deque()
        self._news = asyncio.Event()
        self._is_closed = False

    def take(self, typing: Typing) -> None:
        """Somebody types, or has stopped."""
        known = typing.user_id in self._until
        if typing.is_typing and (known or len(self._until) < MOST_TYPISTS):
            self._until[typing.user_id] = self._clock() + self._seconds
        elif not typing.is_typing:
            self._until.pop(typing.user_id, None)
        if (typing.user_id in self._until) != known:
            self._tell(typing)

    def close(self) -> None:
        """The bus has stopped."""
        self._is_closed = True
        self._news.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Typing:
        while True:
            self._news.clear()
            now = self._clock()
            for user_id in [one for one, until in self._until.items() if until <= now]:
                del self._until[user_id]
                self._tell(Typing(user_id, False))
            if self._out:
                return self._out.popleft()
            if self._is_closed:
                raise StopAsyncIteration
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(min(self._until.values(), default=None)):
                    await self._news.wait()

    def _tell(self, typing: Typing) -> None:
        # For a viewer that does not read: the newest of each person, so this never grows beyond the people there are.
        self._out = deque(one for one in self._out if one.user_id != typing.user_id)
        self._out.append(typing)
        self._news.set()
