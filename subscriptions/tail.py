"""This module is where a process follows tenants' logs: one reader and one bounded ring per tenant.

The reader is woken by Redis (a hint that may be lost or forged), by a new follower, and by a sweep that asks for
all followed tenants in one statement. Followers own a cursor; they read the ring, and the database behind it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

import orjson
from sqlalchemy import BigInteger, ColumnElement, Uuid, bindparam, func, literal_column, select

from models import Event, StreamFloor, TenantStream, utcnow
from models.database import Database
from models.errors import Unavailable
from models.reads import Read
from subscriptions.bus import GAP, Bus
from subscriptions.channels import all_events_channels, decode_wakeup
from subscriptions.cursor import IDENTITY, Cursor, epoch_of, read_epoch
from subscriptions.lags import TailCounters
from subscriptions.shared_reads import SharedReads

RING_EVENTS: Final = 4096
RING_BYTES: Final = 4_000_000
BATCH: Final = 200
READ: Final = 1000
"""Events of one statement of the reader: a large commit must not be many statements."""
SWEEP_SECONDS: Final = 0.5
EPOCH_SECONDS: Final = 1.0
CATCH_UPS: Final = 4
"""Reads behind the rings at once: a thousand clients that come back must leave connections to everybody else."""

_ENVELOPE_BYTES: Final = 400

_EVENTS: Final = Read(
    select(Event)
    .where(
        Event.tenant_id == bindparam("tenant", type_=Uuid()),
        Event.seq > bindparam("seq", type_=BigInteger()),
    )
    .order_by(Event.seq)
    .limit(bindparam("most", type_=BigInteger())),
)

_log = logging.getLogger(__name__)


class LogReplaced(Exception):
    """The database is another one than before, so what follows here does not follow what was sent."""


class Tail:
    """One tenant's log as this process has read it: the head and the newest events."""

    def __init__(
        self, database: Database, tenant_id: UUID, head: int, catch_ups: asyncio.Semaphore, counters: TailCounters
    ) -> None:
        self.tenant_id = tenant_id
        self.head = head
        self.followers = 0
        self._database = database
        self._catch_ups = catch_ups
        self._counters = counters
        self._behind: SharedReads[int, list[Event]] = SharedReads(self._read_behind, f"catch-up {tenant_id}")
        self._ring: deque[Event] = deque()
        self._sizes: deque[int] = deque()
        self._bytes = 0
        self._wanted = asyncio.Event()
        self._grown = asyncio.Event()
        self._replaced = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to read when woken."""
        self._task = asyncio.create_task(self._run(), name=f"tail {self.tenant_id}")

    async def stop(self) -> None:
        """End the reader."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._behind.stop()

    def wake(self) -> None:
        """There may be more; read soon."""
        self._wanted.set()

    def give_up(self) -> None:
        """The log was replaced: whoever follows it is told so."""
        self._replaced = True
        self._grown.set()
        if self._task is not None:
            self._task.cancel()

    async def after(self, seq: int) -> list[Event]:
        """The next events behind ``seq``, at least one, at most 200; waits for them.

        Raises Unavailable, LogReplaced.
        """
        while self.head <= seq and not self._replaced:
            grown = self._grown
            await grown.wait()
        if self._replaced:
            raise LogReplaced
        if self._ring and self._ring[0].seq <= seq + 1:
            start = seq + 1 - self._ring[0].seq
            return [self._ring[i] for i in range(start, min(start + BATCH, len(self._ring)))]
        return await self._behind.get(seq)

    async def _read_behind(self, seq: int) -> list[Event]:
        async with self._catch_ups:
            self._counters.catch_up_reads += 1
            return await read_after(self._database, self.tenant_id, seq)

    async def _run(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                is_full = True
                while is_full:
                    events = await read_after(self._database, self.tenant_id, self.head, READ)
                    self._take(events)
                    # What was committed since this read wakes us again.
                    is_full = len(events) == READ
            except Unavailable:
                # The sweep wakes us again; a database that is away must not end the reader.
                _log.warning("tail of a tenant could not be read; the sweep will try again")
            except Exception:
                # Nor must a defect: its followers would wait for ever and never know.
                _log.exception("tail of a tenant broke; the sweep will try again")

    def _take(self, events: Sequence[Event]) -> None:
        if not events:
            return
        self._counters.lags.note((utcnow() - events[0].occurred_at).total_seconds())
        for event in events:
            self._ring.append(event)
            self._sizes.append(_size_of(event))
            self._bytes += self._sizes[-1]
        while len(self._ring) > RING_EVENTS or self._bytes > RING_BYTES:
            self._ring.popleft()
            self._bytes -= self._sizes.popleft()
        self.head = events[-1].seq
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()


class Tails:
    """The tails of one process: made for the first follower of a tenant, ended with the last."""

    def __init__(self, database: Database, bus: Bus, sweep_seconds: float = SWEEP_SECONDS) -> None:
        self._database = database
        self._bus = bus
        self._sweep_seconds = sweep_seconds
        self._tails: dict[UUID, Tail] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._epoch: bytes | None = None
        self._epoch_at = -EPOCH_SECONDS
        self._epochs: SharedReads[None, bytes] = SharedReads(lambda _: read_epoch(database), "epoch of the log")
        self._catch_ups = asyncio.Semaphore(CATCH_UPS)
        self.counters = TailCounters()
        self._bounds: SharedReads[UUID, tuple[int, int]] = SharedReads(self._read_bounds, "bounds of a log")

    async def start(self) -> None:
        """Listen and sweep in the background."""
        self._tasks = [
            asyncio.create_task(self._listen(), name="tails listener"),
            asyncio.create_task(self._sweep(), name="tails sweep"),
        ]

    async def stop(self) -> None:
        """End every task."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._bounds.stop()
        await self._epochs.stop()
        await asyncio.gather(*(tail.stop() for tail in self._tails.values()))
        self._tails.clear()

    @property
    def listening(self) -> bool:
        """Whether both background tasks run."""
        return bool(self._tasks) and not any(task.done() for task in self._tasks)

    @property
    def followed(self) -> int:
        """Tenants that somebody here follows."""
        return len(self._tails)

    async def epoch(self) -> bytes:
        """The database's epoch as it was within the last second. Raises Unavailable."""
        if self._epoch is None or asyncio.get_running_loop().time() - self._epoch_at >= EPOCH_SECONDS:
            self._take_epoch(await self._epochs.get(None))
        assert self._epoch is not None
        return self._epoch

    def _take_epoch(self, epoch: bytes) -> None:
        self._epoch_at = asyncio.get_running_loop().time()
        if epoch == self._epoch:
            return
        before, self._epoch = self._epoch, epoch
        if before is not None:
            _log.warning("the log was replaced; streams end and their clients are told")
            # Newcomers get tails of the new log; the old ones end with their last follower.
            replaced, self._tails = self._tails, {}
            for tail in replaced.values():
                tail.give_up()

    async def bounds(self, tenant_id: UUID) -> tuple[int, int]:
        """Floor and head of the tenant's log, as the database has them now. Raises Unavailable."""
        return await self._bounds.get(tenant_id)

    async def _read_bounds(self, tenant_id: UUID) -> tuple[int, int]:
        async with self._database.session(tenant_id) as session:
            row = (
                await session.execute(
                    select(StreamFloor.low_water, TenantStream.seq).where(
                        StreamFloor.tenant_id == tenant_id, TenantStream.tenant_id == StreamFloor.tenant_id
                    )
                )
            ).one()
        return int(row[0]), int(row[1])

    async def start_of(self, tenant_id: UUID, after: str | None, epoch: bytes) -> tuple[int, bool]:
        """Where a stream starts, and whether all that came behind ``after`` is still held. Raises Unavailable.

        A cursor of another database, of the future, behind the floor, or none at all starts at the head.
        """
        floor, head = await self.bounds(tenant_id)
        if after is None:
            return head, True
        cursor = Cursor.decode(after)
        if cursor is None or cursor.epoch != epoch or not floor <= cursor.seq <= head:
            self.counters.unrecovered += 1
            return head, False
        return cursor.seq, True

    @asynccontextmanager
    async def follow(self, tenant_id: UUID) -> AsyncIterator[Tail]:
        """The tenant's tail while the block lasts. Raises Unavailable."""
        tail = self._tails.get(tenant_id)
        if tail is None:
            _, head = await self.bounds(tenant_id)
            # Somebody may have made it meanwhile; from here to the count nobody can come between.
            tail = self._tails.get(tenant_id)
            if tail is None:
                tail = Tail(self._database, tenant_id, head, self._catch_ups, self.counters)
                self._tails[tenant_id] = tail
                tail.start()
        tail.followers += 1
        tail.wake()
        try:
            yield tail
        finally:
            tail.followers -= 1
            if tail.followers == 0:
                if self._tails.get(tenant_id) is tail:
                    del self._tails[tenant_id]
                await tail.stop()

    async def _listen(self) -> None:
        async with self._bus.subscribe(*all_events_channels()) as messages:
            async for message in messages:
                if message is GAP:
                    for tail in list(self._tails.values()):
                        tail.wake()
                    continue
                wakeup = decode_wakeup(message.data)
                if wakeup is None:
                    continue
                tail_or_none = self._tails.get(wakeup[0])
                if tail_or_none is not None and wakeup[1] > tail_or_none.head:
                    tail_or_none.wake()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._sweep_seconds)
            if not self._tails:
                continue
            try:
                await self._compare_heads()
            except Unavailable:
                continue
            except Exception:
                _log.exception("the sweep broke; it goes on")

    async def _compare_heads(self) -> None:
        identity: ColumnElement[str] = literal_column(IDENTITY)
        statement = select(TenantStream.tenant_id, TenantStream.seq, identity).where(
            TenantStream.tenant_id == func.any(list(self._tails))
        )
        async with self._database.connection(self._database.tail) as connection:
            for tenant_id, seq, found in await connection.execute(statement):
                self._take_epoch(epoch_of(found))
                tail = self._tails.get(tenant_id)
                if tail is not None and seq > tail.head:
                    tail.wake()


def _size_of(event: Event) -> int:
    """About what the event holds, in bytes of JSON."""
    return len(orjson.dumps((event.before, event.after, event.payload))) + _ENVELOPE_BYTES


async def read_after(database: Database, tenant_id: UUID, seq: int, limit: int = BATCH) -> list[Event]:
    """Up to ``limit`` events behind ``seq`` in order, in one statement. Raises Unavailable."""
    return await _EVENTS.rows(database, tenant_id, tenant=tenant_id, seq=seq, most=limit)
