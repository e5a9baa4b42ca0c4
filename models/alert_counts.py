"""This module is where alerts are counted: by severity and status for a board, by the hour for statistics.

Whatever changes an alert counts it anew in its transaction, so these are exact at any time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import BigInteger, Float
from sqlalchemy.orm import Mapped, mapped_column

from models.alerts import Alert, AlertSeverity, AlertStatus
from models.base import Base, TextEnum, one_of, tenant_key


class AlertCount(Base):
    """How many alerts of a severity stand in a status; kept by whatever changes an alert, in its transaction."""

    __tablename__ = "alert_counts"
    __table_args__ = (
        tenant_key(),
        one_of("severity", AlertSeverity),
        one_of("status", AlertStatus),
    )

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    is_ignored: Mapped[bool] = mapped_column(primary_key=True)
    severity: Mapped[AlertSeverity] = mapped_column(TextEnum(AlertSeverity), primary_key=True)
    status: Mapped[AlertStatus] = mapped_column(TextEnum(AlertStatus), primary_key=True)
    alerts: Mapped[int] = mapped_column(BigInteger, default=0)


class AlertRollup(Base):
    """What became of the alerts of one severity that started within one hour of UTC.

    ``firing``, ``acknowledged`` and ``resolved`` are how they stand now; ignored ones count as ``ignored`` only.
    ``acknowledgements`` and ``resolutions`` are how many have been, and how many seconds after they started.
    """

    __tablename__ = "alert_rollups"
    __table_args__ = (
        tenant_key(),
        one_of("severity", AlertSeverity),
    )

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    hour: Mapped[datetime] = mapped_column(primary_key=True)
    severity: Mapped[AlertSeverity] = mapped_column(TextEnum(AlertSeverity), primary_key=True)
    firing: Mapped[int] = mapped_column(default=0)
    acknowledged: Mapped[int] = mapped_column(default=0)
    resolved: Mapped[int] = mapped_column(default=0)
    ignored: Mapped[int] = mapped_column(default=0)
    acknowledgements: Mapped[int] = mapped_column(default=0)
    acknowledge_seconds: Mapped[float] = mapped_column(Float(53), default=0.0)
    resolutions: Mapped[int] = mapped_column(default=0)
    resolve_seconds: Mapped[float] = mapped_column(Float(53), default=0.0)


class AlertInstanceRollup(Base):
    """How many alerts of one instance started within one hour of UTC; ignored ones do not count."""

    __tablename__ = "alert_instance_rollups"
    __table_args__ = (tenant_key(),)

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    hour: Mapped[datetime] = mapped_column(primary_key=True)
    instance: Mapped[str] = mapped_column(primary_key=True)
    alerts: Mapped[int] = mapped_column(default=0)


def hour_of(moment: datetime) -> datetime:
    """The hour of UTC that ``moment`` lies in."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def seconds_between(start: datetime, end: datetime) -> float:
    """Seconds from ``start`` to ``end``; 0 where a sender's clock has the end first."""
    return max(0.0, (end - start) / timedelta(seconds=1))


@dataclass(frozen=True, slots=True)
class Standing:
    """How one alert counts as it stands; what a change makes of the counts is one standing less and one more."""

    is_ignored: bool
    severity: AlertSeverity
    status: AlertStatus
    hour: datetime
    instance: str | None
    acknowledge_seconds: float | None
    resolve_seconds: float | None

    @classmethod
    def of(cls, alert: Alert) -> Standing:
        """The alert's."""
        start, seen, over = alert.starts_at, alert.acknowledged_at, alert.resolved_at
        return cls(
            alert.is_hidden,
            alert.severity,
            alert.status,
            hour_of(start),
            alert.instance,
            seconds_between(start, seen) if seen is not None else None,
            seconds_between(start, over) if over is not None else None,
        )
