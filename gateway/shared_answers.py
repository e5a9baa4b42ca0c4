"""This module is where subscribers of what is only now share an answer: executed for the first, encoded once."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Final

from subscriptions.fanout import Batch

SHARED_SECONDS: Final = 0.25
"""Subscribers in step ask within a moment; whoever comes later is answered anew, with rows as they are then."""

MOST_SHARED: Final = 256


class SharedAnswers:
    """The latest answers of one process, by question and event."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, tuple[float, Batch]] = OrderedDict()
        self.executions = 0

    async def of(self, key: Hashable, execute: Callable[[], Awaitable[bytes]]) -> Batch:
        """The answer for ``key``, whose framing is shared as well. Raises what ``execute`` raises."""
        clock = asyncio.get_running_loop().time
        found = self._kept.get(key)
        if found is not None and clock() < found[0]:
            return found[1]
        self.executions += 1
        batch = Batch([await execute()])
        self._kept[key] = clock() + SHARED_SECONDS, batch
        self._kept.move_to_end(key)
        while len(self._kept) > MOST_SHARED:
            self._kept.popitem(last=False)
        return batch
