"""This module is where it is specified who decides: nobody for themselves, nobody twice, and nobody too late."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import update

from models import ApprovalRequest, Role, Scope, utcnow
from models.ids import NIL, encode, parse
from resolvers.approval_deadlines import ApprovalDeadlines
from resolvers.principal import Principal
from tests.schema.conftest import Gateway
from tests.schema.queue import CANCEL, CLAIM, DECIDE, DELEGATE, TRANSFER, Queue
from tests.world import Tenants, call_of, principal


@pytest.fixture
async def queue(gateway: Gateway, tenants: Tenants) -> Queue:
    """A tenant in which people ask and decide."""
    return await Queue.open(gateway, tenants.mine)


async def test_nobody_decides_or_claims_their_own_request(queue: Queue) -> None:
    own = await queue.ask(queue.talk.operator)
    for document, said in ((DECIDE, {"decision": "APPROVE"}), (DECIDE, {"decision": "REJECT"}), (CLAIM, {})):
        answer = await queue.talk.do(queue.talk.operator, document, id=own["id"], **said)
        assert (answer["userErrors"][0]["code"], answer["approval"]["status"]) == ("SELF_APPROVAL", "PENDING")
    # Nor what a machine asked about their conversation.
    talk = await queue.talk.start(queue.talk.operator)
    asked = await queue.ask(queue.talk.token, agentId=queue.talk.agent, subjectId=talk)
    assert (await queue.talk.refused(queue.talk.operator, DECIDE, id=asked["id"], decision="APPROVE"))[0] == (
        "SELF_APPROVAL"
    )
    assert (await queue.decide(own["id"], queue.second))["status"] == "APPROVED"


async def test_two_approvals_are_two_peoples(queue: Queue) -> None:
    asked = await queue.ask(query=TRANSFER, requiredApprovals=2)
    first = await queue.decide(asked["id"])
    assert (first["status"], first["approvalsGiven"]) == ("PENDING", 1)
    again = await queue.talk.do(queue.talk.operator, DECIDE, id=asked["id"], decision="APPROVE")
    assert (again["userErrors"][0]["code"], again["approval"]["status"]) == ("ALREADY_DECIDED", "PENDING")
    assert (await queue.decide(asked["id"], queue.second))["status"] == "APPROVED"
    assert (await queue.kinds(asked["id"]))[1:] == ["approval.endorsed", "approval.decided"]
    other = await queue.ask(query=TRANSFER, requiredApprovals=2)
    await queue.decide(other["id"])
    assert (await queue.decide(other["id"], queue.second, decision="REJECT"))["status"] == "REJECTED"


async def test_a_request_is_handed_to_nobody_who_has_decided_it(queue: Queue) -> None:
    asked = await queue.ask(requiredApprovals=2)
    await queue.decide(asked["id"])
    to = encode("user", queue.talk.operator.user_id or NIL)
    answer = await queue.talk.do(queue.second, DELEGATE, id=asked["id"], userId=to)
    (error,) = answer["userErrors"]
    assert (error["code"], error["field"]) == ("INVALID", ["input", "userId"])
    assert (answer["approval"]["assignedTo"], answer["approval"]["approvalsGiven"]) == (None, 1)
    admin = encode("user", queue.talk.admin.user_id or NIL)
    handed = await queue.talk.done(queue.second, DELEGATE, id=asked["id"], userId=admin)
    assert handed["assignedTo"] == {"id": admin}


async def _key(queue: Queue, maker: Principal) -> Principal:
    """A key that decides, as somebody makes one."""
    scopes = [Scope.APPROVALS_DECIDE, Scope.APPROVALS_READ]
    services = queue.talk.gateway.services
    row, _ = await services.accounts.create_api_key(
        call_of(services, maker), name="chat", scopes=[one.value for one in scopes]
    )
    return principal(queue.talk.tenant, Role.API_CLIENT, api_key_id=row.id, scopes=frozenset(scopes))


async def test_a_key_decides_nothing_that_its_maker_asked_for_and_is_no_second_person(queue: Queue) -> None:
    admin = queue.talk.admin
    keys = [await _key(queue, admin) for _ in range(2)]
    own = await queue.ask(admin)
    for decision in ("APPROVE", "REJECT"):
        answer = await queue.talk.do(keys[0], DECIDE, id=own["id"], decision=decision)
        assert (answer["userErrors"][0]["code"], answer["approval"]["status"]) == ("SELF_APPROVAL", "PENDING")
    for first, again in ((admin, keys[0]), (keys[0], admin), (keys[0], keys[1])):
        asked = await queue.ask(requiredApprovals=2)
        assert (await queue.decide(asked["id"], first))["approvalsGiven"] == 1
        answer = await queue.talk.do(again, DECIDE, id=asked["id"], decision="APPROVE")
        assert (answer["userErrors"][0]["code"], answer["approval"]["status"]) == ("ALREADY_DECIDED", "PENDING")
        assert (await queue.decide(asked["id"], queue.second))["status"] == "APPROVED"
    # For others it decides, and what a machine asked is nobody's own.
    for asker, said in ((None, {}), (queue.talk.token, {"agentId": queue.talk.agent})):
        asked = await queue.ask(asker, **said)
        assert (await queue.decide(asked["id"], keys[0]))["status"] == "APPROVED"


async def test_what_has_expired_is_not_decided_and_shown_as_it_stands(queue: Queue) -> None:
    asked = await queue.ask(expiresInSeconds=60)
    services = queue.talk.gateway.services
    async with services.database.session(queue.talk.tenant) as session:
        past = {"expires_at": utcnow() - timedelta(seconds=1), "next_at": utcnow() - timedelta(seconds=1)}
        await session.execute(
            update(ApprovalRequest).where(ApprovalRequest.id == parse(asked["id"], "approval")).values(past)
        )
        await session.commit()
    # Before a worker has noticed, and after.
    for status in ("PENDING", "EXPIRED"):
        for document, said in ((DECIDE, {"decision": "APPROVE"}), (CLAIM, {}), (CANCEL, {})):
            answer = await queue.talk.do(queue.talk.operator, document, id=asked["id"], **said)
            assert (answer["userErrors"][0]["code"], answer["approval"]["status"]) == ("EXPIRED", status)
        await ApprovalDeadlines(services.database, services.announcer, utcnow).run()
    assert await queue.kinds(asked["id"]) == ["approval.requested", "approval.expired"]
