"""This module is where approval is asked for and given, seen from outside."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from strawberry import ID

from models import ApprovalKind, Decision, Priority, Scope
from models.errors import Refusal, RefusalCode, Unavailable
from models.ids import NIL, InvalidId, decode
from resolvers import approval_requests
from resolvers import approvals as use_cases
from resolvers.call import Call
from schema.approvals import Approval
from schema.commands import Answer, Reason, UserError, command, payload, user_errors
from schema.declare import Argument, column, computed, root_fields
from schema.governance import PolicyDecision
from schema.inputs import form, optional, required


def _named(text: str) -> Any:
    """Prefix and uuid of whatever an id names; of what is none, a thing that is never there."""
    try:
        return decode(text)
    except InvalidId:
        return "", NIL


@form("Something that may have to wait for a person.")
class RequestApprovalInput:
    """Input of requestApproval."""

    kind: ApprovalKind = required("What approval is asked for.")
    original_query: str = required("What was asked of the agent; at most 131,072 bytes.")
    proposed_response: str | None = optional("What it would answer or do; at most 131,072 bytes.")
    agent_id: ID | None = optional("The agent; a workspace's token names one that works there.", of="agent")
    department: str | None = optional("The department it is asked in; the asker's own when absent.")
    confidence: float | None = optional("How sure the agent is of what was meant, 0 to 1.")
    priority: Priority | None = optional("HIGH for what the policies escalate, otherwise NORMAL when absent.")
    subject_type: str | None = optional("What kind of thing it is about; where subjectId is given, of its type.")
    subject_id: ID | None = optional(
        "What it is about: of RESPONSE a conversation, of AGENT the agent, of ACTION one of several things.", of=_named
    )
    expires_in_seconds: int | None = optional("When it ends by itself, at most 2,592,000; never when absent.")
    required_approvals: int | None = optional("How many people have to approve it, 1 to 5; 1 when absent.")
    idempotency_key: str | None = optional("Makes a retry safe for 24 hours; at most 255 characters.")


@form("A request to take in hand.")
class ClaimApprovalInput:
    """Input of claimApproval."""

    id: ID = required("Which one.", of="approval")
    expected_version: int | None = optional("Refuse when it has changed since this version.")


@form("A request to give back.")
class ReleaseApprovalInput:
    """Input of releaseApproval."""

    id: ID = required("Which one.", of="approval")
    expected_version: int | None = optional("Refuse when it has changed since this version.")


@form("A request to hand to somebody.")
class DelegateApprovalInput:
    """Input of delegateApproval."""

    id: ID = required("Which one.", of="approval")
    user_id: ID = required("Who is to decide it; they need approvals:decide.", of="user")
    expected_version: int | None = optional("Refuse when it has changed since this version.")


@form("A request for a department.")
class AssignApprovalInput:
    """Input of assignApproval."""

    id: ID = required("Which one.", of="approval")
    department: str | None = optional("The department that is to decide it, one line; null for all.")
    expected_version: int | None = optional("Refuse when it has changed since this version.")


@form("A decision about a request.")
class DecideApprovalInput:
    """Input of decideApproval."""

    id: ID = required("Which one.", of="approval")
    decision: Decision = required("Whether it may.")
    expected_version: int | None = optional("Refuse when it has changed since this version.")
    modified_response: str | None = optional("With APPROVE, the answer as edited; at most 131,072 bytes.")
    notes: str | None = optional("Why; at most 4,000 characters.")
    idempotency_key: str | None = optional("Makes a retry safe for 24 hours; at most 255 characters.")


@form("Several decisions, each on its own.")
class DecideApprovalsInput:
    """Input of decideApprovals."""

    decisions: list[DecideApprovalInput] = required("1 to 100 of them.")


@form("A request that is not needed any more.")
class CancelApprovalInput:
    """Input of cancelApproval."""

    id: ID = required("Which one.", of="approval")
    reason: str | None = optional("Why; at most 4,000 characters.")


@payload("What the policies say, and what waits because of it.")
class RequestApprovalPayload:
    """Payload of requestApproval."""

    decision: PolicyDecision | None = column("What the policies in force say.")
    approval: Approval | None = column("The request that waits; null where the policies say INFORM.")
    user_errors: list[UserError] = user_errors()


@payload("A request after a change.")
class ApprovalPayload:
    """Payload of mutations of requests."""

    approval: Approval | None = column("The request as it is now.")
    user_errors: list[UserError] = user_errors()


@payload("What became of several decisions.")
class DecideApprovalsPayload:
    """Payload of decideApprovals."""

    results: list[ApprovalPayload] = column("What became of each, in the order of the decisions.")
    user_errors: list[UserError] = user_errors()


@dataclass(frozen=True, slots=True)
class _Decided:
    """What DecideApprovalsPayload is read from."""

    results: list[Answer]
    user_errors: list[Reason]


_decide: Any = command(
    use_cases.decide_approval,
    "Approves or rejects, once and for all, with what that does. Whoever comes second gets ALREADY_DECIDED and what "
    "was decided; nobody decides their own request.",
    input=DecideApprovalInput,
    payload=ApprovalPayload,
    scope=Scope.APPROVALS_DECIDE,
)


async def _decide_each(_: Any, call: Call, input: DecideApprovalsInput) -> _Decided:
    if not input.decisions:
        nothing = Reason(RefusalCode.INVALID, "These are 1 to 100 decisions.", ["input", "decisions"])
        return _Decided([], [nothing])
    decide = _decide.metadata["function"]
    results: list[Answer] = []
    # One after the other: each is a transaction of its own, and the pool is everybody's.
    for one in input.decisions:
        try:
            results.append(await decide(None, call, one))
        except Unavailable:
            if not results:
                raise
            # What was decided is reported all the same, and the rest waits no such time each.
            break
    results += [Answer(["approval"], None, [_NOT_NOW]) for _ in input.decisions[len(results) :]]
    for place, answer in enumerate(results):
        answer.user_errors = [replace(why, field=_within(place, why.field)) for why in answer.user_errors]
    return _Decided(results, [])


_NOT_NOW: Final = Refusal(RefusalCode.THROTTLED, "It cannot be decided now; ask again.", field=("input", "id"))


def _within(place: int, field: list[str] | None) -> list[str] | None:
    """A decision's own path as that of one of several."""
    return ["input", "decisions", str(place), *field[1:]] if field else None


