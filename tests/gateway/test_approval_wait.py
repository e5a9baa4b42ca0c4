"""This module is where GET /v1/approvals/{id}/wait is specified: answered by the decision, or by nothing in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from gateway.approval_wait import approval_wait_endpoint
from models import Agent, AgentType, ApprovalKind, Decision, Role, Scope, User, UserStatus
from models.database import Database
from models.ids import encode, uuid7
from resolvers.approval_requests import request_approval
from resolvers.approval_waiting import Waiting
from resolvers.approvals import decide_approval
from resolvers.call import Call, Services
from tests.patience import DEADLINE
from tests.world import Tenants, call_of, make_tenant, principal, running

PATH = "/v1/approvals/{id}/wait"
TERMS = "Summarise NDA terms"


@dataclass(slots=True)
class House:
    """A tenant with a machine that waits and a person who decides, served over HTTP."""

    services: Services
    waiting: Waiting
    http: httpx.AsyncClient
    tenant: UUID
    secret: str
    machine: Call
    operator: Call

    async def ask(self) -> UUID:
        """A request of the machine's."""
        made = await request_approval(
            self.machine, kind=ApprovalKind.RESPONSE, original_query=TERMS, proposed_response="Two years."
        )
        assert made.approval is not None
        return made.approval.id

    async def decide(self, approval: UUID, **said: Any) -> None:
        """Approve it."""
        await decide_approval(self.operator, id=approval, decision=Decision.APPROVE, **said)

    async def wait(self, approval: UUID | str, timeout: object = 0, secret: str | None = None) -> httpx.Response:
        """What the machine is answered."""
        named = approval if isinstance(approval, str) else encode("approval", approval)
        headers = {"authorization": f"Bearer {secret or self.secret}"}
        return await self.http.get(PATH.format(id=named), params={"timeout": str(timeout)}, headers=headers)


async def _key(services: Services, tenant: UUID, *scopes: Scope) -> str:
    admin = call_of(services, principal(tenant, Role.ADMIN))
    _, secret = await services.accounts.create_api_key(admin, name="waits", scopes=[one.value for one in scopes])
    return secret


@pytest.fixture
async def house(database: Database, tenants: Tenants) -> AsyncIterator[House]:
    async with running(database) as services:
        tenant = tenants.mine
        person = uuid7()
        async with database.session(tenant) as session:
            session.add(User(tenant_id=tenant, id=person, roles=[Role.OPERATOR.value], status=UserStatus.ACTIVE))
            session.add(Agent(tenant_id=tenant, id=uuid7(), name="helper", type=AgentType.LLM))
            await session.commit()
        secret = await _key(services, tenant, Scope.APPROVALS_REQUEST)
        machine = await services.accounts.authenticate(f"Bearer {secret}")
        waiting = Waiting(most=3, most_of_one=2)
        app = Starlette(routes=[Route(PATH, approval_wait_endpoint(services, waiting))])
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway", timeout=DEADLINE) as http:
            operator = call_of(services, principal(tenant, Role.OPERATOR, user_id=person))
            yield House(services, waiting, http, tenant, secret, call_of(services, machine), operator)


async def _until_waiting(house: House, count: int) -> None:
    async with asyncio.timeout(DEADLINE):
        while house.waiting.count < count:  # noqa: ASYNC110 - a place has no event to wait for
            await asyncio.sleep(0.005)


async def test_a_waiting_client_is_answered_by_the_decision(house: House) -> None:
    approval = await house.ask()
    waiting = asyncio.create_task(house.wait(approval, 60))
    await _until_waiting(house, 1)
    await house.decide(approval, modified_response="Three years.", notes="Read again.")
    answer = await asyncio.wait_for(waiting, DEADLINE)
    said = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.headers["cache-control"] == "no-store"
    assert said["id"] == encode("approval", approval)
    assert (said["status"], said["kind"], said["hitlMode"], said["slaState"]) == (
        "APPROVED",
        "RESPONSE",
        "DRAFT",
        "MET",
    )
    assert (said["originalQuery"], said["proposedResponse"]) == (TERMS, "Two years.")
    assert (said["modifiedResponse"], said["reviewerNotes"]) == ("Three years.", "Read again.")
    assert said["resolvedById"] == encode("user", house.operator.who.user_id or uuid7())
    assert said["resolvedAt"].endswith("Z")
    assert house.waiting.count == 0


