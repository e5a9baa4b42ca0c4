"""This module is where alerts stand: what fires, who has seen it, how it ended, and by which rule it was met.

Of each alert's life this is the part that people and senders move; how it is analysed stands in the same row.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Final
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Computed, Index, SmallInteger, text
from sqlalchemy.orm import Mapped, mapped_column

from models.activity import EventTopic
from models.alert_analysis import MOST_RECOMMENDATIONS, AnalysisStatus, AnalyzedRow
from models.alert_series import SERIES_OF
from models.base import ImportedRow, TextEnum, belongs_to, one_of, tenant_key, utcnow
from models.errors import Refusal, RefusalCode
from models.scopes import Scope

DEFAULT_PRIORITY: Final = 100
"""Of a rule that names none."""

BY_SERIES: Final = "severity_rank > 0"
"""It holds for every alert. An index is only read series by series where a statement says so: of many series the
planner, which does not see how many they are, would read all alerts and sort them."""


class AlertSeverity(StrEnum):
    """How bad it is, as its label says; UNKNOWN where that says anything else. The label itself is kept."""

    CRITICAL = "critical"
    ERROR = "error"
    WARNING = "warning"
    INFO = "info"
    UNKNOWN = "unknown"

    @property
    def rank(self) -> int:
        """From 5, the worst, to 1."""
        return _RANKS[self]


_RANKS: Final = {severity: 5 - place for place, severity in enumerate(AlertSeverity)}


# As PostgreSQL shows it, because alembic compares the two as text.
_RANK: Final = (
    "CASE severity "
    + " ".join(f"WHEN '{one.value}'::text THEN {one.rank}" for one in list(AlertSeverity)[:-1])
    + f" ELSE {AlertSeverity.UNKNOWN.rank} END"
)


class AlertStatus(StrEnum):
    """Where an alert stands: firing ⇄ acknowledged → resolved, and nothing after; a re-fire is another alert."""

    FIRING = "firing"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class AlertAction(StrEnum):
    """What a rule has done with an alert when it comes; MANUAL where no rule matches."""

    AUTO_ANALYZE = "auto_analyze"
    IGNORE = "ignore"
    MANUAL = "manual"


def _listed(name: str, *columns: str) -> Iterable[Index]:
    # What a list filters by leads; then the newest come first, so that a page is as many rows as it shows.
    yield Index(f"ix_alerts_by_{name}", "tenant_id", "is_ignored", *columns, text("starts_at DESC"), text("id DESC"))


def _gone_through(name: str, which: str) -> Iterable[Index]:
    # The series stands behind, so that a search that finds many checks them without a look at the rows. Two narrow
    # indexes, and upwards: alerts come in the order of time, and at that end an index is filled best.
    yield Index(f"ix_alerts_by_{name}", "tenant_id", "starts_at", "id", "series", postgresql_where=text(which))


def _indexes() -> tuple[Index, ...]:
    return (
        Index("uq_alerts_firing", "tenant_id", "fingerprint", "starts_at", unique=True),
        *_gone_through("newest", "is_ignored IS FALSE"),
        *_gone_through("newest_ignored", "is_ignored IS TRUE"),
        Index(
            "ix_alerts_by_series",
            "tenant_id",
            "is_ignored",
            "series",
            text("starts_at DESC"),
            text("id DESC"),
            postgresql_where=text(BY_SERIES),
        ),
        *_listed("status", "status"),
        *_listed("severity", "severity"),
        *_listed("analyzed", "analyzed"),
        *_listed("analysis_status", "analysis_status"),
        *_listed("action", "action_taken"),
        *_listed("name", "alert_name"),
        *_listed("instance", "instance"),
        *_listed("job", "job"),
        Index("ix_alerts_received", "tenant_id", "is_ignored", text("received_at DESC"), text("id DESC")),
        Index("ix_alerts_worst", "tenant_id", "is_ignored", text("severity_rank DESC"), text("id DESC")),
        Index("ix_alerts_rule", "tenant_id", "matched_rule_id"),
        Index("ix_alerts_previous", "tenant_id", "previous_alert_id"),
        Index("ix_alerts_acknowledged_by", "tenant_id", "acknowledged_by"),
        Index("ix_alerts_resolved_by", "tenant_id", "resolved_by"),
        Index(
            "ix_alerts_queued",
            "tenant_id",
            "analysis_queued_at",
            "id",
            postgresql_where=text("analysis_status = 'queued'"),
        ),
        # Both are read across tenants, by the worker.
        Index("ix_alerts_escalate", "escalate_at", "id", postgresql_where=text("escalate_at IS NOT NULL")),
        Index(
            "ix_alerts_leases",
            "analysis_lease_expires_at",
            "id",
            postgresql_where=text("analysis_lease_expires_at IS NOT NULL"),
        ),
    )


class AlertRule(ImportedRow):
    """What becomes of alerts whose name, severity, instance and job its four patterns match.

    Lower priority first, then the older; the first whose patterns all match decides.
    """

    __tablename__ = "alert_rules"
    __typeid__ = "alert_rule"
    __topic__: ClassVar[EventTopic] = EventTopic.ALERTS
    __read_scope__: ClassVar[Scope] = Scope.ALERTS_READ

    name: Mapped[str]
    description: Mapped[str | None]
    priority: Mapped[int] = mapped_column(default=DEFAULT_PRIORITY)
    alert_name_pattern: Mapped[str]
    severity_pattern: Mapped[str] = mapped_column(default="*")
    instance_pattern: Mapped[str] = mapped_column(default="*")
    job_pattern: Mapped[str] = mapped_column(default="*")
    action: Mapped[AlertAction] = mapped_column(TextEnum(AlertAction))
    enabled: Mapped[bool] = mapped_column(default=True)
    created_by: Mapped[UUID | None]
    version: Mapped[int] = mapped_column(default=1)
    deleted_at: Mapped[datetime | None]

    __mapper_args__ = {"version_id_col": version}

    @classmethod
    def constraints(cls) -> tuple[Any, ...]:
        return (
            *super().constraints(),
            tenant_key(),
            belongs_to("created_by", "users", ondelete="SET NULL"),
            one_of("action", AlertAction),
            Index(
                "ix_alert_rules_order",
                "tenant_id",
                "priority",
                "created_at",
                "id",
                postgresql_where=text("deleted_at IS NULL"),
            ),
            Index("ix_alert_rules_created_by", "tenant_id", "created_by"),
        )

    @property
    def patterns(self) -> tuple[str, str, str, str]:
        """What name, severity, instance and job must look like."""
        return self.alert_name_pattern, self.severity_pattern, self.instance_pattern, self.job_pattern

    def facets(self) -> dict[str, Any]:
        """What filters and visibility may look at in an event's envelope."""
        return {
            "id": str(self.id),
            "priority": self.priority,
            "action": self.action.value,
            "enabled": self.enabled,
        }


