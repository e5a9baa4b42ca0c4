"""This module is where it is specified what is kept of every request, who sees it, and how it goes with its person."""

from __future__ import annotations

from typing import Any, Final

import pytest

from models import Role
from resolvers.principal import Principal
from tests.conftest import counted
from tests.report import record
from tests.schema.conftest import Gateway
from tests.schema.staff import done, mutation, nobody, person
from tests.schema.test_audit_events import asked, events
from tests.schema.test_privacy import export
from tests.world import Tenants

FIELDS: Final = """id occurredAt user { id } department agent { id } agentName conversation { id } queryText
  responseText latencyMilliseconds tokensIn tokensOut costUsd hitlMode wasEscalated wasApproved
  guardrailsTriggered success errorMessage"""
LIST: Final = f"""query($filter: QueryEventFilter) {{ queryEvents(first: 100, filter: $filter) {{
  totalCount nodes {{ {FIELDS} }} }} }}"""
LOOKS: Final = "{ dataAccessLogs { nodes { subjectId dataCategory accessType } } }"
ERASE: Final = mutation("eraseUser", "user", "id")


@pytest.fixture
async def member(gateway: Gateway, tenants: Tenants) -> Principal:
    """Somebody of mine who asks."""
    return await person(gateway, tenants.mine, Role.MEMBER)


async def _found(gateway: Gateway, who: Principal, **filter: Any) -> list[dict[str, Any]]:
    page = (await gateway.data(who, LIST, filter=filter))["queryEvents"]
    assert page["totalCount"] == len(page["nodes"])
    found: list[dict[str, Any]] = page["nodes"]
    return found


async def test_every_request_that_was_evaluated_is_kept(gateway: Gateway, member: Principal) -> None:
    for words in ("When does the library open?", "Summarise NDA terms", "Draft a press release"):
        await asked(gateway, member, words)
    found = await _found(gateway, member)
    assert [(one["queryText"], one["hitlMode"], one["wasEscalated"]) for one in found] == [
        ("Draft a press release", "ESCALATE", True),
        ("Summarise NDA terms", "DRAFT", False),
        ("When does the library open?", "INFORM", False),
    ]
    assert [one["guardrailsTriggered"] for one in found] == [["no-external-posting"], ["legal-review"], []]
    assert {(one["department"], one["success"], one["costUsd"]) for one in found} == {("Law", True, 0.0)}
    record(6, "query events of evaluated requests", 3, "one each, those escalated included")


async def test_people_see_what_they_asked_and_those_who_run_agents_see_all(
    gateway: Gateway, tenants: Tenants, member: Principal
) -> None:
    other = await person(gateway, tenants.mine, Role.VIEWER)
    await asked(gateway, member, "mine")
    await asked(gateway, other, "theirs")
    assert [one["queryText"] for one in await _found(gateway, member)] == ["mine"]
    assert [one["queryText"] for one in await _found(gateway, other)] == ["theirs"]
    for role in (Role.OPERATOR, Role.AUDITOR, Role.ADMIN):
        found = await _found(gateway, await person(gateway, tenants.mine, role))
        assert [one["queryText"] for one in found] == ["theirs", "mine"]
    theirs = found[0]
    assert await _found(gateway, member, userId=theirs["user"]["id"]) == []
    answer = await gateway.answer(member, "query($id: ID!) { queryEvent(id: $id) { id } }", id=theirs["id"])
    assert [one["extensions"]["code"] for one in answer["errors"]] == ["FORBIDDEN"]


async def test_that_somebody_read_anothers_words_is_written_down_once(
    gateway: Gateway, tenants: Tenants, member: Principal
) -> None:
    for number in range(3):
        await asked(gateway, member, f"question {number}")
    admin = await person(gateway, tenants.mine)
    await _found(gateway, member)
    await gateway.data(admin, "{ queryEvents { nodes { id hitlMode } } }")
    assert (await gateway.data(admin, LOOKS))["dataAccessLogs"]["nodes"] == []
    await _found(gateway, admin)
    (look,) = (await gateway.data(admin, LOOKS))["dataAccessLogs"]["nodes"]
    mine = (await _found(gateway, member))[0]["user"]["id"]
    assert look == {"subjectId": mine, "dataCategory": "MESSAGES", "accessType": "READ"}


async def test_requests_are_filtered(gateway: Gateway, tenants: Tenants, member: Principal) -> None:
    await asked(gateway, member, "Summarise NDA terms")
    await asked(gateway, member, "hello")
    operator = await person(gateway, tenants.mine, Role.OPERATOR)
    assert [one["queryText"] for one in await _found(gateway, operator, hitlMode=["DRAFT"])] == ["Summarise NDA terms"]
    assert len(await _found(gateway, operator, department="Law")) == 2
    assert await _found(gateway, operator, department="law") == []
    assert await _found(gateway, operator, department="\x00") == []
    assert await _found(gateway, operator, agentId=nobody("agent")) == []
    assert await _found(gateway, operator, conversationId=nobody("conversation")) == []
    assert len(await _found(gateway, operator, occurredAfter="2020-01-01T00:00:00Z")) == 2
    assert await _found(gateway, operator, occurredBefore="2020-01-01T00:00:00Z") == []


async def test_what_somebody_asked_is_handed_over_and_goes_with_them(
    gateway: Gateway, tenants: Tenants, member: Principal
) -> None:
    await asked(gateway, member, "Draft a press release for canary street")
    admin = await person(gateway, tenants.mine)
    mine = (await _found(gateway, member))[0]["user"]["id"]
    sections = await export(gateway, admin, mine)
    assert [one["queryText"] for one in sections["queryEvents"]] == ["Draft a press release for canary street"]
    assert [one["hitlMode"] for one in sections["auditEvents"]] == ["escalate"]
    await done(gateway, admin, ERASE, id=mine)
    assert await _found(gateway, admin) == []
    (event,) = await events(gateway, admin)
    assert "canary" not in str(event)


async def test_another_tenants_requests_are_not_there(gateway: Gateway, tenants: Tenants, member: Principal) -> None:
    await asked(gateway, member, "mine")
    (mine,) = await _found(gateway, member)
    stranger = await person(gateway, tenants.other)
    assert await _found(gateway, stranger) == []
    for bad in (mine["id"], nobody("query"), "nonsense"):
        assert await gateway.data(stranger, "query($id: ID!) { queryEvent(id: $id) { id } }", id=bad) == {
            "queryEvent": None
        }


@pytest.mark.parametrize("count", [1, 20])
async def test_a_list_costs_as_many_statements_for_any_number_of_requests(
    gateway: Gateway, tenants: Tenants, member: Principal, count: int
) -> None:
    for number in range(count):
        await asked(gateway, member, f"question {number}")
    operator = await person(gateway, tenants.mine, Role.OPERATOR)
    with counted(gateway.services.database) as statements:
        assert len(await _found(gateway, operator)) == count
    # The page, its count, whoever asked, and that somebody looked: with the key that it is sealed under.
    assert len(statements) <= 6
