"""This module is where one embedded server's process is started, watched and ended."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from gateway.embedded import directory, tether
from gateway.embedded.errors import EmbeddedServerError

_POLL_SECONDS = 0.01
_KILL_WAIT_SECONDS = 10.0
_LOG_ROTATE_BYTES = 4 * 1024 * 1024
_LOG_PREFIX = re.compile(r"^\d{4}-\d\d-\d\d [\d:.]+ \w+ \[\d+\] ")
# Ours, not the caller's: a stray PGDATA, LD_PRELOAD or LC_MESSAGES must not reach a server.
_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}


class ServerProcess:
    """A running server that dies with this process, whatever ends it.

    The kernel ties a child to the *thread* that started it, so each server has a thread of its own: it starts
    the server, waits for its end and reaps it. That makes start and stop safe from any thread.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        death_signal: signal.Signals,
        prefix: Sequence[str] = (),
        inherited: Sequence[int] = (),
    ) -> None:
        self.name = name
        self._log = log
        self._log_start = _open_position(log)
        tied = tied_command(command, death_signal, prefix)
        self._process: subprocess.Popen[bytes] | None = None
        self._failure: OSError | None = None
        self._spawned = threading.Event()
        self._ended = threading.Event()
        self._keeper = threading.Thread(
            target=self._keep, args=(tied, tuple(inherited)), name=f"signalbox-{name}", daemon=True
        )
        self._keeper.start()
        self._spawned.wait()
        if self._failure is not None:
            raise EmbeddedServerError(f"cannot start {name}: {self._failure.strerror}") from self._failure

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return not self._ended.is_set()

    def wait_until(self, is_ready: Callable[[], bool], timeout: float) -> None:
        """Returns once the server is ready; otherwise ends it and raises with its last log line."""
        deadline = time.monotonic() + timeout
        try:
            while not is_ready():
                if not self.is_running:
                    raise EmbeddedServerError(f"{self.name} did not start: {self.last_words()}")
                if time.monotonic() > deadline:
                    raise EmbeddedServerError(f"{self.name} was not ready within {timeout:.0f} s: {self.last_words()}")
                time.sleep(_POLL_SECONDS)
        except BaseException:
            self.kill()
            raise

    def stop(self, steps: Sequence[tuple[signal.Signals, float]]) -> None:
        """Sends each signal and waits its seconds, until the server has ended; then kills. Idempotent."""
        for number, seconds in steps:
            self._signal(number)
            if self._ended.wait(seconds):
                return
        self.kill()

    def kill(self) -> None:
        """Ends the server and the processes it started as a power cut would. Idempotent."""
        if not self.is_running:
            return
        # Frozen first, so that it starts no further process while we list those it has.
        self._signal(signal.SIGSTOP)
        children = _children(self.pid)
        self._signal(signal.SIGKILL)
        for child in children:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)
        self._ended.wait(_KILL_WAIT_SECONDS)

    def last_words(self) -> str:
        """The line of this run's log that most likely says why the server ended."""
        with self._log.open("rb") as log:
            log.seek(self._log_start)
            lines = [line.strip() for line in log.read().decode(errors="replace").splitlines() if line.strip()]
        grave = [line for line in lines if "FATAL" in line or "PANIC" in line or "rror" in line]
        return _LOG_PREFIX.sub("", (grave or lines or [f"it said nothing; see {self._log}"])[-1])

    def _keep(self, command: Sequence[str], inherited: tuple[int, ...]) -> None:
        try:
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(  # noqa: S603 - our own programs, no shell
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=_ENVIRONMENT,
                    cwd="/",
                    pass_fds=inherited,
                    # A session of its own: the terminal's Ctrl-C is for the gateway, which stops us in order.
                    start_new_session=True,
                )
        except OSError as error:
            self._failure = error
            self._ended.set()
            return
        finally:
            self._spawned.set()
        self._process.wait()
        self._ended.set()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self.is_running:
            self._process.send_signal(number)


def tied_command(command: Sequence[str | Path], death_signal: signal.Signals, prefix: Sequence[str] = ()) -> list[str]:
    """The command line that runs `command` behind `prefix` and sends it `death_signal` when we die."""
    tie = [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), death_signal.name]
    return [*prefix, *tie, *map(str, command)]


def run_tied(
    command: Sequence[str | Path],
    *,
    prefix: Sequence[str] = (),
    inherited: Sequence[int] = (),
    timeout: float,
) -> subprocess.CompletedProcess[str]:
    """Runs a short program to its end, tied to this thread's life; its output is captured as text."""
    return subprocess.run(  # noqa: S603 - our own programs, no shell
        tied_command(command, signal.SIGKILL, prefix),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=_ENVIRONMENT,
        cwd="/",
        pass_fds=tuple(inherited),
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
        start_new_session=True,
    )


def _open_position(log: Path) -> int:
    """Where this run's part of the log will begin; a log that has grown large makes room first."""
    try:
        if log.exists() and log.stat().st_size > _LOG_ROTATE_BYTES:
            log.replace(log.with_suffix(".log.old"))
        log.touch(mode=0o600)
        directory.hand_over(log, log.parent)
        return log.stat().st_size
    except OSError as error:
        raise EmbeddedServerError(f"cannot write the log {log}: {error.strerror}") from error


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