class Alert(AnalyzedRow, ImportedRow):
    """One firing of one alert: the sender's fingerprint names the alert, ``starts_at`` the firing.

    ``resolved_at`` is when it ended as far as is known: the sender's ``ends_at``, or when somebody said so.
    ``still_firing``: somebody resolved it by hand, and the sender says that it goes on.
    ``escalate_at`` is when nobody will have acknowledged it for too long; empty once that is settled.
    ``analysis_claimed_by`` and ``analyzed_by`` are the user or the API key that analyses, and that did.
    """

    __tablename__ = "alerts"
    __typeid__ = "alert"
    __topic__: ClassVar[EventTopic] = EventTopic.ALERTS
    __read_scope__: ClassVar[Scope] = Scope.ALERTS_READ
    __untold__: ClassVar[frozenset[str]] = frozenset(
        {"labels", "annotations", "raw_payload", "ai_analysis", "recommendations", "analysis_error"}
    )

    fingerprint: Mapped[str]
    starts_at: Mapped[datetime]
    received_at: Mapped[datetime] = mapped_column(default=utcnow)
    ends_at: Mapped[datetime | None]
    alert_name: Mapped[str]
    severity: Mapped[AlertSeverity] = mapped_column(TextEnum(AlertSeverity), default=AlertSeverity.UNKNOWN)
    severity_rank: Mapped[int] = mapped_column(
        SmallInteger,
        Computed(_RANK, persisted=True),
    )
    instance: Mapped[str | None]
    job: Mapped[str | None]
    status: Mapped[AlertStatus] = mapped_column(TextEnum(AlertStatus), default=AlertStatus.FIRING)
    labels: Mapped[dict[str, Any]] = mapped_column(default=dict)
    annotations: Mapped[dict[str, Any]] = mapped_column(default=dict)
    raw_payload: Mapped[dict[str, Any]] = mapped_column(default=dict)
    matched_rule_id: Mapped[UUID | None]
    action_taken: Mapped[AlertAction] = mapped_column(TextEnum(AlertAction), default=AlertAction.MANUAL)
    is_ignored: Mapped[bool] = mapped_column(Computed("action_taken = 'ignore'::text", persisted=True))
    previous_alert_id: Mapped[UUID | None]
    acknowledged_by: Mapped[UUID | None]
    acknowledged_at: Mapped[datetime | None]
    resolved_by: Mapped[UUID | None]
    resolved_at: Mapped[datetime | None]
    still_firing: Mapped[bool] = mapped_column(default=False)
    silenced_until: Mapped[datetime | None]
    escalate_at: Mapped[datetime | None]
    escalated_at: Mapped[datetime | None]
    analyzed: Mapped[bool] = mapped_column(default=False)
    analysis_status: Mapped[AnalysisStatus] = mapped_column(TextEnum(AnalysisStatus), default=AnalysisStatus.NONE)
    analysis_queued_at: Mapped[datetime | None]
    analysis_started_at: Mapped[datetime | None]
    analysis_claimed_by: Mapped[UUID | None]
    analysis_lease_expires_at: Mapped[datetime | None]
    analysis_progress: Mapped[int] = mapped_column(SmallInteger, default=0)
    analysis_attempts: Mapped[int] = mapped_column(default=0)
    analysis_error: Mapped[str | None]
    analysis_count: Mapped[int] = mapped_column(default=0)
    analyzed_at: Mapped[datetime | None]
    analyzed_by: Mapped[UUID | None]
    ai_analysis: Mapped[str | None]
    recommendations: Mapped[list[str]] = mapped_column(default=list)
    version: Mapped[int] = mapped_column(default=1)
    series: Mapped[int] = mapped_column(BigInteger, Computed(SERIES_OF, persisted=True), deferred=True)

    __mapper_args__ = {"version_id_col": version}

    @classmethod
    def constraints(cls) -> tuple[Any, ...]:
        return (
            *super().constraints(),
            tenant_key(),
            # A rule that is gone keeps its row: to empty a million alerts' columns would take too long.
            belongs_to("matched_rule_id", "alert_rules"),
            belongs_to("previous_alert_id", "alerts", ondelete="SET NULL"),
            belongs_to("acknowledged_by", "users", ondelete="SET NULL"),
            belongs_to("resolved_by", "users", ondelete="SET NULL"),
            one_of("severity", AlertSeverity),
            one_of("status", AlertStatus),
            one_of("action_taken", AlertAction),
            one_of("analysis_status", AnalysisStatus),
            CheckConstraint("(status = 'resolved') = (resolved_at IS NOT NULL)", name="resolved"),
            CheckConstraint("status <> 'acknowledged' OR acknowledged_at IS NOT NULL", name="acknowledged"),
            CheckConstraint("analysis_progress BETWEEN 0 AND 100", name="analysis_progress"),
            CheckConstraint("analysis_attempts >= 0 AND analysis_count >= 0", name="analysis_counts"),
            CheckConstraint(f"cardinality(recommendations) <= {MOST_RECOMMENDATIONS}", name="recommendations"),
            *_indexes(),
        )

    @property
    def is_hidden(self) -> bool:
        """Whether a rule says to ignore it; lists and feeds show it only to whoever asks."""
        return self.action_taken is AlertAction.IGNORE

    def facets(self) -> dict[str, Any]:
        """What filters and visibility may look at in an event's envelope."""
        return {
            "id": str(self.id),
            "status": self.status.value,
            "severity": self.severity.value,
            "alert_name": self.alert_name,
            "instance": self.instance,
            "job": self.job,
            "analyzed": self.analyzed,
            "analysis_status": self.analysis_status.value,
            "action_taken": self.action_taken.value,
            "starts_at": self.starts_at.isoformat(),
            "search": [word for word in (self.alert_name, self.instance, self.job) if word],
        }

    def acknowledge(self, *, by: UUID | None, now: datetime) -> None:
        """Somebody looks after it. Raises ILLEGAL_TRANSITION with this row unless it is firing."""
        self._require("acknowledged", AlertStatus.FIRING)
        self.status = AlertStatus.ACKNOWLEDGED
        self.acknowledged_by, self.acknowledged_at = by, now
        self.escalate_at = None

    def unacknowledge(self, due_at: datetime | None) -> None:
        """Nobody looks after it any more. Raises ILLEGAL_TRANSITION with this row unless it is acknowledged."""
        self._require("unacknowledged", AlertStatus.ACKNOWLEDGED)
        self.status = AlertStatus.FIRING
        self.acknowledged_by = self.acknowledged_at = None
        self.watch(due_at)

    def resolve(self, *, by: UUID | None, now: datetime) -> None:
        """It is over, whatever the sender says. Raises ILLEGAL_TRANSITION with this row when it was before."""
        self._require("resolved", AlertStatus.FIRING, AlertStatus.ACKNOWLEDGED)
        self._end(by, now)

    def silence(self, until: datetime | None, due_at: datetime | None) -> None:
        """Escalate it not before ``until``; None ends the silence. Raises ILLEGAL_TRANSITION with this row if over."""
        self._require("silenced", AlertStatus.FIRING, AlertStatus.ACKNOWLEDGED)
        self.silenced_until = until
        self.watch(due_at)

    def watch(self, due_at: datetime | None) -> None:
        """Escalate it at ``due_at`` (None: never) unless somebody acknowledges it, and not while it is silenced.

        That happens once in its life, and to what a rule ignores never.
        """
        is_watched = self.status is AlertStatus.FIRING and self.escalated_at is None and not self.is_hidden
        if due_at is None or not is_watched:
            self.escalate_at = None
        else:
            self.escalate_at = max(due_at, self.silenced_until or due_at)

    def escalate(self, now: datetime) -> None:
        """Nobody acknowledged it in time. Needs the row's lock."""
        self.escalate_at = None
        self.escalated_at = now

    def hear(self, status: AlertStatus, ends_at: datetime | None, now: datetime) -> bool:
        """What the sender says about this same firing; whether that changes anything.

        A repeated firing lowers neither what was acknowledged nor what was resolved. For one that somebody resolved
        by hand it says that it is still firing; the sender's own end says that it no longer is.
        """
        if status is AlertStatus.RESOLVED:
            return self._hear_end(ends_at, now)
        if self.status is not AlertStatus.RESOLVED or self.ends_at is not None or self.still_firing:
            return False
        self.still_firing = True
        return True

    def _hear_end(self, ends_at: datetime | None, now: datetime) -> bool:
        end = max(self.starts_at, min(ends_at or now, now))
        if self.status is not AlertStatus.RESOLVED:
            self.ends_at = end
            self._end(None, end)
            return True
        # The sender's first word on the end is its last; before that, somebody resolved it by hand.
        is_news = self.ends_at is None
        if is_news:
            self.ends_at, self.still_firing = end, False
        return is_news

    def _end(self, by: UUID | None, at: datetime) -> None:
        self.status = AlertStatus.RESOLVED
        self.resolved_by, self.resolved_at = by, max(at, self.starts_at)
        self.escalate_at = self.silenced_until = None

    def _require(self, done: str, *statuses: AlertStatus) -> None:
        if self.status not in statuses:
            raise Refusal(
                RefusalCode.ILLEGAL_TRANSITION,
                f"An alert that is {self.status.value.upper()} is not {done}.",
                field=("input", "id"),
                current=self,
            )
