"""This module is where the live log is specified: the same events as the list, once, in order, each to its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest

from models import EventTopic, Role, Scope
from models.database import Database
from models.ids import encode, uuid7
from resolvers.principal import Principal
from tests.conftest import counted
from tests.schema.conftest import Gateway
from tests.schema.test_activity import envelope, tell, viewer
from tests.world import Fleet, Tenants, principal

FEED = """subscription($after: EventCursor, $filter: ActivityFilter) { activityFeed(after: $after, filter: $filter) {
  __typename
  ... on StreamReady { cursor recovered }
  ... on StreamCheckpoint { cursor }
  ... on ActivityItem { cursor previousCursor event { id cursor kind entity { id } actor { __typename } } } } }"""
LIST = "query($filter: ActivityFilter) { activity(first: 100, filter: $filter) { nodes { id } } }"
CURSOR = "{ eventCursor }"


class Feed:
    """One subscriber."""

    def __init__(self, items: AsyncIterator[dict[str, Any]]) -> None:
        self._items = items

    async def next(self) -> dict[str, Any]:
        """The next item."""
        answer = await anext(self._items)
        assert "errors" not in answer, answer
        item: dict[str, Any] = answer["data"]["activityFeed"]
        return item

    async def kinds(self, until: str) -> list[str]:
        """The kinds of what comes, up to the event of the kind ``until``, which is left out."""
        found: list[str] = []
        while (kind := (await self.next())["event"]["kind"]) != until:
            found.append(kind)
        return found


@asynccontextmanager
async def feed(gateway: Gateway, who: Principal, **variables: Any) -> AsyncIterator[Feed]:
    """A subscriber whose stream stands."""
    items = await gateway.watch(who, FEED, **variables)
    subscriber = Feed(items)
    try:
        ready = await subscriber.next()
        assert ready["__typename"] == "StreamReady"
        assert ready["recovered"] is True
        yield subscriber
    finally:
        await items.aclose()


async def place_of(gateway: Gateway, tenant: UUID) -> str:
    """Where the tenant's log stands."""
    cursor: str = (await gateway.data(viewer(tenant), CURSOR))["eventCursor"]
    return cursor


async def test_every_event_arrives_once_in_order_with_its_place_and_whatever_it_is_about(
    gateway: Gateway, tenants: Tenants, database: Database
) -> None:
    fleet = Fleet(database, tenants.mine)
    await fleet.grow(1)
    place = fleet.workspaces[0]
    async with feed(gateway, viewer(tenants.mine)) as subscriber:
        await tell(gateway, tenants.other, envelope("theirs.made"))
        about_it = envelope("workspace.made", entity_id=place)
        about_nothing = envelope("session.started", entity_type="session", topic=EventTopic.SECURITY)
        await tell(gateway, tenants.mine, about_it, about_nothing, actor=("workspace", place))
        first, second = await subscriber.next(), await subscriber.next()
    assert first["event"]["entity"] == {"id": encode("workspace", place)}
    assert first["event"]["actor"] == {"__typename": "Workspace"}
    assert (second["event"]["kind"], second["event"]["entity"]) == ("session.started", None)
    assert first["event"]["cursor"] == first["cursor"] == second["previousCursor"]


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"topics": ["SECURITY"]},
        {"kinds": ["a.made", "c.made"]},
        {"topics": ["REGISTRY"], "kinds": ["a.made"]},
        {"kinds": []},
        {"entityId": encode("workspace", UUID(int=7))},
        {"entityId": encode("agent", UUID(int=7))},
        {"actorId": encode("user", UUID(int=8))},
        {"actorId": encode("workspace", UUID(int=8))},
        {"entityId": "nonsense"},
    ],
)
@pytest.mark.parametrize("role", [Role.VIEWER, Role.ADMIN])
async def test_the_stream_sends_what_the_list_lists(
    gateway: Gateway, tenants: Tenants, wanted: dict[str, Any], role: Role
) -> None:
    me = uuid7()
    who = principal(tenants.mine, role, user_id=me)
    start = await place_of(gateway, tenants.mine)
    secret: dict[str, Any] = {"topic": EventTopic.SECURITY, "required_scope": Scope.USERS_READ}
    await tell(gateway, tenants.mine, envelope("a.made"), envelope("b.made", **secret))
    await tell(gateway, tenants.mine, envelope("c.made", owner_user_id=me, **secret), actor=("user", UUID(int=8)))
    await tell(
        gateway, tenants.mine, envelope("d.made", entity_id=UUID(int=7)), envelope("e.made", entity_type="agent")
    )
    listed = (await gateway.data(who, LIST, filter=wanted))["activity"]["nodes"]
    async with feed(gateway, who, after=start, filter=wanted) as subscriber:
        sent = [(await subscriber.next())["event"]["id"] for _ in listed]
    assert sent == [one["id"] for one in reversed(listed)]


