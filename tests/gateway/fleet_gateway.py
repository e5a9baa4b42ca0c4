"""This module is where fleet tests get a whole gateway on loopback, and a tenant's key to come with."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import uvicorn
from sqlalchemy import select
from starlette.applications import Starlette

from gateway import settings as configuration
from gateway.app import create_app, transport_options
from gateway.settings import Settings
from gateway.simulate import FleetReport, run_fleet
from gateway.simulate.behaviour import STEADY
from gateway.transports.server_protocols import server_options
from gateway.watch import PasswordCredentials
from models import Event, Role, Tenant, User, UserStatus
from models.ids import uuid7
from models.scopes import INGEST_SCOPES
from models.users import email_key
from resolvers.call import Call, Services
from tests.patience import DEADLINE
from tests.world import call_of, make_tenant, principal


@dataclass(slots=True)
class FleetGateway:
    """A running gateway, seen by one tenant's fleet and its admin."""

    settings: Settings
    services: Services
    tenant_id: UUID
    key: str

    @property
    def url(self) -> str:
        """What a fleet is given."""
        return self.settings.url

    @property
    def admin(self) -> Call:
        """A new operation of the tenant's admin."""
        return call_of(self.services, principal(self.tenant_id, Role.ADMIN))

    async def log(self) -> list[Event]:
        """The tenant's events, oldest first."""
        async with self.services.database.session(self.tenant_id) as session:
            return list(await session.scalars(select(Event).order_by(Event.seq)))


def settings_for(app_url: str, redis_url: str, data_dir: Path) -> Settings:
    """A demo gateway over these servers, on a free port."""
    return configuration.load(
        profile="demo", database_url=app_url, redis_url=redis_url, data_dir=data_dir, port=_free_port()
    )


async def newcomer(settings: Settings, app: Starlette) -> FleetGateway:
    """The gateway as a new tenant's fleet meets it."""
    services: Services = app.state.services
    tenant_id = await make_tenant(services.database)
    scopes = sorted(scope.value for scope in INGEST_SCOPES)
    admin = call_of(services, principal(tenant_id, Role.ADMIN))
    _, key = await services.accounts.create_api_key(admin, name="fleet", scopes=scopes)
    return FleetGateway(settings, services, tenant_id, key)


async def person_of(here: FleetGateway, role: Role = Role.OPERATOR) -> PasswordCredentials:
    """Somebody of the tenant who signs in by password."""
    row_id, password = uuid7(), "correct horse battery"
    email = f"{row_id.hex}@example.org"
    async with here.services.database.session(here.tenant_id) as session:
        tenant = await session.get_one(Tenant, here.tenant_id)
        session.add(
            User(
                tenant_id=here.tenant_id,
                id=row_id,
                email=email,
                email_key=email_key(email),
                password_hash=await here.services.accounts.hash_password(password),
                roles=[role.value],
                status=UserStatus.ACTIVE,
            )
        )
        await session.commit()
    return PasswordCredentials(here.url, tenant.slug, email, password)


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Starlette]:
    """The whole application, with a worker inside, on the settings' port while the block lasts. One at a time."""
    app = create_app(settings)
    options = server_options(transport_options(settings))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="on", **options))
    listener = socket.create_server((settings.host, settings.port))
    # Signals belong to the test run.
    running = asyncio.create_task(server._serve([listener]), name="gateway under test")
    try:
        await until(lambda: server.started or running.done())
        assert server.started, "the gateway did not start"
        yield app
    finally:
        server.should_exit = True
        try:
            await asyncio.wait_for(running, DEADLINE)
        finally:
            listener.close()


class Running:
    """A fleet at work, as its progress shows it."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.report = FleetReport(0)

    def note(self, report: FleetReport) -> None:
        """What the fleet calls."""
        self.report = report

    async def does(self, *moods: str) -> None:
        """Waits until every agent does one of these."""
        await until(lambda: bool(self.report.doing) and set(self.report.doing.values()) <= set(moods))

    async def beats_more(self, count: int) -> None:
        """Waits for so many further beats."""
        goal = self.report.beats + count
        await until(lambda: self.report.beats >= goal)


@asynccontextmanager
async def fleet(here: FleetGateway, **given: Any) -> AsyncIterator[Running]:
    """A fleet of one steady agent, unless told otherwise, that works while the block lasts."""
    running = Running()
    options: dict[str, Any] = {"agents": 1, "rate": 10, "script": STEADY, "progress_seconds": 0.05} | given
    task = asyncio.create_task(
        run_fleet(here.url, here.key, stop=running.stop, progress=running.note, **options), name="fleet under test"
    )
    try:
        yield running
    finally:
        running.stop.set()
        await asyncio.wait_for(task, DEADLINE)


async def until(holds: Callable[[], bool]) -> None:
    """Waits until the condition holds; fails when it does not in time."""
    async with asyncio.timeout(DEADLINE):
        while not holds():  # noqa: ASYNC110 - nobody tells when it begins to hold
            await asyncio.sleep(0.02)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
