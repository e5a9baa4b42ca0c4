"""This module is where the whole schema is walked and held to the conventions, field by field."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
import strawberry
from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    get_named_type,
    is_specified_scalar_type,
)

from models import Scope
from schema.build import SchemaError, assemble, build, core, definitions
from schema.common import Connection
from schema.declare import Column, Computed, Declared, Nodes, Relation, Spec, column, computed, part

SCHEMA: Final = core(build())
TYPES: Final[list[GraphQLNamedType]] = [one for name, one in SCHEMA.type_map.items() if not name.startswith("__")]

LISTS_WITHOUT: Final = {
    "Query.activity": {"orderBy", "totalCount"},  # a log has one order, and it is not counted
    "Conversation.messages": {"filter", "orderBy"},  # in the contract: by seq, and searchMessages filters
    "Query.policyRules": {"filter", "orderBy"},  # in the contract: in the order of evaluation
    "Query.alertRules": {"orderBy"},  # in the contract: in the order of evaluation
    "Query.contacts": {"orderBy"},  # in the contract: newest first
}
"""Lists that lack what every other list has."""

FREE: Final = {
    "ActivityEvent.cursor": "the database's epoch is read once",
    "AuditEvent.conversationId": "a column of the row itself",
    "Message.content": "a column of the row itself; what is noted about who looks is noted once an operation",
    "QueryEvent.queryText": "a column of the row itself; what is noted about who looks is noted once an operation",
    "QueryEvent.responseText": "a column of the row itself; what is noted about who looks is noted once an operation",
    "Session.isCurrent": "the principal's session is known already",
    "Query.viewer": "the principal is known already",
    "Viewer.roles": "the principal's",
    "Viewer.scopes": "the principal's",
    "Workspace.latestHeartbeat": "columns of the row itself",
}
"""Computed fields that read nothing."""

NOT_NULL: Final = {
    "ActivityConnection.nodes": "the list itself demanded the same",
    "ActivityEdge.node": "the list itself demanded the same",
    "ActivityItem.event": "the stream itself demanded the same",
    "Conversation.messages": "in the contract; whoever sees a conversation sees what was said in it",
    "PolicyDecision.matchedRules": "in the contract; whoever may have a request evaluated may read the rules",
    "RemoveWorkspacePayload.removed": "in the contract; whoever may remove may read",
    "Subscription.alertFeed": "a stream that is refused has no answer to empty",
    "Subscription.activityFeed": "a stream that is refused has no answer to empty",
    "Subscription.agentMessages": "a stream that is refused has no answer to empty",
    "Subscription.approvalDecided": "a stream that is refused has no answer to empty",
    "Subscription.approvalQueue": "a stream that is refused has no answer to empty",
    "Subscription.conversationMessages": "a stream that is refused has no answer to empty",
    "Subscription.heartbeats": "a stream that is refused has no answer to empty",
    "Subscription.messageChunks": "a stream that is refused has no answer to empty",
    "Subscription.typing": "a stream that is refused has no answer to empty",
    "Subscription.workspaceStatus": "a stream that is refused has no answer to empty",
    "Workspace.agents": "in the contract",
}
"""Fields that demand a scope of their own and are not nullable all the same."""

UNTIL: Final = {"User.lockedUntil", "Alert.silencedUntil", "SilenceAlertInput.until"}
"""Times that are an end, and say so."""

OTHER_INPUTS: Final = {"reportHeartbeat": "HeartbeatInput!"}
"""Mutations whose input is named otherwise: POST /ingest/heartbeats takes the same."""

CAMEL: Final = re.compile(r"[a-z][a-z0-9]*([A-Z][a-z0-9]*)*")
PASCAL: Final = re.compile(r"[A-Z][a-z0-9]+([A-Z][a-z0-9]*)*")
UPPER_SNAKE: Final = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")


def _fields(*kinds: type) -> Iterator[tuple[str, GraphQLField]]:
    for one in TYPES:
        if isinstance(one, kinds or (GraphQLObjectType, GraphQLInterfaceType)):
            for name, field in one.fields.items():  # type: ignore[attr-defined]
                yield f"{one.name}.{name}", field


def _inputs() -> Iterator[tuple[str, Any]]:
    for where, field in _fields():
        yield from ((f"{where}({name})", argument) for name, argument in field.args.items())
    for one in TYPES:
        if isinstance(one, GraphQLInputObjectType):
            yield from ((f"{one.name}.{name}", field) for name, field in one.fields.items())


def _declared() -> Iterator[tuple[str, Any, Declared]]:
    for definition in definitions(build()):
        name = SCHEMA.type_map[build().config.name_converter.from_type(definition)].name
        for one in definition.fields:
            assert isinstance(one, Declared)
            yield f"{name}.{build().config.name_converter.from_field(one)}", definition, one


DECLARED: Final = {where: (definition, one) for where, definition, one in _declared()}


def _mutations() -> list[str]:
    assert SCHEMA.mutation_type is not None
    return list(SCHEMA.mutation_type.fields)


def test_every_type_field_argument_and_value_is_described() -> None:
    silent = [one.name for one in TYPES if not one.description and not is_specified_scalar_type(one)]
    silent += [where for where, field in _fields() if not field.description]
    silent += [where for where, one in _inputs() if not one.description]
    for one in TYPES:
        if isinstance(one, GraphQLEnumType):
            silent += [f"{one.name}.{name}" for name, value in one.values.items() if not value.description]
    assert silent == []


def test_every_name_is_written_as_its_kind_is() -> None:
    wrong = [one.name for one in TYPES if not PASCAL.fullmatch(one.name) and not is_specified_scalar_type(one)]
    wrong += [where for where, _ in _fields() if not CAMEL.fullmatch(where.partition(".")[2])]
    wrong += [where for where, _ in _inputs() if not CAMEL.fullmatch(re.split(r"[.(]", where.rstrip(")"))[-1])]
    for one in TYPES:
        if isinstance(one, GraphQLEnumType):
            wrong += [f"{one.name}.{name}" for name in one.values if not UPPER_SNAKE.fullmatch(name)]
    assert set(wrong) == {"JSON"}


def test_a_time_ends_in_at_and_what_ends_in_at_is_a_time() -> None:
    everything = [*_fields(), *_inputs()]
    times = {where.rstrip(")") for where, one in everything if get_named_type(one.type).name == "DateTime"}
    # A filter's bounds are named after the side they lie on.
    assert {where for where in times if not where.endswith(("At", "After", "Before"))} == UNTIL
    named = {where.rstrip(")") for where, _ in everything if re.search(r"[a-z]At\)?$", where)}
    assert named - times == set()


@pytest.mark.parametrize("where", [where for where, one in _fields() if str(one.type).startswith("[")])
def test_a_list_says_whether_its_items_may_be_missing(where: str) -> None:
    kind = str(dict(_fields())[where].type)
    assert re.fullmatch(r"\[\w+!\]!?", kind) or where == "Query.nodes"


@pytest.mark.parametrize(
    "where", [where for where, one in _fields() if get_named_type(one.type).name.endswith("Connection")]
)
def test_every_list_that_pages_has_a_window_a_filter_an_order_and_a_count(where: str) -> None:
    field = dict(_fields())[where]
    page = get_named_type(field.type)
    assert isinstance(page, GraphQLObjectType)
    node = str(page.fields["nodes"].type).strip("[]!")
    assert {name: str(argument.type) for name, argument in field.args.items() if name in {"first", "last"}} == {
        "first": "Int",
        "last": "Int",
    }
    assert {str(field.args[name].type) for name in ("after", "before")} == {"String"}
    given = set(field.args) - {"first", "last", "after", "before"} | set(page.fields) & {"totalCount"}
    assert given == {"filter", "orderBy", "totalCount"} - LISTS_WITHOUT.get(where, set())
    for name, kind in (("filter", f"{node}Filter"), ("orderBy", f"{node}Order")):
        if name in field.args:
            assert str(field.args[name].type) in {kind, "ActivityFilter"}
    fields = {name: str(one.type) for name, one in page.fields.items() if name != "totalCount"}
    edge = str(fields["edges"]).strip("[]!")
    assert fields == {"edges": f"[{edge}!]!", "nodes": f"[{node}!]!", "pageInfo": "PageInfo!"}
    assert {name: str(one.type) for name, one in SCHEMA.type_map[edge].fields.items()} == {  # type: ignore[attr-defined]
        "cursor": "String!",
        "node": f"{node}!",
    }


def test_the_lists_that_lack_something_are_there() -> None:
    assert set(LISTS_WITHOUT) <= {where for where, _ in _fields()}


@pytest.mark.parametrize("order", [one.name for one in TYPES if one.name.endswith("Order")])
def test_an_order_is_one_field_and_a_direction(order: str) -> None:
    fields: dict[str, Any] = SCHEMA.type_map[order].fields  # type: ignore[attr-defined]
    assert {name: str(one.type) for name, one in fields.items()} == {
        "field": f"{order}Field!",
        "direction": "OrderDirection!",
    }


@pytest.mark.parametrize("filter", [one.name for one in TYPES if one.name.endswith("Filter")])
def test_nothing_in_a_filter_is_demanded(filter: str) -> None:
    fields: dict[str, Any] = SCHEMA.type_map[filter].fields  # type: ignore[attr-defined]
    assert fields
    assert [name for name, one in fields.items() if isinstance(one.type, GraphQLNonNull)] == []


@pytest.mark.parametrize("name", _mutations())
def test_a_mutation_takes_one_input_and_answers_with_a_payload_that_ends_in_user_errors(name: str) -> None:
    field = SCHEMA.mutation_type.fields[name]  # type: ignore[union-attr]
    expected = OTHER_INPUTS.get(name, f"{name[0].upper()}{name[1:]}Input!")
    assert {argument: str(one.type) for argument, one in field.args.items()} == {"input": expected}
    payload = field.type
    assert isinstance(payload, GraphQLObjectType), (
        "a payload is nullable, so that one refusal never empties its siblings"
    )
    assert payload.name.endswith("Payload")
    assert list(payload.fields)[-1] == "userErrors"
    assert str(payload.fields["userErrors"].type) == "[UserError!]!"
    rest = {one: str(part.type) for one, part in payload.fields.items() if one != "userErrors"}
    assert {one for one, kind in rest.items() if kind.endswith("!")} <= {"removed", "results"}


def test_every_node_type_is_found_by_a_prefix_of_its_own() -> None:
    nodes = {one.name for one in SCHEMA.get_possible_types(SCHEMA.type_map["Node"])}  # type: ignore[arg-type]
    assert {kind.name for kind in Nodes.by_prefix.values()} == nodes
    assert all(prefix == kind.model.__typeid__ for prefix, kind in Nodes.by_prefix.items())


@pytest.mark.parametrize("where", DECLARED)
def test_every_field_demands_a_scope_and_says_what_it_costs(where: str) -> None:
    definition, one = DECLARED[where]
    generic = definition.concrete_of
    scope = one.spec.scope or Nodes.scopes[generic.origin if generic is not None else definition.origin]
    assert isinstance(scope, Scope)
    if isinstance(one, Column):
        assert one.spec.cost == 0
    elif isinstance(one, Relation):
        assert one.spec.cost >= 1
    else:
        assert (one.spec.cost == 0) == (where in FREE)
    if where.startswith(("Mutation.", "Subscription.")):
        assert one.spec.cost >= 10
    if where.startswith(("Query.", "Mutation.", "Subscription.")):
        assert one.spec.scope is not None


def test_every_field_of_the_schema_was_declared() -> None:
    assert set(DECLARED) == {where for where, _ in _fields()}


def test_what_a_scope_may_refuse_is_nullable() -> None:
    loud = set()
    for where, field in _fields():
        definition, one = DECLARED[where]
        generic = definition.concrete_of
        origin = generic.origin if generic is not None else definition.origin
        demanded = one.spec.scope
        if demanded in {None, Scope.PUBLIC, Nodes.scopes.get(origin)} or origin is Connection:
            continue
        if isinstance(field.type, GraphQLNonNull) and where != "Query.nodes":
            loud.add(where)
    assert loud == set(NOT_NULL)


@pytest.mark.parametrize("where", [where for where, _ in _fields() if where.startswith(("Query.", "Mutation."))])
def test_a_root_field_is_nullable(where: str) -> None:
    assert not isinstance(dict(_fields())[where].type, GraphQLNonNull) or where == "Query.nodes"


@part("A part that is complete.")
class Complete:
    """What the broken ones are measured by."""

    name: str = column("Its name.")


def _query(**fields: Any) -> type:
    """A root of queries with these fields."""
    annotations = {name: kind for name, (kind, _) in fields.items()}
    members = {name: made for name, (_, made) in fields.items()}
    return strawberry.type(type("Query", (), {"__annotations__": annotations, **members}), description="Broken.")


def _made(description: str, **said: Any) -> Any:
    return computed(lambda _, __: None, description, **said)


def test_a_schema_in_which_all_is_said_builds() -> None:
    query = _query(fine=(Complete | None, _made("Fine.", scope=Scope.PUBLIC)))
    assert "fine: Complete" in assemble(query).as_str()


@pytest.mark.parametrize(
    ("field", "complaint"),
    [
        ((Complete | None, _made("No scope.")), "Query.field demands no scope"),
        ((Complete | None, _made("", scope=Scope.PUBLIC)), "Query.field has no description"),
        ((str | None, strawberry.field(description="Code.", resolver=lambda: None)), "Query.field is not declared"),
        ((str | None, strawberry.UNSET), "Query.field is not declared"),
    ],
    ids=["scope", "description", "declaration", "plain"],
)
def test_the_schema_does_not_build_while_a_field_lacks(field: Any, complaint: str) -> None:
    with pytest.raises(SchemaError, match=re.escape(complaint)):
        assemble(_query(fine=(Complete | None, _made("Fine.", scope=Scope.PUBLIC)), field=field))


def test_the_schema_does_not_build_while_a_type_demands_nothing() -> None:
    @strawberry.type(description="A type that is neither a node nor a part.")
    class Open:
        name: str = column("Its name.")

    with pytest.raises(SchemaError, match=r"Open\.name demands no scope"):
        assemble(_query(fine=(Open | None, _made("Fine.", scope=Scope.PUBLIC))))


def test_the_schema_does_not_build_while_a_relation_costs_nothing() -> None:
    agent = Nodes.by_prefix["agent"]
    free = Relation(description="An agent.", metadata={"spec": Spec(batch=agent.batch, key="agent_id")})
    with pytest.raises(SchemaError, match=r"Query\.field reads rows and costs nothing"):
        assemble(_query(field=(agent.graphql_type | None, free)))


def test_a_field_that_leads_to_a_node_demands_the_nodes_scope_without_saying_so() -> None:
    assert isinstance(DECLARED["Query.workspace"][1], Computed)
    assert DECLARED["Query.workspace"][1].spec.scope is Scope.WORKSPACES_READ
    assert DECLARED["Query.workspaces"][1].spec.scope is Scope.WORKSPACES_READ
    assert DECLARED["Workspace.agents"][1].spec.scope is Scope.AGENTS_READ
    assert DECLARED["Agent.workspace"][1].spec.scope is Scope.WORKSPACES_READ
    assert DECLARED["Workspace.name"][1].spec.scope is None
