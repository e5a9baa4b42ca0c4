"""This module is where an alert's life is specified: what people and senders may make of it, in whatever order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any, Final

import pytest

from models import Alert, AlertAction, AlertSeverity, AlertStatus, AnalysisStatus
from models.alert_counts import Standing, hour_of
from models.errors import Refusal, RefusalCode
from models.ids import uuid7

START: Final = datetime(2026, 1, 31, 12, 30, tzinfo=UTC)
NOW: Final = START + timedelta(minutes=10)
END: Final = START + timedelta(minutes=5)
ADA: Final = uuid7()
FIRING, ACKNOWLEDGED, RESOLVED = AlertStatus


def alert(**given: Any) -> Alert:
    """A firing alert."""
    said: dict[str, Any] = {
        "id": uuid7(),
        "fingerprint": "5f3a",
        "starts_at": START,
        "alert_name": "HighCPUUsage",
        "severity": AlertSeverity.CRITICAL,
        "status": FIRING,
        "action_taken": AlertAction.MANUAL,
        "analysis_status": AnalysisStatus.NONE,
        "analyzed": False,
        "still_firing": False,
    }
    return Alert(**(said | given))


def acknowledged() -> Alert:
    one = alert()
    one.acknowledge(by=ADA, now=NOW)
    return one


def resolved_by_hand() -> Alert:
    one = alert()
    one.resolve(by=ADA, now=NOW)
    return one


def test_a_firing_alert_is_acknowledged_and_resolved() -> None:
    one = alert(escalate_at=NOW)
    one.acknowledge(by=ADA, now=NOW)
    assert (one.status, one.acknowledged_by, one.acknowledged_at, one.escalate_at) == (ACKNOWLEDGED, ADA, NOW, None)
    one.resolve(by=ADA, now=NOW)
    assert (one.status, one.resolved_by, one.resolved_at) == (RESOLVED, ADA, NOW)
    assert one.acknowledged_by == ADA


@pytest.mark.parametrize(
    ("make", "act"),
    [
        (acknowledged, lambda one: one.acknowledge(by=ADA, now=NOW)),
        (resolved_by_hand, lambda one: one.acknowledge(by=ADA, now=NOW)),
        (alert, lambda one: one.unacknowledge(None)),
        (resolved_by_hand, lambda one: one.unacknowledge(None)),
        (resolved_by_hand, lambda one: one.resolve(by=ADA, now=NOW)),
        (resolved_by_hand, lambda one: one.silence(NOW, None)),
    ],
)
def test_what_its_status_does_not_allow_is_refused_with_the_row_as_it_stands(make: Any, act: Any) -> None:
    one = make()
    status = one.status
    with pytest.raises(Refusal) as refused:
        act(one)
    assert (refused.value.code, refused.value.current, one.status) == (RefusalCode.ILLEGAL_TRANSITION, one, status)


def test_a_repeated_firing_lowers_neither_what_was_acknowledged_nor_what_is_over() -> None:
    one = acknowledged()
    assert one.hear(FIRING, None, NOW) is False
    assert one.status is ACKNOWLEDGED
    one.hear(RESOLVED, END, NOW)
    assert one.hear(FIRING, None, NOW) is False
    assert (one.status, one.resolved_at, one.still_firing) == (RESOLVED, END, False)


def test_one_that_was_resolved_by_hand_and_goes_on_is_still_firing_until_its_sender_says_otherwise() -> None:
    one = resolved_by_hand()
    assert [one.hear(FIRING, None, NOW) for _ in range(3)] == [True, False, False]
    assert (one.status, one.still_firing) == (RESOLVED, True)
    assert [one.hear(RESOLVED, END, NOW) for _ in range(3)] == [True, False, False]
    assert (one.still_firing, one.ends_at, one.resolved_by) == (False, END, ADA)
    assert one.hear(FIRING, None, NOW) is False


@pytest.mark.parametrize("told", list(permutations([(FIRING, None), (FIRING, None), (RESOLVED, END), (RESOLVED, END)])))
def test_the_same_messages_in_any_order_end_the_same(told: list[tuple[AlertStatus, datetime | None]]) -> None:
    one = alert()
    changes = [one.hear(status, end, NOW) for status, end in told]
    assert (one.status, one.ends_at, one.resolved_at, one.still_firing) == (RESOLVED, END, END, False)
    assert changes.count(True) == 1


def test_an_end_is_never_before_the_start_nor_after_now() -> None:
    one = alert(starts_at=NOW + timedelta(minutes=1))
    one.hear(RESOLVED, None, NOW)
    assert one.ends_at == one.resolved_at == one.starts_at
    late = alert()
    late.hear(RESOLVED, NOW + timedelta(days=1), NOW)
    assert late.ends_at == NOW


def test_an_alert_is_escalated_once_and_not_before_its_silence_ends() -> None:
    one = alert()
    one.watch(NOW)
    assert one.escalate_at == NOW
    one.silence(NOW + timedelta(hours=1), NOW)
    assert one.escalate_at == NOW + timedelta(hours=1)
    one.silence(None, NOW)
    assert one.escalate_at == NOW
    one.escalate(NOW)
    escalated: tuple[datetime | None, datetime | None] = (one.escalate_at, one.escalated_at)
    assert escalated == (None, NOW)
    one.acknowledge(by=ADA, now=NOW)
    one.unacknowledge(NOW + timedelta(hours=1))
    assert one.escalate_at is None


def test_what_a_rule_ignores_is_never_escalated() -> None:
    one = alert(action_taken=AlertAction.IGNORE)
    one.watch(NOW)
    assert one.escalate_at is None


def test_a_standing_says_the_hour_of_utc_and_the_seconds_since_the_start() -> None:
    one = acknowledged()
    one.hear(RESOLVED, END, NOW)
    standing = Standing.of(one)
    assert standing.hour == hour_of(START) == datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert (standing.acknowledge_seconds, standing.resolve_seconds) == (600.0, 300.0)
    assert hour_of(START.astimezone(datetime.now().astimezone().tzinfo)) == standing.hour


def test_a_severity_has_a_rank_and_the_worst_is_first() -> None:
    assert [severity.rank for severity in AlertSeverity] == [5, 4, 3, 2, 1]
