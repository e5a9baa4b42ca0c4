"""This module is where policies are kept: rules, prohibited topics, and what they were after each change."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar, Final
from uuid import UUID

from sqlalchemy import CheckConstraint, Computed, Index, Integer, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from models.activity import EventTopic
from models.base import Base, ImportedRow, TextEnum, belongs_to, one_of, tenant_key
from models.ids import encode
from models.scopes import Scope
from models.tenants import SharedRow

MOST_PRIORITY: Final = 10_000
"""A tenant's rules have priorities from minus this to this; the built-in ones stand above."""


BUILT_IN: Final = {
    "no-external-posting": UUID("00000000-0000-7000-8000-00000000c001"),
    "pii-protection": UUID("00000000-0000-7000-8000-00000000c002"),
    "legal-review": UUID("00000000-0000-7000-8000-00000000c003"),
    "financial-safeguard": UUID("00000000-0000-7000-8000-00000000c004"),
}
"""The constitution that every tenant has: the platform's rules by name, the same everywhere."""


class HitlMode(StrEnum):
    """How much of a human a request needs; each is stronger than the one before."""

    INFORM = "inform"
    DRAFT = "draft"
    ESCALATE = "escalate"

    @property
    def strength(self) -> int:
        """0 to 2; the most restrictive of several is the strongest."""
        return _STRENGTH[self]


_STRENGTH: Final = {mode: place for place, mode in enumerate(HitlMode)}


class RiskLevel(StrEnum):
    """How many kinds of risk a request shows: none, one or two, three or more."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class PolicyTier(StrEnum):
    """Whose rule it is; a higher tier is evaluated before a lower one, whatever the priorities."""

    CONSTITUTIONAL = "constitutional"
    ORGANIZATION = "organization"
    DEPARTMENT = "department"
    STANDARD = "standard"


STRONGEST_FIRST: Final = tuple(PolicyTier)
"""The tiers in the order of evaluation."""


class TopicScope(StrEnum):
    """Where a topic is prohibited."""

    GLOBAL = "global"
    AGENT = "agent"
    DEPARTMENT = "department"


# As PostgreSQL shows it, because alembic compares the two as text.
STANDING: Final = (
    "CASE tier WHEN 'constitutional'::text THEN 30000000 WHEN 'organization'::text THEN 20000000 "
    "WHEN 'department'::text THEN 10000000 ELSE 0 END + priority"
)
"""SQL for a rule's place in the order of evaluation, highest first: its tier, then its priority."""


class PolicyRule(SharedRow):
    """A rule that says how much of a human a request needs. The platform's hold for every tenant."""

    __tablename__ = "policy_rules"
    __typeid__ = "policy"
    __topic__ = EventTopic.GOVERNANCE
    __read_scope__ = Scope.POLICIES_READ
    __untold__: ClassVar[frozenset[str]] = frozenset({"standing"})

    name: Mapped[str]
    description: Mapped[str] = mapped_column(default="")
    tier: Mapped[PolicyTier] = mapped_column(TextEnum(PolicyTier), default=PolicyTier.STANDARD)
    conditions: Mapped[dict[str, Any]]
    hitl_mode: Mapped[HitlMode] = mapped_column(TextEnum(HitlMode))
    local_only: Mapped[bool] = mapped_column(default=False)
    approval_required: Mapped[bool] = mapped_column(default=False)
    escalation_reason: Mapped[str | None]
    priority: Mapped[int] = mapped_column(default=50)
    is_immutable: Mapped[bool] = mapped_column(default=False)
    enabled: Mapped[bool] = mapped_column(default=True)
    version: Mapped[int] = mapped_column(default=1)
    standing: Mapped[int] = mapped_column(Integer, Computed(STANDING, persisted=True))

    __mapper_args__ = {"version_id_col": version}

    @classmethod
    def constraints(cls) -> tuple[Any, ...]:
        return (
            *super().constraints(),
            tenant_key(),
            one_of("tier", PolicyTier),
            one_of("hitl_mode", HitlMode),
            CheckConstraint("priority BETWEEN -1000000 AND 1000000", name="priority"),
            Index("ix_policy_rules_standing", "tenant_id", "standing", "id"),
        )

    def facets(self) -> dict[str, Any]:
        """What filters and visibility may look at in an event's envelope."""
        return {
            "id": str(self.id),
            "tier": self.tier.value,
            "hitl_mode": self.hitl_mode.value,
            "enabled": self.enabled,
            "search": [self.name],
        }


