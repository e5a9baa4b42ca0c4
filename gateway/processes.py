"""This module is where several processes serve one socket: started alike, restarted when one dies, ended together."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

import structlog

from gateway import embedded
from gateway import settings as configuration
from gateway.settings import Settings

_log = structlog.get_logger(__name__)
TETHER = Path(embedded.__file__).with_name("tether.py")
LOOK_SECONDS = 0.2
RESTART_SECONDS = 1.0
PATIENCE_SECONDS = 20.0


class Processes:
    """``settings.workers`` processes that accept from ``listener``; a process that dies is replaced."""

    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        configuration.hand_down(settings)
        self._count = settings.workers
        self._listener = listener
        self._running: list[subprocess.Popen[bytes]] = []
        self._stopping = False

    def run(self) -> None:
        """Serve until SIGINT or SIGTERM; then every process drains."""
        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, self._stop)
        try:
            while not self._stopping:
                self._running = [one for one in self._running if self._alive(one)]
                while len(self._running) < self._count and not self._stopping:
                    self._running.append(self._start())
                time.sleep(LOOK_SECONDS)
        finally:
            self._end()

    def _stop(self, _: int, __: FrameType | None) -> None:
        self._stopping = True

    def _start(self) -> subprocess.Popen[bytes]:
        descriptor = self._listener.fileno()
        serve = [sys.executable, "-m", "gateway", "serve-socket", "--descriptor", str(descriptor)]
        # Tied to us: `kill -9` of the parent must not leave processes that nobody watches.
        tied = [sys.executable, "-I", "-S", str(TETHER), "0", "SIGTERM", *serve]
        return subprocess.Popen(tied, pass_fds=[descriptor])  # noqa: S603 - our own command

    def _alive(self, process: subprocess.Popen[bytes]) -> bool:
        if process.poll() is None:
            return True
        _log.error("process_died", pid=process.pid, status=process.returncode)
        time.sleep(RESTART_SECONDS)
        return False

    def _end(self) -> None:
        for one in self._running:
            if one.poll() is None:
                one.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE_SECONDS
        for one in self._running:
            try:
                one.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                one.kill()
                one.wait()