@root_fields
class ApprovalMutations:
    """What can be done with requests for approval."""

    request_approval: RequestApprovalPayload | None = command(
        approval_requests.request_approval,
        "Runs the policies; creates a pending approval unless they say INFORM.",
        input=RequestApprovalInput,
        payload=RequestApprovalPayload,
        scope=Scope.APPROVALS_REQUEST,
    )
    claim_approval: ApprovalPayload | None = command(
        use_cases.claim_approval,
        "Takes a request in hand, for others to see. It locks nobody out.",
        input=ClaimApprovalInput,
        payload=ApprovalPayload,
        scope=Scope.APPROVALS_DECIDE,
    )
    release_approval: ApprovalPayload | None = command(
        use_cases.release_approval,
        "Gives a request back to all.",
        input=ReleaseApprovalInput,
        payload=ApprovalPayload,
        scope=Scope.APPROVALS_DECIDE,
    )
    delegate_approval: ApprovalPayload | None = command(
        use_cases.delegate_approval,
        "Hands a request to somebody who may decide it.",
        input=DelegateApprovalInput,
        payload=ApprovalPayload,
        scope=Scope.APPROVALS_DECIDE,
    )
    assign_approval: ApprovalPayload | None = command(
        use_cases.assign_approval,
        "Gives a request to a department, or to all.",
        input=AssignApprovalInput,
        payload=ApprovalPayload,
        scope=Scope.APPROVALS_DECIDE,
    )
    decide_approval: ApprovalPayload | None = _decide
    decide_approvals: DecideApprovalsPayload | None = computed(
        _decide_each,
        "Each on its own: one refusal stops none of the others. Results stand in the order of the decisions.",
        [Argument("input", DecideApprovalsInput, "What to do.")],
        scope=Scope.APPROVALS_DECIDE,
        cost=100,
    )
    cancel_approval: ApprovalPayload | None = command(
        use_cases.cancel_approval,
        "Withdraws a request: one's own, or with approvals:decide anybody's.",
        input=CancelApprovalInput,
        payload=ApprovalPayload,
        scope=Scope.APPROVALS_REQUEST,
    )
