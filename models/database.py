"""This module is where the database is reached: one pool per role, sessions bound to one tenant.

Security boundary: a session without a tenant fails closed, and a connection that comes back to the pool inside a
transaction is thrown away, because it would still be bound to the tenant before.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from asyncpg import InterfaceError, InternalClientError, PostgresError
from sqlalchemy import Connection, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, InvalidatePoolError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session, SessionTransaction
from sqlalchemy.pool import ConnectionPoolEntry

from models.errors import Unavailable
from models.readers import Readers
from models.roles import APP, INGEST, PLATFORM, TAIL
from models.sealing import AuditKeys
from models.turns import Turns

_BIND = text("SELECT set_config('app.tenant_id', :tenant, true)")

# SQLSTATEs that mean "not now": connection trouble, resources, shutdown, locks and time-outs.
_PASSING = ("08", "53", "57P", "57014", "55P03", "40P01", "40001", "25P03")


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """How many connections one role's pool holds and how long a caller waits for one."""

    size: int = 10
    wait_seconds: float = 2.0
    pgbouncer: bool = False


class _TenantSession(Session):
    """The sync face of every session that serves a caller."""


@event.listens_for(_TenantSession, "after_begin")
def _bind_tenant(session: Session, _: SessionTransaction, connection: Connection) -> None:
    tenant: UUID | None = session.info.get("tenant_id")
    if tenant is None:
        raise RuntimeError("a session without a tenant must not touch the database")
    connection.execute(_BIND, {"tenant": str(tenant)})


class TenantSession(AsyncSession):
    """A short session, bound to one tenant by row-level security for each of its transactions."""

    sync_session_class = _TenantSession

    @property
    def tenant_id(self) -> UUID:
        """The tenant every statement of this session is confined to."""
        tenant: UUID = self.info["tenant_id"]
        return tenant


def role_url(url: str, role: str) -> str:
    """``url`` with its user replaced: every role reaches the same database."""
    return make_url(url).set(username=role).render_as_string(hide_password=False)


@dataclass(frozen=True, slots=True)
class DatabaseUrls:
    """Where each role connects."""

    app: str
    platform: str
    ingest: str
    tail: str

    @classmethod
    def for_roles(cls, url: str) -> DatabaseUrls:
        """All roles on the host of ``url``."""
        return cls(*(role_url(url, role) for role in (APP, PLATFORM, INGEST, TAIL)))


class Database:
    """The pools of one process."""

    def __init__(self, urls: DatabaseUrls, pool: PoolOptions, audit: AuditKeys | None = None) -> None:
        """``audit`` chains and seals the log of changes; without it nothing that is logged can be changed."""
        self.audit = audit
        small = PoolOptions(size=2, wait_seconds=pool.wait_seconds, pgbouncer=pool.pgbouncer)
        # Half: whatever one tenant does, the others have the rest.
        self.turns = Turns(max(1, pool.size // 2), pool.wait_seconds)
        self.app = make_engine(urls.app, pool)
        self.readers = Readers(self.app, pool.size)
        self.platform = make_engine(urls.platform, small)
        self.ingest = make_engine(urls.ingest, small, isolation_level="AUTOCOMMIT")
        self.tail = make_engine(urls.tail, small, isolation_level="AUTOCOMMIT")

    @asynccontextmanager
    async def session(self, tenant_id: UUID) -> AsyncIterator[TenantSession]:
        """A session bound to ``tenant_id``; rolls back unless the caller commits. Raises Unavailable."""
        session = TenantSession(self.app, expire_on_commit=False, info={"tenant_id": tenant_id})
        with database_trouble():
            async with session:
                yield session

    @asynccontextmanager
    async def connection(self, engine: AsyncEngine) -> AsyncIterator[Any]:
        """A plain connection of a role that is not bound to a tenant. Raises Unavailable."""
        with database_trouble():
            async with engine.connect() as connection:
                yield connection

    async def close(self) -> None:
        """Close every pool."""
        await self.readers.close()
        for engine in (self.app, self.platform, self.ingest, self.tail):
            await engine.dispose()


class database_trouble:
    """Turns what is the database's passing trouble into Unavailable; lets everything else through."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is not None and is_passing(error):
            raise Unavailable from error


def is_passing(error: BaseException) -> bool:
    """Whether ``error`` is trouble that goes away: no connection, a time-out, a deadlock, a restart."""
    if isinstance(error, PoolTimeout | ConnectionError | TimeoutError | FileNotFoundError):
        return True
    # The driver itself, whom short reads ask, is at a loss when a server's last words come between two statements.
    if isinstance(error, InterfaceError | InternalClientError):
        return True
    if isinstance(error, PostgresError):
        return str(error.sqlstate).startswith(_PASSING)
    if not isinstance(error, DBAPIError):
        return False
    state = sqlstate(error)
    return error.connection_invalidated or state is None or state.startswith(_PASSING)


def sqlstate(error: DBAPIError) -> str | None:
    """The server's five-character code, when the server answered at all."""
    state: str | None = getattr(error.orig, "sqlstate", None)
    return state


def make_engine(url: str, pool: PoolOptions, **options: Any) -> AsyncEngine:
    """An engine whose pool never overflows and never hands on a connection left in a transaction."""
    connect: dict[str, Any] = {"timeout": 5, "server_settings": {"application_name": "signalbox"}}
    if pool.pgbouncer:
        connect |= {"statement_cache_size": 0, "prepared_statement_cache_size": 0}
        connect.pop("server_settings")
    engine = create_async_engine(
        url,
        pool_size=pool.size,
        max_overflow=0,
        pool_timeout=pool.wait_seconds,
        # An error's text reaches logs; what was bound to its statement must not.
        hide_parameters=True,
        connect_args=connect,
        json_serializer=lambda value: orjson.dumps(value).decode(),
        json_deserializer=orjson.loads,
        **options,
    )
    event.listen(engine.sync_engine, "checkin", _guard_checkin)
    event.listen(engine.sync_engine, "checkout", _guard_checkout)
    return engine


def _guard_checkout(connection: DBAPIConnection, _: ConnectionPoolEntry, __: object) -> None:
    driver = getattr(connection, "driver_connection", None)
    if driver is not None and driver.is_closed():
        # The server went away while this one was idle, and so did its neighbours: all of them are made anew.
        raise InvalidatePoolError


def _guard_checkin(connection: DBAPIConnection | None, entry: ConnectionPoolEntry) -> None:
    driver = getattr(connection, "driver_connection", None)
    if driver is not None and not driver.is_closed() and driver.is_in_transaction():
        entry.invalidate()
