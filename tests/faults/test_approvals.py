"""This module is where two gateways decide together: once each, told at both, whatever becomes of one of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, Final
from uuid import UUID

import httpx
import pytest
from sqlalchemy import select

from models import AuditEvent, Event, Message, Role, Scope
from models.ids import parse, uuid7
from tests.faults.checker import Audience, check
from tests.faults.journal import Follower, all_stopped
from tests.faults.stage import Guest, Stage
from tests.faults.transports import NO_TLS, TRANSPORTS
from tests.patience import DEADLINE
from tests.report import record
from tests.world import call_of, principal

RACERS: Final = 50
ONCE: Final = (
    "50 parallel approve/reject through two gateways on each of 200 requests: exactly one wins each, one event, "
    "one audit row, one effect; the rest get ALREADY_DECIDED with the outcome"
)
REQUEST: Final = """mutation($input: RequestApprovalInput!) { requestApproval(input: $input) {
  approval { id } userErrors { code message } } }"""
DECIDE: Final = """mutation($input: DecideApprovalInput!) { decideApproval(input: $input) {
  approval { id status } userErrors { code } } }"""
START: Final = """mutation($input: StartConversationInput!) { startConversation(input: $input) {
  conversation { id } userErrors { code } } }"""


async def _keys(stage: Stage, guest: Guest, *scopes: Scope) -> str:
    admin = call_of(stage.services, principal(guest.tenant_id, Role.ADMIN))
    _, secret = await stage.services.accounts.create_api_key(
        admin, name=f"key {uuid7()}", scopes=[one.value for one in scopes]
    )
    return secret


class Desk:
    """Who asks and who decides, over HTTP, at either gateway."""

    def __init__(self, stage: Stage, guest: Guest, http: httpx.AsyncClient, asking: str, deciding: list[str]) -> None:
        self.stage = stage
        self.guest = guest
        self.deciding = deciding
        self.asking = asking
        self._http = http

    @classmethod
    async def open(cls, stage: Stage, http: httpx.AsyncClient) -> Desk:
        """A tenant with a key that asks and two that decide."""
        guest = await stage.guest()
        asks = [
            Scope.APPROVALS_REQUEST,
            Scope.APPROVALS_READ,
            Scope.APPROVAL_TEXTS_READ,
            Scope.MESSAGES_WRITE,
            Scope.CONVERSATIONS_READ,
            Scope.CONVERSATIONS_WRITE,
            Scope.POLICIES_READ,
        ]
        decides = [Scope.APPROVALS_DECIDE, Scope.APPROVALS_READ]
        deciding = [await _keys(stage, guest, *decides) for _ in range(2)]
        return cls(stage, guest, http, await _keys(stage, guest, *asks), deciding)

    async def do(self, gateway: int, key: str, document: str, **said: Any) -> dict[str, Any]:
        """The payload of a mutation."""
        url = f"{self.stage.gateways[gateway].url}/graphql"
        body = {"query": document, "variables": {"input": said}}
        answer = (await self._http.post(url, json=body, headers={"authorization": f"Bearer {key}"})).json()
        assert "errors" not in answer, answer
        payload: dict[str, Any] = next(iter(answer["data"].values()))
        return payload

    async def ask(self, gateway: int = 0, **said: Any) -> str:
        """A request that waits."""
        given = {"kind": "RESPONSE", "originalQuery": "Summarise NDA terms", "proposedResponse": "Two years."} | said
        payload = await self.do(gateway, self.asking, REQUEST, **given)
        assert payload["userErrors"] == []
        approval: str = payload["approval"]["id"]
        return approval

    async def decide(self, gateway: int, approval: str, decision: str, who: int = 0) -> tuple[str | None, str]:
        """The refusal's code, if any, and how the request stands."""
        payload = await self.do(gateway, self.deciding[who], DECIDE, id=approval, decision=decision)
        codes = [one["code"] for one in payload["userErrors"]]
        return (codes[0] if codes else None), payload["approval"]["status"]

    async def wait(self, gateway: int, approval: str, seconds: int = 30) -> httpx.Response:
        """The long poll."""
        url = f"{self.stage.gateways[gateway].url}/v1/approvals/{approval}/wait"
        headers = {"authorization": f"Bearer {self.asking}"}
        return await self._http.get(url, params={"timeout": seconds}, headers=headers)


@pytest.fixture
async def desk(stage: Stage) -> Any:
    limits = httpx.Limits(max_connections=64, max_keepalive_connections=64)
    async with httpx.AsyncClient(timeout=DEADLINE, trust_env=False, verify=NO_TLS, limits=limits) as http:
        yield await Desk.open(stage, http)


async def _raced(desk: Desk, approval: str) -> Counter[tuple[str | None, str]]:
    """What fifty are told who decide at once, at both gateways, half of them otherwise."""
    said = await asyncio.gather(
        *(
            desk.decide(number % 2, approval, "APPROVE" if number % 4 < 2 else "REJECT", who=number % 2)
            for number in range(RACERS)
        )
    )
    return Counter(said)


