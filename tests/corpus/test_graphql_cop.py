"""This module is where the probes of graphql-cop are made again, against production's profile, and find nothing.

https://github.com/dolevf/graphql-cop: what it sends, and what it takes for a finding, in our own words.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import httpx
import pytest

from tests.corpus.conftest import Target
from tests.report import record

SHOW = "the probes of graphql-cop find nothing in production"


async def post(target: Target, query: str, signed_in: bool) -> httpx.Response:
    """How all but a few of them ask."""
    return await target.ask(query, signed_in=signed_in)


async def alias_overloading(target: Target, signed_in: bool) -> bool:
    text = "query cop { " + " ".join(f"alias{number}: __typename" for number in range(101)) + " }"
    return "alias100" in ((await post(target, text, signed_in)).json().get("data") or {})


async def batch_queries(target: Target, signed_in: bool) -> bool:
    headers = {"authorization": f"Bearer {target.token}"} if signed_in else {}
    response = await target.http.post("/graphql", json=[{"query": "query cop { __typename }"}] * 11, headers=headers)
    return isinstance(response.json(), list)


async def circular_fragment(target: Target, signed_in: bool) -> bool:
    text = "{ __schema { ...A } } fragment A on __Schema { __typename ...B } fragment B on __Schema { ...A }"
    return "errors" not in (await post(target, text, signed_in)).json()


async def circular_introspection(target: Target, signed_in: bool) -> bool:
    text = "query cop { __schema { types { " + "fields { type { " * 4 + "name" + " } }" * 4 + " } } }"
    return bool((await post(target, text, signed_in)).json().get("data"))


async def directive_overloading(target: Target, signed_in: bool) -> bool:
    response = await post(target, "query cop { __typename " + "@aa" * 10 + " }", signed_in)
    return len(response.json()["errors"]) == 10


async def field_duplication(target: Target, signed_in: bool) -> bool:
    response = await post(target, "query cop { " + "__typename \n" * 500 + "}", signed_in)
    return bool(response.json().get("data"))


async def field_suggestions(target: Target, signed_in: bool) -> bool:
    texts = ("query cop { __schema { directive } }", "query cop { viewr { roles } }", '{ node(idd: "x") { id } }')
    return any(["Did you mean" in (await post(target, one, signed_in)).text for one in texts])


async def get_queries(target: Target, signed_in: bool) -> bool:
    headers = {"authorization": f"Bearer {target.token}"} if signed_in else {}
    response = await target.http.get("/graphql", params={"query": "query cop { __typename }"}, headers=headers)
    return bool(response.json().get("data"))


async def get_mutations(target: Target, signed_in: bool) -> bool:
    headers = {"authorization": f"Bearer {target.token}"} if signed_in else {}
    response = await target.http.get("/graphql", params={"query": "mutation cop { __typename }"}, headers=headers)
    return bool(response.json().get("data"))


async def form_posts(target: Target, signed_in: bool) -> bool:
    headers = {"authorization": f"Bearer {target.token}"} if signed_in else {}
    response = await target.http.post("/graphql", data={"query": "query cop { __typename }"}, headers=headers)
    return bool(response.json().get("data"))


async def graphiql(target: Target, signed_in: bool) -> bool:
    words = ("graphiql.min.css", "GraphQL Playground", "GraphiQL", "graphql-playground")
    paths = ("/", "/graphiql", "/playground", "/console", "/graphql")
    pages = [(await target.http.get(path, headers={"accept": "text/html"})).text for path in paths]
    return any(word in page for word in words for page in pages)


async def introspection(target: Target, signed_in: bool) -> bool:
    response = await post(target, "query cop { __schema { types { name fields { name } } } }", signed_in)
    return bool(response.json().get("data"))


async def trace_mode(target: Target, signed_in: bool) -> bool:
    answer = (await post(target, "query cop { __typename }", signed_in)).json()
    return "extensions" in answer or "tracing" in str(answer).lower() or "stacktrace" in str(answer).lower()


async def unhandled_errors(target: Target, signed_in: bool) -> bool:
    answer = (await post(target, "qwerty cop { abc }", signed_in)).json()
    return "exception" in answer["errors"][0]["extensions"] or "exception" in str(answer).lower()


Probe = Callable[[Target, bool], Awaitable[bool]]
PROBES: list[Probe] = [
    alias_overloading,
    batch_queries,
    circular_fragment,
    circular_introspection,
    directive_overloading,
    field_duplication,
    field_suggestions,
    form_posts,
    get_mutations,
    get_queries,
    graphiql,
    introspection,
    trace_mode,
    unhandled_errors,
]
FOR_THE_SIGNED_IN: list[Probe] = [introspection, field_suggestions]
"""What those who are signed in may have: the schema, and help with its names."""


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.__name__)
async def test_a_probe_finds_nothing(target: Target, probe: Probe) -> None:
    assert not await probe(target, False)
    if probe not in FOR_THE_SIGNED_IN:
        assert not await probe(target, True)
    record(4, SHOW, 1, f"{probe.__name__}: nothing")


async def test_the_probes_can_find_something(target: Target) -> None:
    """The two that are told to look where they may find: or finding nothing would show nothing."""
    for probe in FOR_THE_SIGNED_IN:
        assert await probe(target, True), probe.__name__
