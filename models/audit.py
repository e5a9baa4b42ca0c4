"""This module is where it is kept who changed what and who looked at whom: chained, sealed, never rewritten."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar
from uuid import UUID

import orjson
from sqlalchemy import BigInteger, CheckConstraint, Index, LargeBinary, text
from sqlalchemy.orm import Mapped, mapped_column

from models.activity import EventTopic
from models.base import Base, TextEnum, one_of, tenant_key
from models.errors import Refusal, RefusalCode
from models.governance import HitlMode
from models.ids import encode, uuid7
from models.scopes import Scope

BY_MONTH = {"postgresql_partition_by": "RANGE (id)"}


class DataCategory(StrEnum):
    """What kind of data somebody looked at or took."""

    ACCOUNT = "account"
    TENANT = "tenant"
    SECRET = "secret"  # noqa: S105 - a category, not a secret
    MESSAGES = "messages"
    APPROVALS = "approvals"


class AccessType(StrEnum):
    """What was done with it."""

    READ = "read"
    EXPORT = "export"
    ERASURE = "erasure"
    USE = "use"
    PLATFORM_ACCESS = "platform_access"


class AuditSeverity(StrEnum):
    """How grave an event of governance or security is."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class LegalBasis(StrEnum):
    """The ground on which it was done (GDPR, article 6)."""

    CONSENT = "consent"
    CONTRACT = "contract"
    LEGAL_OBLIGATION = "legal_obligation"
    LEGITIMATE_INTEREST = "legitimate_interest"


class RetentionSubject(StrEnum):
    """What a tenant may keep longer than everybody does."""

    AUDIT_LOGS = "audit_logs"


class LogRow(Base):
    """A row of a log that is divided by month on its UUIDv7; it refers to nothing, so that nothing can change it."""

    __abstract__ = True
    __typeid__: ClassVar[str]

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True, sort_order=-100)
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7, sort_order=-99)
    occurred_at: Mapped[datetime] = mapped_column(sort_order=-98)
    actor_type: Mapped[str | None] = mapped_column(sort_order=-97)
    actor_id: Mapped[UUID | None] = mapped_column(sort_order=-96)

    @property
    def typeid(self) -> str:
        """The id as the outside sees it."""
        return encode(self.__typeid__, self.id)


class AuditLog(LogRow):
    """One change by somebody. ``mac`` binds it to the entry before it.

    What may be personal is sealed: ``origin`` (address and agent) for the actor, ``contents`` (old and new values)
    for ``subject_id``, the person whom the change is about, or for the tenant where it is about nobody.
    """

    __tablename__ = "audit_logs"
    __typeid__ = "audit"
    __table_args__ = (
        CheckConstraint("seq > 0", name="seq"),
        Index("ix_audit_logs_actor", "tenant_id", "actor_id", "id"),
        Index("ix_audit_logs_action", "tenant_id", "action", "id"),
        Index("ix_audit_logs_resource", "tenant_id", "resource_id", "id"),
        Index("ix_audit_logs_subject", "tenant_id", "subject_id", "id"),
        BY_MONTH,
    )

    seq: Mapped[int] = mapped_column(BigInteger)
    action: Mapped[str]
    resource_type: Mapped[str]
    resource_id: Mapped[UUID]
    subject_id: Mapped[UUID | None]
    # Text and not JSON: the chain is over its very bytes.
    details: Mapped[str | None]
    trace_id: Mapped[str | None]
    origin: Mapped[bytes | None] = mapped_column(LargeBinary)
    contents: Mapped[bytes | None] = mapped_column(LargeBinary)
    key_id: Mapped[bytes] = mapped_column(LargeBinary)
    mac: Mapped[bytes] = mapped_column(LargeBinary)

    @property
    def said(self) -> Any:
        """``details`` as what they are; None for none."""
        return orjson.loads(self.details) if self.details is not None else None

    @property
    def resource_typeid(self) -> str:
        """The id of what was changed, also when it is gone."""
        return encode(self.resource_type, self.resource_id)


class AuditHead(Base):
    """The tenant's last entry. Locked before the event counter, so entries have no gaps and no two followers."""

    __tablename__ = "audit_heads"

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    last_id: Mapped[UUID | None]
    mac: Mapped[bytes | None] = mapped_column(LargeBinary)


class AuditCheckpoint(Base):
    """What stands for the entries up to ``seq`` once their month is gone; signed under the key of the chain."""

    __tablename__ = "audit_checkpoints"

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    mac: Mapped[bytes] = mapped_column(LargeBinary)
    entries: Mapped[int] = mapped_column(BigInteger)
    """How many entries it stands for, those of the checkpoint before it left out."""
    made_at: Mapped[datetime]
    key_id: Mapped[bytes] = mapped_column(LargeBinary)
    signature: Mapped[bytes] = mapped_column(LargeBinary)


class PersonKey(Base):
    """The key that a person's part of the log is sealed under; erasure empties it. The tenant's own has its id."""

    __tablename__ = "person_keys"
    __table_args__ = (tenant_key(),)

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    person_id: Mapped[UUID] = mapped_column(primary_key=True)
    wrapped: Mapped[bytes | None] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]
    destroyed_at: Mapped[datetime | None]


