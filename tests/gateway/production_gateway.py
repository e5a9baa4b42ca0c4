"""This module is where tests get gateways as operators run them: processes of their own over one database."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from models.database import Database
from resolvers.call import Services
from resolvers.credentials import Accounts
from resolvers.passwords import Passwords
from resolvers.tokens import AccessTokens

START_SECONDS = 60.0
STOP_SECONDS = 20.0
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Deployment:
    """What the processes of one deployment share."""

    database_url: str
    redis_url: str
    token_seed: str = field(default_factory=lambda: secrets.token_hex(32))
    refresh_key: str = field(default_factory=lambda: secrets.token_hex(32))
    secrets_key: str = field(default_factory=lambda: secrets.token_hex(32))

    def environment(self, data_dir: Path) -> dict[str, str]:
        """What a process of it is started with."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SIGNALBOX_")}
        return kept | {
            "SIGNALBOX_PROFILE": "production",
            "SIGNALBOX_DATABASE_URL": self.database_url,
            "SIGNALBOX_REDIS_URL": self.redis_url,
            "SIGNALBOX_TOKEN_KEYS": self.token_seed,
            "SIGNALBOX_REFRESH_KEY": self.refresh_key,
            "SIGNALBOX_SECRETS_KEYS": self.secrets_key,
            "SIGNALBOX_AUDIT_KEYS": "61" * 32,  # tests.world.AUDIT
            "SIGNALBOX_DATA_DIR": str(data_dir),
        }

    def accounts(self, database: Database, services: Services) -> Accounts:
        """Accounts of this deployment in the test's own process, with cheap passwords."""
        return Accounts(
            database,
            services.announcer,
            Passwords(memory_kib=8, passes=1),
            AccessTokens([Ed25519PrivateKey.from_private_bytes(bytes.fromhex(self.token_seed))]),
            bytes.fromhex(self.refresh_key),
            "live",
            refused_after_seconds=0.0,
        )


@dataclass(frozen=True, slots=True)
class GatewayProcess:
    """One gateway that runs."""

    url: str
    pid: int

    def cpu_seconds(self) -> float:
        """The time that it has spent on processors, to the nanosecond: Linux's clock of another process."""
        return time.clock_gettime_ns((~self.pid << 3) | 2) / 1e9


@asynccontextmanager
async def gateway_processes(
    deployment: Deployment, folder: Path, count: int, **settings: str
) -> AsyncIterator[list[str]]:
    """The addresses of ready gateways, without workers unless asked for; SIGTERM ends them, and must end them well."""
    async with running_gateways(deployment, folder, count, **settings) as gateways:
        yield [one.url for one in gateways]


@asynccontextmanager
async def running_gateways(
    deployment: Deployment, folder: Path, count: int, **settings: str
) -> AsyncIterator[list[GatewayProcess]]:
    """The same with their process ids; ``settings`` are further variables, without their prefix."""
    more = {f"SIGNALBOX_{name}".upper(): value for name, value in ({"worker": "false"} | settings).items()}
    processes: list[asyncio.subprocess.Process] = []
    logs = [folder / f"gateway-{number}.log" for number in range(count)]
    try:
        for log in logs:
            with open(log, "wb") as output:  # noqa: ASYNC230 - a test may wait for its disk
                processes.append(
                    await asyncio.create_subprocess_exec(
                        *(sys.executable, "-m", "gateway", "serve", "--port", "0"),
                        env=deployment.environment(folder) | more,
                        cwd=ROOT,
                        stdout=output,
                        stderr=output,
                    )
                )
        started = zip(processes, logs, strict=True)
        yield [GatewayProcess(await _ready(process, log), process.pid) for process, log in started]
        for process in processes:
            process.terminate()
        for process, log in zip(processes, logs, strict=True):
            assert await asyncio.wait_for(process.wait(), STOP_SECONDS) == 0, _said(log)
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def _ready(process: asyncio.subprocess.Process, log: Path) -> str:
    async with asyncio.timeout(START_SECONDS), httpx.AsyncClient(trust_env=False) as client:
        while True:
            assert process.returncode is None, _said(log)
            address = re.search(r"serves (http://\S+)/graphql", _said(log))
            try:
                if address and (await client.get(f"{address[1]}/readyz")).is_success:
                    return address[1]
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)


def _said(log: Path) -> str:
    return log.read_text(errors="replace")
