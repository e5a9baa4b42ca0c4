"""This module is where the servers a gateway needs are found or started, and refused when they are not fit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from gateway.embedded import EmbeddedPostgres, EmbeddedValkey
from gateway.settings import Settings
from models.database import role_url
from models.migrate import ensure_roles, expected_revision, migrate, revision_of
from models.roles import APP, OWNER

DATABASE = "signalbox"
OLDEST_POSTGRES = 15


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
        asyncio.run(check(ready))
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


async def check(settings: Settings) -> None:
    """Refuse a database that is away, too old, not migrated, or whose role could see past row-level security."""
    where = make_url(settings.database_urls().app).render_as_string(hide_password=True)
    engine = create_async_engine(settings.database_urls().app, connect_args={"timeout": 5})
    try:
        async with engine.connect() as connection:
            version = int(await connection.scalar(text("SHOW server_version_num")) or 0) // 10000
            bypasses = await connection.scalar(
                text("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user")
            )
        if version < OLDEST_POSTGRES:
            raise ServerError(f"PostgreSQL at {where} is version {version}; {OLDEST_POSTGRES} or newer is needed.")
        if bypasses:
            raise ServerError(f"The role of {where} bypasses row-level security; connect as signalbox_app.")
        revision = await revision_of(engine)
    except (OSError, TimeoutError, DBAPIError) as error:
        raise ServerError(f"PostgreSQL at {where} cannot be reached: {one_line(error)}") from error
    finally:
        await engine.dispose()
    if revision != expected_revision():
        raise ServerError(
            f"The database at {where} stands at revision {revision or 'none'}, this gateway needs "
            f"{expected_revision()}: run 'signalbox migrate'."
        )


def one_line(error: BaseException) -> str:
    """The first line of what went wrong."""
    cause = getattr(error, "orig", None) or error
    return str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
