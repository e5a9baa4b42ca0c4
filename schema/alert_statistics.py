"""This module is where statistics of alerts are seen from outside."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from models import AlertSeverity, Scope
from resolvers.alert_statistics import StatsWindow, alert_statistics
from resolvers.call import Call
from schema.declare import Argument, column, computed, describe, part, root_fields

describe(
    StatsWindow,
    "How far back statistics look.",
    LAST_24_HOURS="The present hour and the 23 before it; trend by the hour of UTC.",
    LAST_7_DAYS="Today and the six days before it; trend by the day.",
    LAST_30_DAYS="Today and the 29 days before it; trend by the day.",
)


@part("How many alerts of a severity.")
class SeverityCount:
    """GraphQL type of what is counted by severity."""

    severity: AlertSeverity = column("Which severity.")
    count: int = column("How many alerts of it.")


@part("How many alerts of an instance.")
class InstanceCount:
    """GraphQL type of what is counted by instance."""

    instance: str = column("Which instance.")
    count: int = column("How many alerts of it.")


@part("How many alerts started in an hour or on a day.")
class TimeBucket:
    """GraphQL type of a point of a trend."""

    starts_at: datetime = column("When the hour or the day begins; days begin at midnight of the time zone.")
    count: int = column("How many alerts started in it.")


@part(
    "What became of the alerts that started in the window; those that a rule ignores count as ignored alone. trend: by "
    "the hour for LAST_24_HOURS, by the day otherwise."
)
class AlertStats:
    """GraphQL type of alertStats."""

    total: int = column("How many started.")
    firing: int = column("How many of them fire now, and nobody has acknowledged.")
    acknowledged: int = column("How many of them are acknowledged now.")
    resolved: int = column("How many of them are over.")
    ignored: int = column("How many a rule ignores, on top of total.")
    by_severity: list[SeverityCount] = column("total by severity, the worst first, every severity once.")
    trend: list[TimeBucket] = column("total over time, oldest first, without gaps: 24 hours, 7 days or 30 days.")
    top_instances: list[InstanceCount] = column("The ten instances with the most alerts, most first.")
    mean_time_to_acknowledge_seconds: float | None = column(
        "Mean seconds from start to acknowledgement of those that were acknowledged; null when none was."
    )
    mean_time_to_resolve_seconds: float | None = column(
        "Mean seconds from start to end of those that are over; null when none is."
    )
    time_zone: str = column("Whose days trend counts.")


def _alert_stats(_: Any, call: Call, window: StatsWindow, time_zone: str | None = None) -> Any:
    return alert_statistics(call, window, time_zone)


@root_fields
class AlertStatisticsQueries:
    """Root fields over statistics of alerts."""

    alert_stats: AlertStats | None = computed(
        _alert_stats,
        "What alerts did, from counts that are kept: exact, and as quick with a million alerts as with one.",
        [
            Argument("window", StatsWindow, "How far back."),
            Argument(
                "time_zone",
                str | None,
                "Whose days are counted, e.g. Europe/Berlin; UTC when absent. In zones that differ from UTC by a part "
                "of an hour, an hour of UTC counts to the day in which it begins.",
            ),
        ],
        scope=Scope.ALERTS_READ,
        cost=10,
        shared=True,
    )
