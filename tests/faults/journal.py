"""This module is where clients write down all they receive, connection by connection, and come back by themselves."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
from websockets.exceptions import WebSocketException

from subscriptions.cursor import Cursor
from tests.faults.transports import Answers, Ended, Operation

DOCUMENT: Final = """
subscription Follow($after: EventCursor, $filter: WorkspaceFilter) {
  workspaceStatus(after: $after, filter: $filter) {
    __typename
    ... on StreamItem { cursor }
    ... on StreamReady { recovered }
    ... on WorkspaceItem { previousCursor kind entityId matchesFilter workspace { id name tier version } }
  }
}
"""
FIELD: Final = "workspaceStatus"
FIRST_WAIT: Final = 0.05
LONGEST_WAIT: Final = 1.0
_ENDS: Final = (Ended, WebSocketException, OSError, httpx.HTTPError, TimeoutError)


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a stream. ``previous`` and what follows are None on all but changes."""

    type: str
    cursor: str
    received_at: float
    previous: str | None = None
    entity_id: str | None = None
    kind: str | None = None
    matches: bool | None = None
    recovered: bool | None = None

    @property
    def is_change(self) -> bool:
        """Whether it is neither Ready nor a checkpoint."""
        return self.previous is not None

    @property
    def seq(self) -> int:
        """Where the item stands in its tenant's log."""
        cursor = Cursor.decode(self.cursor)
        assert cursor is not None
        return cursor.seq

    @classmethod
    def read(cls, payload: dict[str, Any], received_at: float, field: str = FIELD) -> Item:
        """The item of one answer. Raises Ended when the answer has errors."""
        if payload.get("errors"):
            raise Ended(str(payload["errors"][0]["extensions"]["code"]))
        given = payload["data"][field]
        return cls(
            type=given["__typename"],
            cursor=given["cursor"],
            received_at=received_at,
            previous=given.get("previousCursor"),
            entity_id=given.get("entityId"),
            kind=given.get("kind"),
            matches=given.get("matchesFilter"),
            recovered=given.get("recovered"),
        )


@dataclass(slots=True)
class Connection:
    """What one connection brought, and how it ended."""

    url: str
    after: str | None
    items: list[Item] = field(default_factory=list)
    end: str = ""


@dataclass(slots=True)
class Journal:
    """Everything one client received, in the order of its connections."""

    name: str
    connections: list[Connection] = field(default_factory=list)

    @property
    def items(self) -> list[Item]:
        """All items of all connections."""
        return [item for connection in self.connections for item in connection.items]

    @property
    def changes(self) -> list[Item]:
        """All changes of all connections."""
        return [item for item in self.items if item.is_change]

    @property
    def last_cursor(self) -> str | None:
        """Where the client goes on; None before its first item."""
        for connection in reversed(self.connections):
            if connection.items:
                return connection.items[-1].cursor
        return None

    def summary(self) -> str:
        """Where it stands, for messages."""
        lines = [
            f"{one.url} {len(one.items)} items to {one.items[-1].seq if one.items else '-'} {one.end or 'open'}"
            for one in self.connections
        ]
        return f"{self.name}: {'; '.join(lines[-5:])}"

    @property
    def ends(self) -> list[str]:
        """How its connections ended."""
        return [connection.end for connection in self.connections if connection.end]


Transport = Callable[[str, str, Operation], Answers]
"""One way to run a subscription: at a gateway's URL, with a key; its answers until the stream ends."""


class Follower:
    """A client that subscribes, writes down, and after any end resumes after its last cursor on any gateway."""

    def __init__(
        self,
        name: str,
        urls: Sequence[str],
        key: str,
        transport: Transport,
        *,
        variables: dict[str, Any] | None = None,
        after: str | None = None,
        seed: int = 0,
        document: str = DOCUMENT,
        field: str = FIELD,
    ) -> None:
        self.journal = Journal(name)
        self._urls = urls
        self._key = key
        self._transport = transport
        self._variables = variables or {}
        self._after = after
        self._random = random.Random(f"{name} {seed}")
        self._document = document
        self._field = field
        self._grown = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> Follower:
        """Follow in the background; ``stop`` ends it."""
        self._task = asyncio.create_task(self._run(), name=f"follower {self.journal.name}")
        return self

    def resume_after(self, cursor: str) -> None:
        """Begin in the past; before ``start``."""
        self._after = cursor

    def go_on_at(self, *urls: str) -> None:
        """Connect to these from the next time on."""
        self._urls = urls

    async def stop(self) -> None:
        """End it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def until(self, holds: Callable[[Journal], bool], seconds: float) -> None:
        """Waits until the journal is so, item by item; fails at the deadline or when the follower itself broke."""
        try:
            async with asyncio.timeout(seconds):
                while not holds(self.journal):
                    if self._task is not None and self._task.done():
                        await self._task
                    self._grown.clear()
                    await self._grown.wait()
        except TimeoutError:
            raise AssertionError(f"waited {seconds} s in vain: {self.journal.summary()}") from None

    async def until_seq(self, seq: int, seconds: float) -> None:
        """Waits until it has come to ``seq``."""
        await self.until(lambda journal: bool(journal.items) and journal.items[-1].seq >= seq, seconds)

    async def _run(self) -> None:
        failures = 0
        while True:
            after = self.journal.last_cursor or self._after
            connection = Connection(self._random.choice(self._urls), after)
            self.journal.connections.append(connection)
            try:
                await self._follow(connection)
                connection.end = "complete"
            except _ENDS as end:
                connection.end = str(end) if isinstance(end, Ended) else type(end).__name__
            finally:
                self._grown.set()
            failures = 0 if connection.items else failures + 1
            # Full jitter: clients that were cut together must not come back together.
            await asyncio.sleep(self._random.uniform(0, min(LONGEST_WAIT, FIRST_WAIT * 2**failures)))

    async def _follow(self, connection: Connection) -> None:
        variables = {**self._variables, "after": connection.after}
        now = asyncio.get_running_loop().time
        stream = self._transport(connection.url, self._key, Operation(self._document, variables))
        try:
            async for payload in stream:
                connection.items.append(Item.read(payload, now(), self._field))
                self._grown.set()
        finally:
            await stream.aclose()


async def all_stopped(followers: Sequence[Follower]) -> None:
    """Ends all of them."""
    await asyncio.gather(*(one.stop() for one in followers))
