"""This module is where it is counted what a commit costs those who watch it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
from sqlalchemy import select

from models import Workspace, utcnow
from models.database import Database, DatabaseUrls, PoolOptions
from models.ids import uuid7
from resolvers.call import Call
from resolvers.unit_of_work import unit_of_work
from tests.conftest import counted
from tests.report import record
from tests.schema.conftest import Gateway
from tests.world import AUDIT, call_of, make_tenant, principal, running

EVENTS = 1000
SUBSCRIBERS = 20
MOST_STATEMENTS = 10
DOCUMENT = """
subscription { workspaceStatus {
  ... on StreamReady { cursor recovered }
  ... on WorkspaceItem { cursor previousCursor kind entityId matchesFilter workspace { id name status agentCard } }
} }
"""


@pytest.fixture
async def gateway(database: Database) -> AsyncIterator[Gateway]:
    """A gateway in this process, whose statements are counted."""
    async with running(database) as services:
        yield Gateway(services)


@pytest.fixture
async def writer(migrated: str) -> AsyncIterator[Database]:
    """Somebody else's connections, whose statements are not."""
    made = Database(DatabaseUrls.for_roles(migrated), PoolOptions(size=1), AUDIT)
    yield made
    await made.close()


async def test_a_commit_of_a_thousand_events_costs_a_group_at_most_ten_statements(
    gateway: Gateway, database: Database, writer: Database
) -> None:
    tenant_id = await make_tenant(database)
    who = principal(tenant_id)
    call = call_of(gateway.services, who)
    await _workspaces(call)
    watching = [await gateway.watch(who, DOCUMENT) for _ in range(SUBSCRIBERS)]
    try:
        for one in watching:
            assert (await anext(one))["data"]["workspaceStatus"]["recovered"]
        with counted(database) as statements:
            await _change_all(writer, call)
            for one in watching:
                seen = [(await anext(one))["data"]["workspaceStatus"] for _ in range(EVENTS)]
                assert len({item["workspace"]["id"] for item in seen}) == EVENTS
                assert all(a["cursor"] == b["previousCursor"] for a, b in pairwise(seen))
    finally:
        for one in watching:
            await one.aclose()
    assert len(statements) <= MOST_STATEMENTS, statements
    record(
        3,
        "A commit of 1,000 events costs a group at most 10 statements",
        n=SUBSCRIBERS,
        figure=f"{len(statements)} statements, reading the log included",
    )


async def _workspaces(call: Call) -> None:
    async with call.work() as work:
        for number in range(EVENTS):
            work.add(Workspace(id=uuid7(), name=f"place {number:04}"))


async def _change_all(writer: Database, call: Call) -> None:
    announcer = call.services.announcer
    async with unit_of_work(writer, announcer, utcnow, call.tenant_id, None) as work:
        for workspace in await work.session.scalars(select(Workspace)):
            before = workspace.facets()
            workspace.tier = 3
            work.tell(workspace, "workspace.updated", before)


@pytest.mark.parametrize("questions", [1, 20])
async def test_the_rows_of_an_event_are_read_once_for_all_questions(
    gateway: Gateway, database: Database, writer: Database, questions: int
) -> None:
    tenant_id = await make_tenant(database)
    who = principal(tenant_id)
    call = call_of(gateway.services, who)
    async with call.work() as work:
        work.add(Workspace(id=uuid7(), name="watched"))
    documents = [DOCUMENT.replace("id name", f"id n{number}: name") for number in range(questions)]
    watching = [await gateway.watch(who, document) for document in documents]
    try:
        for one in watching:
            assert (await anext(one))["data"]["workspaceStatus"]["recovered"]
        assert gateway.services.fanout.groups == questions
        with counted(database) as statements:
            await _change_all(writer, call)
            for number, one in enumerate(watching):
                item = (await anext(one))["data"]["workspaceStatus"]
                assert item["workspace"][f"n{number}"] == "watched"
    finally:
        for one in watching:
            await one.aclose()
    assert sum("FROM workspaces" in statement for statement in statements) == 1, statements
