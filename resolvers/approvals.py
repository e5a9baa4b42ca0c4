"""This module is where people handle what waits for them: claim, decide once, hand on, cancel.

Security boundary: nobody decides what they asked for, nor does a key that they made; a key is no second person. Whoever
comes second is told what was decided, whatever they say; the row's lock and its status make the first the only one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID

from dataloaders.approvals import has_decided
from dataloaders.base import by_id
from dataloaders.credentials import maker_of_key
from dataloaders.usage import mark_approved
from models import (
    ApprovalDecision,
    ApprovalRequest,
    AuditEvent,
    AuditSeverity,
    Decision,
    HitlMode,
    Scope,
    User,
    UserStatus,
)
from models.conversations import CONTENT_LIMIT_BYTES
from models.errors import Forbidden, Refusal, RefusalCode, invalid, not_found
from models.ids import uuid7
from models.scopes import scopes_of
from resolvers.approval_access import locked
from resolvers.approval_effects import EffectRefused, run_effect
from resolvers.call import Call
from resolvers.conversation_access import workspace_of
from resolvers.unit_of_work import UnitOfWork
from resolvers.validation import line, prose, speech

NOTES_LIMIT: Final = 4_000
DEPARTMENT_LIMIT: Final = 255
HANDLED: Final = "approval"
"""The type of audit events that stand for what somebody did with a request."""


async def claim_approval(call: Call, *, id: UUID, expected_version: int | None = None) -> ApprovalRequest:
    """Take a pending request in hand; again is no error. Commits.

    Raises FORBIDDEN for machines, NOT_FOUND, ALREADY_DECIDED, EXPIRED, ILLEGAL_TRANSITION, CONFLICT, SELF_APPROVAL.
    """
    claimer = _person(call)

    async def claim(work: UnitOfWork, row: ApprovalRequest) -> bool:
        _refuse_own(row, call.who.key)
        changed = row.claim(claimer, work.now)
        if changed:
            _note(work, row, "approval.claimed")
        return changed

    return await _handled(call, id, expected_version, "approval.claimed", claim)


async def release_approval(call: Call, *, id: UUID, expected_version: int | None = None) -> ApprovalRequest:
    """Give a claimed request back to all; whoever may decide releases anybody's. Commits. Raises as a claim."""

    async def release(work: UnitOfWork, row: ApprovalRequest) -> bool:
        return row.release(work.now)

    return await _handled(call, id, expected_version, "approval.released", release)


async def delegate_approval(
    call: Call, *, id: UUID, user_id: UUID, expected_version: int | None = None
) -> ApprovalRequest:
    """Hand a pending request to somebody who may decide it. Commits. Raises as a claim, and INVALID."""
    person: User | None = await call.load(by_id(User), user_id)
    if person is None or person.status is not UserStatus.ACTIVE:
        raise not_found("user", "input", "userId")
    if Scope.APPROVALS_DECIDE not in scopes_of(list(person.granted_roles)):
        raise invalid("They may not decide.", "input", "userId")

    async def delegate(work: UnitOfWork, row: ApprovalRequest) -> bool:
        if row.user_id == user_id or row.requester == f"user:{user_id}":
            raise _self_approval(row)
        if await has_decided(work.session, row.id, f"user:{user_id}"):
            raise Refusal(
                RefusalCode.INVALID, "They have decided it; it waits for others.", field=_USER_ID, current=row
            )
        changed = row.delegate(user_id, work.now)
        if changed:
            _note(work, row, "approval.delegated")
        return changed

    return await _handled(call, id, expected_version, "approval.delegated", delegate)


async def assign_approval(
    call: Call, *, id: UUID, department: str | None = None, expected_version: int | None = None
) -> ApprovalRequest:
    """Give a pending request to a department, or with None to all. Commits. Raises as a claim, and INVALID."""
    named = line(department, DEPARTMENT_LIMIT, "department") if department is not None else None

    async def assign(work: UnitOfWork, row: ApprovalRequest) -> bool:
        return row.assign(named, work.now)

    return await _handled(call, id, expected_version, "approval.assigned", assign)


async def cancel_approval(call: Call, *, id: UUID, reason: str | None = None) -> ApprovalRequest:
    """Withdraw a pending request: one's own, or with approvals:decide anybody's. Commits.

    Raises FORBIDDEN, INVALID, NOT_FOUND, ALREADY_DECIDED, EXPIRED, ILLEGAL_TRANSITION when it was cancelled before.
    """
    why = prose(reason, NOTES_LIMIT, "reason") if reason is not None else None
    async with call.work() as work:
        row = await locked(call, work, id)
        row.require_pending(work.now)
        before = row.facets()
        row.cancel(call.who.member_id, work.now, reason=why)
        await tell(work, row, "approval.cancelled", before)
        _note(work, row, "approval.cancelled")
    return row


