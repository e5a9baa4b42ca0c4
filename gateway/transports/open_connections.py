"""This module is where the sockets and streams that are open in this process are known, counted and drained."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import Protocol

from models.errors import Unauthenticated
from resolvers.principal import Principal


class OpenConnection(Protocol):
    """A connection that lasts, and can be asked to end; nothing here waits for it."""

    @property
    def principal(self) -> Principal | None:
        """Whose it is; None while that is not known."""
        ...

    def drain(self) -> None:
        """Starts an orderly end that tells the client to come back."""
        ...

    def drop(self) -> None:
        """Cuts it off without a word: its client does not read."""
        ...

    def expel(self, failure: Unauthenticated) -> None:
        """Ends it because its credentials are no longer good; ``TokenExpired`` when fresh ones would be."""
        ...

    def hold_to(self, principal: Principal) -> None:
        """Goes on with these rights, and ends what they do not allow."""
        ...


@dataclass(slots=True)
class TransportCounters:
    """What the transports did since they started; the gateway exports it."""

    operations: Counter[str] = field(default_factory=Counter)
    sockets_opened: int = 0
    streams_opened: int = 0
    closes: Counter[int] = field(default_factory=Counter)
    cut_stuck: int = 0
    cut_silent: int = 0


class OpenConnections:
    """Every long-lived connection of this process."""

    def __init__(self) -> None:
        self.counters = TransportCounters()
        self._open: dict[str, set[OpenConnection]] = {"socket": set(), "stream": set()}
        self._draining = False
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def draining(self) -> bool:
        return self._draining

    @property
    def sockets(self) -> int:
        return len(self._open["socket"])

    @property
    def streams(self) -> int:
        return len(self._open["stream"])

    def by_principal(self) -> dict[Principal, list[OpenConnection]]:
        """Everything that is open, by whose it is."""
        found: dict[Principal, list[OpenConnection]] = {}
        for connection in chain.from_iterable(self._open.values()):
            if connection.principal is not None:
                found.setdefault(connection.principal, []).append(connection)
        return found

    @contextmanager
    def holding(self, connection: OpenConnection, kind: str) -> Iterator[None]:
        """Knows the connection for as long as the block runs; ``kind`` is ``socket`` or ``stream``."""
        self._open[kind].add(connection)
        self._empty.clear()
        try:
            yield
        finally:
            self._open[kind].discard(connection)
            if not any(self._open.values()):
                self._empty.set()

    async def drain(self, *, spread: float, patience: float = 2.0) -> None:
        """Refuses new connections and ends those there are, evenly over ``spread`` seconds.

        All at once would send every client to the next gateway in the same instant. Returns when all are gone;
        what is left ``patience`` seconds after the last one was asked is cut off.
        """
        self._draining = True
        connections = [connection for group in self._open.values() for connection in group]
        pause = spread / len(connections) if connections else 0.0
        for connection in connections:
            connection.drain()
            if await self._gone_within(pause):
                return
        if not await self._gone_within(patience):
            for connection in [connection for group in self._open.values() for connection in group]:
                connection.drop()

    async def _gone_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self.all_gone()
        except TimeoutError:
            return False
        return True

    async def all_gone(self) -> None:
        """Waits until nothing is open."""
        await self._empty.wait()
