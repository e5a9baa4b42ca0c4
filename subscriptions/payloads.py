"""This module is where a group's answers are kept for a while, so that what many ask for is rendered once.

An answer holds its item's previousCursor, so it is known by its event and by the item before it: a checkpoint in
between, or another start, makes another answer.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from subscriptions.streams import Delivery, Item

KEPT_BYTES: Final = 4_000_000
KEPT_SECONDS: Final = 10.0
"""Longer than clients take to come back together, short enough that what is shown is what is."""

Render = Callable[[Sequence[Item]], Awaitable[list[bytes]]]
"""Executes the group's document once per item, with one fresh loader scope for all, and encodes each answer."""

_Key = tuple[int, str]


@dataclass(slots=True)
class _Kept:
    payload: bytes
    until: float


class Payloads:
    """Rendered answers of one question. A thousand clients that resume together are one execution."""

    def __init__(
        self, render: Render, *, chained: bool, kept_bytes: int = KEPT_BYTES, kept_seconds: float = KEPT_SECONDS
    ) -> None:
        self._render = render
        self._chained = chained
        self._most_bytes = kept_bytes
        self._seconds = kept_seconds
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()
        self._bytes = 0
        self._under_way: dict[_Key, asyncio.Future[None]] = {}

    async def of(self, deliveries: Sequence[Delivery]) -> list[bytes]:
        """The answers to ``deliveries``, in their order. Raises what rendering raises."""
        wanted = {self._key(one): one for one in deliveries}
        found: dict[_Key, bytes] = {}
        while True:
            self._collect(wanted, found)
            missing = [key for key in wanted if key not in found]
            if not missing:
                return [found[self._key(one)] for one in deliveries]
            mine = [key for key in missing if key not in self._under_way]
            if mine:
                found |= await self._make(mine, [wanted[key] for key in mine])
            else:
                # Somebody else is at it. Should it fail or leave, the next turn of this loop does the work.
                await asyncio.wait({self._under_way[key] for key in missing})

    async def _make(self, keys: list[_Key], deliveries: list[Delivery]) -> dict[_Key, bytes]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._under_way |= dict.fromkeys(keys, done)
        try:
            made = dict(zip(keys, await self._render(deliveries), strict=True))
            self._keep(made)
        finally:
            for key in keys:
                del self._under_way[key]
            done.set_result(None)
        return made

    def _key(self, delivery: Delivery) -> _Key:
        return delivery.event.seq, delivery.previous_cursor if self._chained else ""

    def _collect(self, wanted: dict[_Key, Delivery], found: dict[_Key, bytes]) -> None:
        now = asyncio.get_running_loop().time()
        for key in wanted:
            kept = self._kept.get(key)
            if kept is not None and kept.until > now:
                found.setdefault(key, kept.payload)

    def _keep(self, made: dict[_Key, bytes]) -> None:
        now = asyncio.get_running_loop().time()
        for key, payload in made.items():
            self._forget(key)
            self._kept[key] = _Kept(payload, now + self._seconds)
            self._bytes += len(payload)
        # What was just made stays whatever its size: those who wait for it must not make it again, one by one.
        while self._kept:
            key = next(iter(self._kept))
            if key in made or (self._bytes <= self._most_bytes and self._kept[key].until > now):
                break
            self._forget(key)

    def _forget(self, key: _Key) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._bytes -= len(kept.payload)
