"""This module is where requests for approval are kept: what waits for a person, until when, and who decided what."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar, Final
from uuid import UUID

from sqlalchemy import CheckConstraint, Computed, Index, text
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from models.activity import EventTopic
from models.agents import Decision
from models.base import Base, ImportedRow, TenantRow, TextEnum, belongs_to, one_of, tenant_key
from models.errors import Refusal, RefusalCode
from models.governance import HitlMode
from models.ids import encode
from models.scopes import Scope
from models.search import search_vector

MOST_PENDING: Final = 10_000
"""Requests of one tenant that wait at once."""

MOST_APPROVERS: Final = 5
"""People that one request can ask for."""

AT_RISK_SHARE: Final = 4
"""A request is at risk once less than one in so many parts of its time is left."""


class ApprovalKind(StrEnum):
    """What approval is asked for."""

    RESPONSE = "response"
    ACTION = "action"
    AGENT = "agent"
    CONNECTOR = "connector"
    ONBOARDING = "onboarding"
    POLICY = "policy"


class ApprovalStatus(StrEnum):
    """Where a request stands: pending → approved, rejected, expired or cancelled, and nothing after."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class Priority(StrEnum):
    """How soon somebody has to decide."""

    URGENT = "urgent"
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class SlaState(StrEnum):
    """How a request stands to the time that its priority promises."""

    ON_TRACK = "on_track"
    AT_RISK = "at_risk"
    BREACHED = "breached"
    MET = "met"


SLA: Final = {
    Priority.URGENT: timedelta(hours=1),
    Priority.HIGH: timedelta(hours=4),
    Priority.NORMAL: timedelta(hours=24),
    Priority.LOW: timedelta(hours=72),
}
"""Within which time a request of each priority is to be decided."""

URGENCY: Final = {Priority.LOW: 0, Priority.NORMAL: 1, Priority.HIGH: 2, Priority.URGENT: 3}
"""Priorities as numbers, the most urgent highest: what lists are sorted by."""

_DECIDED: Final = frozenset({ApprovalStatus.APPROVED, ApprovalStatus.REJECTED})


_WORDS: Final[dict[str, type[StrEnum]]] = {
    "kind": ApprovalKind,
    "status": ApprovalStatus,
    "hitl_mode": HitlMode,
    "priority": Priority,
    "sla_state": SlaState,
}


_INDEXED: Final = {
    "newest": "created_at DESC, id DESC",
    "status": "status, created_at DESC, id DESC",
    "user": "user_id, created_at DESC, id DESC",
    "agent": "agent_id, created_at DESC, id DESC",
    "urgency": "urgency, id",
    "status_urgency": "status, urgency, id",
    "sla_due": "sla_due_at, id",
    "status_sla_due": "status, sla_due_at, id",
    "kind": "kind",
    "hitl_mode": "hitl_mode",
    "sla_state": "sla_state",
    "user_department": "user_department",
    "assigned_department": "assigned_department",
    "assigned_to": "assigned_to",
    "delegated_to": "delegated_to",
    "resolved_by": "resolved_by",
}


def _listed() -> list[Index]:
    def key(column: str) -> Any:
        return text(column) if " " in column else column

    return [
        Index(f"ix_approval_requests_{name}", "tenant_id", *map(key, columns.split(", ")))
        for name, columns in _INDEXED.items()
    ]


