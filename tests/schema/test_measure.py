"""This module is where it is specified what is counted in a document, and that counting takes one pass."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest
from graphql import get_introspection_query, parse

from models.errors import LimitExceeded
from schema.build import build, core
from schema.limits import INTROSPECTION_COST, LIMITS, PLAIN_LIST
from schema.measure import measure
from schema.prices import Price

SCHEMA = core(build())


def price(text: str, operation: str | None = None) -> Price:
    """The price of a document's operation."""
    return measure(SCHEMA, parse(text))[operation]


def cost(text: str, **variables: Any) -> int:
    """What the only operation costs."""
    return price(text).of(variables)


def excess(text: str, **variables: Any) -> tuple[object, object, object]:
    """Which limit a document breaks, its number and the maximum."""
    with pytest.raises(LimitExceeded) as refused:
        cost(text, **variables)
    extensions = refused.value.extensions
    assert str(extensions["actual"]) in refused.value.message.replace(",", "")
    return extensions["limit"], extensions["actual"], extensions["maximum"]


def chain(length: int, field: str = "parent") -> str:
    """So many levels of fields in a workspace."""
    return "{ name }".join([f"{{ {field} " * (length - 1), " }" * (length - 1)]) if length > 1 else "{ name }"


def test_a_page_multiplies_what_is_below_its_rows_and_nothing_else() -> None:
    assert cost("{ workspaces { nodes { name } } }") == 2
    assert cost("{ workspaces { nodes { parent { name } } } }") == 2 + 20
    assert cost("{ workspaces(first: 50) { totalCount nodes { parent { name } } } }") == 2 + 10 + 50
    assert cost("{ workspaces(last: 5) { edges { node { parent { name } } } pageInfo { endCursor } } }") == 2 + 5


def test_a_list_without_pages_counts_as_some_rows() -> None:
    assert cost("{ workspaces(first: 1) { nodes { children { parent { name } } } } }") == 2 + 5 + PLAIN_LIST


def test_ids_that_are_named_count_each() -> None:
    below = "... on Workspace { parent { name } }"
    assert cost(f'{{ nodes(ids: ["a", "b", "c"]) {{ {below} }} }}') == 10 + 3
    assert cost(f"query($ids: [ID!]!) {{ nodes(ids: $ids) {{ {below} }} }}", ids=["a"] * 7) == 10 + 7


def test_variables_and_their_defaults_count_as_what_they_are() -> None:
    text = "query($n: Int = 7) { workspaces(first: $n) { nodes { parent { name } } } }"
    assert [cost(text), cost(text, n=100), cost(text, n=1.0), cost(text, n=None), cost(text, n="x")] == [
        2 + 7,
        2 + 100,
        2 + 1,
        2 + 20,
        2 + 20,
    ]


def test_pages_in_pages_multiply() -> None:
    text = """query($a: Int!, $b: Int!) {
      workspaces(first: $a) { nodes { agents { workspace { parent { name } } } } }
      users(first: $b) { nodes { id } } }"""
    assert cost(text, a=3, b=5) == 2 + 3 * (2 + PLAIN_LIST * (1 + 1)) + 2
    assert excess(text, a=100, b=101) == ("pageSize", 101, 100)


def test_too_high_a_cost_names_itself_with_the_variables_that_made_it() -> None:
    text = """query($n: Int!) { workspaces(first: $n) { nodes { children { agents { workspace { name } } } } } }"""
    assert cost(text, n=10) == 2 + 10 * (5 + PLAIN_LIST * (2 + PLAIN_LIST))
    assert excess(text, n=100) == ("cost", 12502, 5000)


def test_depth_counts_fields_but_not_the_wrapping_of_pages() -> None:
    assert cost("{ workspaces { edges { node " + chain(9) + " } } }") >= 2
    assert excess("{ workspaces { edges { node " + chain(10) + " } } }") == ("depth", 11, 10)
    assert excess('{ node(id: "x") { ... on Workspace ' + chain(10) + " } }") == ("depth", 11, 10)


