"""This module is where prohibited topics are specified: where each holds, and who says so."""

from __future__ import annotations

from typing import Any

import pytest

from models import Role
from resolvers.principal import Principal
from tests.schema.conftest import Gateway
from tests.schema.policies import ALLOW, AMEND, PROHIBIT, evaluated, versions
from tests.schema.staff import answered, done, kinds, make, nobody, person, refused
from tests.world import Tenants


@pytest.fixture
async def admin(gateway: Gateway, tenants: Tenants) -> Principal:
    """Somebody of mine who may everything."""
    return await person(gateway, tenants.mine)


async def test_a_topic_is_prohibited_changed_and_allowed_again(gateway: Gateway, admin: Principal) -> None:
    made = await done(gateway, admin, PROHIBIT, topic="Union negotiations")
    said = await evaluated(gateway, admin, "How do the UNION  negotiations go?")
    assert (said["hitlMode"], said["prohibitedTopics"]) == ("ESCALATE", ["Union negotiations"])
    assert (said["escalationReason"], said["escalationRule"]) == (
        "It touches a prohibited topic: Union negotiations.",
        None,
    )
    changed = await done(gateway, admin, AMEND, id=made["id"], expectedVersion=1, topic="Strike")
    assert (changed["topic"], changed["version"], changed["scope"]) == ("Strike", 2, "GLOBAL")
    assert (await evaluated(gateway, admin, "How do the union negotiations go?"))["prohibitedTopics"] == []
    late = await answered(gateway, admin, AMEND, id=made["id"], expectedVersion=1, topic="older")
    assert (late["userErrors"][0]["code"], late["prohibitedTopic"]["topic"]) == ("CONFLICT", "Strike")
    assert await done(gateway, admin, ALLOW, id=made["id"]) == made["id"]
    assert (await evaluated(gateway, admin, "a strike"))["hitlMode"] == "INFORM"
    assert await kinds(gateway, admin, [made["id"]]) == ["topic.prohibited", "topic.changed", "topic.allowed"]
    assert [one["version"] for one in await versions(gateway, admin)] == [3, 2, 1]


async def test_a_topic_holds_at_one_agent_or_in_one_department(gateway: Gateway, admin: Principal) -> None:
    agent, other = await make(gateway, admin, "one"), await make(gateway, admin, "two")
    made = await done(gateway, admin, PROHIBIT, topic="wages", scope="AGENT", scopeId=agent["id"])
    assert (made["scopeId"], made["agent"]) == (agent["id"], {"id": agent["id"]})
    law = await done(gateway, admin, PROHIBIT, topic="wages", scope="DEPARTMENT", scopeId="Law")
    assert (law["scopeId"], law["agent"]) == ("Law", None)
    for asked, modes in (
        ({"agentId": agent["id"]}, "ESCALATE"),
        ({"agentId": other["id"]}, "INFORM"),
        ({"department": "law"}, "ESCALATE"),
        ({"department": "Parks"}, "INFORM"),
        ({}, "INFORM"),
    ):
        assert (await evaluated(gateway, admin, "the wages", **asked))["hitlMode"] == modes
    moved = await done(gateway, admin, AMEND, id=made["id"], expectedVersion=1, scope="GLOBAL")
    assert (moved["scope"], moved["scopeId"], moved["topic"]) == ("GLOBAL", None, "wages")
    assert (await evaluated(gateway, admin, "the wages"))["hitlMode"] == "ESCALATE"
    page = await gateway.data(
        admin,
        """{ prohibitedTopics(filter: {scope: [DEPARTMENT]}, orderBy: {field: CREATED_AT, direction: ASC}) {
          totalCount nodes { id } } }""",
    )
    assert page["prohibitedTopics"] == {"totalCount": 1, "nodes": [{"id": law["id"]}]}


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ({"topic": ""}, ["topic"]),
        ({"topic": "\u200b"}, ["topic"]),
        ({"topic": "x" * 201}, ["topic"]),
        ({"scopeId": "Law"}, ["scopeId"]),
        ({"scope": "AGENT"}, ["scopeId"]),
        ({"scope": "DEPARTMENT"}, ["scopeId"]),
        ({"scope": "DEPARTMENT", "scopeId": ""}, ["scopeId"]),
        ({"scope": "DEPARTMENT", "scopeId": "x" * 256}, ["scopeId"]),
    ],
)
async def test_a_topic_that_is_malformed_is_refused_by_the_path(
    gateway: Gateway, admin: Principal, said: dict[str, Any], path: list[str]
) -> None:
    assert await refused(gateway, admin, PROHIBIT, **{"topic": "wages", **said}) == ("INVALID", ["input", *path])
    assert await versions(gateway, admin) == []


async def test_a_topic_is_prohibited_once_in_each_place(gateway: Gateway, admin: Principal) -> None:
    await done(gateway, admin, PROHIBIT, topic="Wages")
    assert await refused(gateway, admin, PROHIBIT, topic="wages") == ("ALREADY_EXISTS", ["input", "topic"])
    other = await done(gateway, admin, PROHIBIT, topic="wages", scope="DEPARTMENT", scopeId="Law")
    changed = await refused(gateway, admin, AMEND, id=other["id"], expectedVersion=1, scope="GLOBAL")
    assert changed == ("ALREADY_EXISTS", ["input", "topic"])


async def test_another_tenants_agent_and_topic_are_not_there(
    gateway: Gateway, tenants: Tenants, admin: Principal
) -> None:
    stranger = await person(gateway, tenants.other)
    theirs = await make(gateway, stranger)
    for bad in (theirs["id"], nobody("agent"), "nonsense"):
        said = {"topic": "wages", "scope": "AGENT", "scopeId": bad}
        assert await refused(gateway, admin, PROHIBIT, **said) == ("NOT_FOUND", ["input", "scopeId"])
    made = await done(gateway, admin, PROHIBIT, topic="wages")
    for bad in (made["id"], nobody("topic"), "nonsense"):
        found = await gateway.data(stranger, "query($id: ID!) { prohibitedTopic(id: $id) { id } }", id=bad)
        assert found == {"prohibitedTopic": None}
        for document, said in ((AMEND, {"expectedVersion": 1, "topic": "x"}), (ALLOW, {})):
            assert await refused(gateway, stranger, document, id=bad, **said) == ("NOT_FOUND", ["input", "id"])
    assert (await evaluated(gateway, stranger, "the wages"))["hitlMode"] == "INFORM"


async def test_everybody_may_read_what_is_prohibited(gateway: Gateway, tenants: Tenants, admin: Principal) -> None:
    made = await done(gateway, admin, PROHIBIT, topic="wages")
    viewer = await person(gateway, tenants.mine, Role.VIEWER)
    page = await gateway.data(viewer, "{ prohibitedTopics { nodes { id topic } } }")
    assert page["prohibitedTopics"]["nodes"] == [{"id": made["id"], "topic": "wages"}]
