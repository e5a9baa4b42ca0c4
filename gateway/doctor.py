"""This module is where a machine is examined: what the gateway needs of it, found or missing, in words."""

import asyncio
import errno
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from gateway.embedded import EmbeddedServerError, binaries, directory, privileges
from models import roles

OLDEST_PYTHON: Final = (3, 11)
OLDEST_POSTGRES: Final = 15
_FREE_GIB: Final = 1.0
_WAIT_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: how it is, and what to do when it is not well."""

    ok: bool
    what: str
    advice: str = ""


async def diagnose(
    *, database_url: str | None, redis_url: str | None, data_dir: Path, host: str, port: int
) -> list[Finding]:
    """Everything looked at, in the order a start would need it. Starts nothing, changes nothing, never raises.

    Without an address the embedded server is examined in its place. Addresses appear without their password.
    """
    findings = [python_version(), data_directory(data_dir), free_space(data_dir)]
    if database_url is None:
        findings += await asyncio.to_thread(embedded_postgres, data_dir)
    else:
        findings += await postgres(database_url)
    if redis_url is None:
        findings.append(await asyncio.to_thread(embedded_valkey))
    else:
        findings += await valkey(redis_url)
    findings.append(await asyncio.to_thread(free_port, host, port))
    return findings


def python_version(version: tuple[int, int] = sys.version_info[:2]) -> Finding:
    name = f"Python {version[0]}.{version[1]}"
    if version >= OLDEST_PYTHON:
        return Finding(True, name)
    return Finding(False, f"{name} is too old", "install Python 3.11 or newer and make .venv anew")


def data_directory(data_dir: Path) -> Finding:
    data_dir = data_dir.absolute()
    found = _nearest_folder(data_dir)
    if found != data_dir:
        if found.is_dir() and os.access(found, os.W_OK | os.X_OK):
            return Finding(True, f"the data directory {data_dir} can be made")
        return Finding(False, f"the data directory {data_dir} cannot be made in {found}", "choose another --data-dir")
    try:
        directory.prepare(data_dir)
    except EmbeddedServerError as error:
        return Finding(False, str(error).partition(";")[0], "choose another --data-dir, or change its owner")
    return Finding(True, f"the data directory {data_dir} can be written")


def free_space(data_dir: Path) -> Finding:
    free_gib = shutil.disk_usage(_nearest_folder(data_dir)).free / 2**30
    what = f"{free_gib:.1f} GiB are free for {data_dir}"
    return Finding(free_gib >= _FREE_GIB, what, "" if free_gib >= _FREE_GIB else f"make room: {_FREE_GIB} GiB or more")


def embedded_postgres(data_dir: Path) -> list[Finding]:
    """Whether the embedded PostgreSQL is there, runs on this machine, and finds a user to run as."""
    try:
        program = binaries.postgres_program("postgres")
        binaries.postgres_program("initdb")
    except EmbeddedServerError as error:
        return [_from_error(error)]
    findings = [_runs("PostgreSQL", program)]
    with tempfile.TemporaryDirectory() as empty:
        folder = data_dir if data_dir.is_dir() else Path(empty)
        try:
            user = privileges.server_user(program, folder)
        except EmbeddedServerError as error:
            return [*findings, _from_error(error)]
    way = f"by way of {user.prefix[0]}" if user.prefix else "as the present user"
    return [*findings, Finding(True, f"the embedded PostgreSQL may run {way}")]


def embedded_valkey() -> Finding:
    try:
        return _runs("Valkey", binaries.valkey_program())
    except EmbeddedServerError as error:
        return _from_error(error)


async def postgres(url: str) -> list[Finding]:
    """Whether the server answers, is new enough, has our roles, and lets the application's role bypass nothing."""
    try:
        address = make_url(url)
        engine = create_async_engine(address, poolclass=NullPool, connect_args={"timeout": _WAIT_SECONDS})
    except (ArgumentError, SQLAlchemyError, ImportError):
        return [Finding(False, "the database address cannot be read", "postgresql+asyncpg://user:password@host/name")]
    where = f"PostgreSQL at {address.render_as_string(hide_password=True)}"
    try:
        async with asyncio.timeout(2 * _WAIT_SECONDS), engine.connect() as connection:
            return await _postgres_findings(connection, where)
    except (OSError, TimeoutError, SQLAlchemyError) as error:
        advice = "check the address, the password and that it runs; without SIGNALBOX_DATABASE_URL one is embedded"
        return [Finding(False, f"{where} does not answer: {_one_line(error)}", advice)]
    finally:
        await engine.dispose()


async def _postgres_findings(connection: AsyncConnection, where: str) -> list[Finding]:
    number = int((await connection.execute(text("SHOW server_version_num"))).scalar_one())
    role = (
        await connection.execute(
            text("SELECT rolname, rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user")
        )
    ).one()
    there = set((await connection.execute(text("SELECT rolname FROM pg_roles"))).scalars())
    return [
        Finding(True, f"{where} answers"),
        postgres_version(number),
        application_role(role.rolname, bypasses=role.rolsuper or role.rolbypassrls),
        database_roles(there),
    ]


