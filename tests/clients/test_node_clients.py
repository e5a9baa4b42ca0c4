"""This module is where the clients that front ends use sign in, query and watch a change arrive."""

from __future__ import annotations

import json

import pytest

from tests.clients.conftest import Gateway, Node
from tests.report import record

pytestmark = pytest.mark.clients


@pytest.mark.parametrize(
    ("name", "script", "arguments"),
    [
        ("graphql-ws", "graphql-ws.mjs", ()),
        ("graphql-sse", "graphql-sse.mjs", ()),
        ("apollo-websocket", "apollo.mjs", ("websocket",)),
        ("apollo-multipart", "apollo.mjs", ("multipart",)),
        ("urql-websocket", "urql.mjs", ("websocket",)),
        ("urql-events", "urql.mjs", ("events",)),
    ],
)
def test_a_client_queries_and_sees_its_own_change_live(
    gateway: Gateway, node: Node, name: str, script: str, arguments: tuple[str, ...]
) -> None:
    told = node(
        script, json.dumps({"url": gateway.graphql, "credentials": gateway.credentials("acme", "operator")}), *arguments
    )
    assert told["name"] == name
    assert told["fleet"]["viewer"]["tenant"]["slug"] == "acme"
    assert told["fleet"]["workspaces"]["totalCount"] >= len(told["fleet"]["workspaces"]["nodes"]) > 0
    assert told["ready"]["recovered"] is True
    assert told["created"]["userErrors"] == []
    assert told["change"]["workspace"]["id"] == told["created"]["workspace"]["id"]
    record(2, f"{name} queries and subscribes", 1, "saw its own change live")
