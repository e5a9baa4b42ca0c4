"""This module is where single keys become batches: one short session and one statement per batch.

A scope lives for one operation or one event. Loaders that outlive it would return stale rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Select, Uuid, bindparam, func, or_, select

from models import PLATFORM_TENANT_ID, SharedRow
from models.database import Database, TenantSession
from models.reads import Read

MAX_BATCH: Final = 1000
"""Keys of one statement; more keys become more statements, so no statement is unbounded."""

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True, eq=False)
class ReadBatch(Generic[Key, Value]):
    """A batch that is one read, with ``:tenant`` and ``:keys`` bound; ``arrange`` puts its rows in the keys' order."""

    name: str
    read: Read[Any]
    arrange: Callable[[Sequence[Any], Sequence[Key]], Sequence[Value]]

    async def __call__(self, database: Database, tenant_id: UUID, keys: Sequence[Key]) -> Sequence[Value]:
        rows = await self.read.rows(database, tenant_id, tenant=tenant_id, keys=list(keys))
        return self.arrange(rows, keys)


Batch = Callable[[TenantSession, Sequence[Key]], Awaitable[Sequence[Value]]] | ReadBatch[Key, Value]
"""Values in the order of the keys."""


Asked = tuple[ReadBatch[Any, Any], UUID, tuple[Any, ...]]
"""One read: of what, in which tenant, for which keys. Whoever asks the same may be given the same rows."""
ReadRows = Callable[[Asked], Awaitable[Sequence[Any]]]


def rows_of(database: Database) -> ReadRows:
    """What reads from ``database``, for each who asks anew."""

    async def read(asked: Asked) -> Sequence[Any]:
        batch, tenant_id, keys = asked
        return await batch(database, tenant_id, keys)

    return read


class Loader(Generic[Key, Value]):
    """Collects the keys asked for in one turn of the event loop and fetches each once."""

    def __init__(self, database: Database, tenant_id: UUID, batch: Batch[Key, Value], read: ReadRows) -> None:
        self._database = database
        self._tenant_id = tenant_id
        self._batch = batch
        self._read = read
        self._futures: dict[Key, asyncio.Future[Value]] = {}
        self._waiting: list[Key] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def load(self, key: Key) -> asyncio.Future[Value]:
        """The value of ``key``; the same future for the same key, unless whoever had it gave it up."""
        future = self._futures.get(key)
        if future is None or future.cancelled():
            loop = asyncio.get_running_loop()
            future = self._futures[key] = loop.create_future()
            self._waiting.append(key)
            if len(self._waiting) == 1:
                # Two turns: siblings that were resumed by the same batch ask in the turn after this one.
                loop.call_soon(loop.call_soon, self._dispatch)
        return future

    async def load_many(self, keys: Sequence[Key]) -> list[Value]:
        """The values of ``keys`` in their order."""
        return list(await asyncio.gather(*(self.load(key) for key in keys)))

    def _dispatch(self) -> None:
        keys, self._waiting = self._waiting, []
        task = asyncio.create_task(self._fetch(keys), name=f"load {_name_of(self._batch)}")
        # Kept on self: the loop holds tasks weakly.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _fetch(self, keys: list[Key]) -> None:
        try:
            for start in range(0, len(keys), MAX_BATCH):
                part = keys[start : start + MAX_BATCH]
                for key, value in zip(part, await self._values(part), strict=True):
                    self._settle(key, value)
        except asyncio.CancelledError:
            for key in keys:
                self._futures[key].cancel()
            raise
        except Exception as error:
            for key in keys:
                future = self._futures[key]
                if not future.done():
                    future.set_exception(error)
                    # Whoever asked may be gone; an unretrieved exception must not be reported then.
                    future.exception()

    async def _values(self, keys: list[Key]) -> Sequence[Value]:
        if isinstance(self._batch, ReadBatch):
            return await self._read((self._batch, self._tenant_id, tuple(keys)))
        async with self._database.session(self._tenant_id) as session:
            return await self._batch(session, keys)

    def _settle(self, key: Key, value: Value) -> None:
        future = self._futures[key]
        if not future.done():
            future.set_result(value)


def _name_of(batch: Batch[Any, Any]) -> str:
    return batch.name if isinstance(batch, ReadBatch) else getattr(batch, "__name__", "batch")


class LoaderScope:
    """The loaders of one operation or one event, made when first asked for. ``read`` says how rows are come by."""

    def __init__(self, database: Database, tenant_id: UUID, read: ReadRows | None = None) -> None:
        self.database = database
        self.tenant_id = tenant_id
        self._read = read or rows_of(database)
        self._loaders: dict[Any, Loader[Any, Any]] = {}

    def of(self, batch: Batch[Key, Value]) -> Loader[Key, Value]:
        """The loader of ``batch``."""
        loader = self._loaders.get(batch)
        if loader is None:
            loader = self._loaders[batch] = Loader(self.database, self.tenant_id, batch, self._read)
        return loader


@cache
def by_id(model: Any, *, even_deleted: bool = False) -> Batch[UUID, Any]:
    """The batch "<row> by id": None where the tenant has no such row, or it was deleted."""
    condition = [] if even_deleted or not hasattr(model, "deleted_at") else [model.deleted_at.is_(None)]
    statement = select(model).where(
        seen_by(model, bindparam("tenant", type_=Uuid())),
        model.id == func.any(bindparam("keys", type_=ARRAY(Uuid))),
        *condition,
    )

    def arrange(rows: Sequence[Any], ids: Sequence[UUID]) -> list[Any]:
        found = {row.id: row for row in rows}
        return [found.get(key) for key in ids]

    return ReadBatch(f"{model.__tablename__}_by_id", Read(statement), arrange)


def tenant_of(model: Any) -> Any:
    """The column that holds the row's tenant."""
    return model.tenant_id if "tenant_id" in model.__table__.c else model.id


def is_shared(model: Any) -> bool:
    """Whether the platform's rows of ``model`` are every tenant's to see."""
    return issubclass(model, SharedRow)


def seen_by(model: Any, tenant: Any) -> ColumnElement[bool]:
    """The rows that belong to ``tenant``, and with them the platform's where those are shared."""
    own: ColumnElement[bool] = tenant_of(model) == tenant
    return or_(own, model.tenant_id == PLATFORM_TENANT_ID) if is_shared(model) else own


def grouped(statement: Select[Any], key: str) -> Batch[UUID, list[Any]]:
    """The batch that runs ``statement`` (which takes ``:keys`` and ``:tenant``) and hands each key its rows.

    Rows stand in the statement's order; ``key`` names their attribute that holds the key.
    """

    def arrange(rows: Sequence[Any], ids: Sequence[UUID]) -> list[list[Any]]:
        groups: dict[UUID, list[Any]] = {one: [] for one in ids}
        for row in rows:
            groups[getattr(row, key)].append(row)
        return [groups[one] for one in ids]

    return ReadBatch(f"rows_by_{key}", Read(statement), arrange)
