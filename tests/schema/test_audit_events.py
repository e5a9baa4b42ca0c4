"""This module is where audit events of governance are specified: what leaves one, who sees it, how it is reviewed."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from models import Role
from models.database import Database
from resolvers.governance import evaluate, note_evaluation
from resolvers.policy_evaluation import Question
from resolvers.principal import Principal
from tests.report import record
from tests.schema.conftest import Gateway
from tests.schema.staff import answered, done, kinds, mutation, nobody, person, refused
from tests.world import Tenants, call_of

FIELDS: Final = """id eventType severity action actor { ... on User { id } } user { id } userDepartment intentDomain
  riskSignals hitlMode details piiDetected guardrailsTriggered requiresReview reviewedAt
  reviewedBy { ... on User { id } } reviewNote conversationId agentName provider model occurredAt"""
LIST: Final = f"""query($filter: AuditEventFilter) {{ auditEvents(first: 100, filter: $filter) {{
  totalCount nodes {{ {FIELDS} }} }} }}"""
REVIEW: Final = mutation("reviewAuditEvent", "auditEvent", "id reviewedAt reviewNote reviewedBy { ... on User { id } }")


@pytest.fixture
async def operator(gateway: Gateway, tenants: Tenants) -> Principal:
    """Somebody of mine who runs agents."""
    return await person(gateway, tenants.mine, Role.OPERATOR)


async def asked(gateway: Gateway, who: Principal, words: str, *, user_id: UUID | None = None) -> None:
    """A request that was evaluated and noted, as by whoever asks for an approval."""
    call = call_of(gateway.services, who)
    question = Question(words, department="Law")
    decision = await evaluate(call, question)
    async with call.work() as work:
        await note_evaluation(work, question, decision, user_id=user_id or who.user_id)


async def events(gateway: Gateway, who: Principal, **filter: Any) -> list[dict[str, Any]]:
    """The tenant's audit events, newest first."""
    page = (await gateway.data(who, LIST, filter=filter))["auditEvents"]
    assert page["totalCount"] == len(page["nodes"])
    found: list[dict[str, Any]] = page["nodes"]
    return found


@pytest.mark.parametrize(
    ("words", "severity", "is_to_review"),
    [
        ("Summarise NDA terms", "WARNING", False),
        ("Draft a press release on the water main break", "ERROR", True),
        ("Tweet the invoice and the contract of jane@canary.example", "CRITICAL", True),
    ],
)
async def test_every_request_that_does_not_go_through_leaves_an_event_and_not_a_word_of_it(
    gateway: Gateway, operator: Principal, words: str, severity: str, is_to_review: bool
) -> None:
    await asked(gateway, operator, "When does the library open?")
    await asked(gateway, operator, words)
    (event,) = await events(gateway, operator)
    assert (event["severity"], event["requiresReview"]) == (severity, is_to_review)
    assert (event["eventType"], event["action"]) == ("policy_evaluation", "request.evaluated")
    assert event["actor"] == event["user"]
    assert (event["userDepartment"], event["reviewedAt"], event["reviewedBy"]) == ("Law", None, None)
    assert event["guardrailsTriggered"]
    assert "canary" not in str(event)
    record(6, "audit events of evaluations that are not INFORM", 3, "one each, with no text")


async def test_an_event_is_reviewed_once(gateway: Gateway, operator: Principal) -> None:
    await asked(gateway, operator, "Draft a press release")
    (event,) = await events(gateway, operator, awaitsReview=True)
    reviewed = await done(gateway, operator, REVIEW, id=event["id"], note="Looked at")
    assert (reviewed["reviewNote"], reviewed["reviewedBy"]) == ("Looked at", event["actor"])
    assert reviewed["reviewedAt"] is not None
    again = await answered(gateway, operator, REVIEW, id=event["id"], note="Again")
    assert (again["userErrors"][0]["code"], again["auditEvent"]["reviewNote"]) == ("ALREADY_DECIDED", "Looked at")
    assert await events(gateway, operator, awaitsReview=True) == []
    assert len(await events(gateway, operator, awaitsReview=False)) == 1
    assert await kinds(gateway, operator, [event["id"]]) == ["audit_event.reviewed"]


