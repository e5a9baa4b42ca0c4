"""This module is where it is specified which agent a query is for, to the half point."""

from __future__ import annotations

from typing import Any

import pytest

from dataloaders.agents import Candidate
from models import Agent, AgentStatus, AgentType, Role
from models.ids import uuid7
from resolvers.routing import ranking
from tests.conftest import counted
from tests.report import record
from tests.schema.conftest import Gateway
from tests.world import Tenants, principal

ROUTE = """query($asked: String!, $domain: String) { routeQuery(query: $asked, domain: $domain) {
  agent { name } score confidence reasons { reason points }
  alternatives { agent { name } score confidence reasons { points } } } }"""


def candidate(name: str = "one", **given: Any) -> Candidate:
    said: dict[str, Any] = {"domain": None, "description": None, "capabilities": [], "is_router": False, **given}
    return Candidate(id=uuid7(), name=name, **said)


@pytest.mark.parametrize(
    ("given", "query", "domain", "points"),
    [
        ({"domain": "Finance"}, "hello", None, []),
        ({"domain": "Finance"}, "hello", "Finance", [5]),
        ({"domain": "Finance"}, "hello", "finance", [5]),
        ({"domain": "Finance"}, "hello", "Fin", []),
        ({"domain": "Finance"}, "about finances", None, [3]),
        ({"domain": "Finance"}, "FINANCE please", "Finance", [5, 3]),
        ({"domain": "Finance"}, "Please transfer $12,500 to vendor Apex Paving", None, [5]),
        ({"domain": "Comms"}, "Draft a press release on the water main break", None, [5]),
        ({"domain": "legal"}, "Summarise NDA terms", None, [5]),
        ({"domain": "HR"}, "Summarise NDA terms", None, []),
        ({"domain": "Finance"}, "Summarise NDA terms", "Finance", [5]),
        ({"domain": "General"}, "hello", None, [5]),
        ({"domain": "General"}, "Summarise NDA terms", None, []),
        ({"name": "support_triage"}, "is support triage there?", None, [2]),
        ({"name": "support_triage"}, "support_triage!", None, [2]),
        ({"name": "support_triage"}, "support", None, []),
        ({"capabilities": ["leave", "pay-slip"]}, "my leave and my pay slip", None, [1.5, 1.5]),
        ({"description": "Explains budgets, and budgets again"}, "explains budgets and again", None, [0.5, 0.5, 0.5]),
        ({"description": "Pays the tax now"}, "pays the tax now", None, []),
        (
            {"name": "hr", "domain": "HR", "capabilities": ["leave"], "description": "Answers employees"},
            "HR answers employees about leave",
            "HR",
            [5, 3, 2, 1.5, 0.5, 0.5],
        ),
    ],
)
def test_each_thing_counts_as_much_as_it_is_said_to(
    given: dict[str, Any], query: str, domain: str | None, points: list[float]
) -> None:
    (scored,) = ranking([candidate(**{"name": "zzz", **given})], query, domain)
    assert [one.points for one in scored.reasons] == points
    assert scored.score == sum(points)
    assert scored.confidence == min(sum(points) / 8, 1)
    record(5, "the routing score", 1, f"{sum(points):g} points, confidence {scored.confidence:g}")


def test_the_best_comes_first_and_the_older_of_equals_before_the_younger() -> None:
    old, young, best = candidate("old"), candidate("young"), candidate("best", domain="HR")
    ranked = ranking([old, young, best], "who knows about HR?", None)
    assert [one.agent_id for one in ranked] == [best.id, old.id, young.id]


def test_the_router_answers_only_where_nobody_else_is() -> None:
    router, other = candidate("concierge", is_router=True, domain="General"), candidate("other")
    assert [one.agent_id for one in ranking([router, other], "general concierge", "General")] == [other.id]
    assert [one.agent_id for one in ranking([router], "anything", None)] == [router.id]
    assert ranking([], "anything", None) == []


