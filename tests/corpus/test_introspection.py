"""This module is where the introspection of every tool that people use is let through, and to whom."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import pytest
from graphql import IntrospectionQuery, build_client_schema, get_introspection_query

from tests.corpus.conftest import Target
from tests.report import record

GRAPHIQL = Path(__file__).parents[2] / "gateway" / "graphiql" / "assets" / "graphiql.min.js"
EVERYTHING = {
    "specified_by_url": True,
    "directive_is_repeatable": True,
    "schema_description": True,
    "input_value_deprecation": True,
}


def graphiql(*, everything: bool) -> str:
    """The text that the GraphiQL we serve sends, out of its own file; ``everything``: with all that it can ask."""
    script = GRAPHIQL.read_text()
    found = re.search(r"return `(\s*query IntrospectionQuery \{.*?)`;", script, re.DOTALL)
    assert found is not None, "GraphiQL's file has changed"
    wrapped = re.sub(r"\$\{inputDeprecation\('([^']*)'\)\}", r"\1" if everything else "", found[1])
    words = {"descriptions": "description", "schemaDescription": "description", "specifiedByUrl": "specifiedByURL"}
    words |= {"directiveIsRepeatable": "isRepeatable", "oneOf": "isOneOf"}
    options = words if everything else {"descriptions": "description"}
    return re.sub(r"\$\{(\w+)\}", lambda name: options.get(name[1], ""), wrapped)


def with_typenames(text: str) -> str:
    """As clients with a normalised cache send it."""
    return re.sub(r"\{(?=\s)", "{ __typename ", text)


TEXTS = {
    "GraphiQL": graphiql(everything=False),
    "GraphiQL with everything": graphiql(everything=True),
    "graphql-js": get_introspection_query(),
    "graphql-js with everything": get_introspection_query(**EVERYTHING),
    "graphql-js without descriptions": get_introspection_query(descriptions=False),
    "Apollo": get_introspection_query().replace("query IntrospectionQuery", "query GraphIntrospectQuery"),
    "Apollo Client": with_typenames(get_introspection_query(**EVERYTHING)),
    "relay-compiler": get_introspection_query(descriptions=False, directive_is_repeatable=True),
}


@pytest.mark.parametrize("name", list(TEXTS))
async def test_a_tools_introspection_passes_when_signed_in_and_builds_its_schema(target: Target, name: str) -> None:
    answer: dict[str, Any] = (await target.ask(TEXTS[name])).json()
    assert "errors" not in answer, answer["errors"]
    schema = build_client_schema(cast("IntrospectionQuery", answer["data"]))
    assert schema.mutation_type is not None
    assert "login" in schema.mutation_type.fields
    record(4, "the introspection of tools passes when signed in", 1, name)


@pytest.mark.parametrize("name", list(TEXTS))
async def test_a_tools_introspection_is_refused_to_strangers(target: Target, name: str) -> None:
    response = await target.ask(TEXTS[name], signed_in=False)
    assert response.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    assert "data" not in response.json()


async def test_a_name_of_a_type_is_no_introspection(target: Target) -> None:
    answer = await target.ask("{ __typename viewer { __typename } }", signed_in=False)
    assert answer.json() == {"data": {"__typename": "Query", "viewer": None}}
