"""This module is where every role asks every field, and what it gets is held to the table of roles and scopes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, Final

import pytest
from graphql import GraphQLObjectType, get_named_type, is_leaf_type, is_required_argument
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.transports.operations import OperationRequest, Outcome
from models import Role, Scope
from models.ids import encode, parse, uuid7
from models.scopes import ROLE_SCOPES
from resolvers.principal import Principal
from schema.declare import Nodes
from tests.patience import DEADLINE
from tests.report import record
from tests.schema.conftest import Gateway
from tests.schema.test_activity import envelope, tell
from tests.schema.test_conventions import DECLARED
from tests.tenancy.neighbours import Neighbour, move_in
from tests.tenancy.sweep import SCHEMA, Slot
from tests.world import principal

SHOW: Final = "the role × field matrix, crawled by introspection, equals the table in the code"  # noqa: RUF001

STRICTER: Final = {
    "Query.node": "what an id names demands its own type's scope",
    "Mutation.createApiKey": "nobody hands out scopes that they do not hold",
    "Mutation.updateUser": "another's profile needs users:write",
    "Mutation.updateTenant": "a plan and a status are the platform's",
    "Mutation.publishMessageChunk": "people put no words into an agent's mouth",
}
"""What refuses more than its field's scope does, depending on what is asked."""

Cell = tuple[str, str]
"""Role and field."""


def holds(role: Role, scope: Scope | None) -> bool:
    """What the table says."""
    return scope in {None, Scope.PUBLIC, Scope.SIGNED_IN} or scope in ROLE_SCOPES[role]


def somebody(tenant: Neighbour, role: Role) -> Principal:
    """A person with this role whose own row is none of those that are asked for."""
    return principal(tenant.id, role, user_id=uuid7(), scopes=ROLE_SCOPES[role])


def _short(name: str, kind: Any) -> str:
    return name if is_leaf_type(get_named_type(kind)) else f"{name} {{ __typename }}"


def _plain_fields(kind: GraphQLObjectType) -> Iterator[str]:
    for name, field in kind.fields.items():
        if not any(is_required_argument(one) for one in field.args.values()):
            yield name


def _refused_at(answer: dict[str, Any]) -> set[tuple[Any, ...]]:
    found = answer.get("errors", ())
    assert {one["extensions"]["code"] for one in found} <= {"FORBIDDEN"}, found
    return {tuple(one["path"]) for one in found}


@pytest.fixture(scope="module")
async def acme(gateway: Gateway, owner: AsyncEngine) -> Neighbour:
    """A tenant with one row of everything."""
    return await move_in(gateway, owner)


async def test_through_node_every_role_sees_of_every_type_the_fields_that_the_table_gives_it(
    gateway: Gateway, acme: Neighbour
) -> None:
    said: dict[Cell, bool] = {}
    seen: dict[Cell, bool] = {}
    for role in Role:
        for prefix, kind in Nodes.by_prefix.items():
            graphql_type = SCHEMA.type_map[kind.name]
            assert isinstance(graphql_type, GraphQLObjectType)
            names = list(_plain_fields(graphql_type))
            fields = " ".join(_short(name, graphql_type.fields[name].type) for name in names)
            document = f"query($id: ID!) {{ node(id: $id) {{ ... on {kind.name} {{ {fields} }} }} }}"
            answer = await gateway.answer(somebody(acme, role), document, id=acme.ids[prefix])
            refused, found = _refused_at(answer), (answer["data"] or {}).get("node")
            for name in names:
                where = f"{kind.name}.{name}"
                spec = DECLARED[where][1].spec
                said[role, where] = holds(role, kind.scope) and holds(role, spec.scope)
                at = ("node", name)
                hidden = spec.target is not None and spec.target.own is not None and not (found or {}).get(name)
                seen[role, where] = found is not None and at not in refused and not (hidden and not said[role, where])
    assert seen == said
    assert len(seen) > 500
    record(4, SHOW, n=len(seen), figure=f"{len(Role)} roles through node, on {len(Nodes.by_prefix)} types: equal")


