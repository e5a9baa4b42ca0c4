"""This module is where it is counted how webhooks fare, for whoever shows it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class WebhookCounters:
    """Counts since the start, of this process alone; the two at the end are as of the last look."""

    planned: int = 0
    gaps: int = 0
    delivered: int = 0
    failed: int = 0
    dead: int = 0
    disabled: int = 0
    events_behind: int = 0
    """By how many events the endpoint that is furthest behind has not seen the end of its log."""
    waited_seconds: float = 0.0
    """How long the delivery that is longest due has been due."""
