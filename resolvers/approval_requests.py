"""This module is where approval is asked for: the policies are run, and what they hold back waits for a person.

Security boundary: nobody is asked in another's name. A workspace's token asks for the agents that work in it, and what
a request is about must be the caller's to speak of.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final
from uuid import UUID

from dataloaders.approvals import pending_count
from dataloaders.base import by_id
from models import (
    Agent,
    ApprovalKind,
    ApprovalRequest,
    Conversation,
    HitlMode,
    Priority,
    User,
)
from models.approvals import MOST_APPROVERS, MOST_PENDING
from models.conversations import CONTENT_LIMIT_BYTES
from models.errors import Refusal, RefusalCode, invalid, not_found
from models.ids import uuid7
from resolvers.approval_effects import KINDS, Subject, check_subject
from resolvers.approvals import tell
from resolvers.call import Call
from resolvers.governance import evaluate, note_evaluation
from resolvers.idempotency import Replay, replayed_ids
from resolvers.policy_evaluation import Decision, Question
from resolvers.unit_of_work import UnitOfWork
from resolvers.validation import line, speech, within

SUBJECT_TYPE_LIMIT: Final = 100
DEPARTMENT_LIMIT: Final = 255
LONGEST_SECONDS: Final = 30 * 24 * 3600
MODE_PRIORITY: Final = {HitlMode.DRAFT: Priority.NORMAL, HitlMode.ESCALATE: Priority.HIGH}
"""How soon somebody has to decide where the caller does not say."""


@dataclass(frozen=True, slots=True)
class Requested:
    """What the policies said, and what waits because of it; None where nothing has to."""

    decision: Decision
    approval: ApprovalRequest | None


async def request_approval(
    call: Call,
    *,
    kind: ApprovalKind,
    original_query: str,
    proposed_response: str | None = None,
    agent_id: UUID | None = None,
    department: str | None = None,
    confidence: float | None = None,
    priority: Priority | None = None,
    subject_type: str | None = None,
    subject_id: Subject | None = None,
    expires_in_seconds: int | None = None,
    required_approvals: int = 1,
) -> Requested:
    """Run the policies; a pending request unless they let it through. Commits.

    Raises INVALID, NOT_FOUND, LIMIT_EXCEEDED. Agents, connectors, steps and policies always wait for a person.
    """
    draft = _draft(kind, original_query, proposed_response, department, priority, required_approvals)
    expires_in = _expiry(expires_in_seconds)
    subject = _subject(kind, subject_type, subject_id, agent_id)
    draft.subject_type, draft.subject_id = subject
    if confidence is not None and not 0 <= confidence <= 1:
        raise invalid("This is a number from 0 to 1.", "input", "confidence")
    draft.agent_id = agent_id
    question = Question(_whole(original_query, proposed_response), draft.user_department, agent_id, None, confidence)
    try:
        agent = await _present(call, draft)
    except Refusal as refusal:
        return await _unless_done(call, refusal, kind, question)
    domain = agent.domain if agent is not None else None
    question = replace(question, department=draft.user_department, agent_domain=domain)
    # Before the transaction: the rules are read by a statement of their own.
    decision = _waiting(kind, await evaluate(call, question))
    try:
        async with call.work() as work:
            await _note(work, question, decision, draft, agent)
            if decision.hitl_mode is HitlMode.INFORM:
                return Requested(decision, None)
            await _wait(work, draft, decision, expires_in, call.who.key)
    except Replay as replay:
        return await _again(call, replay, decision)
    return Requested(decision, draft)


async def _present(call: Call, draft: ApprovalRequest) -> Agent | None:
    """The agent it is asked for, and whose request it is, as things stand now. Raises NOT_FOUND, ILLEGAL_TRANSITION."""
    if draft.subject_id is not None:
        await check_subject(call, draft.kind, (draft.subject_type or "", draft.subject_id))
    agent = await _agent(call, draft.agent_id)
    draft.agent_name = agent.name if agent is not None else None
    await _whose(call, draft)
    return agent


async def _unless_done(call: Call, refusal: Refusal, kind: ApprovalKind, question: Question) -> Requested:
    """What a retry is told although its subject has moved on since the first try. Raises ``refusal`` on a first try."""
    if call.claim is None:
        raise refusal
    try:
        async with call.work():
            raise refusal  # and the key is free again
    except Replay as replay:
        return await _again(call, replay, _waiting(kind, await evaluate(call, question)))


async def _wait(
    work: UnitOfWork, draft: ApprovalRequest, decision: Decision, expires_in: timedelta | None, requester: str
) -> None:
    draft.requester = requester
    draft.hitl_mode = decision.hitl_mode
    draft.priority = draft.priority or MODE_PRIORITY[decision.hitl_mode]
    draft.risk_signals = list(decision.risk_signals)
    draft.guardrails_triggered = [one.name for one in decision.matched]
    draft.escalation_reason = decision.escalation_reason
    draft.begin(work.now, expires_in)
    # Last of all locks but the counts and the log: whoever asks at the same time waits for the COMMIT only.
    await work.lock_name("approvals")
    if await pending_count(work.session) >= MOST_PENDING:
        raise Refusal(
            RefusalCode.LIMIT_EXCEEDED, f"{MOST_PENDING:,} requests wait already; decide some.", field=("input", "kind")
        )
    work.add(draft)
    await tell(work, draft, "approval.requested", None)


async def _note(
    work: UnitOfWork, question: Question, decision: Decision, draft: ApprovalRequest, agent: Agent | None
) -> None:
    conversation = draft.subject_id if draft.subject_type == Conversation.__typeid__ else None
    asked = replace(question, text=draft.original_query)
    # Both are one request: whoever decides it finds what was asked by the same uuid.
    event = await note_evaluation(
        work, asked, decision, id=draft.id, conversation_id=conversation, user_id=draft.user_id, agent=agent
    )
    event.response_text = draft.proposed_response


async def _again(call: Call, replay: Replay, decision: Decision) -> Requested:
    """What a retry is told: what waits as it stands now, and the policies as they are."""
    found = replayed_ids(replay, ApprovalRequest.__typeid__)
    row: ApprovalRequest | None = await call.load(by_id(ApprovalRequest), found[0]) if found else None
    mode = row.hitl_mode if row is not None else HitlMode.INFORM
    reason = row.escalation_reason if row is not None else None
    return Requested(
        replace(decision, hitl_mode=mode, approval_required=row is not None, escalation_reason=reason), row
    )


def _waiting(kind: ApprovalKind, decision: Decision) -> Decision:
    if not KINDS[kind].always_waits or decision.hitl_mode is not HitlMode.INFORM:
        return decision
    reason = "Requests of this kind always wait for a person."
    return replace(decision, hitl_mode=HitlMode.DRAFT, approval_required=True, escalation_reason=reason)


def _draft(
    kind: ApprovalKind,
    query: str,
    response: str | None,
    department: str | None,
    priority: Priority | None,
    required: int,
) -> ApprovalRequest:
    """What is said of it, checked. Raises INVALID."""
    if not speech(query, CONTENT_LIMIT_BYTES, "originalQuery").strip():
        raise invalid("A request says what is asked.", "input", "originalQuery")
    return ApprovalRequest(
        id=uuid7(),
        kind=kind,
        original_query=query,
        proposed_response=speech(response, CONTENT_LIMIT_BYTES, "proposedResponse") if response is not None else None,
        user_department=line(department, DEPARTMENT_LIMIT, "department") if department is not None else None,
        priority=priority,
        required_approvals=within(required, 1, MOST_APPROVERS, "requiredApprovals"),
        approvals_given=0,
        escalations=0,
    )


def _expiry(seconds: int | None) -> timedelta | None:
    if seconds is None:
        return None
    if not 1 <= seconds <= LONGEST_SECONDS:
        message = f"It expires in 1 to {LONGEST_SECONDS:,} seconds; what is past has expired."
        raise invalid(message, "input", "expiresInSeconds")
    return timedelta(seconds=seconds)


def _subject(
    kind: ApprovalKind, said: str | None, subject: Subject | None, agent_id: UUID | None
) -> tuple[str | None, UUID | None]:
    """What it is about: type and id. Raises INVALID, NOT_FOUND."""
    named = line(said, SUBJECT_TYPE_LIMIT, "subjectType") if said is not None else None
    if subject is None and KINDS[kind].is_about_something:
        if agent_id is None:
            raise invalid("A request of this kind names its subjectId.", "input", "subjectId")
        subject = Agent.__typeid__, agent_id
    if subject is None:
        return named, None
    if subject[0] not in KINDS[kind].subjects:
        raise not_found("subject", "input", "subjectId")
    if named is not None and named.lower() != subject[0]:
        raise invalid(f"subjectId names a thing of the type {subject[0]}.", "input", "subjectType")
    return subject


async def _agent(call: Call, agent_id: UUID | None) -> Agent | None:
    """The agent it is asked for. Raises NOT_FOUND for one that is not there, or not in the token's own workspace."""
    mine = call.who.workspace_id
    if agent_id is None:
        if mine is not None:
            raise not_found("agent", "input", "agentId")
        return None
    agent: Agent | None = await call.load(by_id(Agent), agent_id)
    if agent is None or mine not in (None, agent.workspace_id):
        raise not_found("agent", "input", "agentId")
    return agent


async def _whose(call: Call, draft: ApprovalRequest) -> None:
    """Whose request it is: the caller's, or of a machine's that of the person whose conversation it is about."""
    user_id = call.who.member_id
    if user_id is None and draft.subject_type == Conversation.__typeid__ and draft.subject_id is not None:
        conversation: Conversation | None = await call.load(by_id(Conversation), draft.subject_id)
        user_id = conversation.user_id if conversation is not None else None
    draft.user_id = user_id
    if draft.user_department is None and user_id is not None:
        person: User | None = await call.load(by_id(User), user_id)
        draft.user_department = person.department if person is not None else None


def _whole(query: str, response: str | None) -> str:
    # What is answered can hold what nobody asked for: an address, a promise.
    return query if not response else f"{query}\n{response}"
