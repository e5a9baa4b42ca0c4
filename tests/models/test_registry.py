"""This module is where a workspace's status machine is specified, status by status."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product
from uuid import uuid4

import pytest

from models import RuntimeState, Workspace, WorkspaceCommand
from models import WorkspaceStatus as Status
from models.errors import Refusal, RefusalCode
from models.registry import LIVE, SETTLED, status_after_beat

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NORMAL, WEDGED = RuntimeState.NORMAL, RuntimeState.WEDGED
UNSETTLED = sorted(frozenset(Status) - SETTLED)


def workspace(status: Status) -> Workspace:
    return Workspace(
        id=uuid4(), name="Worker", role="tests", tier=2, status=status, lease_epoch=3, heartbeat_ttl_seconds=60
    )


@pytest.mark.parametrize("status", UNSETTLED)
@pytest.mark.parametrize(
    ("error_rate", "expected"),
    [
        (0.0, Status.ONLINE),
        (0.0999, Status.ONLINE),
        (0.5, Status.DEGRADED),
        (0.87, Status.DEGRADED),
        (1.0, Status.DEGRADED),
    ],
)
def test_a_beat_leads_online_or_to_degraded_by_its_error_rate(
    status: Status, error_rate: float, expected: Status
) -> None:
    assert status_after_beat(status, error_rate, NORMAL) is expected


@pytest.mark.parametrize("error_rate", [0.1, 0.3, 0.4999])
def test_between_the_thresholds_a_degraded_workspace_stays_degraded_and_any_other_is_online(error_rate: float) -> None:
    assert status_after_beat(Status.DEGRADED, error_rate, NORMAL) is Status.DEGRADED
    for status in UNSETTLED:
        if status is not Status.DEGRADED:
            assert status_after_beat(status, error_rate, NORMAL) is Status.ONLINE


def test_a_rate_that_swings_around_one_threshold_does_not_make_the_status_swing() -> None:
    status = Status.ONLINE
    seen = []
    for error_rate in (0.3, 0.5, 0.49, 0.5, 0.11, 0.1, 0.09, 0.11, 0.49):
        status = status_after_beat(status, error_rate, NORMAL)
        seen.append(status)
    assert seen == [Status.ONLINE] + [Status.DEGRADED] * 5 + [Status.ONLINE] * 3


@pytest.mark.parametrize("status", UNSETTLED)
def test_a_wedged_runtime_is_degraded_whatever_its_error_rate(status: Status) -> None:
    assert status_after_beat(status, 0.0, WEDGED) is Status.DEGRADED


@pytest.mark.parametrize(
    ("status", "error_rate", "state"), list(product(sorted(SETTLED), (0.0, 0.3, 1.0), (NORMAL, WEDGED)))
)
def test_no_beat_moves_what_an_operator_has_settled(status: Status, error_rate: float, state: RuntimeState) -> None:
    assert status_after_beat(status, error_rate, state) is status


PAUSE, RESUME = WorkspaceCommand.PAUSE, WorkspaceCommand.RESUME
HIBERNATE, RESTART = WorkspaceCommand.HIBERNATE, WorkspaceCommand.RESTART
# Where each command leads from each status; None is refused.
TABLE: dict[Status, dict[WorkspaceCommand, Status | None]] = {
    Status.PROVISIONING: {PAUSE: Status.PAUSED, RESUME: None, HIBERNATE: None, RESTART: Status.PROVISIONING},
    Status.AWAITING_AGENT: {PAUSE: Status.PAUSED, RESUME: None, HIBERNATE: None, RESTART: None},
    Status.ONLINE: {
        PAUSE: Status.PAUSED,
        RESUME: None,
        HIBERNATE: Status.HIBERNATED,
        RESTART: Status.PROVISIONING,
    },
    Status.DEGRADED: {
        PAUSE: Status.PAUSED,
        RESUME: None,
        HIBERNATE: Status.HIBERNATED,
        RESTART: Status.PROVISIONING,
    },
    Status.OFFLINE: {PAUSE: Status.PAUSED, RESUME: None, HIBERNATE: None, RESTART: Status.PROVISIONING},
    Status.PAUSED: {PAUSE: None, RESUME: Status.PROVISIONING, HIBERNATE: None, RESTART: None},
    Status.HIBERNATED: {PAUSE: Status.PAUSED, RESUME: Status.PROVISIONING, HIBERNATE: None, RESTART: None},
    Status.FAILED: {PAUSE: Status.PAUSED, RESUME: None, HIBERNATE: None, RESTART: Status.PROVISIONING},
    Status.REMOVED: {PAUSE: None, RESUME: None, HIBERNATE: None, RESTART: None},
}


@pytest.mark.parametrize(("status", "command"), list(product(Status, WorkspaceCommand)))
def test_a_command_leads_where_the_table_says_or_is_refused_with_the_row(
    status: Status, command: WorkspaceCommand
) -> None:
    row = workspace(status)
    target = TABLE[status][command]
    if target is None:
        with pytest.raises(Refusal) as refusal:
            row.obey(command, NOW)
        assert refusal.value.code is RefusalCode.ILLEGAL_TRANSITION
        assert refusal.value.current is row
        assert row.status is status
    else:
        row.obey(command, NOW)
        assert row.status is target
        assert row.heartbeat_due_at is None
        assert row.paused_at == (NOW if target is Status.PAUSED else None)


@pytest.mark.parametrize("status", UNSETTLED)
def test_registering_goes_online_and_raises_the_lease(status: Status) -> None:
    row = workspace(status)
    row.runtime_state = WEDGED
    row.register(NOW, url="https://a.example", agent_card={"name": "a"})
    assert (row.status, row.lease_epoch, row.runtime_state) == (Status.ONLINE, 4, NORMAL)
    assert row.heartbeat_due_at == NOW + timedelta(seconds=60)


def test_registering_again_without_an_address_keeps_the_old_one() -> None:
    row = workspace(Status.OFFLINE)
    row.url, row.agent_card = "https://a.example", {"name": "a"}
    row.register(NOW, url=None, agent_card=None)
    assert (row.url, row.agent_card) == ("https://a.example", {"name": "a"})


@pytest.mark.parametrize("status", sorted(SETTLED))
def test_registering_never_revives_what_was_paused_hibernated_or_removed(status: Status) -> None:
    row = workspace(status)
    with pytest.raises(Refusal) as refusal:
        row.register(NOW, url=None, agent_card=None)
    assert refusal.value.code is RefusalCode.ILLEGAL_TRANSITION
    assert (row.status, row.lease_epoch) == (status, 3)


@pytest.mark.parametrize("status", sorted(LIVE))
def test_removing_ends_the_lease_and_the_wait_for_beats(status: Status) -> None:
    row = workspace(status)
    row.heartbeat_due_at = NOW
    row.remove()
    assert (row.status, row.lease_epoch) == (Status.REMOVED, 4)
    due_at: datetime | None = row.heartbeat_due_at
    assert due_at is None


def test_facets_hold_what_filters_ask_for_and_nothing_else() -> None:
    row = workspace(Status.ONLINE)
    row.url, row.current_task, row.last_sample_error = "https://secret.example", "secret", "secret"
    assert row.facets() == {
        "id": str(row.id),
        "status": "online",
        "tier": 2,
        "parent_id": None,
        "search": ["Worker", "tests"],
    }
