"""This module is where it is specified what the doctor finds on real machines, well and ill."""

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
import redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from gateway import doctor
from gateway.doctor import Finding, diagnose
from gateway.embedded import EmbeddedPostgres, EmbeddedValkey
from models import roles
from tests.patience import DEADLINE


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EmbeddedPostgres, EmbeddedValkey]]:
    data_dir = tmp_path_factory.mktemp("doctor")
    postgres, valkey = EmbeddedPostgres.start(data_dir), EmbeddedValkey.start(data_dir)
    yield postgres, valkey
    valkey.stop()
    postgres.stop()


def ill(findings: list[Finding]) -> list[str]:
    return [finding.what for finding in findings if not finding.ok]


async def test_a_healthy_machine_without_servers_has_nothing_wrong(tmp_path: Path) -> None:
    findings = await diagnose(database_url=None, redis_url=None, data_dir=tmp_path / "new", host="127.0.0.1", port=0)
    assert ill(findings) == []
    assert not (tmp_path / "new").exists()
    said = " ".join(finding.what for finding in findings)
    assert "postgres (PostgreSQL) 18" in said
    assert "the embedded Valkey runs here" in said


async def test_a_prepared_database_and_a_valkey_that_announces_expiry_are_well(
    servers: tuple[EmbeddedPostgres, EmbeddedValkey], tmp_path: Path
) -> None:
    postgres, valkey = servers
    engine = create_async_engine(postgres.url, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        for statement in roles.create_roles("postgres"):
            await connection.execute(text(statement))
    await engine.dispose()
    as_application = postgres.url.replace("://postgres@", f"://{roles.APP}@")
    findings = await diagnose(
        database_url=as_application, redis_url=valkey.url, data_dir=tmp_path, host="127.0.0.1", port=0
    )
    assert ill(findings) == []


async def test_a_superuser_as_the_applications_role_is_named(
    servers: tuple[EmbeddedPostgres, EmbeddedValkey],
) -> None:
    findings = await doctor.postgres(servers[0].url)
    assert "the role postgres bypasses row-level security" in ill(findings)


async def test_servers_that_do_not_answer_are_named_without_their_password(tmp_path: Path) -> None:
    # Port 1 on loopback: refused at once.
    findings = await diagnose(
        database_url="postgresql+asyncpg://me:hush@127.0.0.1:1/signalbox",
        redis_url="redis://me:hush@127.0.0.1:1/0",
        data_dir=tmp_path,
        host="127.0.0.1",
        port=0,
    )
    first, second = ill(findings)
    assert first.startswith("PostgreSQL at postgresql+asyncpg://me:***@127.0.0.1:1/signalbox does not answer: ")
    assert second.startswith("Valkey or Redis at redis://127.0.0.1:1/0 does not answer: ")
    assert not any("hush" in finding.what + finding.advice for finding in findings)
    assert all("\n" not in finding.what for finding in findings)


async def test_addresses_that_cannot_be_read_are_named() -> None:
    assert ill(await doctor.postgres("not an address")) == ["the database address cannot be read"]
    assert ill(await doctor.valkey("not an address")) == ["the Redis address cannot be read"]


async def test_a_valkey_that_announces_nothing_or_evicts_is_named(tmp_path: Path) -> None:
    valkey = EmbeddedValkey.start(tmp_path)
    with redis.Redis.from_url(valkey.url, socket_timeout=5) as client:
        client.config_set("notify-keyspace-events", "")
        client.config_set("maxmemory-policy", "allkeys-lru")
    assert ill(await doctor.valkey(valkey.url)) == [
        "expired keys are not announced", "keys may be evicted (allkeys-lru)"
    ]  # fmt: skip
    valkey.stop()


@pytest.mark.parametrize(("flags", "ok"), [("Ex", True), ("AKE", True), ("Kx", False), ("Eg", False), ("", False)])
def test_expiry_is_announced_by_event_and_by_expired_or_all(flags: str, ok: bool) -> None:
    assert doctor.keyspace_events(flags).ok is ok


def test_postgres_15_is_the_oldest() -> None:
    assert doctor.postgres_version(150_000).ok
    assert doctor.postgres_version(140_011) == Finding(
        False, "PostgreSQL 14.11 is too old", "15 is the oldest that works"
    )


def test_an_old_python_is_named() -> None:
    assert doctor.python_version().ok
    assert doctor.python_version((3, 10)).what == "Python 3.10 is too old"


def test_missing_roles_are_named_with_the_command_that_makes_them() -> None:
    finding = doctor.database_roles(set(roles.ROLES) - {roles.TAIL})
    assert finding.what == f"database roles are missing: {roles.TAIL}"
    assert "migrate --create-roles" in finding.advice


def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert doctor.free_port("127.0.0.1", port).what == f"port {port} on 127.0.0.1 is in use"
    assert doctor.free_port("127.0.0.1", port).ok


@pytest.mark.parametrize(
    ("said", "ok", "what"),
    [
        ({"status": "ready", "failing": []}, True, "says that it is ready"),
        ({"status": "degraded", "failing": ["bus"]}, False, "says that it is degraded"),
        ({"hello": "world"}, False, "is in use"),
        (["status"], False, "is in use"),
    ],
)
def test_a_gateway_that_runs_is_no_stranger_on_its_port(said: object, ok: bool, what: str) -> None:
    body = orjson.dumps(said)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        answered = threading.Thread(target=answer_once, args=(listener, body))
        answered.start()
        found = doctor.free_port("127.0.0.1", listener.getsockname()[1])
        answered.join(DEADLINE)
    assert (found.ok, what in found.what) == (ok, True)


def answer_once(listener: socket.socket, body: bytes) -> None:
    """One HTTP answer."""
    connection, _ = listener.accept()
    with connection:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))


def test_a_data_directory_in_the_way_of_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert not doctor.data_directory(tmp_path / "file").ok
    assert not doctor.data_directory(tmp_path / "file" / "deeper").ok
    assert doctor.data_directory(tmp_path).ok
    assert os.listdir(tmp_path) == ["file"]