class ApprovalRequest(ImportedRow):
    """Something that waits for a person. Its row's lock makes sure that it is decided once.

    ``user_id`` is whose request it is; ``requester`` names the caller who asked, person or machine. ``sla_state`` is
    what was told last: it moves at ``next_at``, each time with an event. ``next_at`` is None once nothing more happens
    by itself.
    """

    __tablename__ = "approval_requests"
    __typeid__ = "approval"
    __topic__: ClassVar[EventTopic] = EventTopic.APPROVALS
    __read_scope__: ClassVar[Scope] = Scope.APPROVALS_READ
    __owner__: ClassVar[str | None] = "user_id"
    __untold__: ClassVar[frozenset[str]] = frozenset(
        {"original_query", "proposed_response", "modified_response", "reviewer_notes", "requester", "next_at"}
    )

    kind: Mapped[ApprovalKind] = mapped_column(TextEnum(ApprovalKind))
    subject_type: Mapped[str | None]
    subject_id: Mapped[UUID | None]
    status: Mapped[ApprovalStatus] = mapped_column(TextEnum(ApprovalStatus), default=ApprovalStatus.PENDING)
    hitl_mode: Mapped[HitlMode] = mapped_column(TextEnum(HitlMode))
    priority: Mapped[Priority] = mapped_column(TextEnum(Priority))
    urgency: Mapped[int]
    user_id: Mapped[UUID | None]
    user_department: Mapped[str | None]
    requester: Mapped[str]
    agent_id: Mapped[UUID | None]
    agent_name: Mapped[str | None]
    original_query: Mapped[str]
    proposed_response: Mapped[str | None]
    modified_response: Mapped[str | None]
    risk_signals: Mapped[list[str]] = mapped_column(default=list)
    guardrails_triggered: Mapped[list[str]] = mapped_column(default=list)
    escalation_reason: Mapped[str | None]
    required_approvals: Mapped[int] = mapped_column(default=1)
    approvals_given: Mapped[int] = mapped_column(default=0)
    assigned_to: Mapped[UUID | None]
    assigned_department: Mapped[str | None]
    delegated_to: Mapped[UUID | None]
    sla_state: Mapped[SlaState] = mapped_column(TextEnum(SlaState), default=SlaState.ON_TRACK)
    at_risk_at: Mapped[datetime]
    sla_due_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    next_at: Mapped[datetime | None]
    escalated_at: Mapped[datetime | None]
    escalations: Mapped[int] = mapped_column(default=0)
    resolved_at: Mapped[datetime | None]
    resolved_by: Mapped[UUID | None]
    reviewer_notes: Mapped[str | None]
    version: Mapped[int] = mapped_column(default=1)
    search: Mapped[str] = mapped_column(
        TSVECTOR,
        Computed(search_vector("agent_name", "user_department", "original_query"), persisted=True),
        deferred=True,
    )

    __mapper_args__ = {"version_id_col": version}

    @classmethod
    def constraints(cls) -> tuple[Any, ...]:
        return (
            *super().constraints(),
            tenant_key(),
            belongs_to("user_id", "users", ondelete="CASCADE"),
            belongs_to("agent_id", "agents", ondelete="SET NULL"),
            *(belongs_to(one, "users", ondelete="SET NULL") for one in ("assigned_to", "delegated_to", "resolved_by")),
            *(one_of(name, kind) for name, kind in _WORDS.items()),
            CheckConstraint("required_approvals > 0 AND approvals_given >= 0 AND escalations >= 0", name="counts"),
            CheckConstraint("urgency BETWEEN 0 AND 3", name="urgency"),
            CheckConstraint("(status = 'pending') = (resolved_at IS NULL)", name="resolved"),
            CheckConstraint("status = 'pending' OR next_at IS NULL", name="next_at"),
            *_listed(),
            Index("ix_approval_requests_search", "search", postgresql_using="gin"),
            # Of all tenants: what is due next is found by whoever works for all of them.
            Index("ix_approval_requests_due", "next_at", "id", postgresql_where=text("next_at IS NOT NULL")),
        )

    @property
    def subject_typeid(self) -> str | None:
        """What it is about, as the outside sees it."""
        return encode(self.subject_type or "", self.subject_id) if self.subject_id is not None else None

    @property
    def is_pending(self) -> bool:
        """Whether nothing has ended it."""
        return self.status is ApprovalStatus.PENDING

    @property
    def final_response(self) -> str | None:
        """What was approved: the edited response, or the proposed one."""
        return self.modified_response if self.modified_response is not None else self.proposed_response

    def facets(self) -> dict[str, Any]:
        """What filters and visibility may look at in an event's envelope: no word that anybody wrote."""
        return {
            "id": str(self.id),
            "kind": self.kind.value,
            "status": self.status.value,
            "hitl_mode": self.hitl_mode.value,
            "priority": self.priority.value,
            "sla_state": self.sla_state.value,
            "user_id": str(self.user_id) if self.user_id else None,
            "agent_id": str(self.agent_id) if self.agent_id else None,
            "assigned_to": str(self.assigned_to) if self.assigned_to else None,
            "department": self.user_department,
            "assigned_department": self.assigned_department,
            "created_at": self.created_at.isoformat(),
            "search": [word for word in (self.agent_name, self.user_department) if word],
        }

    def begin(self, now: datetime, expires_in: timedelta | None) -> None:
        """Its times, which follow from its priority. Once, before it is inserted."""
        time = SLA[self.priority]
        self.created_at = self.updated_at = now
        self.urgency = URGENCY[self.priority]
        self.status, self.sla_state = ApprovalStatus.PENDING, SlaState.ON_TRACK
        self.sla_due_at = now + time
        self.at_risk_at = self.sla_due_at - time / AT_RISK_SHARE
        self.expires_at = now + expires_in if expires_in is not None else None
        self._look_ahead()

    def require_pending(self, now: datetime) -> None:
        """Raises EXPIRED or ALREADY_DECIDED with this row, or ILLEGAL_TRANSITION when it was cancelled."""
        if self.is_pending and (self.expires_at is None or now < self.expires_at):
            return
        if self.is_pending or self.status is ApprovalStatus.EXPIRED:
            raise self._refused(RefusalCode.EXPIRED, "Its time is over: nobody decided it.")
        if self.status in _DECIDED:
            raise self._refused(RefusalCode.ALREADY_DECIDED, f"It was decided before: {self.status.value.upper()}.")
        raise self._refused(RefusalCode.ILLEGAL_TRANSITION, "It was cancelled.")

    def require_version(self, expected: int | None) -> None:
        """Raises CONFLICT with this row when it has changed since the version ``expected``."""
        if expected is not None and self.version != expected:
            message = f"It has changed: the version is {self.version} now."
            raise self._refused(RefusalCode.CONFLICT, message, "expectedVersion")

    def claim(self, by: UUID, now: datetime) -> bool:
        """Take it in hand; False when it is theirs already. Raises CONFLICT when somebody else has it."""
        self.require_pending(now)
        if self.assigned_to not in (None, by):
            raise self._refused(RefusalCode.CONFLICT, "Somebody else has claimed it.")
        changed, self.assigned_to = self.assigned_to != by, by
        return changed

    def release(self, now: datetime) -> bool:
        """Give it back to all; False when nobody had it."""
        self.require_pending(now)
        changed = self.assigned_to is not None
        self.assigned_to = self.delegated_to = None
        return changed

    def delegate(self, to: UUID, now: datetime) -> bool:
        """Hand it to somebody; False when they have it already."""
        self.require_pending(now)
        changed = (self.assigned_to, self.delegated_to) != (to, to)
        self.assigned_to = self.delegated_to = to
        return changed

    def assign(self, department: str | None, now: datetime) -> bool:
        """Give it to a department, or to none; False when it was so already."""
        self.require_pending(now)
        changed, self.assigned_department = self.assigned_department != department, department
        return changed

    def approve(self, by: UUID | None, now: datetime, *, notes: str | None, modified: str | None) -> bool:
        """One more approval; whether it was the last that was needed. Raises INVALID for a text edited too late."""
        if modified is not None:
            if self.approvals_given:
                message = "Somebody approved it as it is: approve that, or reject it."
                raise self._refused(RefusalCode.INVALID, message, "modifiedResponse")
            self.modified_response = modified
        self.approvals_given += 1
        self.reviewer_notes = notes if notes is not None else self.reviewer_notes
        if self.approvals_given >= self.required_approvals:
            self._end(ApprovalStatus.APPROVED, now, by)
            return True
        # Whoever approved is done with it; it is the next one's.
        self.assigned_to = self.delegated_to = None
        return False

    def reject(self, by: UUID | None, now: datetime, *, notes: str | None) -> None:
        """Refuse it, however many approved."""
        self.reviewer_notes = notes if notes is not None else self.reviewer_notes
        self._end(ApprovalStatus.REJECTED, now, by)

    def cancel(self, by: UUID | None, now: datetime, *, reason: str | None) -> None:
        """It is not needed any more."""
        self.require_pending(now)
        self.reviewer_notes = reason if reason is not None else self.reviewer_notes
        self._end(ApprovalStatus.CANCELLED, now, by)

    def pass_time(self, now: datetime) -> str | None:
        """What its times demand by ``now``; the kind of what happened: expired, escalated, at risk, or nothing."""
        if not self.is_pending:
            return None
        if self.expires_at is not None and self.expires_at <= now:
            self._end(ApprovalStatus.EXPIRED, now, None)
            self.version += 1
            return "approval.expired"
        kind = None
        if self.sla_due_at <= now and self.sla_state is not SlaState.BREACHED:
            kind = self._escalate(now)
        elif self.at_risk_at <= now and self.sla_state is SlaState.ON_TRACK:
            self.sla_state, kind = SlaState.AT_RISK, "approval.at_risk"
        self._look_ahead()
        return kind

    def _escalate(self, now: datetime) -> str:
        # Whoever had it did not get to it: it is everybody's again.
        self.assigned_to = self.delegated_to = self.assigned_department = None
        self.sla_state, self.escalated_at = SlaState.BREACHED, now
        self.escalations += 1
        self.version += 1
        return "approval.escalated"

    def _end(self, status: ApprovalStatus, now: datetime, by: UUID | None) -> None:
        self.status, self.resolved_at, self.resolved_by = status, now, by
        self.sla_state = SlaState.MET if now <= self.sla_due_at else SlaState.BREACHED
        self.next_at = None

    def _look_ahead(self) -> None:
        times = [self.expires_at]
        if self.sla_state is SlaState.ON_TRACK:
            times.append(self.at_risk_at)
        elif self.sla_state is SlaState.AT_RISK:
            times.append(self.sla_due_at)
        self.next_at = min((one for one in times if one is not None), default=None)

    def _refused(self, code: RefusalCode, message: str, field: str = "id") -> Refusal:
        return Refusal(code, message, field=("input", field), current=self)