async def decide_approval(
    call: Call,
    *,
    id: UUID,
    decision: Decision,
    expected_version: int | None = None,
    modified_response: str | None = None,
    notes: str | None = None,
) -> ApprovalRequest:
    """Approve or reject, once and for all, with what that does; of two approvals the first leaves it pending. Commits.

    Raises INVALID, NOT_FOUND, ALREADY_DECIDED, EXPIRED, ILLEGAL_TRANSITION, CONFLICT, SELF_APPROVAL, LIMIT_EXCEEDED;
    with the request as it stands, which is how somebody else may have decided it.
    """
    said = prose(notes, NOTES_LIMIT, "notes") if notes is not None else None
    edited = _edited(decision, modified_response)
    try:
        async with call.work() as work:
            row = await work.locked(ApprovalRequest, id)
            row.require_pending(work.now)
            row.require_version(expected_version)
            decider = await _decider(call, work)
            _refuse_own(row, call.who.key, decider)
            if await has_decided(work.session, row.id, decider):
                raise Refusal(
                    RefusalCode.ALREADY_DECIDED, "You have decided it; it waits for others.", field=_ID, current=row
                )
            await _decide(call, work, row, decider, decision, edited, said)
    except EffectRefused as refused:
        # The row in hand says what was about to be; what stands is what the database says.
        stands = await call.fresh().load(by_id(ApprovalRequest), id)
        raise Refusal(refused.code, refused.message, field=refused.field, current=stands) from refused
    return row


async def _decide(
    call: Call,
    work: UnitOfWork,
    row: ApprovalRequest,
    decider: str,
    decision: Decision,
    edited: str | None,
    notes: str | None,
) -> None:
    before, by = row.facets(), call.who.member_id
    is_last = True
    if decision is Decision.APPROVE:
        is_last = row.approve(by, work.now, notes=notes, modified=edited)
    else:
        row.reject(by, work.now, notes=notes)
    work.add(
        ApprovalDecision(id=uuid7(), approval_id=row.id, user_id=by, decided_by=decider, decision=decision, notes=notes)
    )
    await work.session.flush()
    kind = "approval.decided" if is_last else "approval.endorsed"
    # The first that is told, so that a retry under the same key finds the request.
    await tell(work, row, kind, before, decision=decision.value)
    _note(work, row, kind, decision=decision.value)
    if is_last:
        if decision is Decision.APPROVE:
            await mark_approved(work.session, row.id)
        await run_effect(call, work, row, decision)


async def tell(
    work: UnitOfWork, row: ApprovalRequest, kind: str, before: dict[str, object] | None, **payload: object
) -> None:
    """Tell of a request's change, also to the workspace in which its agent works. Flushes, does not commit."""
    await work.session.flush()
    said = {"status": row.status.value, "kind": row.kind.value, "version": row.version} | payload
    work.tell(row, kind, before, said, workspace_id=await workspace_of(work, row.agent_id))


Handling = Callable[[UnitOfWork, ApprovalRequest], Awaitable[bool]]


async def _handled(
    call: Call, approval_id: UUID, expected_version: int | None, kind: str, handle: Handling
) -> ApprovalRequest:
    """The request after ``handle`` did something with it, which is told unless nothing changed. Commits."""
    async with call.work() as work:
        row = await work.locked(ApprovalRequest, approval_id)
        row.require_pending(work.now)
        row.require_version(expected_version)
        before = row.facets()
        if await handle(work, row):
            await tell(work, row, kind, before)
    return row


def _note(work: UnitOfWork, row: ApprovalRequest, action: str, **details: object) -> None:
    """One audit event for what somebody did with a request: ids and enum values, never its texts."""
    work.session.add(
        AuditEvent(
            tenant_id=work.tenant_id,
            occurred_at=work.now,
            actor_type=work.actor[0] if work.actor else None,
            actor_id=work.actor[1] if work.actor else None,
            event_type=HANDLED,
            severity=AuditSeverity.WARNING if row.hitl_mode is HitlMode.ESCALATE else AuditSeverity.INFO,
            user_id=row.user_id,
            user_department=row.user_department,
            agent_id=row.agent_id,
            agent_name=row.agent_name,
            conversation_id=row.subject_id if row.subject_type == "conversation" else None,
            action=action,
            risk_signals=list(row.risk_signals),
            hitl_mode=row.hitl_mode,
            details={"approval": row.typeid, "kind": row.kind.value, "status": row.status.value, **details},
            guardrails_triggered=list(row.guardrails_triggered),
        )
    )


def _person(call: Call) -> UUID:
    person = call.who.member_id
    if person is None:
        raise Forbidden("Only people of the tenant take a request in hand.")
    return person


async def _decider(call: Call, work: UnitOfWork) -> str:
    """Whose decision it is: the person's, and of a key that of whoever made it. Nobody is two people with a key."""
    who = call.who
    maker = await maker_of_key(work.session, who.api_key_id) if who.api_key_id is not None else None
    return f"user:{maker}" if maker is not None else who.key


def _refuse_own(row: ApprovalRequest, *names: str) -> None:
    if not {row.requester, f"user:{row.user_id}"}.isdisjoint(names):
        raise _self_approval(row)


def _self_approval(row: ApprovalRequest) -> Refusal:
    return Refusal(RefusalCode.SELF_APPROVAL, "Nobody decides what they asked for.", field=_ID, current=row)


def _edited(decision: Decision, text: str | None) -> str | None:
    if text is None:
        return None
    if decision is Decision.REJECT:
        raise invalid("What is rejected is not edited.", "input", "modifiedResponse")
    return speech(text, CONTENT_LIMIT_BYTES, "modifiedResponse")


_ID: Final = ("input", "id")
_USER_ID: Final = ("input", "userId")
