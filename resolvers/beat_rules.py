"""This module is where a beat's values are accepted or refused, before anything is written."""

from __future__ import annotations

from typing import Final

from dataloaders.heartbeats import Beat
from models.errors import Refusal, invalid
from subscriptions.beats import MAX_ACTIVE_TASKS, MAX_TEXT_LENGTH, MAX_UPTIME_SECONDS

_MAX_LEASE_EPOCH: Final = 2**31 - 1


def refusal_of(beat: Beat) -> Refusal | None:
    """What is wrong with ``beat``, or None. One bad value in a batch would fail all of its statement."""
    if not 0 <= beat.error_rate <= 1:  # false for NaN as well
        return invalid("An error rate is a number from 0 to 1.", "input", "errorRate")
    if not 0 <= beat.active_tasks <= MAX_ACTIVE_TASKS:
        return invalid(f"There are 0 to {MAX_ACTIVE_TASKS} active tasks.", "input", "activeTasks")
    if not 0 <= beat.uptime_seconds <= MAX_UPTIME_SECONDS:
        return invalid(f"An uptime is 0 to {MAX_UPTIME_SECONDS} seconds.", "input", "uptimeSeconds")
    if beat.lease_epoch is not None and not 0 <= beat.lease_epoch <= _MAX_LEASE_EPOCH:
        return invalid(f"A lease epoch is 0 to {_MAX_LEASE_EPOCH}.", "input", "leaseEpoch")
    return _refusal_of_text(beat.current_task, "currentTask") or _refusal_of_text(beat.sample_error, "sampleError")


def _refusal_of_text(value: str | None, field: str) -> Refusal | None:
    if value is None:
        return None
    if len(value) > MAX_TEXT_LENGTH:
        return invalid(f"A text has at most {MAX_TEXT_LENGTH} characters.", "input", field)
    # PostgreSQL stores neither NUL nor half of a surrogate pair.
    if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        return invalid("A text holds no NUL and no lone surrogate.", "input", field)
    return None