class DataAccessLog(LogRow):
    """One look at somebody's data, or one use of it."""

    __tablename__ = "data_access_logs"
    __typeid__ = "access"
    __table_args__ = (
        one_of("data_category", DataCategory),
        one_of("access_type", AccessType),
        one_of("legal_basis", LegalBasis),
        Index("ix_data_access_logs_actor", "tenant_id", "actor_id", "id"),
        Index("ix_data_access_logs_subject", "tenant_id", "subject_id", "id"),
        BY_MONTH,
    )

    subject_type: Mapped[str]
    subject_id: Mapped[UUID]
    data_category: Mapped[DataCategory] = mapped_column(TextEnum(DataCategory))
    access_type: Mapped[AccessType] = mapped_column(TextEnum(AccessType))
    purpose: Mapped[str]
    legal_basis: Mapped[LegalBasis] = mapped_column(TextEnum(LegalBasis))
    trace_id: Mapped[str | None]
    origin: Mapped[bytes | None] = mapped_column(LargeBinary)

    @property
    def subject_typeid(self) -> str:
        """The id of whom or what the data is about."""
        return encode(self.subject_type, self.subject_id)


class AuditEvent(LogRow):
    """One event of governance or security that somebody may have to look at.

    It is never changed but for its review, once; subject and actor are ids, and nothing leads to them.
    """

    __tablename__ = "audit_events"
    __typeid__ = "audit_event"
    __topic__ = EventTopic.GOVERNANCE
    __read_scope__ = Scope.AUDIT_EVENTS_READ
    __untold__: ClassVar[frozenset[str]] = frozenset({"review_note"})
    __table_args__ = (
        one_of("severity", AuditSeverity),
        one_of("hitl_mode", HitlMode),
        CheckConstraint("(reviewed_at IS NULL) = (reviewed_by_type IS NULL)", name="reviewed"),
        Index("ix_audit_events_event_type", "tenant_id", "event_type", "id"),
        Index("ix_audit_events_severity", "tenant_id", "severity", "id"),
        Index("ix_audit_events_user", "tenant_id", "user_id", "id"),
        Index("ix_audit_events_agent", "tenant_id", "agent_id", "id"),
        Index(
            "ix_audit_events_to_review",
            "tenant_id",
            "id",
            postgresql_where=text("requires_review AND reviewed_at IS NULL"),
        ),
        BY_MONTH,
    )

    event_type: Mapped[str]
    severity: Mapped[AuditSeverity] = mapped_column(TextEnum(AuditSeverity), default=AuditSeverity.INFO)
    user_id: Mapped[UUID | None]
    user_department: Mapped[str | None]
    agent_id: Mapped[UUID | None]
    agent_name: Mapped[str | None]
    conversation_id: Mapped[UUID | None]
    action: Mapped[str]
    intent_domain: Mapped[str | None]
    risk_signals: Mapped[list[str]] = mapped_column(default=list)
    hitl_mode: Mapped[HitlMode | None] = mapped_column(TextEnum(HitlMode))
    provider: Mapped[str | None]
    model: Mapped[str | None]
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)
    pii_detected: Mapped[list[str]] = mapped_column(default=list)
    guardrails_triggered: Mapped[list[str]] = mapped_column(default=list)
    requires_review: Mapped[bool] = mapped_column(default=False)
    source_ref: Mapped[str | None]
    reviewed_by_type: Mapped[str | None]
    reviewed_by: Mapped[UUID | None]
    reviewed_at: Mapped[datetime | None]
    review_note: Mapped[str | None]

    def facets(self) -> dict[str, Any]:
        """What filters and visibility may look at in an event's envelope."""
        return {
            "id": str(self.id),
            "event_type": self.event_type,
            "severity": self.severity.value,
            "is_reviewed": self.reviewed_at is not None,
        }

    def review(self, by: tuple[str, UUID] | None, note: str | None, now: datetime) -> None:
        """Somebody has looked at it. Raises ILLEGAL_TRANSITION where nobody has to, ALREADY_DECIDED where one did."""
        if self.reviewed_at is not None:
            raise Refusal(RefusalCode.ALREADY_DECIDED, "It was reviewed before.", field=("input", "id"), current=self)
        if not self.requires_review:
            raise Refusal(RefusalCode.ILLEGAL_TRANSITION, "It asks for no review.", field=("input", "id"), current=self)
        # None is the gateway itself.
        self.reviewed_by_type, self.reviewed_by = by or ("gateway", None)
        self.reviewed_at, self.review_note = now, note


AUDIT_DAYS = 3 * 365 + 1
"""How long audit and access logs are kept at the least."""

AUDIT_DAYS_AT_MOST = 30 * 366


class RetentionRule(Base):
    """What a tenant keeps longer than everybody does."""

    __tablename__ = "retention_rules"
    __table_args__ = (
        tenant_key(),
        one_of("subject", RetentionSubject),
        CheckConstraint(f"days BETWEEN {AUDIT_DAYS} AND {AUDIT_DAYS_AT_MOST}", name="days"),
    )

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    subject: Mapped[RetentionSubject] = mapped_column(TextEnum(RetentionSubject), primary_key=True)
    days: Mapped[int]
    updated_at: Mapped[datetime]


def facets_of(rule: RetentionRule) -> dict[str, Any]:
    """What an event says of a rule."""
    return {"subject": rule.subject.value, "days": rule.days}
