"""This module is where a request for approval is specified as a row: its times, and what may become of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from models import ApprovalKind, ApprovalRequest, ApprovalStatus, HitlMode, Priority, SlaState
from models.approvals import SLA, URGENCY
from models.errors import Refusal, RefusalCode

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ADA, BOB = uuid4(), uuid4()
HOUR = timedelta(hours=1)


def request(
    priority: Priority = Priority.NORMAL, expires_in: timedelta | None = None, required: int = 1
) -> ApprovalRequest:
    made = ApprovalRequest(
        id=uuid4(),
        kind=ApprovalKind.RESPONSE,
        hitl_mode=HitlMode.DRAFT,
        priority=priority,
        requester="key:x",
        original_query="May I?",
        required_approvals=required,
        approvals_given=0,
        escalations=0,
        version=1,
    )
    made.begin(NOW, expires_in)
    return made


def refused(do: Callable[[], Any]) -> RefusalCode:
    with pytest.raises(Refusal) as caught:
        do()
    assert isinstance(caught.value.current, ApprovalRequest)
    return caught.value.code


@pytest.mark.parametrize(
    ("priority", "hours"), [(Priority.URGENT, 1), (Priority.HIGH, 4), (Priority.NORMAL, 24), (Priority.LOW, 72)]
)
def test_a_priority_promises_a_time_and_is_at_risk_in_its_last_quarter(priority: Priority, hours: int) -> None:
    row = request(priority)
    assert row.sla_due_at == NOW + hours * HOUR
    assert row.at_risk_at == NOW + 0.75 * hours * HOUR
    assert row.next_at == row.at_risk_at
    assert row.urgency == URGENCY[priority]


def test_every_priority_has_a_time_and_the_most_urgent_the_shortest() -> None:
    assert set(SLA) == set(URGENCY) == set(Priority)
    assert sorted(SLA, key=SLA.__getitem__) == sorted(URGENCY, key=URGENCY.__getitem__, reverse=True)


def test_time_brings_a_request_to_risk_then_it_escalates_once_and_then_nothing() -> None:
    row = request(Priority.URGENT)
    row.claim(ADA, NOW)
    row.assign("Law", NOW)
    told = [row.pass_time(NOW + minutes * timedelta(minutes=1)) for minutes in (1, 44, 45, 46, 59, 60, 61, 600)]
    assert told == [None, None, "approval.at_risk", None, None, "approval.escalated", None, None]
    assert (row.sla_state, row.escalations, row.escalated_at) == (SlaState.BREACHED, 1, NOW + HOUR)
    # Whoever had it did not get to it.
    assert (row.assigned_to, row.assigned_department) == (None, None)
    assert (row.status, row.next_at, row.version) == (ApprovalStatus.PENDING, None, 2)


def test_whoever_comes_late_is_told_once_how_it_stands() -> None:
    row = request(Priority.URGENT)
    assert row.pass_time(NOW + 10 * HOUR) == "approval.escalated"
    assert row.pass_time(NOW + 10 * HOUR) is None


def test_a_request_expires_at_its_time_whatever_else_is_due() -> None:
    row = request(Priority.URGENT, expires_in=2 * HOUR)
    assert row.pass_time(NOW + 2 * HOUR) == "approval.expired"
    assert (row.status, row.resolved_at, row.resolved_by) == (ApprovalStatus.EXPIRED, NOW + 2 * HOUR, None)
    assert (row.sla_state, row.next_at) == (SlaState.BREACHED, None)
    assert row.pass_time(NOW + 3 * HOUR) is None


def test_what_expires_first_is_what_is_next() -> None:
    assert request(Priority.LOW, expires_in=HOUR).next_at == NOW + HOUR


@pytest.mark.parametrize(("hours", "state"), [(0, SlaState.MET), (24, SlaState.MET), (25, SlaState.BREACHED)])
def test_what_is_decided_in_time_is_met(hours: int, state: SlaState) -> None:
    row = request()
    assert row.approve(ADA, NOW + hours * HOUR, notes=None, modified=None) is True
    assert (row.sla_state, row.next_at, row.resolved_by) == (state, None, ADA)


def test_two_people_approve_and_one_rejection_rejects() -> None:
    row = request(required=2)
    row.claim(ADA, NOW)
    assert row.approve(ADA, NOW, notes="fine", modified="edited") is False
    assert (row.status, row.approvals_given, row.assigned_to) == (ApprovalStatus.PENDING, 1, None)
    with pytest.raises(Refusal) as late:
        row.approve(BOB, NOW, notes=None, modified="edited once more")
    assert late.value.code is RefusalCode.INVALID
    assert row.approve(BOB, NOW, notes=None, modified=None) is True
    assert (row.status, row.final_response, row.reviewer_notes) == (ApprovalStatus.APPROVED, "edited", "fine")
    other = request(required=2)
    other.approve(ADA, NOW, notes=None, modified=None)
    other.reject(BOB, NOW, notes="no")
    assert (other.status, other.resolved_by) == (ApprovalStatus.REJECTED, BOB)


def _approved(row: ApprovalRequest) -> None:
    row.approve(ADA, NOW, notes=None, modified=None)


def _rejected(row: ApprovalRequest) -> None:
    row.reject(ADA, NOW, notes=None)


def _cancelled(row: ApprovalRequest) -> None:
    row.cancel(ADA, NOW, reason=None)


def _expired(row: ApprovalRequest) -> None:
    row.expires_at = NOW
    row.pass_time(NOW)


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (_approved, RefusalCode.ALREADY_DECIDED),
        (_rejected, RefusalCode.ALREADY_DECIDED),
        (_cancelled, RefusalCode.ILLEGAL_TRANSITION),
        (_expired, RefusalCode.EXPIRED),
    ],
)
def test_after_its_end_nothing_happens_to_a_request(end: Callable[[ApprovalRequest], None], code: RefusalCode) -> None:
    row = request()
    end(row)
    for do in (
        lambda: row.require_pending(NOW),
        lambda: row.claim(BOB, NOW),
        lambda: row.release(NOW),
        lambda: row.delegate(BOB, NOW),
        lambda: row.assign("Law", NOW),
        lambda: row.cancel(BOB, NOW, reason=None),
    ):
        assert refused(do) is code
    assert row.pass_time(NOW + 100 * HOUR) is None


def test_what_has_expired_is_not_decided_although_nobody_has_noticed_yet() -> None:
    row = request(expires_in=HOUR)
    row.require_pending(NOW + HOUR - timedelta(microseconds=1))
    assert refused(lambda: row.require_pending(NOW + HOUR)) is RefusalCode.EXPIRED


def test_a_claim_is_one_persons_until_it_is_released_or_handed_on() -> None:
    row = request()
    assert row.claim(ADA, NOW) is True
    assert row.claim(ADA, NOW) is False
    assert refused(lambda: row.claim(BOB, NOW)) is RefusalCode.CONFLICT
    assert row.delegate(BOB, NOW) is True
    assert (row.assigned_to, row.delegated_to) == (BOB, BOB)
    assert row.release(NOW) is True
    assert row.release(NOW) is False
    assert (row.assigned_to, row.delegated_to) == (None, None)


def test_another_version_is_a_conflict() -> None:
    row = request()
    row.require_version(None)
    row.require_version(1)
    assert refused(lambda: row.require_version(2)) is RefusalCode.CONFLICT


def test_an_event_holds_no_word_that_anybody_wrote() -> None:
    row = request()
    row.original_query = row.proposed_response = row.modified_response = row.reviewer_notes = "canary"
    row.agent_name, row.user_department, row.subject_id = "guide", "Law", UUID(int=7)
    assert "canary" not in str(row.facets())
    assert row.facets()["search"] == ["guide", "Law"]
