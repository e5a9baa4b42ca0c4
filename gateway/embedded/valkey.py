"""This module is where the embedded Valkey is started and stopped."""

import contextlib
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Self

from gateway.embedded import binaries, directory
from gateway.embedded.process import ServerProcess

_READY_SECONDS = 20.0
_PING_SECONDS = 1.0
_STOP_STEPS = ((signal.SIGTERM, 5.0),)
# Nothing is kept: presence and wake-ups are worth nothing after a restart, the event log is in PostgreSQL.
_SETTINGS = (
    "--port", "0", "--unixsocketperm", "700", "--save", "", "--appendonly", "no",
    "--notify-keyspace-events", "KEA", "--daemonize", "no",
)  # fmt: skip


class EmbeddedValkey:
    """A Valkey of our own, in memory only, reachable only through a socket in a 0700 folder."""

    def __init__(self, data_dir: Path, progress: Callable[[str], None] = lambda _: None) -> None:
        self._progress = progress
        self._data_dir = directory.prepare(data_dir)
        self._socket = directory.socket_folder(self._data_dir) / "valkey.sock"
        self._process: ServerProcess | None = None

    @classmethod
    def start(cls, data_dir: Path, progress: Callable[[str], None] = lambda _: None) -> Self:
        """A server that answers PING. Raises EmbeddedServerError, with nothing left running."""
        server = cls(data_dir, progress)
        server.restart()
        return server

    @property
    def url(self) -> str:
        """redis-py's address of the socket; the same after a restart."""
        return f"unix://{self._socket}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "start it first"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.is_running

    def stop(self) -> None:
        """Returns when it is gone. Idempotent."""
        if self._process is not None:
            self._process.stop(_STOP_STEPS)

    def kill(self) -> None:
        """kill -9; its memory is lost. Idempotent."""
        if self._process is not None:
            self._process.kill()

    def restart(self) -> None:
        """Starts it (again), empty, on the same address, after a stop, a kill or while it runs."""
        self.stop()
        program = binaries.valkey_program()
        lock = directory.lock(self._data_dir, "valkey")
        try:
            self._socket.unlink(missing_ok=True)
            self._process = ServerProcess(
                "valkey",
                [program, *_SETTINGS, "--unixsocket", self._socket, "--dir", self._socket.parent],
                log=self._data_dir / "valkey.log",
                death_signal=signal.SIGTERM,
                inherited=[lock],
            )
            self._process.wait_until(self._is_ready, _READY_SECONDS)
        finally:
            directory.release(lock)

    def _is_ready(self) -> bool:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_PING_SECONDS)
            connection.connect(str(self._socket))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        return False
