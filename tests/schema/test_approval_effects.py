"""This module is where it is specified what a decision does, and that what it cannot do is not decided."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from models import ApprovalKind
from models.errors import invalid
from models.ids import NIL, encode, uuid7
from resolvers import approval_effects
from resolvers.approval_effects import KINDS
from tests.report import record
from tests.schema.conftest import Gateway
from tests.schema.queue import DECIDE, REQUEST, TERMS, Queue
from tests.schema.staff import make
from tests.schema.talk import ARCHIVE, MESSAGES
from tests.world import Tenants

AGENT = "query($id: ID!) { agent(id: $id) { status approvedBy { id } rejectionReason } }"


@pytest.fixture
async def queue(gateway: Gateway, tenants: Tenants) -> Queue:
    """A tenant in which people ask and decide."""
    return await Queue.open(gateway, tenants.mine)


async def _said(queue: Queue, talk: str) -> list[dict[str, Any]]:
    found = await queue.talk.gateway.data(queue.talk.member, MESSAGES, id=talk)
    nodes: list[dict[str, Any]] = found["conversation"]["messages"]["nodes"]
    return nodes


def test_every_kind_has_its_entry() -> None:
    assert set(KINDS) == set(ApprovalKind)


@pytest.mark.parametrize(("edited", "said"), [(None, "Two years."), ("Three years.", "Three years.")])
async def test_an_approved_response_is_said_in_its_conversation(queue: Queue, edited: str | None, said: str) -> None:
    talk = await queue.talk.start()
    await queue.talk.say(talk, TERMS)
    asked = await queue.ask(queue.talk.token, agentId=queue.talk.agent, subjectId=talk)
    await queue.decide(asked["id"], modifiedResponse=edited)
    assert await _said(queue, talk) == [{"seq": 1, "content": TERMS}, {"seq": 2, "content": said}]


async def test_a_rejected_response_and_one_without_a_text_are_not_said(queue: Queue) -> None:
    talk = await queue.talk.start()
    for response, decision in (("Two years.", "REJECT"), (None, "APPROVE")):
        asked = await queue.ask(subjectId=talk, proposedResponse=response)
        await queue.decide(asked["id"], decision=decision)
    assert await _said(queue, talk) == []


async def test_an_approved_agent_works_and_a_rejected_one_does_not(queue: Queue) -> None:
    operator = encode("user", queue.talk.operator.user_id or NIL)
    for decision, expected in (
        ("APPROVE", {"status": "ACTIVE", "approvedBy": {"id": operator}, "rejectionReason": None}),
        ("REJECT", {"status": "REJECTED", "approvedBy": {"id": operator}, "rejectionReason": "No."}),
    ):
        agent = (await make(queue.talk.gateway, queue.talk.admin, f"helper_{decision}"))["id"]
        asked = await queue.ask(kind="AGENT", subjectId=agent, proposedResponse=None)
        await queue.decide(asked["id"], decision=decision, notes="No.")
        assert (await queue.talk.gateway.data(queue.talk.member, AGENT, id=agent))["agent"] == expected
    # One that was decided about waits for nobody.
    assert (await queue.talk.refused(queue.talk.member, REQUEST, kind="AGENT", originalQuery="?", subjectId=agent))[
        0
    ] == "ILLEGAL_TRANSITION"


@pytest.mark.parametrize("kind", ["CONNECTOR", "ONBOARDING", "POLICY"])
@pytest.mark.parametrize(("decision", "status"), [("APPROVE", "APPROVED"), ("REJECT", "REJECTED")])
async def test_of_these_kinds_the_decision_is_all_that_was_asked_for(
    queue: Queue, kind: str, decision: str, status: str
) -> None:
    named = kind.lower()
    asked = await queue.ask(queue.talk.token, agentId=queue.talk.agent, kind=kind, subjectType=named)
    assert (asked["kind"], asked["subjectType"], asked["subjectId"], asked["status"]) == (kind, named, None, "PENDING")
    before = await queue.rows_told()
    decided = await queue.decide(asked["id"], decision=decision, expectedVersion=1)
    assert (decided["status"], decided["version"], decided["slaState"]) == (status, 2, "MET")
    assert await queue.kinds(asked["id"]) == ["approval.requested", "approval.decided"]
    assert await queue.audited(asked["id"]) == ["approval.decided"]
    # Nothing else was told: no other row changed.
    assert await queue.rows_told() == before + 1
    # A subject must be one of ours: of these there is none yet, but of a policy.
    given = {"kind": kind, "originalQuery": TERMS, "subjectId": encode("workspace", uuid7())}
    assert await queue.talk.refused(queue.talk.member, REQUEST, **given) == ("NOT_FOUND", ["input", "subjectId"])


async def test_what_its_subject_does_not_allow_any_more_is_not_decided(queue: Queue) -> None:
    talk = await queue.talk.start()
    asked = await queue.ask(subjectId=talk)
    await queue.talk.done(queue.talk.member, ARCHIVE, id=talk)
    answer = await queue.talk.do(queue.talk.operator, DECIDE, id=asked["id"], decision="APPROVE")
    (error,) = answer["userErrors"]
    assert (error["code"], error["field"]) == ("CONFLICT", ["input", "id"])
    assert (answer["approval"]["status"], answer["approval"]["version"]) == ("PENDING", 1)
    assert await queue.kinds(asked["id"]) == ["approval.requested"]
    assert await queue.audited(asked["id"]) == []
    assert (await queue.decide(asked["id"], decision="REJECT"))["status"] == "REJECTED"


@pytest.mark.parametrize("failure", [invalid("Not like this.", "input", "id"), RuntimeError("broken")])
async def test_an_effects_failure_rolls_the_decision_back(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    asked = await queue.ask()

    async def fail(*_: Any) -> None:
        raise failure

    broken = {**KINDS, ApprovalKind.RESPONSE: replace(KINDS[ApprovalKind.RESPONSE], approved=fail)}
    monkeypatch.setattr(approval_effects, "KINDS", broken)
    answer = await queue.talk.gateway.answer(
        queue.talk.operator, DECIDE, input={"id": asked["id"], "decision": "APPROVE"}
    )
    if isinstance(failure, RuntimeError):
        assert [one["extensions"]["code"] for one in answer["errors"]] == ["INTERNAL"]
    else:
        assert answer["data"]["decideApproval"]["userErrors"][0]["code"] == "INVALID"
        assert answer["data"]["decideApproval"]["approval"]["status"] == "PENDING"
    monkeypatch.undo()
    stands = await queue.show(asked["id"])
    assert (stands["status"], stands["approvalsGiven"], stands["decisions"]) == ("PENDING", 0, [])
    assert await queue.approved() == []
    assert await queue.kinds(asked["id"]) == ["approval.requested"]
    assert await queue.audited(asked["id"]) == []
    assert (await queue.decide(asked["id"]))["status"] == "APPROVED"
    record(6, "an effect's failure rolls the decision back", 1, f"{type(failure).__name__}: nothing decided or told")
