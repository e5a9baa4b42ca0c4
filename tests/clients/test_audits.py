"""This module is where graphql-http's audits say how well the gateway speaks GraphQL over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clients.conftest import Gateway, Node
from tests.report import record

pytestmark = pytest.mark.clients

AUDITS = 61

# What production refuses on purpose. It is the only difference, and all of it.
GET_QUERIES = {"5A70", "D6D5", "6A70"}
ANONYMOUS_INTROSPECTION = {"BF61", "2EA1", "28B9"}


def test_every_audit_passes_in_the_demo_profile(gateway: Gateway, node: Node) -> None:
    results = node("audits.mjs", gateway.graphql)
    assert failures(results) == {}
    assert len(results) == AUDITS
    record(2, "graphql-http audits, demo profile", len(results), f"{len(results)} of {AUDITS} ok")


def test_in_production_only_get_and_anonymous_introspection_differ(production: Gateway, node: Node) -> None:
    results = node("audits.mjs", production.graphql)
    assert len(results) == AUDITS
    assert set(failures(results)) == GET_QUERIES | ANONYMOUS_INTROSPECTION
    figure = f"{AUDITS - len(failures(results))} of {AUDITS} ok, the others as listed"
    record(2, "graphql-http audits, production profile", len(results), figure)


def failures(results: list[dict[str, Any]]) -> dict[str, str]:
    """What is not ok, by audit id, with what was wrong."""
    return {one["id"]: f"{one['name']}: {one['reason']}" for one in results if one["status"] != "ok"}
