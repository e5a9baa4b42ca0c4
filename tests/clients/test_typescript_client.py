"""This module is where the TypeScript helper is held to its promise: read the state, then every change, once."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.clients.conftest import Gateway, Node
from tests.report import record

pytestmark = pytest.mark.clients

TRANSPORTS = ["socket", "events"]


@pytest.fixture
def streams(gateway: Gateway, node: Node) -> Node:
    """Runs one scenario over one transport as an operator."""

    def run(transport: str, scenario: str) -> Any:
        who = json.dumps({"url": gateway.graphql, "credentials": gateway.credentials("acme", "operator")})
        return node("streams.mjs", who, transport, scenario)

    return run


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_nothing_is_missed_and_nothing_comes_twice_however_often_the_network_is_cut(
    streams: Node, transport: str
) -> None:
    told = streams(transport, "cut")
    assert (told["written"], told["missing"], told["repeated"]) == (60, 0, 0)
    assert told["connections"] > 5
    assert told["snapshots"] == 1
    assert told["items"] > 0
    figure = f"{told['items']} items over {told['connections']} connections, 0 missed, 0 repeated"
    record(3, f"the TypeScript helper over {transport}: snapshot, then tail", told["written"], figure)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_place_that_is_gone_is_told_and_the_state_is_read_anew(streams: Node, transport: str) -> None:
    assert streams(transport, "gap") == {"told": True, "snapshots": 2}


def test_a_newer_token_is_shown_on_the_open_socket(streams: Node) -> None:
    told = streams("socket", "renewal")
    assert told["renewed"] >= 2
    assert told["connection"] == ["following"]


@pytest.mark.parametrize(("transport", "code"), [("socket", "CLOSED_4401"), ("events", "UNAUTHENTICATED")])
def test_a_session_that_ended_is_not_tried_for_ever(streams: Node, transport: str, code: str) -> None:
    assert streams(transport, "refusal") == {"code": code}
