"""This module is where workspaceStatus is specified: every change once, in order, and after any absence all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import delete, text, update

from gateway.transports.operations import OperationRequest, Outcome
from models import Event, Role, Scope, StreamFloor, Workspace
from models.database import Database
from models.ids import uuid7
from resolvers.principal import Principal
from subscriptions.cursor import Cursor
from tests.patience import DEADLINE
from tests.schema.conftest import Gateway
from tests.world import Tenants, principal, running

STATUS = """subscription($after: EventCursor, $filter: WorkspaceFilter) {
  workspaceStatus(after: $after, filter: $filter) {
    __typename
    ... on StreamReady { cursor recovered }
    ... on StreamCheckpoint { cursor }
    ... on WorkspaceItem { cursor previousCursor kind entityId matchesFilter workspace { id name status } } } }"""
CREATE = "mutation($input: CreateWorkspaceInput!) { createWorkspace(input: $input) { workspace { id version } } }"
RENAME = """mutation($input: UpdateWorkspaceInput!) { updateWorkspace(input: $input) {
  workspace { version } userErrors { code } } }"""
STATE = "{ eventCursor workspaces(first: 100) { nodes { id name } } }"


class Watcher:
    """One subscriber of workspaceStatus."""

    def __init__(self, items: AsyncIterator[dict[str, Any]]) -> None:
        self._items = items
        self.ready: dict[str, Any] = {}

    async def next(self) -> dict[str, Any]:
        """The next item; fails at the deadline."""
        async with asyncio.timeout(DEADLINE):
            answer = await anext(self._items)
        assert "errors" not in answer, answer
        item: dict[str, Any] = answer["data"]["workspaceStatus"]
        return item

    async def until(self, entity: str, kind: str) -> list[dict[str, Any]]:
        """What comes, up to and with this change of this workspace."""
        found = [await self.next()]
        while (found[-1]["entityId"], found[-1]["kind"]) != (entity, kind):
            found.append(await self.next())
        return found


@asynccontextmanager
async def watching(gateway: Gateway, who: Principal, **variables: Any) -> AsyncIterator[Watcher]:
    """A subscriber whose stream stands."""
    items = await gateway.watch(who, STATUS, **variables)
    watcher = Watcher(items)
    try:
        watcher.ready = await watcher.next()
        assert watcher.ready["__typename"] == "StreamReady"
        yield watcher
    finally:
        await items.aclose()


class Fleet:
    """What an operator does to the tenant's workspaces through the API."""

    def __init__(self, gateway: Gateway, tenant_id: UUID) -> None:
        self.gateway = gateway
        self.who = principal(tenant_id, user_id=uuid7())

    async def create(self, name: str = "place", **said: Any) -> str:
        """A new workspace's id."""
        made = await self.gateway.data(self.who, CREATE, input={"name": name, **said})
        typeid: str = made["createWorkspace"]["workspace"]["id"]
        return typeid

    async def change(self, typeid: str, version: int, **said: Any) -> None:
        """An update."""
        given = {"id": typeid, "expectedVersion": version, **said}
        answer = await self.gateway.data(self.who, RENAME, input=given)
        assert answer["updateWorkspace"]["userErrors"] == []

    async def remove(self, typeid: str) -> None:
        """The end of a workspace."""
        document = "mutation($id: ID!) { removeWorkspace(input: {id: $id}) { removed { id } } }"
        assert (await self.gateway.data(self.who, document, id=typeid))["removeWorkspace"]["removed"]

    async def cursor(self) -> str:
        """Where the log stands."""
        cursor: str = (await self.gateway.data(self.who, "{ eventCursor }"))["eventCursor"]
        return cursor


@pytest.fixture
def fleet(gateway: Gateway, tenants: Tenants) -> Fleet:
    """The tenant's."""
    return Fleet(gateway, tenants.mine)


async def test_a_stream_begins_where_the_log_stands(gateway: Gateway, fleet: Fleet) -> None:
    await fleet.create()
    cursor = await fleet.cursor()
    async with watching(gateway, fleet.who) as watcher:
        assert watcher.ready == {"__typename": "StreamReady", "cursor": cursor, "recovered": True}


async def test_every_change_arrives_once_in_order_each_after_the_one_before(gateway: Gateway, fleet: Fleet) -> None:
    async with watching(gateway, fleet.who) as watcher:
        place = await fleet.create("one")
        for version, name in enumerate(["two", "three", "four"], start=1):
            await fleet.change(place, version, name=name)
        await fleet.remove(place)
        items = await watcher.until(place, "workspace.removed")
    assert [item["kind"] for item in items] == ["workspace.created"] + ["workspace.updated"] * 3 + ["workspace.removed"]
    assert [item["previousCursor"] for item in items] == [watcher.ready["cursor"]] + [
        item["cursor"] for item in items[:-1]
    ]
    assert len({item["cursor"] for item in items}) == len(items)
    assert items[-1]["cursor"] == await fleet.cursor()
    assert {item["entityId"] for item in items} == {place}