def postgres_version(number: int) -> Finding:
    """`number` is server_version_num: 180004 for 18.4."""
    name = f"PostgreSQL {number // 10_000}.{number % 10_000}"
    if number // 10_000 >= OLDEST_POSTGRES:
        return Finding(True, f"{name} is new enough")
    return Finding(False, f"{name} is too old", f"{OLDEST_POSTGRES} is the oldest that works")


def application_role(name: str, *, bypasses: bool) -> Finding:
    if not bypasses:
        return Finding(True, f"the role {name} is held by row-level security")
    advice = f"let SIGNALBOX_DATABASE_URL name {roles.APP}; serve refuses to start with a role that sees every tenant"
    return Finding(False, f"the role {name} bypasses row-level security", advice)


def database_roles(there: set[str]) -> Finding:
    missing = [role for role in roles.ROLES if role not in there]
    if not missing:
        return Finding(True, "the database roles are there")
    return Finding(False, f"database roles are missing: {', '.join(missing)}", "signalbox migrate --create-roles")


async def valkey(url: str) -> list[Finding]:
    """Whether the server answers, announces expired keys, and evicts none."""
    try:
        client = Redis.from_url(
            url, socket_timeout=_WAIT_SECONDS, socket_connect_timeout=_WAIT_SECONDS, decode_responses=True
        )
    except ValueError:
        return [Finding(False, "the Redis address cannot be read", "redis://user:password@host:6379/0 or unix:///path")]
    where = f"Valkey or Redis at {_without_password(url)}"
    try:
        async with asyncio.timeout(2 * _WAIT_SECONDS):
            about = await client.info("server")
            version = about.get("valkey_version") or about.get("redis_version")
            return [Finding(True, f"{where} answers, version {version}"), *await _valkey_settings(client)]
    except (OSError, TimeoutError, RedisError) as error:
        advice = "check the address and that it runs; without SIGNALBOX_REDIS_URL one is embedded"
        return [Finding(False, f"{where} does not answer: {_one_line(error)}", advice)]
    finally:
        await client.aclose()


async def _valkey_settings(client: Redis) -> list[Finding]:
    try:
        settings = await client.config_get("notify-keyspace-events", "maxmemory-policy")
    except RedisError:
        advice = "see in its own settings that notify-keyspace-events holds Ex"
        return [Finding(True, "it does not let its settings be read", advice)]
    events, policy = settings.get("notify-keyspace-events"), settings.get("maxmemory-policy")
    return [keyspace_events(events or ""), eviction(policy or "noeviction")]


def keyspace_events(flags: str) -> Finding:
    """Key expiry is announced by E (by event) with x (expired) or A (all)."""
    if "E" in flags and ("x" in flags or "A" in flags):
        return Finding(True, "expired keys are announced")
    advice = "CONFIG SET notify-keyspace-events Ex, and in its settings file; until then only the sweep finds silence"
    return Finding(False, "expired keys are not announced", advice)


def eviction(policy: str) -> Finding:
    if policy == "noeviction":
        return Finding(True, "no key is evicted")
    return Finding(False, f"keys may be evicted ({policy})", "CONFIG SET maxmemory-policy noeviction")


def free_port(host: str, port: int) -> Finding:
    where = f"port {port} on {host}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        is_used = error.errno == errno.EADDRINUSE
        if is_used and (found := _running_gateway(host, port)):
            return found
        what = "is in use" if is_used else f"cannot be had: {error.strerror}"
        return Finding(False, f"{where} {what}", "stop what uses it, or choose another with --port or --host")
    return Finding(True, f"{where} is free")


def _running_gateway(host: str, port: int) -> Finding | None:
    """How the gateway that listens there says it is; None when it is something else that listens."""
    url = httpx.URL(scheme="http", host=host, port=port, path="/readyz")
    try:
        said = httpx.get(url, trust_env=False, timeout=_ANSWER_SECONDS).json()
        status, failing = str(said["status"]), ", ".join(map(str, said["failing"]))
    except (httpx.HTTPError, ValueError, LookupError, TypeError):
        return None
    return Finding(not failing, f"a gateway on port {port} of {host} says that it is {status}", f"failing: {failing}")


def _runs(name: str, program: Path) -> Finding:
    try:
        done = subprocess.run(  # noqa: S603 - a path of our own, no shell
            [program, "--version"], capture_output=True, text=True, timeout=_WAIT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(False, f"the embedded {name} does not run here: {_one_line(error)}", _OWN_SERVER)
    if done.returncode != 0:
        return Finding(False, f"the embedded {name} does not run here: {_one_line(done.stderr)}", _OWN_SERVER)
    return Finding(True, f"the embedded {name} runs here: {_one_line(done.stdout)}")


_OWN_SERVER: Final = "glibc 2.28 or newer is needed; or set SIGNALBOX_DATABASE_URL and SIGNALBOX_REDIS_URL"


def _from_error(error: EmbeddedServerError) -> Finding:
    what, _, advice = str(error).partition("; ")
    return Finding(False, what, advice)


def _nearest_folder(path: Path) -> Path:
    """The path itself, or the closest of its parents that exists."""
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if os.path.lexists(folder))


def _without_password(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def _one_line(problem: object) -> str:
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    return lines[0] if lines else type(problem).__name__