def test_fragments_count_where_they_are_spread_not_where_they_were_seen() -> None:
    shallow_first = """{ a: workspace(id: "x") { ...F } b: workspace(id: "x") { parent { parent { ...F } } } }
      fragment F on Workspace """
    assert excess(shallow_first + chain(8)) == ("depth", 11, 10)
    assert cost(shallow_first + chain(7)) > 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{ " + " ".join(f"a{n}: __typename" for n in range(11)) + " }", ("rootFields", 11, 10)),
        ('{ workspace(id: "x") { ' + " ".join(f"a{n}: name" for n in range(16)) + " } }", ("aliases", 16, 15)),
        ('{ workspace(id: "x") { ' + "name " * 11 + " } }", ("repeats", 11, 10)),
        ("{ __typename " + "@include(if: true) " * 21 + " }", ("directives", 21, 20)),
        (
            "{ ...f0 }" + "".join(f" fragment f{n} on Query {{ __typename }}" for n in range(101)),
            ("fragments", 101, 100),
        ),
        ("{ nodes(ids: [" + '"x" ' * 101 + "]) { id } }", ("listItems", 101, 100)),
        ("{ workspaces(filter: {tier: [" + "1 " * 101 + "]}) { totalCount } }", ("listItems", 101, 100)),
        ("{ workspaces(first: 101) { totalCount } }", ("pageSize", 101, 100)),
        (f"{{ workspaces(first: {'9' * 5000}) {{ totalCount }} }}", ("pageSize", 10**9, 100)),
        ("{ " + "... { " * 60 + "__typename" + " }" * 61, ("depth", 51, 10)),
    ],
    ids=[
        "root fields",
        "aliases",
        "repeats",
        "directives",
        "fragments",
        "ids",
        "in inputs",
        "page",
        "digits",
        "braces",
    ],
)
def test_what_is_larger_than_its_limit_is_refused_by_name_and_number(text: str, expected: tuple[object, ...]) -> None:
    assert excess(text) == expected


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", {"ids": ["x"] * 101}),
        ("query($f: WorkspaceFilter) { workspaces(filter: $f) { totalCount } }", {"f": {"tier": [1] * 101}}),
    ],
    ids=["a list", "in an input"],
)
def test_lists_in_variables_are_held_to_the_same_limit(text: str, variables: dict[str, Any]) -> None:
    assert excess(text, **variables) == ("listItems", 101, 100)


def test_what_a_json_scalar_holds_is_its_own() -> None:
    text = "mutation($i: UpdateTenantInput!) { updateTenant(input: $i) { userErrors { code } } }"
    assert cost(text, i={"id": "x", "settings": {"list": [1] * 500}}) == 10


def test_a_secret_is_tried_once_an_operation_whatever_its_aliases_and_fragments() -> None:
    login = 'login(input: {email: "a", password: "b"}) { accessToken }'
    assert price(f"mutation {{ {login} }}").is_guarded
    assert not price("{ viewer { scopes } }").is_guarded
    assert price(f"mutation {{ {login} {login} }}").is_guarded, "equal fields are one field"
    for twice in (f"{login} b: {login}", f"{login} ... {{ b: {login} }}", f"{login} ...F"):
        text = f"mutation {{ {twice} }}" + f" fragment F on Mutation {{ b: {login} }}" * ("...F" in twice)
        assert excess(text) == ("login", 2, 1)


def test_introspection_is_measured_apart() -> None:
    full = get_introspection_query(
        specified_by_url=True, directive_is_repeatable=True, schema_description=True, input_value_deprecation=True
    )
    assert price(full, "IntrospectionQuery").of({}) == INTROSPECTION_COST
    circle = "{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }"
    assert excess(circle) == ("introspectionLists", 4, 3)
    deep = "{ __schema { queryType " + chain(15, "ofType") + " } }"
    assert excess(deep) == ("introspectionDepth", 17, 15)


def test_every_operation_of_a_document_is_measured_with_its_own_defaults() -> None:
    text = """query A($n: Int = 5) { ...F } query B($n: Int = 50) { ...F }
      fragment F on Query { workspaces(first: $n) { nodes { parent { name } } } }"""
    assert [price(text, name).of({}) for name in "AB"] == [2 + 5, 2 + 50]


@pytest.mark.parametrize(
    "text",
    [
        "{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }",
        "{ ...a } fragment a on Query { ...a viewer { roles } }",
        "{ nothing { of { this } } ...missing ... on Nowhere { x } }",
        "query($a: Nowhere, $b: [Nowhere!]) { x(first: $a, ids: $b) { y } }",
        "fragment alone on Query { __typename }",
        "type Query { a: Int }",
    ],
    ids=["circle", "itself", "unknown", "unknown types", "no operation", "definitions"],
)
def test_what_is_not_valid_is_measured_without_failing(text: str) -> None:
    measure(SCHEMA, parse(text))


def nested(levels: int, spreads: int, inner: str) -> str:
    """Fragments that each spread the next one several times."""
    layers = "".join(
        f" fragment f{n} on Workspace {{ {inner.format(spread=f'...f{n + 1} ' * spreads)} }}" for n in range(levels)
    )
    query = "query($n: Int) { workspaces(first: $n) { nodes { ...f0 } } }"
    return f"{query}{layers} fragment f{levels} on Workspace {{ name }}"


@pytest.mark.parametrize("inner", ["{spread}", "... {{ {spread} }} ... {{ {spread} }}", "children {{ {spread} }}"])
def test_fragments_that_multiply_take_time_by_their_length_alone(inner: str) -> None:
    document = parse(nested(80, 3, inner))
    started = time.process_time()
    for _ in range(5):
        with contextlib.suppress(LimitExceeded):
            measure(SCHEMA, document)[None].of({"n": 100})
    assert time.process_time() - started < 5 * 0.05


def test_a_thousand_tokens_are_measured_within_milliseconds() -> None:
    text = "{ workspaces { nodes { " + " ".join(f"...f{n}" for n in range(90)) + " } } }"
    text += "".join(f" fragment f{n} on Workspace {{ parent {{ name }} }}" for n in range(90))
    document = parse(text, max_tokens=LIMITS.tokens + 300)
    times = []
    for _ in range(5):
        started = time.process_time()
        measure(SCHEMA, document)
        times.append(time.process_time() - started)
    assert min(times) < 0.03
