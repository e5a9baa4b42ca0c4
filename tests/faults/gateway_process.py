"""This module is where tests get a gateway as people run it: a process of its own, over servers of the test's own."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from gateway.demo import DemoFile, read_demo
from gateway.embedded import EmbeddedPostgres, EmbeddedValkey
from gateway.embedded.process import tied_command
from gateway.servers import in_database
from gateway.settings import PREFIX
from models.database import role_url
from models.roles import APP

START_SECONDS = 90.0
STOP_SECONDS = 30.0


@dataclass(slots=True)
class GatewayProcess:
    """A running `signalbox serve --demo`."""

    process: asyncio.subprocess.Process
    url: str
    demo: DemoFile
    log: Path


@asynccontextmanager
async def gateway_process(
    data_dir: Path, postgres: EmbeddedPostgres, valkey: EmbeddedValkey
) -> AsyncIterator[GatewayProcess]:
    """A gateway that is ready; ended with SIGTERM, which must end it well."""
    port = _free_port()
    serve = [sys.executable, "-m", "gateway", "serve", "--demo", "--data-dir", str(data_dir), "--port", str(port)]
    command = tied_command(serve, signal.SIGTERM)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(PREFIX)},
        "SIGNALBOX_DATABASE_URL": role_url(in_database(postgres.url), APP),
        "SIGNALBOX_REDIS_URL": valkey.url,
    }
    log = data_dir / "gateway.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(*command, env=environment, stderr=output, stdout=output)
    try:
        url = f"http://127.0.0.1:{port}"
        await _until_ready(url, process, log)
        demo = read_demo(data_dir)
        assert demo is not None
        yield GatewayProcess(process, url, demo, log)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), STOP_SECONDS) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _until_ready(url: str, process: asyncio.subprocess.Process, log: Path) -> None:
    async with asyncio.timeout(START_SECONDS), httpx.AsyncClient(trust_env=False) as client:
        while True:
            assert process.returncode is None, _said(log)
            try:
                if (await client.get(f"{url}/readyz")).is_success:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)


def _said(log: Path) -> str:
    return log.read_text(errors="replace")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
