"""This module is where the embedded PostgreSQL 18 is initialised, started and stopped."""

import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, Self
from urllib.parse import quote

from gateway.embedded import binaries, directory
from gateway.embedded.errors import EmbeddedServerError
from gateway.embedded.privileges import ServerUser, server_user
from gateway.embedded.process import ServerProcess, run_tied

SUPERUSER = "postgres"
_MAJOR = "18"
_INITDB_SECONDS = 120.0
# Long: after a power cut the write-ahead log is replayed first.
_READY_SECONDS = 120.0
# Fast shutdown (sessions end, a checkpoint is written), then immediate (recovery at the next start).
_STOP_STEPS = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 5.0))
_STATUS_LINE = 7  # of postmaster.pid, counted from 0: "starting", "stopping" or "ready"

# A small footprint on a small machine; durability is not given up.
_SETTINGS = {
    "autovacuum_max_workers": "2",
    "fsync": "on",
    "idle_in_transaction_session_timeout": "5min",
    "io_method": "sync",  # spares three idle processes
    "jit": "off",
    "log_checkpoints": "off",
    "log_min_messages": "warning",
    "log_timezone": "UTC",
    "max_connections": "200",
    "max_parallel_workers_per_gather": "0",
    "max_wal_senders": "0",
    "max_wal_size": "512MB",
    "min_wal_size": "80MB",
    "shared_buffers": "128MB",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "unix_socket_permissions": "0700",
    "wal_level": "minimal",
}


class EmbeddedPostgres:
    """A PostgreSQL of our own in `<data_dir>/postgres`, reachable only through a socket in a 0700 folder."""

    SETTINGS: ClassVar[Mapping[str, str]] = _SETTINGS

    def __init__(self, data_dir: Path, progress: Callable[[str], None] = lambda _: None) -> None:
        self._progress = progress
        self._data_dir = directory.prepare(data_dir)
        self._cluster = self._data_dir / "postgres"
        self._sockets = directory.socket_folder(self._data_dir)
        self._process: ServerProcess | None = None

    @classmethod
    def start(cls, data_dir: Path, progress: Callable[[str], None] = lambda _: None) -> Self:
        """A server that answers connections. Blocks: a second or two the first time, 0.1 s later.

        Raises EmbeddedServerError, with nothing left running, when it cannot be had.
        """
        server = cls(data_dir, progress)
        server.restart()
        return server

    @property
    def url(self) -> str:
        """SQLAlchemy's address of the superuser in the database `postgres`; the same after a restart."""
        return f"postgresql+asyncpg://{SUPERUSER}@/postgres?host={quote(str(self._sockets))}"

    @property
    def socket_dir(self) -> Path:
        return self._sockets

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        assert self._process is not None, "start it first"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.is_running

    def stop(self) -> None:
        """Ends sessions, writes a checkpoint, returns when every process is gone. Idempotent."""
        if self._process is not None:
            self._process.stop(_STOP_STEPS)

    def kill(self) -> None:
        """Ends it as a power cut would; `restart` recovers. Idempotent."""
        if self._process is not None:
            self._process.kill()

    def restart(self) -> None:
        """Starts it (again) on the same data and the same address, after a stop, a kill or while it runs."""
        self.stop()
        postgres = binaries.postgres_program("postgres")
        lock = directory.lock(self._data_dir, "postgres")
        try:
            user = server_user(postgres, self._data_dir)
            self._initialise(user, lock)
            self._clear_traces()
            self._launch(postgres, user, lock)
        finally:
            directory.release(lock)

    def _launch(self, postgres: Path, user: ServerUser, lock: int) -> None:
        settings = [word for name, value in self.SETTINGS.items() for word in ("-c", f"{name}={value}")]
        self._process = ServerProcess(
            "postgres",
            [postgres, "-D", self._cluster, "-k", self._sockets, "-h", "", *settings],
            log=self._data_dir / "postgres.log",
            death_signal=signal.SIGINT,
            prefix=user.prefix,
            inherited=[lock],
        )
        self._process.wait_until(self._is_ready, _READY_SECONDS)

    def _is_ready(self) -> bool:
        try:
            lines = (self._cluster / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) > _STATUS_LINE and lines[_STATUS_LINE].strip() == "ready" and lines[0] == str(self.pid)

    def _initialise(self, user: ServerUser, lock: int) -> None:
        if self._cluster.exists():
            self._check_version()
            user.take(self._cluster)
            return
        self._progress("creating the embedded PostgreSQL database")
        # Under another name until it is whole: an interrupted initdb must not look like a database.
        unfinished = self._data_dir / "postgres.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        user.take(unfinished)
        command: list[str | Path] = [
            binaries.postgres_program("initdb"),
            "-D",
            unfinished,
            "-U",
            SUPERUSER,
            "--auth=trust",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
        ]
        try:
            done = run_tied(command, prefix=user.prefix, inherited=[lock], timeout=_INITDB_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise EmbeddedServerError(f"initdb did not finish within {_INITDB_SECONDS:.0f} s") from error
        if done.returncode != 0:
            lines = [line for line in done.stdout.splitlines() if line.strip()]
            grave = [line for line in lines if "rror" in line or "FATAL" in line]
            raise EmbeddedServerError(f"initdb failed: {(grave or lines or ['it said nothing'])[-1].strip()}")
        unfinished.rename(self._cluster)

    def _check_version(self) -> None:
        try:
            found = (self._cluster / "PG_VERSION").read_text().strip()
        except OSError as error:
            raise EmbeddedServerError(
                f"{self._cluster} cannot be used as a database: PG_VERSION: {error.strerror}; "
                "start as the user who made it, or choose another --data-dir"
            ) from error
        if found != _MAJOR:
            raise EmbeddedServerError(
                f"{self._cluster} was made by PostgreSQL {found}, the embedded one is {_MAJOR}; "
                "dump and restore it, or choose another --data-dir"
            )

    def _clear_traces(self) -> None:
        """Removes what a crash left: the lock proves nothing of it runs, whoever has its pid by now."""
        for trace in (
            self._cluster / "postmaster.pid",
            self._sockets / ".s.PGSQL.5432",
            self._sockets / ".s.PGSQL.5432.lock",
        ):
            trace.unlink(missing_ok=True)
