"""This module is where fault tests get a house of their own: PostgreSQL, Valkey and gateways that may be killed."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import httpx
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from gateway import settings as configuration
from gateway.embedded import EmbeddedPostgres, EmbeddedValkey
from gateway.embedded.process import tied_command
from gateway.runtime import running_services
from gateway.servers import in_database, prepare_database
from gateway.settings import Settings
from models import Event, Role, Scope
from models.database import role_url
from models.roles import APP, OWNER
from resolvers.call import Call, Services
from tests.faults.transports import NO_TLS
from tests.world import call_of, make_tenant, principal

REPOSITORY = Path(__file__).parents[2]
BYTECODE = REPOSITORY / ".signalbox" / "bytecode"
"""Kept between runs: a gateway that is killed must come back as fast as an installed one, which compiles nothing."""
_NOT_HANDED_DOWN = (configuration.PREFIX, "PYTHONDONTWRITEBYTECODE")
_SIGNS_OF_A_DEFECT = ("Traceback", "never retrieved", "_failed", "was destroyed but", "broke;")
START_SECONDS = 60.0
LOOK_SECONDS = 0.05
LOG_TAIL = 5000
MANY = "5000"


class GatewayProcess:
    """`signalbox serve` on a port of its own, to be killed, stopped and started again."""

    def __init__(self, name: str, folder: Path, environment: dict[str, str]) -> None:
        self.name = name
        self.port = free_port()
        self.log = folder / f"{name}.log"
        self.starts = 0
        self._read_from = 0
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The running process."""
        assert self._process is not None
        return self._process.pid

    @property
    def resident_bytes(self) -> int:
        """Memory the process holds now."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def start(self) -> None:
        """Start it; it is not ready yet."""
        self.starts += 1
        serve = [sys.executable, "-m", "gateway", "serve", "--no-worker", "--port", str(self.port)]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_HANDED_DOWN)}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                tied_command(serve, signal.SIGKILL),
                cwd=REPOSITORY,
                env={**kept, "PYTHONPYCACHEPREFIX": str(BYTECODE), **self._environment},
                stdout=log,
                stderr=log,
            )

    async def ready(self) -> None:
        """Waits until it answers; one that gave up, because its servers were away, is started again."""
        answered = "nothing"
        try:
            async with asyncio.timeout(START_SECONDS), httpx.AsyncClient(trust_env=False, verify=NO_TLS) as client:
                while True:
                    if self._process is None or self._process.poll() is not None:
                        self.start()
                    try:
                        answer = await client.get(f"{self.url}/readyz")
                        if answer.is_success:
                            return
                        answered = answer.text
                    except httpx.HTTPError:
                        pass
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            said = self.log.read_text(errors="replace")[-LOG_TAIL:]
            raise AssertionError(
                f"{self.name}: {self.starts} starts, last answer {answered}, log ends\n{said}"
            ) from None

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def terminate(self) -> tuple[int, float]:
        """SIGTERM; its exit status and how many seconds it took."""
        assert self._process is not None
        started_at = time.monotonic()
        self._process.terminate()
        status = await asyncio.to_thread(self._process.wait, START_SECONDS)
        return status, time.monotonic() - started_at

    def forget_log(self) -> None:
        """What it has said so far is no longer looked at."""
        self._read_from = self.log.stat().st_size if self.log.exists() else 0

    def defects(self) -> list[str]:
        """Passages of its log that speak of a bug rather than of trouble."""
        said = self.log.read_bytes()[self._read_from :].decode(errors="replace")
        found = re.search("|".join(_SIGNS_OF_A_DEFECT), said)
        return [] if found is None else [said[max(0, found.start() - 300) : found.start() + 5000]]


@dataclass(frozen=True, slots=True)
class Guest:
    """A tenant with a key that may read and write its fleet."""

    tenant_id: UUID
    key: str
    call: Call


@dataclass(slots=True)
class Stage:
    """Servers and gateways; the test's own services write as another gateway would."""

    folder: Path
    postgres: EmbeddedPostgres
    valkey: EmbeddedValkey
    services: Services
    owner: AsyncEngine
    gateways: list[GatewayProcess]
    environment: dict[str, str]

    async def guest(self) -> Guest:
        """A new tenant."""
        tenant_id = await make_tenant(self.services.database)
        call = call_of(self.services, principal(tenant_id, Role.ADMIN))
        scopes = [Scope.WORKSPACES_READ.value, Scope.WORKSPACES_WRITE.value]
        _, key = await self.services.accounts.create_api_key(call, name="faults", scopes=scopes)
        return Guest(tenant_id, key, call)

    async def head(self, tenant_id: UUID) -> int:
        """The last committed seq; a new tenant's log begins with its key."""
        return (await self.services.tails.bounds(tenant_id))[1]

    async def log(self, tenant_id: UUID) -> Sequence[Event]:
        """What was committed, oldest first, as the owner sees it."""
        columns = list(Event.__table__.c)
        async with self.owner.connect() as connection:
            rows = await connection.execute(select(*columns).where(Event.tenant_id == tenant_id).order_by(Event.seq))
            return [Event(**row._mapping) for row in rows]

    async def another_gateway(self, name: str, **settings: str) -> GatewayProcess:
        """One more, ready; the caller ends it."""
        process = GatewayProcess(name, self.folder, self.environment | settings)
        process.start()
        self.gateways.append(process)
        await process.ready()
        return process

    async def all_ready(self) -> None:
        """Waits until every gateway answers."""
        await asyncio.gather(*(gateway.ready() for gateway in self.gateways))

    def kill_gateways(self) -> None:
        """kill -9 to all of them."""
        for one in self.gateways:
            one.kill()

    def defects(self) -> list[str]:
        """What the gateways' logs complain of."""
        return [f"{one.name}: {passage}" for one in self.gateways for passage in one.defects()]