async def test_each_is_sent_what_is_about_them_though_they_ask_the_same(gateway: Gateway, tenants: Tenants) -> None:
    ada, eve = viewer(tenants.mine), viewer(tenants.mine)
    async with feed(gateway, ada) as hers, feed(gateway, eve) as other:
        about = envelope("password.changed", owner_user_id=ada.user_id, required_scope=Scope.USERS_READ)
        await tell(gateway, tenants.mine, about, envelope("end.made"))
        assert await hers.kinds("end.made") == ["password.changed"]
        assert await other.kinds("end.made") == []


async def test_an_own_row_shows_to_its_owner_and_stays_hidden_from_the_others_of_equal_rights(
    gateway: Gateway, tenants: Tenants, database: Database
) -> None:
    fleet = Fleet(database, tenants.mine)
    await fleet.grow(2)
    watching = frozenset({Scope.ACTIVITY_READ})
    machines = [
        principal(tenants.mine, Role.API_CLIENT, api_key_id=uuid7(), workspace_id=one, scopes=watching)
        for one in fleet.workspaces
    ]
    async with feed(gateway, machines[0]) as first, feed(gateway, machines[1]) as second:
        about = envelope("w.made", entity_id=fleet.workspaces[0], required_scope=Scope.ACTIVITY_READ)
        await tell(gateway, tenants.mine, about)
        seen = [(await one.next())["event"]["entity"] for one in (first, second)]
    assert seen == [{"id": encode("workspace", fleet.workspaces[0])}, None]


async def test_those_of_equal_rights_are_answered_by_one_execution_where_nothing_is_their_own(
    gateway: Gateway, tenants: Tenants
) -> None:
    fanout = gateway.services.fanout
    before = fanout.groups
    admins = [principal(tenants.mine, user_id=uuid7()) for _ in range(3)]
    async with feed(gateway, admins[0]), feed(gateway, admins[1]), feed(gateway, admins[2]):
        assert fanout.groups == before + 1
        async with feed(gateway, viewer(tenants.mine)), feed(gateway, viewer(tenants.mine)):
            assert fanout.groups == before + 3


async def test_a_batch_of_events_costs_one_statement_for_each_type_that_its_entities_and_actors_have(
    gateway: Gateway, tenants: Tenants, database: Database
) -> None:
    fleet = Fleet(database, tenants.mine)
    await fleet.grow(100)
    made = [envelope("w.made", entity_id=one) for one in fleet.workspaces]
    async with feed(gateway, principal(tenants.mine, user_id=uuid7())) as subscriber:
        with counted(database) as statements:
            await tell(gateway, tenants.mine, *made, envelope("end.made"), actor=("workspace", fleet.workspaces[0]))
            assert await subscriber.kinds("end.made") == ["w.made"] * 100
    reads = [one for one in statements if one.startswith("SELECT workspaces")]
    assert len(reads) == 1


async def test_without_the_scope_there_is_no_stream(gateway: Gateway, tenants: Tenants) -> None:
    who = principal(tenants.mine, Role.API_CLIENT, api_key_id=uuid7())
    with pytest.raises(AssertionError, match="FORBIDDEN"):
        await gateway.watch(who, FEED)


async def test_a_cursor_of_the_list_is_refused_as_a_place_in_the_stream(gateway: Gateway, tenants: Tenants) -> None:
    await tell(gateway, tenants.mine, envelope())
    who = viewer(tenants.mine)
    page = await gateway.data(who, "{ activity { edges { cursor } } }")
    items = await gateway.watch(who, FEED, after=page["activity"]["edges"][0]["cursor"])
    ready = (await anext(items))["data"]["activityFeed"]
    await items.aclose()
    assert ready["recovered"] is False
