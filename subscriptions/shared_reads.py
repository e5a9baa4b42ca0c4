"""This module is where many who ask for the same at once share one read, never one that began before they asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class SharedReads(Generic[Key, Value]):
    """At most one read of a key is under way; whoever comes meanwhile shares the one after it.

    A thousand clients that come back together are a few statements, and each still sees its own writes.
    """

    def __init__(self, read: Callable[[Key], Awaitable[Value]], name: str) -> None:
        self._read = read
        self._name = name
        self._next: dict[Key, asyncio.Future[Value]] = {}
        self._running: dict[Key, asyncio.Task[None]] = {}

    async def get(self, key: Key) -> Value:
        """What a read finds that begins after this call. Raises what the read raises."""
        future = self._next.get(key)
        if future is None:
            future = self._next[key] = asyncio.get_running_loop().create_future()
            if key not in self._running:
                self._running[key] = asyncio.create_task(self._run(key), name=self._name)
        # Shielded: one who stops waiting must not take the answer from the others.
        return await asyncio.shield(future)

    async def stop(self) -> None:
        """End what is under way; who waits is cancelled."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, key: Key) -> None:
        try:
            while (future := self._next.pop(key, None)) is not None:
                try:
                    value = await self._read(key)
                except asyncio.CancelledError:
                    future.cancel()
                    raise
                except Exception as error:
                    future.set_exception(error)
                    # All who asked may be gone; an unretrieved exception must not be reported then.
                    future.exception()
                else:
                    future.set_result(value)
        finally:
            del self._running[key]
            waiting = self._next.pop(key, None)
            if waiting is not None:
                waiting.cancel()