class ProhibitedTopic(ImportedRow):
    """Words that no request may touch without a human: everywhere, at one agent, or in one department."""

    __tablename__ = "prohibited_topics"
    __typeid__ = "topic"
    __topic__ = EventTopic.GOVERNANCE
    __read_scope__ = Scope.POLICIES_READ

    topic: Mapped[str]
    scope: Mapped[TopicScope] = mapped_column(TextEnum(TopicScope), default=TopicScope.GLOBAL)
    agent_id: Mapped[UUID | None]
    department: Mapped[str | None]
    version: Mapped[int] = mapped_column(default=1)

    __mapper_args__ = {"version_id_col": version}

    @classmethod
    def constraints(cls) -> tuple[Any, ...]:
        return (
            *super().constraints(),
            tenant_key(),
            belongs_to("agent_id", "agents", ondelete="CASCADE"),
            one_of("scope", TopicScope),
            CheckConstraint("(scope = 'agent') = (agent_id IS NOT NULL)", name="agent_id"),
            CheckConstraint("(scope = 'department') = (department IS NOT NULL)", name="department"),
            Index("ix_prohibited_topics_newest", "tenant_id", text("created_at DESC"), text("id DESC")),
            Index("ix_prohibited_topics_scope", "tenant_id", "scope"),
            Index("ix_prohibited_topics_agent", "tenant_id", "agent_id"),
        )

    @property
    def scope_id(self) -> str | None:
        """The agent's TypeID or the department's name; None where it is prohibited everywhere."""
        return encode("agent", self.agent_id) if self.agent_id is not None else self.department

    def facets(self) -> dict[str, Any]:
        """What filters and visibility may look at in an event's envelope."""
        return {
            "id": str(self.id),
            "scope": self.scope.value,
            "agent_id": str(self.agent_id) if self.agent_id else None,
        }


class GovernanceVersion(ImportedRow):
    """All rules and topics of a tenant as they were after one change; nothing of it is ever changed."""

    __tablename__ = "governance_versions"
    __typeid__ = "governance"
    __topic__ = EventTopic.GOVERNANCE
    __read_scope__ = Scope.GOVERNANCE_HISTORY_READ
    __untold__: ClassVar[frozenset[str]] = frozenset({"rules_snapshot"})

    version_no: Mapped[int]
    description: Mapped[str] = mapped_column(default="")
    rules_snapshot: Mapped[dict[str, Any]] = mapped_column(JSONB(none_as_null=True), deferred=True)
    changed_by: Mapped[UUID | None]

    @classmethod
    def constraints(cls) -> tuple[Any, ...]:
        return (
            *super().constraints(),
            tenant_key(),
            belongs_to("changed_by", "users", ondelete="SET NULL"),
            CheckConstraint("version_no > 0", name="version_no"),
            Index("uq_governance_versions_version_no", "tenant_id", "version_no", unique=True),
            Index("ix_governance_versions_changed_by", "tenant_id", "changed_by"),
        )

    def facets(self) -> dict[str, Any]:
        """What filters and visibility may look at in an event's envelope."""
        return {"id": str(self.id), "version_no": self.version_no}


class GovernanceHead(Base):
    """The number of the tenant's newest version. Locked by whoever changes a rule, so numbers have no gaps.

    The platform's is everybody's to read: its rules hold for all.
    """

    __tablename__ = "governance_heads"
    __table_args__ = (tenant_key(), CheckConstraint("version_no > 0", name="version_no"))

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    version_no: Mapped[int]