class ApprovalDecision(TenantRow):
    """What one person, or one key, said of a request; nobody says it twice."""

    __tablename__ = "approval_decisions"
    __typeid__ = "verdict"
    __untold__: ClassVar[frozenset[str]] = frozenset({"notes", "decided_by"})
    __table_args__ = (
        belongs_to("approval_id", "approval_requests", ondelete="CASCADE"),
        belongs_to("user_id", "users", ondelete="SET NULL"),
        one_of("decision", Decision),
        Index("uq_approval_decisions_once", "tenant_id", "approval_id", "decided_by", unique=True),
        Index("ix_approval_decisions_user", "tenant_id", "user_id"),
    )

    approval_id: Mapped[UUID]
    user_id: Mapped[UUID | None]
    decided_by: Mapped[str]
    decision: Mapped[Decision] = mapped_column(TextEnum(Decision))
    notes: Mapped[str | None]


class ApprovalCount(Base):
    """How many requests of a tenant wait, by mode, priority and how they stand; the database itself keeps it.

    A queue of ten thousand is not counted each time somebody looks.
    """

    __tablename__ = "approval_counts"
    __table_args__ = (
        tenant_key(),
        one_of("hitl_mode", HitlMode),
        one_of("priority", Priority),
        one_of("sla_state", SlaState),
    )

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    hitl_mode: Mapped[HitlMode] = mapped_column(TextEnum(HitlMode), primary_key=True)
    priority: Mapped[Priority] = mapped_column(TextEnum(Priority), primary_key=True)
    sla_state: Mapped[SlaState] = mapped_column(TextEnum(SlaState), primary_key=True)
    pending: Mapped[int]