async def test_whoever_resumes_gets_exactly_what_came_meanwhile(gateway: Gateway, fleet: Fleet) -> None:
    place = await fleet.create("one")
    async with watching(gateway, fleet.who) as watcher:
        await fleet.change(place, 1, name="two")
        seen = await watcher.until(place, "workspace.updated")
    await fleet.change(place, 2, name="three")
    other = await fleet.create("other")
    async with watching(gateway, fleet.who, after=seen[-1]["cursor"]) as watcher:
        assert watcher.ready == {"__typename": "StreamReady", "cursor": seen[-1]["cursor"], "recovered": True}
        last = await fleet.create("last")
        items = await watcher.until(last, "workspace.created")
    assert [(item["entityId"], item["kind"]) for item in items] == [
        (place, "workspace.updated"),
        (other, "workspace.created"),
        (last, "workspace.created"),
    ]
    assert items[0]["previousCursor"] == seen[-1]["cursor"]
    assert items[0]["workspace"]["name"] == "three"


@pytest.mark.parametrize("kind", ["garbage", "empty", "foreign epoch", "future", "behind the floor"])
async def test_a_cursor_that_cannot_be_resumed_starts_anew_and_says_so(
    gateway: Gateway, fleet: Fleet, tenants: Tenants, database: Database, kind: str
) -> None:
    epoch = await gateway.services.tails.epoch()
    for _ in range(3):
        await fleet.create()
    async with database.session(tenants.mine) as session:
        await session.execute(delete(Event).where(Event.seq <= 2))
        await session.execute(update(StreamFloor).values(low_water=2))
        await session.commit()
    cursors = {
        "garbage": "nonsense",
        "empty": "",
        "foreign epoch": Cursor(b"elsewhre", 3).encode(),
        "future": Cursor(epoch, 4).encode(),
        "behind the floor": Cursor(epoch, 1).encode(),
    }
    async with watching(gateway, fleet.who, after=cursors[kind]) as watcher:
        assert watcher.ready == {"__typename": "StreamReady", "cursor": Cursor(epoch, 3).encode(), "recovered": False}
        place = await fleet.create("next")
        assert (await watcher.next())["entityId"] == place
    async with watching(gateway, fleet.who, after=Cursor(epoch, 2).encode()) as watcher:
        assert watcher.ready["recovered"] is True


async def test_a_change_that_leaves_the_filter_says_so_once_and_one_that_never_matched_says_nothing(
    gateway: Gateway, fleet: Fleet
) -> None:
    async with watching(gateway, fleet.who, filter={"tier": [1], "search": "sales"}) as watcher:
        place = await fleet.create("Sales", tier=1)
        await fleet.create("Sales", tier=2)
        await fleet.create("Support", tier=1)
        await fleet.change(place, 1, role="desk")
        await fleet.change(place, 2, tier=3)
        await fleet.change(place, 3, role="back office")
        await fleet.change(place, 4, tier=1)
        end = await fleet.create("Sales end", tier=1)
        items = await watcher.until(end, "workspace.created")
    assert [(item["entityId"] == place, item["matchesFilter"]) for item in items] == [
        (True, True),
        (True, True),
        (True, False),
        (True, True),
        (False, True),
    ]


async def test_a_removed_workspace_leaves_every_list_but_that_of_the_removed(gateway: Gateway, fleet: Fleet) -> None:
    place = await fleet.create()
    async with (
        watching(gateway, fleet.who) as everyone,
        watching(gateway, fleet.who, filter={"status": ["REMOVED"]}) as undertaker,
    ):
        await fleet.remove(place)
        left, arrived = await everyone.next(), await undertaker.next()
    assert (left["matchesFilter"], arrived["matchesFilter"]) == (False, True)
    assert left["workspace"] == {"id": place, "name": "place", "status": "REMOVED"}


async def test_a_workspace_that_is_gone_is_null_and_still_named(
    gateway: Gateway, fleet: Fleet, tenants: Tenants, database: Database
) -> None:
    cursor = await fleet.cursor()
    place = await fleet.create()
    async with database.session(tenants.mine) as session:
        await session.execute(delete(Workspace))
        await session.commit()
    async with watching(gateway, fleet.who, after=cursor) as watcher:
        item = await watcher.next()
    assert (item["entityId"], item["workspace"], item["kind"]) == (place, None, "workspace.created")


async def test_another_tenant_sees_nothing_whatever_cursor_it_brings(
    gateway: Gateway, fleet: Fleet, tenants: Tenants
) -> None:
    theirs = Fleet(gateway, tenants.other)
    before = await fleet.cursor()
    for _ in range(2):
        await fleet.create("mine")
        await theirs.create("theirs")
    async with watching(gateway, theirs.who, after=before) as watcher:
        await fleet.create("mine")
        last = await theirs.create("last")
        items = await watcher.until(last, "workspace.created")
    assert [item["workspace"]["name"] for item in items] == ["theirs", "theirs", "last"]


