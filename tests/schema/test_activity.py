"""This module is where the list of the log is specified: who sees which events, and how it is paged."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import delete

from models import ApiKey, Event, EventTopic, Role, Scope, User, UserStatus, Workspace
from models.database import Database
from models.ids import encode, uuid7
from resolvers.principal import Principal
from resolvers.unit_of_work import unit_of_work
from subscriptions.log import Envelope
from tests.conftest import counted
from tests.schema.conftest import Gateway
from tests.world import Fleet, Tenants, principal

LIST = """query($first: Int, $after: String, $last: Int, $before: String, $filter: ActivityFilter) {
  activity(first: $first, after: $after, last: $last, before: $before, filter: $filter) {
    nodes { id kind topic entityId } edges { cursor node { id } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }"""
WHOLE = """query { activity(first: 100) { nodes { id cursor kind topic payload occurredAt entityId
  entity { __typename id ... on Workspace { name } }
  actor { __typename ... on User { id displayName } ... on ApiKey { id } ... on Workspace { id name } } } } }"""


def envelope(kind: str = "workspace.updated", **given: Any) -> Envelope:
    """An event that needs no row."""
    said: dict[str, Any] = {
        "topic": EventTopic.REGISTRY,
        "entity_type": "workspace",
        "entity_id": uuid7(),
        "required_scope": Scope.WORKSPACES_READ,
        "before": None,
        "after": None,
    }
    return Envelope(kind=kind, **(said | given))


async def tell(gateway: Gateway, tenant: UUID, *envelopes: Envelope, actor: tuple[str, UUID] | None = None) -> None:
    """Commit events; a thousand at a time."""
    services = gateway.services
    async with unit_of_work(services.database, services.announcer, services.clock, tenant, actor) as work:
        for one in envelopes:
            work.record(one)


async def kinds(gateway: Gateway, who: Principal, **filter: Any) -> list[str]:
    """The kinds of the first hundred events, newest first."""
    page = (await gateway.data(who, LIST, first=100, filter=filter))["activity"]
    return [one["kind"] for one in page["nodes"]]


def viewer(tenant: UUID, **given: Any) -> Principal:
    """Somebody who looks, and is a person unless told otherwise."""
    return principal(tenant, Role.VIEWER, **({"user_id": uuid7()} | given))


async def test_the_newest_event_comes_first_and_the_other_tenants_events_never(
    gateway: Gateway, tenants: Tenants
) -> None:
    await tell(gateway, tenants.mine, envelope("one.made"), envelope("two.made"))
    await tell(gateway, tenants.other, envelope("theirs.made"))
    assert await kinds(gateway, viewer(tenants.mine)) == ["two.made", "one.made"]


async def test_an_event_shows_to_whoever_holds_its_scope_or_is_its_owner(gateway: Gateway, tenants: Tenants) -> None:
    me = uuid7()
    about_people: dict[str, Any] = {"required_scope": Scope.USERS_READ, "topic": EventTopic.SECURITY}
    await tell(
        gateway,
        tenants.mine,
        envelope("mine.made", owner_user_id=me, **about_people),
        envelope("hers.made", owner_user_id=uuid7(), **about_people),
        envelope("nobodys.made", **about_people),
    )
    assert await kinds(gateway, viewer(tenants.mine, user_id=me)) == ["mine.made"]
    assert await kinds(gateway, viewer(tenants.mine)) == []
    assert await kinds(gateway, principal(tenants.mine, user_id=uuid7())) == ["nobodys.made", "hers.made", "mine.made"]
    machine = viewer(tenants.mine, user_id=None, api_key_id=uuid7(), scopes=frozenset({Scope.ACTIVITY_READ}))
    assert await kinds(gateway, machine) == []


async def test_a_guest_from_the_platform_owns_nothing_here(gateway: Gateway, tenants: Tenants) -> None:
    me = uuid7()
    await tell(gateway, tenants.mine, envelope("mine.made", owner_user_id=me, required_scope=Scope.USERS_READ))
    guest = viewer(tenants.mine, user_id=me, is_platform_admin=True)
    assert await kinds(gateway, guest) == []


async def test_without_the_scope_nothing_is_listed(gateway: Gateway, tenants: Tenants) -> None:
    who = principal(tenants.mine, Role.API_CLIENT, api_key_id=uuid7())
    answer = await gateway.answer(who, "{ activity { nodes { id } } }")
    assert answer["data"] == {"activity": None}
    assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"


async def test_an_id_of_an_event_finds_it_for_those_who_may_see_it(gateway: Gateway, tenants: Tenants) -> None:
    await tell(gateway, tenants.mine, envelope("secret.made", required_scope=Scope.USERS_READ))
    admin = principal(tenants.mine, user_id=uuid7())
    (found,) = (await gateway.data(admin, WHOLE))["activity"]["nodes"]
    by_id = "query($id: ID!) { node(id: $id) { ... on ActivityEvent { kind cursor } } }"
    assert await gateway.data(admin, by_id, id=found["id"]) == {
        "node": {"kind": "secret.made", "cursor": found["cursor"]}
    }
    for stranger in (viewer(tenants.mine), principal(tenants.other, user_id=uuid7())):
        assert await gateway.data(stranger, by_id, id=found["id"]) == {"node": None}


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"topics": ["SECURITY"]}, ["key.made"]),
        ({"topics": ["SECURITY", "REGISTRY"]}, ["key.made", "place.left", "place.made"]),
        ({"kinds": ["place.made", "place.left"]}, ["place.left", "place.made"]),
        ({"topics": ["REGISTRY"], "kinds": ["place.left", "key.made"]}, ["place.left"]),
        ({"topics": []}, []),
        ({"kinds": []}, []),
        ({"kinds": ["place"]}, []),
        ({"kinds": ["place.made\x00"]}, []),
        ({"entityId": "nonsense"}, []),
        ({"actorId": ""}, []),
        ({"entityId": None, "topics": None}, ["key.made", "place.left", "place.made"]),
    ],
)
async def test_lists_mean_any_of_and_fields_combine_with_and(
    gateway: Gateway, tenants: Tenants, wanted: dict[str, Any], found: list[str]
) -> None:
    await tell(gateway, tenants.mine, envelope("place.made"), envelope("place.left"))
    await tell(gateway, tenants.mine, envelope("key.made", topic=EventTopic.SECURITY))
    assert await kinds(gateway, viewer(tenants.mine), **wanted) == found


async def test_events_are_found_by_what_changed_and_by_who_changed_it(gateway: Gateway, tenants: Tenants) -> None:
    place, actor = uuid7(), uuid7()
    await tell(gateway, tenants.mine, envelope("place.made", entity_id=place), actor=("user", actor))
    await tell(gateway, tenants.mine, envelope("other.made"), actor=("key", actor))
    await tell(gateway, tenants.mine, envelope("place.left", entity_id=place))
    who = viewer(tenants.mine)
    assert await kinds(gateway, who, entityId=encode("workspace", place)) == ["place.left", "place.made"]
    assert await kinds(gateway, who, entityId=encode("agent", place)) == []
    assert await kinds(gateway, who, actorId=encode("user", actor)) == ["place.made"]
    assert await kinds(gateway, who, actorId=encode("key", actor)) == ["other.made"]


async def test_more_values_than_a_filter_holds_are_refused(gateway: Gateway, tenants: Tenants) -> None:
    answer = await gateway.answer(viewer(tenants.mine), LIST, filter={"kinds": ["a.b"] * 101})
    assert answer["errors"][0]["extensions"]["code"] == "LIMIT_EXCEEDED"


async def test_pages_follow_each_other_in_either_direction_while_events_arrive(
    gateway: Gateway, tenants: Tenants
) -> None:
    await tell(gateway, tenants.mine, *(envelope(f"thing.n{number}") for number in range(25)))
    who, seen, after = viewer(tenants.mine), [], None
    while True:
        page = (await gateway.data(who, LIST, first=10, after=after))["activity"]
        assert [edge["node"]["id"] for edge in page["edges"]] == [one["id"] for one in page["nodes"]]
        assert page["pageInfo"]["hasPreviousPage"] is (after is not None)
        seen += [one["kind"] for one in page["nodes"]]
        after = page["pageInfo"]["endCursor"]
        await tell(gateway, tenants.mine, envelope("late.made"))
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert seen == [f"thing.n{number}" for number in reversed(range(25))]
    back = (await gateway.data(who, LIST, last=10, before=page["pageInfo"]["startCursor"]))["activity"]
    assert [one["kind"] for one in back["nodes"]] == [f"thing.n{number}" for number in reversed(range(5, 15))]
    assert back["pageInfo"]["hasPreviousPage"] is True
    oldest = (await gateway.data(who, LIST, last=3))["activity"]
    assert [one["kind"] for one in oldest["nodes"]] == ["thing.n2", "thing.n1", "thing.n0"]
    newer = (await gateway.data(who, LIST, first=2, before=oldest["pageInfo"]["startCursor"]))["activity"]
    assert [one["kind"] for one in newer["nodes"]] == ["late.made", "late.made"]


@pytest.mark.parametrize(
    "window",
    [
        {"after": "nonsense"},
        {"after": "W10"},
        {"before": "WyJzZXEiLDBd"},
        {"after": "WyJzZXEiLCIxIl0"},
        {"after": "WyJzZXEiLDkyMjMzNzIwMzY4NTQ3NzU4MDdd"},
        {"after": "x" * 5000},
        {"first": -1},
        {"first": 1, "last": 1},
    ],
)
async def test_a_bad_page_is_refused(gateway: Gateway, tenants: Tenants, window: dict[str, Any]) -> None:
    answer = await gateway.answer(viewer(tenants.mine), LIST, **window)
    assert answer["data"] == {"activity": None}
    assert answer["errors"][0]["extensions"]["code"] == "BAD_REQUEST"


async def test_a_page_that_is_too_long_is_refused_before_anything_is_read(gateway: Gateway, tenants: Tenants) -> None:
    answer = await gateway.answer(viewer(tenants.mine), LIST, first=101)
    assert answer["errors"][0]["extensions"]["limit"] == "pageSize"
    assert "data" not in answer


async def test_a_stream_cursor_is_no_list_cursor(gateway: Gateway, tenants: Tenants) -> None:
    who = viewer(tenants.mine)
    cursor = (await gateway.data(who, "{ eventCursor }"))["eventCursor"]
    answer = await gateway.answer(who, LIST, after=cursor)
    assert answer["errors"][0]["extensions"]["code"] == "BAD_REQUEST"


async def test_a_rare_event_is_found_by_paging_on_however_far_back_it_lies(gateway: Gateway, tenants: Tenants) -> None:
    await tell(gateway, tenants.mine, envelope("rare.made"))
    common = [envelope("common.made") for _ in range(5_250)]
    for _ in range(4):
        await tell(gateway, tenants.mine, *common)
    who = viewer(tenants.mine)
    page = (await gateway.data(who, LIST, first=5, filter={"kinds": ["rare.made"]}))["activity"]
    assert page["nodes"] == []
    assert page["pageInfo"]["hasNextPage"] is True
    rest = (
        await gateway.data(who, LIST, first=5, filter={"kinds": ["rare.made"]}, after=page["pageInfo"]["endCursor"])
    )["activity"]
    assert [one["kind"] for one in rest["nodes"]] == ["rare.made"]
    assert rest["pageInfo"]["hasNextPage"] is False
    back = (await gateway.data(who, LIST, last=1, filter={"kinds": ["never.made"]}))["activity"]
    assert back["pageInfo"]["hasPreviousPage"] is True
    more = (
        await gateway.data(who, LIST, last=1, filter={"kinds": ["never.made"]}, before=back["pageInfo"]["startCursor"])
    )["activity"]
    assert more["pageInfo"]["hasPreviousPage"] is False


@pytest.mark.parametrize("count", [1, 30])
async def test_entities_and_actors_cost_one_statement_for_each_of_their_types(
    gateway: Gateway, tenants: Tenants, database: Database, count: int
) -> None:
    fleet = Fleet(database, tenants.mine)
    await fleet.grow(count)
    async with database.session(tenants.mine) as session:
        user = User(
            tenant_id=tenants.mine, id=uuid7(), display_name="Ada", status=UserStatus.ACTIVE, roles=[Role.ADMIN.value]
        )
        session.add(user)
        await session.commit()
    made = [envelope("workspace.made", entity_id=one) for one in fleet.workspaces]
    about = [envelope("user.made", entity_type="user", entity_id=user.id) for _ in range(count)]
    await tell(gateway, tenants.mine, *made, *about, actor=("user", user.id))
    with counted(database) as statements:
        nodes = (await gateway.data(principal(tenants.mine, user_id=user.id), WHOLE))["activity"]["nodes"]
    assert len(nodes) == 2 * count
    assert {one["actor"]["displayName"] for one in nodes} == {"Ada"}
    assert nodes[-1]["entity"] == {
        "__typename": "Workspace",
        "id": encode("workspace", fleet.workspaces[0]),
        "name": "place 000",
    }
    # The page, the workspaces, the users as entities and the users as actors.
    assert len(statements) == 4


async def test_what_is_gone_or_not_for_the_caller_is_null(
    gateway: Gateway, tenants: Tenants, database: Database
) -> None:
    async with database.session(tenants.mine) as session:
        key = ApiKey(
            tenant_id=tenants.mine, id=uuid7(), name="k", prefix="sbx", secret_hash=uuid7().bytes * 2, scopes=[]
        )
        place = Workspace(tenant_id=tenants.mine, id=uuid7(), name="Here")
        session.add_all([key, place])
        await session.commit()
    about_key = envelope("key.made", entity_type="key", entity_id=key.id)
    await tell(gateway, tenants.mine, about_key, actor=("key", key.id))
    await tell(gateway, tenants.mine, envelope("place.gone"), actor=("workspace", place.id))
    await tell(gateway, tenants.mine, envelope("session.ended", entity_type="session"))

    async def seen_by(who: Principal) -> list[tuple[str | None, str | None]]:
        nodes = (await gateway.data(who, WHOLE))["activity"]["nodes"]
        return [tuple(one[part] and one[part]["__typename"] for part in ("entity", "actor")) for one in nodes]

    admin = principal(tenants.mine, user_id=uuid7())
    assert await seen_by(admin) == [(None, None), (None, "Workspace"), ("ApiKey", "ApiKey")]
    assert await seen_by(viewer(tenants.mine)) == [(None, None), (None, "Workspace"), (None, None)]
    itself = viewer(tenants.mine, user_id=None, api_key_id=key.id)
    assert await seen_by(itself) == [(None, None), (None, "Workspace"), ("ApiKey", "ApiKey")]


async def test_a_person_who_is_gone_is_still_named_as_the_actor(
    gateway: Gateway, tenants: Tenants, database: Database
) -> None:
    async with database.session(tenants.mine) as session:
        gone = User(
            tenant_id=tenants.mine,
            id=uuid7(),
            display_name="Eve",
            status=UserStatus.DELETED,
            roles=[],
            deleted_at=gateway.services.clock(),
        )
        session.add(gone)
        await session.commit()
    about = envelope("user.deleted", entity_type="user", entity_id=gone.id)
    await tell(gateway, tenants.mine, about, actor=("user", gone.id))
    (node,) = (await gateway.data(viewer(tenants.mine), WHOLE))["activity"]["nodes"]
    assert node["entity"] is None
    assert node["actor"] == {"__typename": "User", "id": encode("user", gone.id), "displayName": "Eve"}


async def test_what_retention_took_is_neither_listed_nor_looked_for(
    gateway: Gateway, tenants: Tenants, database: Database
) -> None:
    await tell(gateway, tenants.mine, *(envelope(f"thing.n{number}") for number in range(5)))
    async with database.session(tenants.mine) as session:
        await session.execute(delete(Event).where(Event.tenant_id == tenants.mine, Event.seq <= 3))
        await session.commit()
    assert await kinds(gateway, viewer(tenants.mine)) == ["thing.n4", "thing.n3"]
