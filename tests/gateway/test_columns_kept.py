"""This module is where every column of agents, talk and places is written, all servers are stopped and started again,
and everything is read as it was before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from gateway.embedded import EmbeddedPostgres
from gateway.servers import in_database, prepare_database
from models import Role
from models.database import role_url
from models.roles import OWNER
from resolvers.call import Services
from resolvers.principal import Principal
from tests.gateway.demo_house import house
from tests.report import record
from tests.schema import test_agent_columns as agents
from tests.schema import test_conversation_columns as talk
from tests.schema import test_molecule_columns as places
from tests.schema.conftest import Gateway
from tests.schema.staff import person
from tests.world import Tenants

AGENTS: Final[dict[Callable[..., Any], Mapping[str, str | None]]] = {
    agents.test_every_column_of_evo_ais_agents: agents.EVO_AGENT,
    agents.test_every_column_of_aios_agents: agents.AIOS_AGENT,
    agents.test_every_column_of_aios_templates: agents.AIOS_TEMPLATE,
    agents.test_every_column_of_evo_ais_mcp_servers: agents.EVO_SERVER,
    agents.test_every_column_of_evo_ais_tools: agents.EVO_TOOL,
    agents.test_every_column_of_aiops_providers: agents.AIOPS_PROVIDER,
}
"""What writes and reads a table, with its columns."""

PLACES: Final = {table: columns.split() for table, columns in places.COLUMNS.items()}


@dataclass(frozen=True, slots=True)
class Read:
    """What somebody asked, and was answered."""

    who: Principal | None
    query: str
    variables: dict[str, Any]
    answer: dict[str, Any]


class Remembering(Gateway):
    """A gateway with a memory for what it was asked and answered."""

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self.reads: list[Read] = []

    async def data(self, who: Principal | None, query: str, /, **variables: Any) -> dict[str, Any]:
        answer = await super().data(who, query, **variables)
        if not query.startswith("mutation"):
            self.reads.append(Read(who, query, variables, answer))
        return answer


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    """A server of this module's own, which waits for its disk."""
    with TemporaryDirectory(prefix="sbx-") as name:
        started = EmbeddedPostgres.start(Path(name))
        yield started
        started.stop()


async def _write_and_read(gateway: Remembering, url: str) -> places.World:
    """Everything; the tables of agents and talk are read once all of each was written."""
    for table in AGENTS:
        tenants = await Tenants.make(gateway.services.database)
        await table(gateway, tenants, await person(gateway, tenants.mine, Role.ADMIN))
    owner = create_async_engine(role_url(url, OWNER))
    await talk.written(gateway, owner)
    await owner.dispose()
    reads = list(gateway.reads)
    world = await places.written(gateway, await Tenants.make(gateway.services.database))
    gateway.reads = reads  # what is read of a place between two writes is not what it ends with
    return world


async def test_what_was_written_is_read_by_a_second_role_after_a_restart(server: EmbeddedPostgres) -> None:
    await prepare_database(server.url)
    url = in_database(server.url)
    async with house(url) as services:
        before = Remembering(services)
        world = await _write_and_read(before, url)
    assert before.reads != []
    await asyncio.to_thread(server.stop)
    await asyncio.to_thread(server.restart)
    async with house(url) as services:
        world.gateway = Gateway(services)
        for read in before.reads:
            assert await world.gateway.data(read.who, read.query, **read.variables) == read.answer
        for table, columns in PLACES.items():
            found = await places.READ[table](world)
            assert [name for name in columns if not found[name]] == []
    for name, count in (
        ("agents, templates, catalog", sum(len(columns) for columns in AGENTS.values())),
        ("conversations, runs", sum(len(columns) for columns in talk.COLUMNS.values())),
        ("workspaces", sum(len(columns) for columns in PLACES.values())),
    ):
        record(5, "every column read by a second role after a restart of gateway and database", count, name)
