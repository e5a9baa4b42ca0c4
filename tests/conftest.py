"""This module is where every test gets its servers: one PostgreSQL and one Valkey for the session, new tenants each."""

from __future__ import annotations

import re
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from gateway.embedded import EmbeddedPostgres, EmbeddedValkey
from gateway.logs import configure
from gateway.servers import in_database, prepare_database
from gateway.settings import LogFormat
from models.database import Database, DatabaseUrls, PoolOptions, role_url
from models.roles import APP, OWNER
from tests.world import AUDIT, Tenants

# Plain tracebacks, as a gateway has them: rich ones stall the event loop for seconds and show local variables.
configure(LogFormat.TEXT)

_DRAWN: Final = re.compile(r"[0-9A-Fa-f]{8}(-?[0-9A-Fa-f]{4}){3}-?[0-9A-Fa-f]{12}|(?<=_)[0-9a-hjkmnp-tv-z]{26}")


def pytest_configure() -> None:
    """What a shell starts in the background ignores Ctrl-C and so would all that tests start; they press it."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Names of cases that are the same in every process: none of them may hold an id or a time of its own."""
    if isinstance(val, bytes) and val.startswith(b"\x1f\x8b"):
        return "gzipped"
    text = val.decode("ascii", "backslashreplace") if isinstance(val, bytes) else val
    if isinstance(text, str) and (named := _DRAWN.sub("*", text)) != text:
        return named
    return None


@pytest.fixture(scope="session")
def data_dir() -> Iterator[Path]:
    """A short path, because sockets live below it."""
    with TemporaryDirectory(prefix="sbx-") as name:
        yield Path(name)


class HastyPostgres(EmbeddedPostgres):
    """Waits for no disk: a machine whose disk stalls for seconds is none of these tests' business.

    Where a server is killed or restarted, the stage of such tests has one of its own, which waits.
    """

    SETTINGS = {**EmbeddedPostgres.SETTINGS, "fsync": "off"}


@pytest.fixture(scope="session")
def postgres(data_dir: Path) -> Iterator[EmbeddedPostgres]:
    """A server of the session's own."""
    server = HastyPostgres.start(data_dir)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def valkey(data_dir: Path) -> Iterator[EmbeddedValkey]:
    """A broker of the session's own."""
    server = EmbeddedValkey.start(data_dir)
    yield server
    server.stop()


@pytest.fixture(scope="session")
async def migrated(postgres: EmbeddedPostgres) -> str:
    """The superuser's URL of the migrated database."""
    await prepare_database(postgres.url)
    return in_database(postgres.url)


@pytest.fixture(scope="session")
def app_url(migrated: str) -> str:
    """Where the serving role connects."""
    return role_url(migrated, APP)


@pytest.fixture(scope="session")
async def database(migrated: str) -> AsyncIterator[Database]:
    """The pools, as a gateway has them."""
    made = Database(DatabaseUrls.for_roles(migrated), PoolOptions(size=10), AUDIT)
    yield made
    await made.close()


@pytest.fixture(scope="session")
async def owner(migrated: str) -> AsyncIterator[AsyncEngine]:
    """The owner's engine: sees every tenant."""
    engine = create_async_engine(role_url(migrated, OWNER))
    yield engine
    await engine.dispose()


@pytest.fixture
async def tenants(database: Database) -> Tenants:
    """Two tenants that no other test has touched."""
    return await Tenants.make(database)


class Statements(list[str]):
    """The SQL that was sent, without the binding of the tenant."""


@contextmanager
def counted(database: Database, *others: AsyncEngine) -> Iterator[Statements]:
    """Every statement of the serving role, and of ``others``, while the block lasts."""
    seen = Statements()

    def note(_: object, __: object, statement: str, *___: object) -> None:
        if "set_config" not in statement:
            seen.append(statement)

    engines = [engine.sync_engine for engine in (database.app, *others)]
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", note)
