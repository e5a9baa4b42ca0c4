"""This module is where an empty clone becomes a ready gateway with one command, as a stranger would see it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.report import record
from tests.subscriptions.brokers import free_port

pytestmark = pytest.mark.clients

ROOT = Path(__file__).parents[2]
COLD_SECONDS = 300
WARM_SECONDS = 60


@contextmanager
def _running(clone: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "SIGNALBOX_PORT": str(port)}
    environment.pop("SIGNALBOX_DATA_DIR", None)
    process = subprocess.Popen(
        ["make", "run", "AGENTS=3"], cwd=clone, env=environment, stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(30)


def _seconds_until_ready(process: subprocess.Popen[bytes], port: int, limit: float) -> float:
    began = time.monotonic()
    while time.monotonic() - began < limit:
        assert process.poll() is None, "make run ended by itself"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
                assert answer.status == 200
                return time.monotonic() - began
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise AssertionError(f"not ready after {limit} s")


def test_an_empty_clone_is_a_ready_gateway_after_one_command() -> None:
    with TemporaryDirectory(prefix="sbx-") as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        port = free_port()
        with _running(clone, port) as process:
            cold = _seconds_until_ready(process, port, COLD_SECONDS)
        assert (clone / ".signalbox/run/demo.json").exists()
        with _running(clone, port) as process:
            warm = _seconds_until_ready(process, port, WARM_SECONDS)
    record(2, "an empty clone, make run until ready", 2, f"{cold:.0f} s cold, {warm:.1f} s warm")