def environment_of(settings: Settings) -> dict[str, str]:
    """What a gateway process is told."""
    assert settings.database_url is not None
    assert settings.redis_url is not None
    return {
        # Not the demo: its data would be looked after at every start.
        "SIGNALBOX_PROFILE": settings.profile.value,
        "SIGNALBOX_TOKEN_KEYS": ",".join(settings.token_keys),
        "SIGNALBOX_REFRESH_KEY": settings.refresh_key or "",
        "SIGNALBOX_SECRETS_KEYS": ",".join(settings.secrets_keys),
        "SIGNALBOX_AUDIT_KEYS": ",".join(settings.audit_keys),
        "SIGNALBOX_DATABASE_URL": settings.database_url,
        "SIGNALBOX_REDIS_URL": settings.redis_url,
        "SIGNALBOX_DATA_DIR": str(settings.data_dir),
        "SIGNALBOX_SOCKETS_PER_USER": MANY,
        "SIGNALBOX_SOCKETS_PER_TENANT": MANY,
    }


@asynccontextmanager
async def staged(folder: Path, gateways: int = 2) -> AsyncIterator[Stage]:
    """Everything running; whatever the test left of it ends with the block."""
    async with AsyncExitStack() as stack:
        postgres = await asyncio.to_thread(EmbeddedPostgres.start, folder)
        stack.push_async_callback(asyncio.to_thread, postgres.stop)
        valkey = await asyncio.to_thread(EmbeddedValkey.start, folder)
        stack.push_async_callback(asyncio.to_thread, valkey.stop)
        await prepare_database(postgres.url)
        database_url = role_url(in_database(postgres.url), APP)
        settings = configuration.load(
            profile="production",
            token_keys=[secrets.token_hex(32)],
            refresh_key=secrets.token_hex(32),
            secrets_keys=[secrets.token_hex(32)],
            audit_keys=["61" * 32],  # tests.world.AUDIT, which other processes of the tests chain with
            database_url=database_url,
            redis_url=valkey.url,
            data_dir=folder,
            database_pool_size=40,
        )
        services = await stack.enter_async_context(running_services(settings))
        owner = create_async_engine(role_url(in_database(postgres.url), OWNER), pool_pre_ping=True)
        stack.push_async_callback(owner.dispose)
        environment = environment_of(settings)
        stage = Stage(folder, postgres, valkey, services, owner, [], environment)
        stack.callback(stage.kill_gateways)
        stage.gateways = [GatewayProcess(f"gateway-{number}", folder, environment) for number in range(gateways)]
        for one in stage.gateways:
            one.start()
        await stage.all_ready()
        yield stage


def free_port() -> int:
    """A port that was free a moment ago; nothing else here takes ports."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