@pytest.mark.parametrize(
    "count", [pytest.param(20, id="tenth"), pytest.param(200, id="full", marks=pytest.mark.faults)]
)
async def test_of_many_who_decide_at_once_one_decides(stage: Stage, desk: Desk, count: int) -> None:
    started = await desk.do(0, desk.asking, START, kind="CHAT")
    talk = started["conversation"]["id"]
    approvals = [await desk.ask(number % 2, subjectId=talk) for number in range(count)]
    approved = 0
    for approval in approvals:
        told = await _raced(desk, approval)
        (won,) = [status for code, status in told if code is None]
        assert told == {(None, won): 1, ("ALREADY_DECIDED", won): RACERS - 1}
        approved += won == "APPROVED"
    ids = {parse(one, "approval") for one in approvals}
    events, audited, said = await _kept(stage, desk.guest.tenant_id)
    assert Counter(one.entity_id for one in events if one.kind == "approval.decided") == dict.fromkeys(ids, 1)
    assert Counter(one.details["approval"] for one in audited if one.action == "approval.decided") == dict.fromkeys(
        approvals, 1
    )
    assert [one.seq for one in said] == list(range(1, approved + 1))
    record(6, ONCE, n=count, figure=f"{count} × {RACERS} at two gateways: one each, {approved} said, contiguous")  # noqa: RUF001


async def _kept(stage: Stage, tenant: UUID) -> tuple[list[Event], list[AuditEvent], list[Message]]:
    async with stage.services.database.session(tenant) as session:
        events = list(await session.scalars(select(Event).where(Event.entity_type == "approval")))
        audited = list(await session.scalars(select(AuditEvent).where(AuditEvent.event_type == "approval")))
        said = list(await session.scalars(select(Message).order_by(Message.seq)))
    return events, audited, said


async def test_a_waiting_client_is_answered_by_the_other_gateway(desk: Desk) -> None:
    for waits_at in (0, 1):
        approval = await desk.ask(waits_at)
        waiting = asyncio.create_task(desk.wait(waits_at, approval))
        assert (await desk.wait(1 - waits_at, approval, 0)).status_code == 204
        assert await desk.decide(1 - waits_at, approval, "APPROVE") == (None, "APPROVED")
        answer = await asyncio.wait_for(waiting, DEADLINE)
        assert (answer.status_code, answer.json()["status"]) == (200, "APPROVED")
    record(6, "a waiting HTTP client is answered by the other gateway", n=2, figure="decided there, answered here")


QUEUE: Final = """subscription Queue($after: EventCursor, $filter: ApprovalFilter) {
  approvalQueue(after: $after, filter: $filter) { __typename ... on StreamItem { cursor }
    ... on StreamReady { recovered }
    ... on ApprovalItem { previousCursor kind entityId matchesFilter approval { id status } } } }"""


@pytest.mark.parametrize("rounds", [pytest.param(2, id="tenth"), pytest.param(20, id="full", marks=pytest.mark.faults)])
async def test_a_subscriber_misses_no_decision_whatever_becomes_of_its_gateway(
    stage: Stage, desk: Desk, rounds: int
) -> None:
    urls = [one.url for one in stage.gateways]
    followers = [
        Follower(name, urls, desk.deciding[0], transport, document=QUEUE, field="approvalQueue", seed=rounds).start()
        for name, transport in TRANSPORTS.items()
    ]
    try:
        for one in followers:
            await one.until(lambda journal: bool(journal.items), DEADLINE)
        for number in range(rounds):
            doomed, other = number % 2, 1 - number % 2
            approvals = [await desk.ask(other) for _ in range(3)]
            await asyncio.to_thread(stage.gateways[doomed].kill)
            for approval in approvals:
                assert (await desk.decide(other, approval, "APPROVE"))[0] is None
            stage.gateways[doomed].start()
            await stage.gateways[doomed].ready()
        seq = await stage.head(desk.guest.tenant_id)
        for one in followers:
            await one.until_seq(seq, DEADLINE)
        log = await stage.log(desk.guest.tenant_id)
        audience = Audience(frozenset({Scope.APPROVALS_READ.value}), entity_type="approval")
        verdicts = [check(one.journal, log, audience, seq) for one in followers]
        assert [fault for verdict in verdicts for fault in verdict.faults] == []
        n = sum(verdict.deliveries for verdict in verdicts)
        resumes = sum(verdict.resumes for verdict in verdicts)
        record(
            6,
            "A subscriber resumes after its gateway is killed and misses no decision",
            n=n,
            figure=f"0 of {n} deliveries lost, so below {3 / n:.1e} (3/N); {rounds} kills, {resumes} resumes",
        )
    finally:
        await all_stopped(followers)
