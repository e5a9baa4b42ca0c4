"""This module is where tests get a queue: documents, people who ask and decide, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func, select

from models import ApprovalRequest, AuditEvent, Event, QueryEvent, Role
from models.ids import parse
from resolvers.principal import Principal
from tests.schema.conftest import Gateway
from tests.schema.talk import Talk
from tests.schema.test_audit import person

TRANSFER: Final = "Please transfer $12,500 to vendor Apex Paving"
TERMS: Final = "Summarise NDA terms"
GREETING: Final = "When does the library open?"
"""What the built-in policies escalate, draft and let through."""

_SHOWN: Final = """id kind status hitlMode priority originalQuery proposedResponse modifiedResponse riskSignals
  guardrailsTriggered escalationReason subjectType subjectId slaState slaDueAt expiresAt requiredApprovals
  approvalsGiven assignedDepartment reviewerNotes resolvedAt version user { id } agentName userDepartment
  assignedTo { id } delegatedTo { id } resolvedBy { id } decisions { decision decidedBy { id } }"""
_ERRORS: Final = "userErrors { code message field }"
REQUEST: Final = f"""mutation($input: RequestApprovalInput!) {{ requestApproval(input: $input) {{
  decision {{ hitlMode localOnly approvalRequired escalationReason intentDomain riskSignals matchedRules {{ name }} }}
  approval {{ {_SHOWN} }} {_ERRORS} }} }}"""
APPROVAL: Final = f"query($id: ID!) {{ approval(id: $id) {{ {_SHOWN} }} }}"


def _mutation(name: str) -> str:
    kind = f"{name[0].upper()}{name[1:]}Input"
    return f"""mutation($input: {kind}!) {{ {name}(input: $input) {{ approval {{ {_SHOWN} }} {_ERRORS} }} }}"""


CLAIM, RELEASE, DELEGATE, ASSIGN, DECIDE, CANCEL = map(
    _mutation,
    (
        "claimApproval",
        "releaseApproval",
        "delegateApproval",
        "assignApproval",
        "decideApproval",
        "cancelApproval",
    ),
)
DECIDE_ALL: Final = f"""mutation($input: DecideApprovalsInput!) {{ decideApprovals(input: $input) {{
  results {{ approval {{ id status resolvedBy {{ id }} }} {_ERRORS} }} {_ERRORS} }} }}"""
LIST: Final = """query($filter: ApprovalFilter, $orderBy: ApprovalOrder, $first: Int) {
  approvals(first: $first, filter: $filter, orderBy: $orderBy) { totalCount nodes { id priority originalQuery } } }"""
SUMMARY: Final = """{ approvalQueueSummary { pending breached atRisk oldestPendingAt byMode { mode count }
  byPriority { priority count } } }"""


@dataclass(slots=True)
class Queue:
    """A tenant in which people and machines ask, and people decide."""

    talk: Talk
    second: Principal
    """Another operator."""

    @classmethod
    async def open(cls, gateway: Gateway, tenant: UUID) -> Queue:
        """Everybody arrives."""
        return cls(await Talk.begin(gateway, tenant), await person(gateway, tenant, Role.OPERATOR))

    async def ask(self, who: Principal | None = None, query: str = TERMS, **said: Any) -> dict[str, Any]:
        """A request that waits; the member's when nothing is said."""
        answer = await self.asked(who, query, **said)
        assert answer["approval"] is not None, answer
        waiting: dict[str, Any] = answer["approval"]
        return waiting

    async def asked(self, who: Principal | None = None, query: str = TERMS, **said: Any) -> dict[str, Any]:
        """What requestApproval answers, without user errors."""
        given = {"kind": "RESPONSE", "originalQuery": query, "proposedResponse": "Two years."} | said
        answer = await self.talk.do(who or self.talk.member, REQUEST, **given)
        assert answer["userErrors"] == [], answer
        return answer

    async def decide(self, approval: str, who: Principal | None = None, **said: Any) -> dict[str, Any]:
        """The request after a decision; the operator approves when nothing is said."""
        given = {"id": approval, "decision": "APPROVE"} | said
        decided: dict[str, Any] = await self.talk.done(who or self.talk.operator, DECIDE, **given)
        return decided

    async def show(self, approval: str, who: Principal | None = None) -> dict[str, Any]:
        """The request as somebody sees it; the operator when nothing is said."""
        found = await self.talk.gateway.data(who or self.talk.operator, APPROVAL, id=approval)
        seen: dict[str, Any] = found["approval"]
        return seen

    async def events(self, approval: str) -> list[Event]:
        """What the log tells of a request, oldest first."""
        async with self.talk.gateway.services.database.session(self.talk.tenant) as session:
            rows = await session.scalars(
                select(Event).where(Event.entity_id == parse(approval, "approval")).order_by(Event.seq)
            )
            return list(rows)

    async def kinds(self, approval: str) -> list[str]:
        """The kinds of those events."""
        return [one.kind for one in await self.events(approval)]

    async def rows_told(self) -> int:
        """How many events the tenant's log has."""
        async with self.talk.gateway.services.database.session(self.talk.tenant) as session:
            return int(await session.scalar(select(func.count()).select_from(Event)) or 0)

    async def audited(self, approval: str) -> list[str]:
        """What the audit events tell that was done with it."""
        async with self.talk.gateway.services.database.session(self.talk.tenant) as session:
            rows = await session.scalars(
                select(AuditEvent).where(AuditEvent.event_type == "approval").order_by(AuditEvent.id)
            )
            return [one.action for one in rows if one.details["approval"] == approval]

    async def row(self, approval: str) -> ApprovalRequest:
        """The request as the database has it."""
        async with self.talk.gateway.services.database.session(self.talk.tenant) as session:
            found = select(ApprovalRequest).where(ApprovalRequest.id == parse(approval, "approval"))
            return (await session.scalars(found)).one()

    async def approved(self) -> list[UUID]:
        """Which of the tenant's queries say that somebody approved them."""
        async with self.talk.gateway.services.database.session(self.talk.tenant) as session:
            found = select(QueryEvent.id).where(QueryEvent.tenant_id == self.talk.tenant, QueryEvent.was_approved)
            return list(await session.scalars(found.order_by(QueryEvent.id)))
