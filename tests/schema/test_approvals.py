"""This module is where approval is specified as its callers see it: asked for, taken in hand, decided once."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update

from models import AuditEvent, QueryEvent
from models.approvals import MOST_PENDING, ApprovalCount
from models.errors import Unavailable
from models.ids import NIL, encode, parse, uuid7
from resolvers import approvals
from resolvers.privacy import erase_user
from tests.conftest import counted
from tests.schema.conftest import Gateway
from tests.schema.queue import (
    ASSIGN,
    CANCEL,
    CLAIM,
    DECIDE,
    DECIDE_ALL,
    DELEGATE,
    GREETING,
    LIST,
    RELEASE,
    REQUEST,
    SUMMARY,
    TERMS,
    TRANSFER,
    Queue,
)
from tests.schema.staff import make
from tests.schema.talk import DELETE
from tests.schema.test_audit import ACCESSES
from tests.world import Tenants, call_of


@pytest.fixture
async def queue(gateway: Gateway, tenants: Tenants) -> Queue:
    """A tenant in which people ask and decide."""
    return await Queue.open(gateway, tenants.mine)


@pytest.fixture
async def theirs(gateway: Gateway, tenants: Tenants) -> Queue:
    """The other tenant."""
    return await Queue.open(gateway, tenants.other)


async def test_what_the_policies_let_through_waits_for_nobody(queue: Queue) -> None:
    answer = await queue.asked(query=GREETING, proposedResponse="At nine.")
    assert (answer["decision"]["hitlMode"], answer["approval"]) == ("INFORM", None)
    assert (await queue.talk.gateway.data(queue.talk.admin, SUMMARY))["approvalQueueSummary"]["pending"] == 0
    async with queue.talk.gateway.services.database.session(queue.talk.tenant) as session:
        asked = (await session.scalars(select(QueryEvent))).one()
        assert (asked.query_text, asked.response_text) == (GREETING, "At nine.")
        assert (await session.scalars(select(AuditEvent))).all() == []


@pytest.mark.parametrize(("query", "mode", "priority"), [(TERMS, "DRAFT", "NORMAL"), (TRANSFER, "ESCALATE", "HIGH")])
async def test_a_draft_is_normal_and_what_escalates_is_high_unless_it_is_said(
    queue: Queue, query: str, mode: str, priority: str
) -> None:
    made = await queue.ask(query=query)
    assert (made["hitlMode"], made["priority"], made["status"]) == (mode, priority, "PENDING")
    assert (made["slaState"], made["requiredApprovals"], made["version"]) == ("ON_TRACK", 1, 1)
    assert made["guardrailsTriggered"] != []
    assert (await queue.ask(query=query, priority="URGENT"))["priority"] == "URGENT"
    assert await queue.kinds(made["id"]) == ["approval.requested"]
    assert made["user"] == {"id": encode("user", queue.talk.member.user_id or uuid7())}


@pytest.mark.parametrize("kind", ["CONNECTOR", "ONBOARDING", "POLICY"])
async def test_some_kinds_wait_for_a_person_whatever_the_policies_say(queue: Queue, kind: str) -> None:
    answer = await queue.asked(query=GREETING, kind=kind, proposedResponse=None)
    assert (answer["decision"]["hitlMode"], answer["approval"]["hitlMode"]) == ("DRAFT", "DRAFT")


async def test_what_an_agent_would_answer_is_judged_with_what_was_asked(queue: Queue) -> None:
    answer = await queue.asked(query=GREETING, proposedResponse="Ask for 123-45-6789.")
    assert answer["decision"]["riskSignals"] == ["PII"]
    assert (answer["approval"]["hitlMode"], answer["decision"]["localOnly"]) == ("DRAFT", True)


@pytest.mark.parametrize(
    ("said", "code", "field"),
    [
        ({"originalQuery": " "}, "INVALID", "originalQuery"),
        ({"originalQuery": "nul\x00"}, "INVALID", "originalQuery"),
        ({"proposedResponse": "x" * 131_073}, "INVALID", "proposedResponse"),
        ({"department": "two\nlines"}, "INVALID", "department"),
        ({"confidence": 1.5}, "INVALID", "confidence"),
        ({"confidence": -0.1}, "INVALID", "confidence"),
        ({"expiresInSeconds": 0}, "INVALID", "expiresInSeconds"),
        ({"expiresInSeconds": -60}, "INVALID", "expiresInSeconds"),
        ({"expiresInSeconds": 2_592_001}, "INVALID", "expiresInSeconds"),
        ({"requiredApprovals": 0}, "INVALID", "requiredApprovals"),
        ({"requiredApprovals": 6}, "INVALID", "requiredApprovals"),
        ({"agentId": encode("agent", uuid7())}, "NOT_FOUND", "agentId"),
        ({"agentId": "nonsense"}, "NOT_FOUND", "agentId"),
        ({"subjectId": "nonsense"}, "NOT_FOUND", "subjectId"),
        ({"subjectId": encode("conversation", uuid7())}, "NOT_FOUND", "subjectId"),
        ({"subjectId": encode("user", uuid7())}, "NOT_FOUND", "subjectId"),
        ({"subjectType": "x" * 101}, "INVALID", "subjectType"),
        ({"kind": "AGENT"}, "INVALID", "subjectId"),
        ({"kind": "AGENT", "subjectId": encode("agent", uuid7())}, "NOT_FOUND", "subjectId"),
        ({"idempotencyKey": ""}, "INVALID", "idempotencyKey"),
    ],
)
async def test_a_bad_request_is_one_user_error_and_waits_for_nobody(
    queue: Queue, said: dict[str, Any], code: str, field: str
) -> None:
    given = {"kind": "RESPONSE", "originalQuery": TERMS} | said
    assert await queue.talk.refused(queue.talk.member, REQUEST, **given) == (code, ["input", field])
    assert (await queue.talk.gateway.data(queue.talk.admin, LIST))["approvals"]["totalCount"] == 0


async def test_an_unknown_priority_is_refused_by_the_schema(queue: Queue) -> None:
    answer = await queue.talk.gateway.answer(
        queue.talk.member, REQUEST, input={"kind": "RESPONSE", "originalQuery": TERMS, "priority": "MEDIUM"}
    )
    assert [one["extensions"]["code"] for one in answer["errors"]] == ["BAD_REQUEST"]


async def test_a_subject_says_of_what_type_it_is_and_must_be_the_callers_to_speak_of(
    queue: Queue, theirs: Queue
) -> None:
    mine, hers = await queue.talk.start(), await queue.talk.start(queue.talk.other_member)
    made = await queue.ask(subjectId=mine, subjectType="Conversation")
    assert (made["subjectType"], made["subjectId"]) == ("conversation", mine)
    given = {"kind": "RESPONSE", "originalQuery": TERMS}
    refused = queue.talk.refused
    assert await refused(queue.talk.member, REQUEST, **given, subjectId=mine, subjectType="agent") == (
        "INVALID",
        ["input", "subjectType"],
    )
    for foreign in (hers, await theirs.talk.start()):
        assert (await refused(queue.talk.member, REQUEST, **given, subjectId=foreign))[0] == "NOT_FOUND"


async def test_a_workspaces_token_asks_for_its_own_agents_and_sees_what_it_asked(queue: Queue, theirs: Queue) -> None:
    made = await queue.ask(queue.talk.token, agentId=queue.talk.agent)
    assert (made["agentName"], made["user"]) == ("helper", None)
    assert (await queue.row(made["id"])).agent_id == parse(queue.talk.agent, "agent")
    assert made["originalQuery"] == TERMS
    for said in ({}, {"agentId": theirs.talk.agent}):
        given = {"kind": "RESPONSE", "originalQuery": TERMS} | said
        assert await queue.talk.refused(queue.talk.token, REQUEST, **given) == ("NOT_FOUND", ["input", "agentId"])
    asked = await queue.ask()
    found = await queue.talk.gateway.answer(
        queue.talk.token, "query($id: ID!) { node(id: $id) { id } }", id=asked["id"]
    )
    assert [one["extensions"]["code"] for one in found["errors"]] == ["FORBIDDEN"]


async def test_of_a_machines_request_about_a_conversation_its_person_is_the_user(queue: Queue) -> None:
    talk = await queue.talk.start()
    made = await queue.ask(queue.talk.token, agentId=queue.talk.agent, subjectId=talk)
    assert made["id"] == (await queue.show(made["id"], queue.talk.member))["id"]
    assert (await queue.row(made["id"])).user_id == queue.talk.member.user_id


async def test_a_retry_under_a_key_asks_once_and_is_told_what_became_of_it(queue: Queue) -> None:
    first = await queue.ask(idempotencyKey="one")
    await queue.decide(first["id"])
    again = await queue.asked(idempotencyKey="one")
    assert (again["approval"]["id"], again["approval"]["status"]) == (first["id"], "APPROVED")
    assert again["decision"]["hitlMode"] == "DRAFT"
    assert await queue.talk.refused(
        queue.talk.member, REQUEST, kind="RESPONSE", originalQuery=TRANSFER, idempotencyKey="one"
    ) == ("IDEMPOTENCY_MISMATCH", ["input", "idempotencyKey"])
    quiet: dict[str, Any] = {"query": GREETING, "proposedResponse": None, "idempotencyKey": "two"}
    assert [(await queue.asked(**quiet))["approval"] for _ in range(2)] == [None, None]
    other = await queue.ask()
    retried = {"id": other["id"], "decision": "APPROVE", "idempotencyKey": "three"}
    said = [await queue.talk.done(queue.talk.operator, DECIDE, **retried) for _ in range(2)]
    assert [one["status"] for one in said] == ["APPROVED", "APPROVED"]
    assert (await queue.kinds(other["id"])).count("approval.decided") == 1


async def test_a_retry_is_told_what_became_of_it_although_its_subject_has_moved_on(queue: Queue) -> None:
    agent = (await make(queue.talk.gateway, queue.talk.admin, "candidate"))["id"]
    about: dict[str, Any] = {"kind": "AGENT", "subjectId": agent, "proposedResponse": None, "idempotencyKey": "one"}
    first = await queue.ask(**about)
    await queue.decide(first["id"])
    again = await queue.asked(**about)
    assert (again["approval"]["id"], again["approval"]["status"]) == (first["id"], "APPROVED")
    assert again["decision"]["hitlMode"] == "DRAFT"
    talk = await queue.talk.start()
    said: dict[str, Any] = {"subjectId": talk, "idempotencyKey": "two"}
    waits = await queue.ask(**said)
    await queue.talk.done(queue.talk.member, DELETE, id=talk)
    assert (await queue.asked(**said))["approval"]["id"] == waits["id"]
    # Another body is another request, and a key that did nothing is free.
    given = {"kind": "RESPONSE", "originalQuery": TRANSFER, "subjectId": talk}
    for key, code, field in (("two", "IDEMPOTENCY_MISMATCH", "idempotencyKey"), ("new", "NOT_FOUND", "subjectId")):
        refused = await queue.talk.refused(queue.talk.member, REQUEST, **given, idempotencyKey=key)
        assert refused == (code, ["input", field])
    assert (await queue.ask(idempotencyKey="new"))["status"] == "PENDING"


async def test_no_more_than_ten_thousand_requests_wait(queue: Queue) -> None:
    await queue.ask()
    async with queue.talk.gateway.services.database.session(queue.talk.tenant) as session:
        await session.execute(update(ApprovalCount).values(pending=MOST_PENDING))
        await session.commit()
    given = {"kind": "RESPONSE", "originalQuery": TERMS}
    assert (await queue.talk.refused(queue.talk.member, REQUEST, **given))[0] == "LIMIT_EXCEEDED"
    assert (await queue.asked(query=GREETING, proposedResponse=None))["approval"] is None


async def test_a_claim_shows_and_locks_nobody_out(queue: Queue) -> None:
    asked = await queue.ask()
    mine = {"id": encode("user", queue.talk.operator.user_id or uuid7())}
    claimed = await queue.talk.done(queue.talk.operator, CLAIM, id=asked["id"], expectedVersion=1)
    assert (claimed["assignedTo"], claimed["version"]) == (mine, 2)
    assert (await queue.talk.done(queue.talk.operator, CLAIM, id=asked["id"]))["version"] == 2
    answer = await queue.talk.do(queue.second, CLAIM, id=asked["id"])
    assert (answer["userErrors"][0]["code"], answer["approval"]["assignedTo"]) == ("CONFLICT", mine)
    assert (await queue.talk.done(queue.second, RELEASE, id=asked["id"]))["assignedTo"] is None
    await queue.talk.done(queue.second, CLAIM, id=asked["id"])
    assert (await queue.decide(asked["id"]))["status"] == "APPROVED"
    assert await queue.kinds(asked["id"]) == [
        "approval.requested",
        "approval.claimed",
        "approval.released",
        "approval.claimed",
        "approval.decided",
    ]
    assert await queue.audited(asked["id"]) == ["approval.claimed", "approval.claimed", "approval.decided"]


async def test_a_request_is_handed_to_somebody_who_may_decide(queue: Queue, theirs: Queue) -> None:
    asked = await queue.ask()
    to = encode("user", queue.second.user_id or uuid7())
    handed = await queue.talk.done(queue.talk.operator, DELEGATE, id=asked["id"], userId=to)
    assert (handed["assignedTo"], handed["delegatedTo"]) == ({"id": to}, {"id": to})
    refused = queue.talk.refused
    for who, code in (
        (queue.talk.viewer, "INVALID"),
        (queue.talk.member, "INVALID"),
        (theirs.second, "NOT_FOUND"),
    ):
        named = encode("user", who.user_id or uuid7())
        assert await refused(queue.talk.operator, DELEGATE, id=asked["id"], userId=named) == (code, ["input", "userId"])
    own = await queue.ask(queue.second)
    assert (await refused(queue.talk.operator, DELEGATE, id=own["id"], userId=to))[0] == "SELF_APPROVAL"


async def test_a_request_is_given_to_a_department_and_listed_by_it(queue: Queue) -> None:
    asked = await queue.ask(department="Parks")
    await queue.ask()
    given = await queue.talk.done(queue.talk.operator, ASSIGN, id=asked["id"], department="Law")
    assert (given["assignedDepartment"], given["userDepartment"]) == ("Law", "Parks")
    for filter in ({"assignedDepartment": "Law"}, {"department": "Parks"}):
        found = await queue.talk.gateway.data(queue.talk.operator, LIST, filter=filter)
        assert [one["id"] for one in found["approvals"]["nodes"]] == [asked["id"]]
    assert (await queue.talk.done(queue.talk.operator, ASSIGN, id=asked["id"]))["assignedDepartment"] is None


async def test_a_decision_is_made_once_and_whoever_comes_second_is_told_which(queue: Queue) -> None:
    asked = await queue.ask()
    decided = await queue.decide(asked["id"], modifiedResponse="Three years.", notes="Read again.", expectedVersion=1)
    me = {"id": encode("user", queue.talk.operator.user_id or uuid7())}
    assert (decided["status"], decided["resolvedBy"], decided["version"]) == ("APPROVED", me, 2)
    assert (decided["proposedResponse"], decided["modifiedResponse"]) == ("Two years.", "Three years.")
    assert (decided["reviewerNotes"], decided["slaState"]) == ("Read again.", "MET")
    assert decided["decisions"] == [{"decision": "APPROVE", "decidedBy": me}]
    # Also with a version that is old by now: what was decided is the news.
    for said in ({}, {"decision": "REJECT"}, {"expectedVersion": 1}):
        answer = await queue.talk.do(queue.second, DECIDE, **({"id": asked["id"], "decision": "APPROVE"} | said))
        assert answer["userErrors"][0]["code"] == "ALREADY_DECIDED"
        assert (answer["approval"]["status"], answer["approval"]["resolvedBy"]) == ("APPROVED", me)


@pytest.mark.parametrize(
    ("said", "code", "field"),
    [
        ({"expectedVersion": 7}, "CONFLICT", "expectedVersion"),
        ({"decision": "REJECT", "modifiedResponse": "x"}, "INVALID", "modifiedResponse"),
        ({"modifiedResponse": "nul\x00"}, "INVALID", "modifiedResponse"),
        ({"notes": "x" * 4_001}, "INVALID", "notes"),
        ({"id": "nonsense"}, "NOT_FOUND", "id"),
        ({"id": encode("approval", uuid7())}, "NOT_FOUND", "id"),
    ],
)
async def test_a_bad_decision_is_one_user_error_and_decides_nothing(
    queue: Queue, said: dict[str, Any], code: str, field: str
) -> None:
    asked = await queue.ask()
    given = {"id": asked["id"], "decision": "APPROVE"} | said
    assert await queue.talk.refused(queue.talk.operator, DECIDE, **given) == (code, ["input", field])
    assert (await queue.show(asked["id"]))["status"] == "PENDING"
    assert await queue.audited(asked["id"]) == []


async def test_what_was_asked_says_from_the_approval_on_that_it_was_approved(queue: Queue, theirs: Queue) -> None:
    foreign, rejected, withdrawn = await theirs.ask(), await queue.ask(), await queue.ask()
    asked = await queue.ask(requiredApprovals=2)
    await queue.decide(rejected["id"], decision="REJECT")
    await queue.talk.done(queue.talk.member, CANCEL, id=withdrawn["id"])
    await queue.decide(asked["id"])
    assert await queue.approved() == []
    await queue.decide(asked["id"], queue.second)
    assert await queue.approved() == [parse(asked["id"], "approval")]
    assert await theirs.approved() == []
    with counted(theirs.talk.gateway.services.database) as statements:
        await theirs.decide(foreign["id"])
    assert len([one for one in statements if "query_events" in one]) == 1
    assert await theirs.approved() == [parse(foreign["id"], "approval")]


async def test_several_decisions_are_reported_one_by_one(queue: Queue) -> None:
    good, own, gone = await queue.ask(), await queue.ask(queue.talk.operator), encode("approval", uuid7())
    decisions = [
        {"id": good["id"], "decision": "REJECT"},
        {"id": own["id"], "decision": "APPROVE"},
        {"id": gone, "decision": "APPROVE"},
        {"id": good["id"], "decision": "APPROVE"},
    ]
    answer = await queue.talk.do(queue.talk.operator, DECIDE_ALL, decisions=decisions)
    said = [(one["approval"] or {}).get("status") for one in answer["results"]]
    assert said == ["REJECTED", "PENDING", None, "REJECTED"]
    codes = [[error["code"] for error in one["userErrors"]] for one in answer["results"]]
    assert codes == [[], ["SELF_APPROVAL"], ["NOT_FOUND"], ["ALREADY_DECIDED"]]
    where = [error["field"] for one in answer["results"] for error in one["userErrors"]]
    assert where == [["input", "decisions", str(place), "id"] for place in (1, 2, 3)]
    nothing = await queue.talk.do(queue.talk.operator, DECIDE_ALL, decisions=[])
    assert (nothing["results"], nothing["userErrors"][0]["field"]) == ([], ["input", "decisions"])


async def test_what_was_decided_is_reported_although_the_rest_cannot_be_decided_now(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [(await queue.ask())["id"] for _ in range(4)]
    tried: list[UUID] = []

    async def overtaken(_: Any, approval_id: UUID, *__: Any) -> bool:
        tried.append(approval_id)
        if len(tried) % 2 == 0:
            raise Unavailable
        return False

    monkeypatch.setattr(approvals, "has_decided", overtaken)
    decisions = [{"id": one, "decision": "APPROVE"} for one in asked]
    answer = await queue.talk.do(queue.talk.operator, DECIDE_ALL, decisions=decisions)
    assert [(one["approval"] or {}).get("status") for one in answer["results"]] == ["APPROVED", None, None, None]
    errors = [error for one in answer["results"] for error in one["userErrors"]]
    assert [(one["code"], one["field"]) for one in errors] == [
        ("THROTTLED", ["input", "decisions", str(place), "id"]) for place in (1, 2, 3)
    ]
    assert len(tried) == 2
    assert [(await queue.show(one))["status"] for one in asked] == ["APPROVED", "PENDING", "PENDING", "PENDING"]
    # Where nothing was decided there is nothing to report.
    tried.append(NIL)
    assert await queue.talk.code(queue.talk.operator, DECIDE_ALL, input={"decisions": decisions[1:]}) == {"UNAVAILABLE"}


async def test_a_request_is_withdrawn_by_whoever_asked_or_may_decide(queue: Queue) -> None:
    mine, hers = await queue.ask(), await queue.ask(queue.talk.other_member)
    gone = await queue.talk.done(queue.talk.member, CANCEL, id=mine["id"], reason="Never mind.")
    assert (gone["status"], gone["reviewerNotes"]) == ("CANCELLED", "Never mind.")
    assert await queue.talk.code(queue.talk.member, CANCEL, input={"id": hers["id"]}) == {"FORBIDDEN"}
    assert (await queue.talk.done(queue.talk.operator, CANCEL, id=hers["id"]))["status"] == "CANCELLED"
    for document, said in ((CANCEL, {}), (DECIDE, {"decision": "APPROVE"}), (CLAIM, {})):
        answer = await queue.talk.do(queue.talk.operator, document, id=mine["id"], **said)
        assert (answer["userErrors"][0]["code"], answer["approval"]["status"]) == ("ILLEGAL_TRANSITION", "CANCELLED")


async def test_who_may_what(queue: Queue, theirs: Queue) -> None:
    asked, foreign = await queue.ask(), await theirs.ask()
    for who in (queue.talk.member, queue.talk.viewer, queue.talk.key):
        for document, said in ((CLAIM, {}), (RELEASE, {}), (DECIDE, {"decision": "APPROVE"})):
            assert await queue.talk.code(who, document, input={"id": asked["id"], **said}) == {"FORBIDDEN"}
    assert await queue.talk.code(queue.talk.viewer, REQUEST, input={"kind": "ACTION", "originalQuery": TERMS}) == {
        "FORBIDDEN"
    }
    for document, said in ((CLAIM, {}), (DECIDE, {"decision": "APPROVE"}), (CANCEL, {})):
        assert (await queue.talk.refused(queue.talk.admin, document, id=foreign["id"], **said))[0] == "NOT_FOUND"
    assert (await theirs.show(foreign["id"]))["status"] == "PENDING"


async def test_what_was_asked_and_answered_is_shown_to_whoever_asked_and_who_decides(queue: Queue) -> None:
    asked = await queue.ask()
    await queue.decide(asked["id"], modifiedResponse="Edited.", notes="Why.")
    texts = ("originalQuery", "proposedResponse", "modifiedResponse", "reviewerNotes")
    for who in (queue.talk.member, queue.talk.operator, queue.talk.admin):
        seen = await queue.show(asked["id"], who)
        assert [seen[one] for one in texts] == [TERMS, "Two years.", "Edited.", "Why."]
    through = (
        "query($id: ID!) { node(id: $id) { ... on Approval { approvalStatus: status originalQuery proposedResponse"
    )
    through += " modifiedResponse reviewerNotes } } }"
    for who in (queue.talk.other_member, queue.talk.viewer):
        seen = (await queue.talk.gateway.data(who, through, id=asked["id"]))["node"]
        assert [seen[one] for one in texts] == ["", None, None, None]
        assert seen["approvalStatus"] == "APPROVED"
    noted = await queue.talk.gateway.data(queue.talk.admin, ACCESSES, filter={"dataCategory": ["APPROVALS"]})
    readers = {one["actor"]["id"] for one in noted["dataAccessLogs"]["nodes"]}
    assert readers == {encode("user", one.user_id or uuid7()) for one in (queue.talk.operator, queue.talk.admin)}


async def test_nobody_searches_what_they_may_not_read(queue: Queue) -> None:
    mine, hers = await queue.ask(), await queue.ask(queue.talk.other_member, TRANSFER)
    for who, found in (
        (queue.talk.operator, {hers["id"]}),
        (queue.talk.other_member, {hers["id"]}),
        (queue.talk.member, set()),
        (queue.talk.viewer, set()),
    ):
        page = await queue.talk.gateway.data(who, LIST, filter={"search": "apex PAV"})
        assert {one["id"] for one in page["approvals"]["nodes"]} == found
    everything = await queue.talk.gateway.data(queue.talk.viewer, LIST)
    assert {one["id"]: one["originalQuery"] for one in everything["approvals"]["nodes"]} == {
        mine["id"]: "",
        hers["id"]: "",
    }


async def test_erasing_a_person_takes_their_requests_and_the_counts_follow(queue: Queue) -> None:
    asked = await queue.ask()
    assert queue.talk.member.user_id is not None
    await erase_user(call_of(queue.talk.gateway.services, queue.talk.admin), id=queue.talk.member.user_id)
    assert await queue.show(asked["id"]) is None
    assert (await queue.talk.gateway.data(queue.talk.admin, SUMMARY))["approvalQueueSummary"]["pending"] == 0