async def test_what_asks_for_no_review_gets_none(gateway: Gateway, operator: Principal) -> None:
    await asked(gateway, operator, "Summarise NDA terms")
    (event,) = await events(gateway, operator)
    assert await refused(gateway, operator, REVIEW, id=event["id"]) == ("ILLEGAL_TRANSITION", ["input", "id"])
    assert await refused(gateway, operator, REVIEW, id=event["id"], note="x" * 2001) == ("INVALID", ["input", "note"])


async def test_events_are_filtered(gateway: Gateway, tenants: Tenants, operator: Principal) -> None:
    other = await person(gateway, tenants.mine, Role.MEMBER)
    await asked(gateway, operator, "Summarise NDA terms", user_id=other.user_id)
    await asked(gateway, operator, "Draft a press release")
    assert [one["severity"] for one in await events(gateway, operator, severity=["WARNING"])] == ["WARNING"]
    assert len(await events(gateway, operator, eventType=["policy_evaluation"])) == 2
    assert await events(gateway, operator, eventType=["legacy_chat"]) == []
    mine = (await events(gateway, operator))[0]["user"]["id"]
    assert [one["hitlMode"] for one in await events(gateway, operator, userId=mine)] == ["ESCALATE"]
    assert len(await events(gateway, operator, occurredAfter="2020-01-01T00:00:00Z")) == 2
    assert await events(gateway, operator, occurredBefore="2020-01-01T00:00:00Z") == []


@pytest.mark.parametrize(("role", "reads"), [(Role.AUDITOR, True), (Role.MEMBER, False), (Role.VIEWER, False)])
async def test_auditors_read_events_and_review_none(
    gateway: Gateway, tenants: Tenants, operator: Principal, role: Role, reads: bool
) -> None:
    await asked(gateway, operator, "Draft a press release")
    (event,) = await events(gateway, operator)
    who = await person(gateway, tenants.mine, role)
    answer = await gateway.answer(who, LIST, filter={})
    assert ("errors" in answer) != reads
    answer = await gateway.answer(who, REVIEW, input={"id": event["id"]})
    assert [one["extensions"]["code"] for one in answer["errors"]] == ["FORBIDDEN"]


async def test_another_tenants_event_is_not_there(gateway: Gateway, tenants: Tenants, operator: Principal) -> None:
    await asked(gateway, operator, "Draft a press release")
    (event,) = await events(gateway, operator)
    stranger = await person(gateway, tenants.other)
    assert await events(gateway, stranger) == []
    for bad in (event["id"], nobody("audit_event"), "nonsense"):
        assert await refused(gateway, stranger, REVIEW, id=bad) == ("NOT_FOUND", ["input", "id"])
        found = await gateway.data(stranger, "query($id: ID!) { auditEvent(id: $id) { id } }", id=bad)
        assert found == {"auditEvent": None}


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM audit_events",
        "UPDATE audit_events SET action = 'x'",
        "UPDATE audit_events SET requires_review = false",
        "UPDATE audit_events SET reviewed_at = now(), reviewed_by_type = 'user', severity = 'info'",
        "UPDATE audit_events SET review_note = 'x'",
    ],
)
async def test_the_database_lets_nothing_be_changed_but_the_review(
    gateway: Gateway, tenants: Tenants, operator: Principal, database: Database, owner: AsyncEngine, change: str
) -> None:
    await asked(gateway, operator, "Draft a press release")
    statement = text(f"{change} WHERE tenant_id = :tenant")
    for engine in (database.app, owner):
        with pytest.raises(DBAPIError):
            async with engine.begin() as connection:
                await connection.execute(
                    text("SELECT set_config('app.tenant_id', :tenant, true)"), {"tenant": str(tenants.mine)}
                )
                await connection.execute(statement, {"tenant": tenants.mine})


async def test_a_review_is_never_rewritten_in_the_database(
    gateway: Gateway, tenants: Tenants, operator: Principal, owner: AsyncEngine
) -> None:
    await asked(gateway, operator, "Draft a press release")
    (event,) = await events(gateway, operator)
    await done(gateway, operator, REVIEW, id=event["id"])
    with pytest.raises(DBAPIError, match="only added to"):
        async with owner.begin() as connection:
            await connection.execute(
                text("UPDATE audit_events SET review_note = 'x' WHERE tenant_id = :tenant"), {"tenant": tenants.mine}
            )
