"""This module is where it stands what a decision does, kind by kind, and what each kind may be about.

An effect runs in the deciding transaction: what it refuses is not decided. A later kind plugs in here, by an entry.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from dataloaders.base import by_id
from models import (
    Agent,
    AgentRun,
    AgentStatus,
    ApprovalKind,
    ApprovalRequest,
    Conversation,
    Decision,
    PolicyRule,
    Workspace,
)
from models.errors import Refusal, RefusalCode, not_found
from resolvers.call import Call
from resolvers.conversation_access import writable
from resolvers.messages import append_reply
from resolvers.unit_of_work import UnitOfWork

Subject = tuple[str, UUID]
"""TypeID prefix and id of what a request is about."""

Effect = Callable[[Call, UnitOfWork, ApprovalRequest], Awaitable[None]]
"""What a decision does, in the deciding transaction, once the request's row says what was decided. May refuse."""

Check = Callable[[Call, UUID], Awaitable[None]]
"""Refuses a subject that is not there for the caller: NOT_FOUND of subjectId."""

_HERE: Final = ("input", "subjectId")
_ABOUT_ALL: Final = frozenset({RefusalCode.ALREADY_DECIDED, RefusalCode.ILLEGAL_TRANSITION, RefusalCode.NOT_FOUND})


async def _nothing(_: Call, __: UnitOfWork, ___: ApprovalRequest) -> None:
    """The decision itself is all that was asked for."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of request: what approving and rejecting does, and what it may be about, by TypeID prefix."""

    approved: Effect = _nothing
    rejected: Effect = _nothing
    subjects: Mapping[str, Check] = field(default_factory=dict)
    is_about_something: bool = False
    """Whether a request of this kind must name its subject."""
    always_waits: bool = False
    """Whether a person is asked whatever the policies say."""


async def _append_response(_: Call, work: UnitOfWork, approval: ApprovalRequest) -> None:
    """What was approved is said in the conversation; nothing where there is no text, or no conversation."""
    text = approval.final_response
    if approval.subject_id is None or approval.subject_type != Conversation.__typeid__ or not text:
        return
    metadata = {"approvalId": approval.typeid, "hitlMode": approval.hitl_mode.value.upper()}
    await append_reply(work, approval.subject_id, text, metadata, *_HERE)


async def _activate_agent(call: Call, work: UnitOfWork, approval: ApprovalRequest) -> None:
    await _decide_agent(call, work, approval, Decision.APPROVE)


async def _reject_agent(call: Call, work: UnitOfWork, approval: ApprovalRequest) -> None:
    await _decide_agent(call, work, approval, Decision.REJECT)


async def _decide_agent(call: Call, work: UnitOfWork, approval: ApprovalRequest, decision: Decision) -> None:
    assert approval.subject_id is not None
    try:
        agent = await work.locked(Agent, approval.subject_id, *_HERE)
    except Refusal:
        if decision is Decision.REJECT:
            return  # it is gone: nothing is left to reject
        raise
    if decision is Decision.REJECT and agent.status is not AgentStatus.PENDING:
        return
    before = agent.facets()
    agent.decide(decision, by=call.who.member_id, now=work.now, reason=approval.reviewer_notes)
    kind = "agent.approved" if decision is Decision.APPROVE else "agent.rejected"
    work.tell(agent, kind, before, {"status": agent.status.value, "approval": approval.typeid})


def _present(model: Any) -> Check:
    async def check(call: Call, row_id: UUID) -> None:
        if await call.load(by_id(model), row_id) is None:
            raise not_found("subject", *_HERE)

    return check


async def _waits(call: Call, agent_id: UUID) -> None:
    agent: Agent | None = await call.load(by_id(Agent), agent_id)
    if agent is None:
        raise not_found("subject", *_HERE)
    if agent.status is not AgentStatus.PENDING:
        message = f"An agent that is {agent.status.value.upper()} waits for nobody."
        raise Refusal(RefusalCode.ILLEGAL_TRANSITION, message, field=_HERE)


async def _may_speak(call: Call, conversation_id: UUID) -> None:
    # What is approved is said there, so whoever asks must be somebody who could.
    try:
        await writable(call, conversation_id, *_HERE)
    except Refusal as refusal:
        raise not_found("subject", *_HERE) from refusal


_THINGS: Final[dict[str, Check]] = {
    Agent.__typeid__: _present(Agent),
    Workspace.__typeid__: _present(Workspace),
    AgentRun.__typeid__: _present(AgentRun),
    Conversation.__typeid__: _may_speak,
}

KINDS: Final[Mapping[ApprovalKind, Kind]] = {
    ApprovalKind.RESPONSE: Kind(approved=_append_response, subjects={Conversation.__typeid__: _may_speak}),
    ApprovalKind.ACTION: Kind(subjects=_THINGS),
    ApprovalKind.AGENT: Kind(
        approved=_activate_agent,
        rejected=_reject_agent,
        subjects={Agent.__typeid__: _waits},
        is_about_something=True,
        always_waits=True,
    ),
    # Whoever asked waits for the decision and acts on it: these name no row of ours that a decision could change.
    ApprovalKind.CONNECTOR: Kind(always_waits=True),
    ApprovalKind.ONBOARDING: Kind(always_waits=True),
    ApprovalKind.POLICY: Kind(subjects={PolicyRule.__typeid__: _present(PolicyRule)}, always_waits=True),
}
"""Every kind there is."""


async def check_subject(call: Call, kind: ApprovalKind, subject: Subject) -> None:
    """Refuse what a request of this kind cannot be about. Raises NOT_FOUND, whatever is wrong with the id."""
    check = KINDS[kind].subjects.get(subject[0])
    if check is None:
        raise not_found("subject", *_HERE)
    await check(call, subject[1])


async def run_effect(call: Call, work: UnitOfWork, approval: ApprovalRequest, decision: Decision) -> None:
    """Do what the decision demands. Raises CONFLICT where its subject does not allow it any more. Does not commit."""
    kind = KINDS[approval.kind]
    try:
        await (kind.approved if decision is Decision.APPROVE else kind.rejected)(call, work, approval)
    except Refusal as refusal:
        code = RefusalCode.CONFLICT if refusal.code in _ABOUT_ALL else refusal.code
        # Of another row: what stands there is not the request.
        message = f"What it is about does not allow it: {refusal.message}"
        raise EffectRefused(code, message, field=("input", "id")) from refusal


class EffectRefused(Refusal):
    """What the decision was to do was refused, so nothing was decided."""