def _root_cases(operation: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each root field with its document and the least that it demands; ids name nothing."""
    kind = {"query": SCHEMA.query_type, "mutation": SCHEMA.mutation_type, "subscription": SCHEMA.subscription_type}
    root = kind[operation]
    assert root is not None
    for name, field in root.fields.items():
        slot = Slot(operation, name, ("",), "")
        declared = ", ".join(f"${one}: {a.type}" for one, a in field.args.items() if is_required_argument(a))
        passed = ", ".join(f"{one}: ${one}" for one, a in field.args.items() if is_required_argument(a))
        document = (
            f"{operation}{f'({declared})' if declared else ''} "
            f"{{ {_short(name + (f'({passed})' if passed else ''), field.type)} }}"
        )
        yield name, document, slot.variables("", _Unknown())


class _Unknown(dict[str, str]):
    """Of every type an id that was never given."""

    def __missing__(self, prefix: str) -> str:
        return encode(prefix, uuid7())


@pytest.mark.parametrize("operation", ["query", "mutation"])
async def test_every_role_reaches_the_root_fields_that_the_table_gives_it(
    gateway: Gateway, acme: Neighbour, operation: str
) -> None:
    said: dict[Cell, bool] = {}
    seen: dict[Cell, bool] = {}
    for role in Role:
        for name, document, variables in _root_cases(operation):
            answer = await gateway.answer(somebody(acme, role), document, **variables)
            where = f"{operation.title()}.{name}"
            spec = DECLARED[where][1].spec
            codes = {one["extensions"]["code"] for one in answer.get("errors", ()) if one.get("path") == [name]}
            said[role, where] = holds(role, spec.scope)
            seen[role, where] = "FORBIDDEN" not in codes
            if where in STRICTER and said[role, where]:
                seen[role, where] = True
            if spec.target is not None and spec.target.own is not None and not said[role, where]:
                # Own rows are everybody's: what is refused here is everything else.
                page = (answer["data"] or {}).get(name)
                seen[role, where] = not ("FORBIDDEN" in codes or page in (None, []) or set(page) == {"__typename"})
    assert seen == said
    record(4, SHOW, n=len(seen), figure=f"{len(Role)} roles on every root field of {operation}: equal")


async def test_every_role_opens_the_streams_that_the_table_gives_it(gateway: Gateway, acme: Neighbour) -> None:
    said: dict[Cell, bool] = {}
    seen: dict[Cell, bool] = {}
    for role in Role:
        for name, document, variables in _root_cases("subscription"):
            found = await gateway.operations.subscribe(
                OperationRequest(document, variables=variables), somebody(acme, role), "test"
            )
            said[role, name] = holds(role, DECLARED[f"Subscription.{name}"][1].spec.scope)
            seen[role, name] = not isinstance(found, Outcome)
            if isinstance(found, Outcome):
                assert {one["extensions"]["code"] for one in found.payload["errors"]} == {"FORBIDDEN"}
    assert seen == said
    record(4, SHOW, n=len(seen), figure=f"{len(Role)} roles on every subscription: equal")


EVENT: Final = "entityId entity { __typename } actor { __typename }"


async def _told(gateway: Gateway, acme: Neighbour) -> None:
    """An event about each type, by somebody of each kind that can act."""
    actors = [(one, parse(acme.ids[one], one)) for one in ("user", "key", "workspace")]
    for number, prefix in enumerate(sorted(Nodes.by_prefix)):
        about = envelope(
            f"{prefix}.touched",
            entity_type=prefix,
            entity_id=parse(acme.ids[prefix], prefix),
            required_scope=Scope.ACTIVITY_READ,
        )
        await tell(gateway, acme.id, about, actor=actors[number % len(actors)])


def _visible(events: list[dict[str, Any]], acme: Neighbour) -> dict[str, bool]:
    by_id = {one["entityId"]: one["entity"] is not None for one in events}
    return {prefix: by_id[acme.ids[prefix]] for prefix in Nodes.by_prefix}


def _expected(role: Role) -> dict[str, bool]:
    return {prefix: holds(role, kind.scope) for prefix, kind in Nodes.by_prefix.items()}


async def test_through_entity_and_the_union_of_actors_the_table_holds_in_lists_and_streams(
    gateway: Gateway, owner: AsyncEngine
) -> None:
    acme = await move_in(gateway, owner)
    streams = {}
    document = f"subscription {{ activityFeed {{ __typename ... on ActivityItem {{ event {{ {EVENT} }} }} }} }}"
    readers = [role for role in Role if holds(role, Scope.ACTIVITY_READ)]
    for role in readers:
        streams[role] = await gateway.watch(somebody(acme, role), document)
        ready = await asyncio.wait_for(anext(streams[role]), DEADLINE)
        assert ready["data"]["activityFeed"]["__typename"] == "StreamReady"
    await _told(gateway, acme)
    for role in readers:
        streamed: list[dict[str, Any]] = []
        while len(streamed) < len(Nodes.by_prefix):
            item = (await asyncio.wait_for(anext(streams[role]), DEADLINE))["data"]["activityFeed"]
            if item["__typename"] == "ActivityItem":
                streamed.append(item["event"])
        await streams[role].aclose()
        listed = await gateway.data(
            somebody(acme, role), f"{{ activity(first: {len(Nodes.by_prefix)}) {{ nodes {{ {EVENT} }} }} }}"
        )
        for events in (streamed, listed["activity"]["nodes"]):
            assert _visible(events, acme) == _expected(role), role
            for one in events:
                known = {"User": Scope.SIGNED_IN, "ApiKey": Scope.KEYS_READ, "Workspace": Scope.WORKSPACES_READ}
                if one["actor"] is not None:
                    assert holds(role, known[one["actor"]["__typename"]])
            shown = {one["actor"]["__typename"] for one in events if one["actor"]}
            assert shown == {name for name, scope in known.items() if holds(role, scope)}
    cells = 2 * len(readers) * (len(Nodes.by_prefix) + 3)
    record(4, SHOW, n=cells, figure=f"{len(readers)} roles through entity and actor, listed and streamed: equal")


def test_the_list_of_what_is_stricter_names_fields_that_there_are() -> None:
    assert set(STRICTER) <= set(DECLARED)
