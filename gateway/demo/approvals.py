"""This module is where the demo's agents ask people: each kind, priority, status and state of time once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select

from models import (
    Agent,
    AgentStatus,
    ApprovalKind,
    ApprovalRequest,
    Conversation,
    ConversationStatus,
    Decision,
    Priority,
    Role,
    User,
    UserStatus,
    utcnow,
)
from models.ids import uuid7
from models.scopes import INGEST_SCOPES, ROLE_SCOPES
from resolvers.approval_deadlines import ApprovalDeadlines
from resolvers.approval_requests import request_approval
from resolvers.approvals import assign_approval, cancel_approval, claim_approval, decide_approval, delegate_approval
from resolvers.call import Call, Services
from resolvers.principal import Principal

_TRANSFER: Final = "Please transfer $12,500 to vendor Apex Paving"
_PRESS: Final = "Draft a press release on the water main break"
_TERMS: Final = "Summarise NDA terms"
_HOURS: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class _Cast:
    """Who takes part, and what it is about."""

    machine: Call
    member: Call
    operator: Call
    operator_id: UUID
    admin: Call
    agent: UUID
    candidate: UUID | None
    talk: UUID | None

    def ago(self, age: timedelta) -> Call:
        """The fleet's machine, so long ago."""
        services = replace(self.machine.services, clock=lambda: utcnow() - age)
        return replace(self.machine, services=services)


async def ask(services: Services, tenant_id: UUID) -> None:
    """Requests of every status, where an earlier start made none. Each commits on its own."""
    async with services.database.session(tenant_id) as session:
        asked = select(ApprovalRequest.id).where(ApprovalRequest.tenant_id == tenant_id).limit(1)
        if await session.scalar(asked) is not None:
            return
    cast = await _cast(services, tenant_id)
    await _waiting(cast)
    await _decided(cast)
    await _overtaken(cast)
    # What should have happened by itself since then.
    await ApprovalDeadlines(services.database, services.announcer, services.clock).run()


async def _cast(services: Services, tenant_id: UUID) -> _Cast:
    def call(**who: Any) -> Call:
        return Call(services=services, principal=Principal(tenant_id=tenant_id, **who), request_id="demo")

    async with services.database.session(tenant_id) as session:
        people = {
            role: await session.scalar(
                select(User.id)
                .where(
                    User.tenant_id == tenant_id,
                    User.status == UserStatus.ACTIVE,
                    User.roles.op("@>")([role.value]),
                )
                .order_by(User.id)
                .limit(1)
            )
            for role in (Role.MEMBER, Role.OPERATOR, Role.ADMIN)
        }
        agents: Sequence[Agent] = (
            await session.scalars(select(Agent).where(Agent.tenant_id == tenant_id).order_by(Agent.id).limit(100))
        ).all()
        talk = await session.scalar(
            select(Conversation.id)
            .where(
                Conversation.tenant_id == tenant_id,
                Conversation.status == ConversationStatus.ACTIVE,
                Conversation.user_id == people[Role.MEMBER],
            )
            .order_by(Conversation.id)
            .limit(1)
        )
    member, operator, admin = (
        call(user_id=people[role], roles=frozenset({role}), scopes=ROLE_SCOPES[role]) for role in people
    )
    pending = next((one.id for one in agents if one.status is AgentStatus.PENDING), None)
    operator_id = people[Role.OPERATOR]
    assert operator_id is not None, "every sample has an operator"
    machine = call(api_key_id=uuid7(), scopes=INGEST_SCOPES)
    return _Cast(machine, member, operator, operator_id, admin, agents[0].id, pending, talk)


async def _ask(call: Call, kind: ApprovalKind, query: str, **said: Any) -> UUID:
    made = (await request_approval(call, kind=kind, original_query=query, **said)).approval
    assert made is not None, f"the policies let through: {query}"
    return made.id


async def _waiting(cast: _Cast) -> None:
    machine, mine = cast.machine, {"agent_id": cast.agent}
    transfer = await _ask(
        machine, ApprovalKind.ACTION, _TRANSFER, priority=Priority.URGENT, required_approvals=2, **mine
    )
    await decide_approval(cast.operator, id=transfer, decision=Decision.APPROVE, notes="The invoice is right.")
    claimed = await _ask(cast.member, ApprovalKind.RESPONSE, _PRESS, proposed_response="A water main broke.", **mine)
    await claim_approval(cast.operator, id=claimed)
    handed = await _ask(machine, ApprovalKind.RESPONSE, _TERMS, proposed_response="Two years, mutual.", **mine)
    await delegate_approval(cast.admin, id=handed, user_id=cast.operator_id)
    connector = await _ask(machine, ApprovalKind.CONNECTOR, "Connect to Socrata Open Data", priority=Priority.LOW)
    await assign_approval(cast.operator, id=connector, department="Platform")
    await _ask(machine, ApprovalKind.ONBOARDING, "Deploy the department Parks, confidence 0.45")
    await _ask(cast.member, ApprovalKind.POLICY, "Let the permit guide quote fees", priority=Priority.LOW)
    if cast.candidate is not None:
        await _ask(cast.member, ApprovalKind.AGENT, "May this agent work?", subject_id=("agent", cast.candidate))


async def _decided(cast: _Cast) -> None:
    said: dict[str, Any] = {"agent_id": cast.agent, "proposed_response": "The vendor is paid tomorrow."}
    if cast.talk is not None:
        said["subject_id"] = ("conversation", cast.talk)
    answer = await _ask(cast.machine, ApprovalKind.RESPONSE, _TRANSFER, **said)
    await decide_approval(
        cast.operator,
        id=answer,
        decision=Decision.APPROVE,
        modified_response="Payments to vendors are made by the finance department; it was asked.",
        notes="No dates.",
    )
    refused = await _ask(cast.machine, ApprovalKind.RESPONSE, _PRESS, proposed_response="All is well.")
    await decide_approval(cast.operator, id=refused, decision=Decision.REJECT, notes="It is not.")
    withdrawn = await _ask(cast.member, ApprovalKind.ACTION, _TERMS)
    await cancel_approval(cast.member, id=withdrawn, reason="Found it myself.")


async def _overtaken(cast: _Cast) -> None:
    mine = {"agent_id": cast.agent}
    await _ask(cast.ago(3 * _HOURS), ApprovalKind.ACTION, _TRANSFER, expires_in_seconds=3600, **mine)
    await _ask(cast.ago(19 * _HOURS), ApprovalKind.RESPONSE, _TERMS, proposed_response="It ends in May.", **mine)
    await _ask(cast.ago(5 * _HOURS), ApprovalKind.ACTION, _PRESS, **mine)