@pytest.mark.parametrize(
    ("scopes", "code"),
    [(None, "UNAUTHENTICATED"), (frozenset({Scope.SIGNED_IN, Scope.AGENTS_READ}), "FORBIDDEN")],
    ids=["nobody", "without the scope"],
)
async def test_without_the_scope_there_is_no_stream(
    gateway: Gateway, tenants: Tenants, scopes: frozenset[Scope] | None, code: str
) -> None:
    who = None if scopes is None else Principal(tenant_id=tenants.mine, user_id=uuid7(), scopes=scopes)
    outcome = await gateway.operations.subscribe(OperationRequest(STATUS), who, "test")
    assert isinstance(outcome, Outcome)
    assert [error["extensions"]["code"] for error in outcome.payload["errors"]] == [code]


async def test_an_event_of_another_scope_is_not_for_whoever_lacks_it(
    gateway: Gateway, fleet: Fleet, tenants: Tenants, database: Database
) -> None:
    cursor = await fleet.cursor()
    hidden, shown = await fleet.create("hidden"), await fleet.create("shown")
    async with database.session(tenants.mine) as session:
        # The log is not rewritten by anyone who serves; a test puts a second copy of the event at its end.
        await session.execute(
            text(
                "INSERT INTO events SELECT tenant_id, seq + 2, gen_random_uuid(), topic, 'workspace.hidden', "
                "entity_type, entity_id, 'users:read', owner_user_id, workspace_id, actor_type, actor_id, before, "
                "after, payload, occurred_at FROM events WHERE seq = 1"
            )
        )
        await session.execute(text("UPDATE tenant_streams SET seq = 3"))
        await session.commit()
    end = await fleet.create("end")
    viewer = principal(tenants.mine, Role.VIEWER, user_id=uuid7())
    async with watching(gateway, viewer, after=cursor) as watcher:
        items = await watcher.until(end, "workspace.created")
    assert [item["entityId"] for item in items] == [hidden, shown, end]
    async with watching(gateway, fleet.who, after=cursor) as watcher:
        items = await watcher.until(end, "workspace.created")
    assert [item["kind"] for item in items] == ["workspace.created"] * 2 + ["workspace.hidden", "workspace.created"]


class Silent:
    """A process that dies between COMMIT and PUBLISH, each time."""

    def announce(self, tenant_id: UUID, seq: int) -> None:
        """Nothing is ever rung."""


async def test_wake_ups_that_are_all_lost_delay_a_stream_and_lose_nothing(database: Database, tenants: Tenants) -> None:
    async with running(database) as services:
        gateway = Gateway(replace(services, announcer=Silent()))
        fleet = Fleet(gateway, tenants.mine)
        async with watching(gateway, fleet.who) as watcher:
            made = [await fleet.create(f"place {n}") for n in range(3)]
            items = await watcher.until(made[-1], "workspace.created")
    assert [item["entityId"] for item in items] == made


async def test_whoever_reads_the_state_and_then_follows_misses_no_change(gateway: Gateway, fleet: Fleet) -> None:
    places = [await fleet.create(f"place {n}") for n in range(4)]
    changes, clients = 12, 25

    async def write(place: str) -> None:
        for version in range(1, changes + 1):
            await fleet.change(place, version, name=f"v{version}")

    async def follow(turns: int) -> dict[str, str]:
        for _ in range(turns):
            await asyncio.sleep(0)
        state = await gateway.data(fleet.who, STATE)
        names = {one["id"]: one["name"] for one in state["workspaces"]["nodes"]}
        async with watching(gateway, fleet.who, after=state["eventCursor"]) as watcher:
            assert watcher.ready["recovered"] is True
            while names != dict.fromkeys(places, f"v{changes}"):
                item = await watcher.next()
                names[item["entityId"]] = item["workspace"]["name"]
        return names

    writers = [asyncio.create_task(write(place), name="writer") for place in places]
    followers = [asyncio.create_task(follow(turns * 20), name="client") for turns in range(clients)]
    await asyncio.gather(*writers)
    final = await asyncio.gather(*followers)
    assert final == [dict.fromkeys(places, f"v{changes}")] * clients


async def test_the_log_is_pointed_at_only_for_a_tenant(gateway: Gateway, tenants: Tenants) -> None:
    assert await gateway.data(None, "{ eventCursor }") == {"eventCursor": None}
    mine, theirs = (Fleet(gateway, one) for one in (tenants.mine, tenants.other))
    assert await mine.cursor() == await theirs.cursor()
    await mine.create()
    assert await mine.cursor() != await theirs.cursor()
