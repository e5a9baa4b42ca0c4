"""This module is where rows are read at the least cost: one prepared statement in a transaction bound to one tenant.

Loaders and tails read all the time, and of a session's two milliseconds for a row five sixths are spent on the way to
the driver. Here the statement is compiled once and the driver is asked directly; what it means is still SQLAlchemy's.

Security boundary: the transaction is bound to the tenant by row-level security before it reads, as a session's is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

from sqlalchemy import Float, Select, inspect
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import Mapper

from models.database import Database, database_trouble

_ROLLBACK_SECONDS: Final = 2.0
# pg_type.oid; types that are no numbers do not ask.
_FLOAT8: Final = 701
_NUMERIC: Final = 1700

Row = TypeVar("Row")
Decode = Callable[[Any], Any]


class Read(Generic[Row]):
    """A SELECT of one model, whose bound parameters the caller names. Its rows belong to no session."""

    def __init__(self, statement: Select[Row]) -> None:
        self._statement = statement
        self._mapper: Mapper[Row] = inspect(statement.column_descriptions[0]["entity"]).mapper
        self._sql = ""
        self._names: Sequence[str] = ()
        self._constants: dict[str, Any] = {}
        self._columns: list[tuple[str, Decode | None]] = []

    async def rows(self, database: Database, tenant_id: UUID, **values: Any) -> list[Row]:
        """The rows, in the statement's order. Raises Unavailable."""
        if not self._sql:
            self._compile(database)
        values = self._constants | values
        arguments = tuple(values[name] for name in self._names)
        async with _bound(database, tenant_id) as (connection, driver):
            for note in connection.sync_engine.dispatch.before_cursor_execute:
                note(connection.sync_connection, None, self._sql, arguments, None, False)
            records = await driver.fetch(self._sql, *arguments)
        return [self._row_of(record) for record in records]

    def _compile(self, database: Database) -> None:
        dialect = database.app.dialect
        compiled = self._statement.compile(dialect=dialect)
        self._names = compiled.positiontup or ()
        self._constants = dict(compiled.params)
        loaded = {one.key for one in self._mapper.column_attrs if not one.deferred}
        for column in self._statement.selected_columns:
            if column.key not in loaded:
                continue
            kind = _FLOAT8 if isinstance(column.type, Float) else _NUMERIC
            decode = column.type.dialect_impl(dialect).result_processor(dialect, kind)
            self._columns.append((str(column.key), decode))
        assert {name for name, _ in self._columns} == loaded
        self._sql = compiled.string

    def _row_of(self, record: Sequence[Any]) -> Row:
        row: Row = self._mapper.class_manager.new_instance()
        row.__dict__.update(
            (name, value if decode is None else decode(value))
            for (name, decode), value in zip(self._columns, record, strict=True)
        )
        return row


@asynccontextmanager
async def _bound(database: Database, tenant_id: UUID) -> AsyncIterator[tuple[AsyncConnection, Any]]:
    with database_trouble():
        async with database.readers.reader() as (connection, driver):
            try:
                # One message: without parameters the server takes both. A UUID's text holds nothing but its digits.
                await driver.execute(f"BEGIN READ ONLY; SELECT set_config('app.tenant_id', '{tenant_id}', true)")
                yield connection, driver
                await driver.execute("ROLLBACK")
            except BaseException:
                await _let_go(connection, driver)
                raise


async def _let_go(connection: AsyncConnection, driver: Any) -> None:
    """End a transaction that went wrong or was given up; a connection that cannot is not used again."""
    try:
        async with asyncio.timeout(_ROLLBACK_SECONDS):
            await driver.execute("ROLLBACK")
    except Exception:
        # What went wrong before is what the caller must hear, above all that it was cancelled.
        await connection.invalidate()
    except BaseException:
        await connection.invalidate()
        raise
