"""This module is where it is summed up what alerts did in a day, a week or a month, in the days of a time zone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dataloaders.alert_statistics import Tally, tallies, top_instances
from models import AlertSeverity
from models.alert_counts import hour_of
from models.errors import BadRequest
from resolvers.call import Call

HOURS: Final = 24
_HOUR: Final = timedelta(hours=1)
_ZONE_LIMIT: Final = 64
_NO_ZONES: Final = frozenset({"localtime", "posixrules"})
"""Files beside the zones that say how this machine is set up, which is nobody's business."""


class StatsWindow(StrEnum):
    """How far back statistics look."""

    LAST_24_HOURS = "last_24_hours"
    LAST_7_DAYS = "last_7_days"
    LAST_30_DAYS = "last_30_days"

    @property
    def days(self) -> int | None:
        """How many days, today included; None where hours are counted."""
        return {StatsWindow.LAST_7_DAYS: 7, StatsWindow.LAST_30_DAYS: 30}.get(self)


@dataclass(frozen=True, slots=True)
class SeverityCount:
    """How many alerts of a severity."""

    severity: AlertSeverity
    count: int


@dataclass(frozen=True, slots=True)
class TimeBucket:
    """How many alerts started in the hour or day that begins at ``starts_at``."""

    starts_at: datetime
    count: int


@dataclass(frozen=True, slots=True)
class InstanceCount:
    """How many alerts of an instance."""

    instance: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertStats:
    """What became of the alerts that started in a window. Ignored ones count as ``ignored`` alone."""

    total: int
    firing: int
    acknowledged: int
    resolved: int
    ignored: int
    by_severity: Sequence[SeverityCount]
    trend: Sequence[TimeBucket]
    top_instances: Sequence[InstanceCount]
    mean_time_to_acknowledge_seconds: float | None
    mean_time_to_resolve_seconds: float | None
    time_zone: str


async def alert_statistics(call: Call, window: StatsWindow, time_zone: str | None = None) -> AlertStats:
    """Two statements over kept counts. Raises BAD_REQUEST for a zone that there is not, Unavailable."""
    zone = zone_of(time_zone)
    now = call.services.clock()
    starts = bucket_starts(window, now, zone)
    # Counts are kept by the hour of UTC; where a day begins within an hour, that hour belongs to the day before.
    since = hour_of(starts[0] + _HOUR - timedelta.resolution)
    until = hour_of(now) + _HOUR
    async with call.services.database.session(call.tenant_id) as session:
        found = await tallies(session, since, until)
        instances = await top_instances(session, since, until)
    by_severity = {one.severity: one for one in found if one.severity is not None}
    sums = list(by_severity.values())
    return AlertStats(
        total=sum(one.total for one in sums),
        firing=sum(one.firing for one in sums),
        acknowledged=sum(one.acknowledged for one in sums),
        resolved=sum(one.resolved for one in sums),
        ignored=sum(one.ignored for one in sums),
        by_severity=[SeverityCount(one, _total(by_severity.get(one))) for one in AlertSeverity],
        trend=_trend(starts, found),
        top_instances=[InstanceCount(*one) for one in instances],
        mean_time_to_acknowledge_seconds=_mean(
            sum(one.acknowledge_seconds for one in sums), sum(one.acknowledgements for one in sums)
        ),
        mean_time_to_resolve_seconds=_mean(
            sum(one.resolve_seconds for one in sums), sum(one.resolutions for one in sums)
        ),
        time_zone=zone.key,
    )


def zone_of(name: str | None) -> ZoneInfo:
    """The time zone of this name, UTC when none is said. Raises BAD_REQUEST."""
    try:
        if name is not None and (len(name) > _ZONE_LIMIT or name in _NO_ZONES):
            raise ValueError("no name of a zone")
        return ZoneInfo(name if name is not None else "UTC")
    except (ValueError, OSError, ZoneInfoNotFoundError):
        # A name that leads out of the database of zones, or to a folder of it, is none either.
        raise BadRequest("A time zone is named as in the IANA database, e.g. Europe/Berlin.") from None


def bucket_starts(window: StatsWindow, now: datetime, zone: ZoneInfo) -> list[datetime]:
    """When each bucket begins, in UTC, oldest first: 24 hours, or 7 or 30 days of ``zone``; the last holds ``now``."""
    if window.days is None:
        last = hour_of(now)
        return [last - _HOUR * back for back in reversed(range(HOURS))]
    today = now.astimezone(zone).date()
    return [_midnight(today - timedelta(days=back), zone) for back in reversed(range(window.days))]


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(UTC)


def _trend(starts: Sequence[datetime], found: Sequence[Tally]) -> list[TimeBucket]:
    counts = [0] * len(starts)
    hours = sorted((one.hour, one.total) for one in found if one.hour is not None)
    place = 0
    for hour, count in hours:
        while place + 1 < len(starts) and starts[place + 1] <= hour:
            place += 1
        counts[place] += count
    return [TimeBucket(*one) for one in zip(starts, counts, strict=True)]


def _total(tally: Tally | None) -> int:
    return tally.total if tally is not None else 0


def _mean(total: float, count: int) -> float | None:
    return total / count if count else None