async def _staff(gateway: Gateway, tenants: Tenants) -> None:
    mine: dict[str, Any] = {"tenant_id": tenants.mine, "type": AgentType.LLM, "status": AgentStatus.ACTIVE}
    agents = [
        Agent(**mine, name="concierge", is_router=True),
        Agent(**mine, name="front_desk"),
        Agent(**mine, name="hr", domain="HR", capabilities=["leave"]),
        Agent(**mine, name="finance", domain="Finance", description="Explains leave payments"),
        Agent(**(mine | {"status": AgentStatus.PENDING}), name="leave", domain="HR", capabilities=["leave"]),
        Agent(**(mine | {"status": AgentStatus.DISABLED}), name="hr", domain="HR", capabilities=["leave"]),
    ]
    for one in agents:
        async with gateway.services.database.session(tenants.mine) as session:
            session.add(one)
            await session.commit()
    async with gateway.services.database.session(tenants.other) as session:
        session.add(Agent(**(mine | {"tenant_id": tenants.other}), name="hr_theirs", domain="HR"))
        await session.commit()


async def test_a_query_goes_to_the_active_agent_that_knows_most_with_reasons_and_alternatives(
    gateway: Gateway, tenants: Tenants
) -> None:
    await _staff(gateway, tenants)
    viewer = principal(tenants.mine, Role.VIEWER, user_id=uuid7())
    with counted(gateway.services.database) as statements:
        found = (await gateway.data(viewer, ROUTE, asked="HR: leave and payments", domain="HR"))["routeQuery"]
    assert found["agent"] == {"name": "hr"}
    assert (found["score"], found["confidence"]) == (11.5, 1.0)
    assert [one["points"] for one in found["reasons"]] == [5, 3, 2, 1.5]
    assert all(one["reason"] for one in found["reasons"])
    assert [(one["agent"]["name"], one["score"]) for one in found["alternatives"]] == [("finance", 1.0)]
    assert len(statements) == 2


async def test_what_a_query_is_about_is_read_from_its_words(gateway: Gateway, tenants: Tenants) -> None:
    await _staff(gateway, tenants)
    viewer = principal(tenants.mine, Role.VIEWER, user_id=uuid7())
    found = (await gateway.data(viewer, ROUTE, asked="Please transfer $12,500 to vendor Apex Paving"))["routeQuery"]
    assert (found["agent"], found["score"], found["confidence"]) == ({"name": "finance"}, 5.0, 0.625)
    assert found["reasons"] == [{"reason": "The query's words are about its domain.", "points": 5.0}]


async def test_where_nothing_speaks_for_anybody_the_oldest_answers(gateway: Gateway, tenants: Tenants) -> None:
    await _staff(gateway, tenants)
    viewer = principal(tenants.mine, Role.VIEWER, user_id=uuid7())
    found = (await gateway.data(viewer, ROUTE, asked="xyz"))["routeQuery"]
    assert found == {
        "agent": {"name": "front_desk"},
        "score": 0.0,
        "confidence": 0.0,
        "reasons": [],
        "alternatives": [],
    }


async def test_without_an_active_agent_there_is_none(gateway: Gateway, tenants: Tenants) -> None:
    viewer = principal(tenants.mine, Role.VIEWER, user_id=uuid7())
    found = (await gateway.data(viewer, ROUTE, asked="anything\x00", domain="\x00"))["routeQuery"]
    assert (found["agent"], found["confidence"], found["alternatives"]) == (None, 0.0, [])


async def test_a_query_has_its_limit_and_its_scope(gateway: Gateway, tenants: Tenants) -> None:
    viewer = principal(tenants.mine, Role.VIEWER, user_id=uuid7())
    long = await gateway.answer(viewer, ROUTE, asked="x" * 10_001)
    assert long["errors"][0]["extensions"]["code"] == "BAD_REQUEST"
    machine = principal(tenants.mine, Role.API_CLIENT, api_key_id=uuid7(), scopes=frozenset())
    refused = await gateway.answer(machine, ROUTE, asked="x")
    assert refused["errors"][0]["extensions"]["code"] == "FORBIDDEN"