async def test_what_is_decided_already_is_answered_at_once(house: House) -> None:
    approval = await house.ask()
    await house.decide(approval)
    assert (await house.wait(approval, 60)).json()["status"] == "APPROVED"


async def test_in_time_nothing_is_answered_by_nothing(house: House) -> None:
    approval = await house.ask()
    for timeout in (0, 1):
        answer = await house.wait(approval, timeout)
        assert (answer.status_code, answer.content) == (204, b"")


async def test_what_is_not_there_or_foreign_is_not_found(house: House, database: Database) -> None:
    reader = await _key(house.services, house.tenant, Scope.APPROVALS_READ)
    other = await make_tenant(database)
    theirs = await _key(house.services, other, Scope.APPROVALS_READ)
    mine = await house.ask()
    answers = [await house.wait(one, secret=reader) for one in (uuid7(), "nonsense", "agent_x")]
    answers.append(await house.wait(mine, secret=theirs))
    assert [one.status_code for one in answers] == [404] * 4
    assert {one.json()["errors"][0]["extensions"]["code"] for one in answers} == {"NOT_FOUND"}


async def test_whoever_may_see_their_own_alone_does_not_learn_what_is_there(house: House) -> None:
    mine = await house.ask()
    stranger = await _key(house.services, house.tenant, Scope.APPROVALS_REQUEST)
    answers = [await house.wait(one, secret=stranger) for one in (mine, uuid7(), "nonsense")]
    assert [one.status_code for one in answers] == [403] * 3
    assert len({one.json()["errors"][0]["message"] for one in answers}) == 1


async def test_who_reads_without_the_texts_gets_none(house: House) -> None:
    approval = await house.ask()
    await house.decide(approval)
    reader = await _key(house.services, house.tenant, Scope.APPROVALS_READ)
    said = (await house.wait(approval, secret=reader)).json()
    assert (said["status"], said["originalQuery"], said["proposedResponse"]) == ("APPROVED", "", None)


async def test_without_credentials_nobody_waits(house: House) -> None:
    path = PATH.format(id=encode("approval", await house.ask()))
    for headers in ({}, {"authorization": "Bearer nonsense"}):
        answer = await house.http.get(path, headers=headers)
        assert answer.status_code == 401
        assert answer.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("timeout", ["-1", "61", "x", "1.5", "", "+3", "٣", "1e1", "100"])
async def test_a_bad_timeout_is_refused(house: House, timeout: str) -> None:
    answer = await house.wait(await house.ask(), timeout)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["extensions"]["code"] == "BAD_REQUEST"


async def test_so_many_wait_and_no_more(house: House) -> None:
    approval = await house.ask()
    waiting = [asyncio.create_task(house.wait(approval, 60)) for _ in range(2)]
    await _until_waiting(house, 2)
    refused = await house.wait(approval, 60)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    await house.decide(approval)
    async with asyncio.timeout(DEADLINE):
        assert [(await one).status_code for one in waiting] == [200, 200]
    assert house.waiting.count == 0


async def test_a_drain_answers_everybody_and_lets_nobody_wait(house: House) -> None:
    approval = await house.ask()
    waiting = asyncio.create_task(house.wait(approval, 60))
    await _until_waiting(house, 1)
    house.waiting.drain()
    async with asyncio.timeout(DEADLINE):
        assert (await waiting).status_code == 204
        assert (await house.wait(approval, 60)).status_code == 204
