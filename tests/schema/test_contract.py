"""This module is where the schema is held to the contract: all of it, but for what later domains will bring.

The list of what is still to come is exact. A domain that arrives takes its names off the list, or the test fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    build_schema,
    is_required_argument,
    is_required_input_field,
    print_ast,
)

from gateway.cli.schema import FILE
from schema.build import build
from tests.report import record

CONTRACT: Final = Path(__file__).with_name("contract.graphql")


def breaches(contract: GraphQLSchema, schema: GraphQLSchema) -> Iterator[str]:
    """What the contract promises and the schema does not keep."""
    for name, promised in contract.type_map.items():
        if name.startswith("__"):
            continue
        kept = schema.type_map.get(name)
        if type(kept) is not type(promised):
            yield f"{name} is missing or of another kind"
        elif isinstance(promised, GraphQLEnumType) and isinstance(kept, GraphQLEnumType):
            yield from (f"{name}.{value} is missing" for value in promised.values if value not in kept.values)
        elif isinstance(promised, GraphQLUnionType) and isinstance(kept, GraphQLUnionType):
            missing = {one.name for one in promised.types} - {one.name for one in kept.types}
            yield from (f"{name} lacks {one}" for one in missing)
        else:
            yield from _broken_fields(name, promised, kept)


def _broken_fields(name: str, promised: Any, kept: Any) -> Iterator[str]:
    if isinstance(promised, GraphQLObjectType | GraphQLInterfaceType):
        missing = {one.name for one in promised.interfaces} - {one.name for one in kept.interfaces}
        yield from (f"{name} does not implement {one}" for one in missing)
    for field, one in getattr(promised, "fields", {}).items():
        where = f"{name}.{field}"
        other = kept.fields.get(field)
        if other is None:
            yield f"{where} is missing"
            continue
        yield from _broken_types(where, one, other)
        for argument, asked in getattr(one, "args", {}).items():
            if argument not in other.args:
                yield f"{where}({argument}) is missing"
            else:
                yield from _broken_types(f"{where}({argument})", asked, other.args[argument])
        more = set(getattr(other, "args", {})) - set(getattr(one, "args", {}))
        yield from (f"{where}({extra}) is demanded" for extra in more if is_required_argument(other.args[extra]))
    if isinstance(promised, GraphQLInputObjectType):
        more = set(kept.fields) - set(promised.fields)
        yield from (f"{name}.{extra} is demanded" for extra in more if is_required_input_field(kept.fields[extra]))


def _broken_types(where: str, promised: Any, kept: Any) -> Iterator[str]:
    if str(promised.type) != str(kept.type):
        yield f"{where} is {kept.type}, not {promised.type}"
    if _default(promised) != _default(kept):
        yield f"{where} is {_default(kept)} when absent, not {_default(promised)}"


def _default(one: Any) -> str | None:
    default = getattr(one.ast_node, "default_value", None)
    return print_ast(default) if default is not None else None


def _named(schema: GraphQLSchema) -> set[str]:
    types: list[GraphQLNamedType] = list(schema.type_map.values())
    return {one.name for one in types} | {
        f"{one.name}.{field}" for one in types for field in getattr(one, "fields", {})
    }


@pytest.fixture(scope="module")
def exported() -> GraphQLSchema:
    """What clients are given."""
    return build_schema(build().as_str())


@pytest.fixture(scope="module")
def contract() -> GraphQLSchema:
    """What was promised."""
    return build_schema(CONTRACT.read_text())


def test_the_schema_keeps_all_that_the_contract_promises(contract: GraphQLSchema, exported: GraphQLSchema) -> None:
    assert list(breaches(contract, exported)) == []
    kept = _named(contract) & _named(exported)
    record(2, "the contract's names that belong to today's domains", len(kept), "0 breaches")


def test_the_committed_schema_is_the_one_that_is_built() -> None:
    assert FILE.read_text() == build().as_str().rstrip() + "\n", "run 'signalbox export-schema'"


@pytest.mark.parametrize(
    ("written", "instead", "breach"),
    [
        (
            "name: String! slug: String! contactEmail: String plan: TenantPlan! status",
            "name: String! contactEmail: String plan: TenantPlan! status",
            "Tenant.slug is missing",
        ),
        ("enum Role { ADMIN", "enum Role { BOSS", "Role.ADMIN is missing"),
        ("children: [Workspace!]!", "children: [Workspace!]", "Workspace.children is [Workspace!], not [Workspace!]!"),
        ("type Tenant implements Node {", "type Tenant {", "Tenant does not implement Node"),
        ("nodes(ids: [ID!]!)", "nodes(ids: [ID]!)", "Query.nodes(ids) is [ID]!, not [ID!]!"),
        ("Int! = 1000", "Int! = 1", "Subscription.heartbeats(minIntervalMilliseconds) is 1 when absent, not 1000"),
        ("input LogoutInput {", "input LogoutInput { why: String!", "LogoutInput.why is demanded"),
        ("workspace(id: ID!)", "workspace(id: ID!, of: ID!)", "Query.workspace(of) is demanded"),
        ("eventCursor: EventCursor", "eventCursor(of: ID): EventCursor", None),
        ("union Actor = User | ApiKey |", "union Actor = User |", "Actor lacks ApiKey"),
        ("scalar EventCursor", "enum EventCursor { HERE }", "EventCursor is missing or of another kind"),
    ],
)
def test_every_kind_of_breach_is_noticed(
    contract: GraphQLSchema, written: str, instead: str, breach: str | None
) -> None:
    text = CONTRACT.read_text()
    assert written in text
    found = list(breaches(contract, build_schema(text.replace(written, instead))))
    assert found == ([] if breach is None else [breach])
