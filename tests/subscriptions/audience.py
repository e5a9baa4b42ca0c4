"""This module is where fan-out tests get a log to write, questions to ask of it and readers that may dawdle."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson

from models import EventTopic, Scope, utcnow
from models.database import Database
from models.ids import uuid7
from resolvers.call import Services
from resolvers.unit_of_work import unit_of_work
from subscriptions.cursor import Cursor
from subscriptions.fanout import Batch, Fanout, Question
from subscriptions.log import Envelope
from subscriptions.streams import Checkpoint, Delivery, Interest, Item, Ready
from tests.patience import DEADLINE
from tests.world import make_tenant

LOOK_SECONDS = 0.05


class Reader:
    """A sink that keeps what it is given; ``full`` makes it refuse until it is opened again."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self.refused = 0
        self._changed = asyncio.Event()
        self._open = asyncio.Event()
        self._open.set()

    def deliver(self, batch: Batch) -> bool:
        """All or nothing."""
        if not self._open.is_set():
            self.refused += 1
            self._changed.set()
            return False
        self.items += [orjson.loads(one) for one in batch.payloads]
        self._changed.set()
        return True

    async def room(self) -> None:
        """Until it is opened."""
        await self._open.wait()

    def dawdle(self) -> None:
        """Refuse from now on."""
        self._open.clear()

    def read_on(self) -> None:
        """Take again."""
        self._open.set()

    @property
    def seqs(self) -> list[int]:
        """The events that arrived."""
        return [one["seq"] for one in self.items if one["type"] == "Delivery"]

    @property
    def last_cursor(self) -> str:
        """Where the reader stands."""
        return str(self.items[-1]["cursor"])

    def kinds(self, kind: str) -> list[dict[str, Any]]:
        """The items of one type."""
        return [one for one in self.items if one["type"] == kind]

    def has_unbroken_chain(self) -> bool:
        """Whether it begins with Ready and every event names the item before it."""
        follows = zip(self.items[1:], self.items, strict=False)
        return self.items[0]["type"] == "Ready" and all(
            one["type"] != "Delivery" or one["previous"] == before["cursor"] for one, before in follows
        )

    async def until(self, holds: Callable[[Reader], bool]) -> None:
        """Waits for it, changed by changed; fails at the deadline."""
        async with asyncio.timeout(DEADLINE):
            while not holds(self):
                self._changed.clear()
                # What is waited for may be somebody else's doing.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), LOOK_SECONDS)

    async def until_seq(self, seq: int) -> None:
        """Waits for the event with this seq."""
        await self.until(lambda reader: seq in reader.seqs)


@dataclass(slots=True)
class Answers:
    """What a question's rendering was asked to do; ``gate`` holds it up, ``failure`` breaks it."""

    rendered: list[list[Item]] = field(default_factory=list)
    size: int = 0
    failure: Exception | None = None
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    async def render(self, items: Sequence[Item]) -> list[bytes]:
        """One encoded answer an item."""
        self.rendered.append(list(items))
        await asyncio.sleep(0)
        if any(isinstance(one, Delivery) for one in items):
            await self.gate.wait()
            if self.failure is not None:
                raise self.failure
        return [orjson.dumps(self._answer(one)) for one in items]

    def _answer(self, item: Item) -> dict[str, Any]:
        answer: dict[str, Any] = {"type": type(item).__name__, "cursor": item.cursor}
        if isinstance(item, Ready):
            answer["recovered"] = item.recovered
        if isinstance(item, Delivery):
            answer |= {"previous": item.previous_cursor, "seq": item.event.seq, "matches": item.matches_filter}
            answer["card"] = "x" * self.size
        return answer

    def of_events(self) -> list[list[int]]:
        """The seqs of every execution over events."""
        seqs = [[one.event.seq for one in items if isinstance(one, Delivery)] for items in self.rendered]
        return [one for one in seqs if one]

    def checkpoints(self) -> int:
        """How many checkpoints were rendered."""
        return sum(isinstance(one, Checkpoint) for items in self.rendered for one in items)


@dataclass(slots=True)
class Audience:
    """One new tenant's log, and those who follow it through a fan-out."""

    services: Services
    fanout: Fanout
    tenant_id: UUID
    stack: AsyncExitStack
    answers: Answers = field(default_factory=Answers)

    def question(
        self, tier: int | None = None, *, chained: bool = True, answers: Answers | None = None, key: str = "one"
    ) -> Question:
        """A question about all events, or those whose entity is or was of ``tier``."""

        def matches(facets: Mapping[str, Any] | None) -> bool:
            return facets is not None and tier in (None, facets["tier"])

        interest = Interest(visible=lambda _: True, matches=matches)
        render = (answers or self.answers).render
        return Question(
            key=(key, tier, chained), tenant_id=self.tenant_id, interest=interest, render=render, chained=chained
        )

    async def commit(self, *tiers: int) -> int:
        """One transaction with a new entity of each of these tiers; the last one's seq."""
        return await self.commit_changes(*((None, tier) for tier in tiers))

    async def commit_changes(self, *changes: tuple[int | None, int]) -> int:
        """One transaction with a change from tier to tier for each; the last one's seq."""
        async with unit_of_work(self.services.database, self.services.announcer, utcnow, self.tenant_id, None) as work:
            for before, after in changes:
                work.record(envelope({"tier": after}, None if before is None else {"tier": before}))
        return await self.head()

    async def head(self) -> int:
        """Where the log ends."""
        return (await self.services.tails.bounds(self.tenant_id))[1]

    async def cursor(self, seq: int) -> str:
        """A place in the log."""
        return Cursor(await self.services.tails.epoch(), seq).encode()

    def follow(
        self, question: Question, after: str | None = None, reader: Reader | None = None
    ) -> tuple[Reader, asyncio.Task[None]]:
        """A subscriber in the background; it is ended with the audience."""
        sink = reader or Reader()
        task = asyncio.create_task(self.fanout.serve(question, after, sink), name="subscriber under test")
        self.stack.push_async_callback(ended, task)
        return sink, task

    async def joined(self, question: Question, after: str | None = None) -> Reader:
        """A subscriber that has its Ready."""
        reader, task = self.follow(question, after)
        ready = asyncio.create_task(reader.until(lambda one: bool(one.items)), name="ready")
        await asyncio.wait({ready, task}, return_when=asyncio.FIRST_COMPLETED)
        await (ready if ready.done() else task)
        return reader


def envelope(after: dict[str, Any], before: dict[str, Any] | None = None) -> Envelope:
    """A change that says nothing but its facets."""
    return Envelope(
        topic=EventTopic.REGISTRY,
        kind="workspace.updated",
        entity_type="workspace",
        entity_id=uuid7(),
        required_scope=Scope.WORKSPACES_READ,
        before=before,
        after=after,
    )


async def ended(task: asyncio.Task[None]) -> None:
    """Cancels it and waits, whatever became of it."""
    task.cancel()
    await asyncio.wait({task}, timeout=DEADLINE)


@asynccontextmanager
async def gathered(services: Services, database: Database, checkpoint_seconds: float = 60.0) -> AsyncIterator[Audience]:
    """A new tenant's audience; its subscribers end with the block."""
    async with AsyncExitStack() as stack:
        tenant_id = await make_tenant(database)
        yield Audience(services, Fanout(services.tails, checkpoint_seconds), tenant_id, stack)
