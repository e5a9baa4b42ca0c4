"""This module is where the servers a gateway needs are found or started, and refused when they are not fit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from gateway.embedded import EmbeddedPostgres, EmbeddedValkey
from gateway.settings import Settings
from models.database import role_url, sqlstate
from models.migrate import ensure_roles, expected_revision, migrate, revision_of
from models.roles import APP, OWNER

DATABASE = "signalbox"
OLDEST_POSTGRES = 15
STARTING_SECONDS = 30.0
"""For so long a PostgreSQL that is starting up, or recovers from a crash, is waited for."""
_LOOK_SECONDS = 0.5
_CANNOT_CONNECT_NOW = "57P03"
"""SQLSTATE of a server that starts, recovers or shuts down."""


class ServerError(Exception):
    """A server is not fit to be served from; the message is one line."""


@contextmanager
def servers(settings: Settings, say: Callable[[str], None]) -> Iterator[Settings]:
    """Settings that name running servers: embedded ones, migrated, where no address was given.

    Call it in the main thread, before any event loop: the servers die with the thread that started them. Raises
    ServerError and EmbeddedServerError.
    """
    found: dict[str, str] = {}
    with ExitStack() as stack:
        if settings.database_url is None:
            postgres = EmbeddedPostgres.start(settings.data_dir, say)
            stack.callback(postgres.stop)
            asyncio.run(prepare_database(postgres.url))
            found["database_url"] = role_url(in_database(postgres.url), APP)
        if settings.redis_url is None:
            valkey = EmbeddedValkey.start(settings.data_dir, say)
            stack.callback(valkey.stop)
            found["redis_url"] = valkey.url
        ready = settings.model_copy(update=found)
        asyncio.run(check(ready, say))
        yield ready


def in_database(url: str) -> str:
    """``url`` with the database's name set."""
    return make_url(url).set(database=DATABASE).render_as_string(hide_password=False)


async def prepare_database(superuser_url: str) -> None:
    """Make database and roles where they are missing, and migrate. Idempotent."""
    server = create_async_engine(superuser_url, isolation_level="AUTOCOMMIT")
    try:
        async with server.connect() as connection:
            exists = await connection.scalar(
                text("SELECT 1 FROM pg_database WHERE datname = :name"), {"name": DATABASE}
            )
            if not exists:
                await connection.exec_driver_sql(f"CREATE DATABASE {DATABASE}")
    finally:
        await server.dispose()
    await _with(in_database(superuser_url), lambda engine: ensure_roles(engine, DATABASE))
    await _with(role_url(in_database(superuser_url), OWNER), migrate)


async def _with(url: str, action: Callable[[AsyncEngine], object]) -> None:
    engine = create_async_engine(url)
    try:
        await action(engine)  # type: ignore[misc]
    finally:
        await engine.dispose()


async def check(settings: Settings, say: Callable[[str], None]) -> None:
    """Refuse a database that is away, too old, not migrated, or whose role could see past row-level security.

    One that says that it is starting is waited for: after a power cut both start together.
    """
    where = make_url(settings.database_urls().app).render_as_string(hide_password=True)
    deadline = time.monotonic() + STARTING_SECONDS
    said = ""
    while True:
        try:
            version, bypasses, revision = await _asked(settings.database_urls().app)
            break
        except (OSError, TimeoutError, DBAPIError) as error:
            reason = one_line(error)
            if not _is_starting(error) or time.monotonic() > deadline:
                raise ServerError(f"PostgreSQL at {where} cannot be reached: {reason}") from error
            if reason != said:
                say(f"waiting for PostgreSQL at {where}: {reason}")
                said = reason
        await asyncio.sleep(_LOOK_SECONDS)
    if version < OLDEST_POSTGRES:
        raise ServerError(f"PostgreSQL at {where} is version {version}; {OLDEST_POSTGRES} or newer is needed.")
    if bypasses:
        raise ServerError(f"The role of {where} bypasses row-level security; connect as signalbox_app.")
    if revision != expected_revision():
        raise ServerError(
            f"The database at {where} stands at revision {revision or 'none'}, this gateway needs "
            f"{expected_revision()}: run 'signalbox migrate'."
        )


async def _asked(url: str) -> tuple[int, bool, str | None]:
    """Its major version, whether its role bypasses row-level security, and its revision."""
    engine = create_async_engine(url, connect_args={"timeout": 5, "command_timeout": 5})
    try:
        async with engine.connect() as connection:
            version = int(await connection.scalar(text("SHOW server_version_num")) or 0) // 10000
            bypasses = await connection.scalar(
                text("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user")
            )
        return version, bool(bypasses), await revision_of(engine)
    finally:
        await engine.dispose()


def _is_starting(error: Exception) -> bool:
    return isinstance(error, DBAPIError) and sqlstate(error) == _CANNOT_CONNECT_NOW


def one_line(error: BaseException) -> str:
    """The first line of what went wrong."""
    cause = getattr(error, "orig", None) or error
    return str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
