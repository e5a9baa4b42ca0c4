"""This module is where agents are defined: what they are, who approved them, where they run, what they are made of."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from sqlalchemy import CheckConstraint, Computed, Index, text
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from models.activity import EventTopic
from models.base import ImportedRow, TenantRow, TextEnum, belongs_to, one_of, tenant_key
from models.errors import Refusal, RefusalCode
from models.scopes import Scope
from models.search import search_vector
from models.tenants import SharedRow


class AgentType(StrEnum):
    """How the agent works."""

    LLM = "llm"
    SEQUENTIAL = "sequential"
    PARALLEL = "parallel"
    LOOP = "loop"
    A2A = "a2a"
    WORKFLOW = "workflow"
    TASK = "task"
    CREW_AI = "crew_ai"


class AgentStatus(StrEnum):
    """Whether the agent may work: pending → active ⇄ disabled, or rejected."""

    PENDING = "pending"
    ACTIVE = "active"
    DISABLED = "disabled"
    REJECTED = "rejected"


class Decision(StrEnum):
    """What somebody who may decide says."""

    APPROVE = "approve"
    REJECT = "reject"


class ReferenceKind(StrEnum):
    """As what one agent's configuration names another."""

    SUB_AGENT = "sub_agent"
    TOOL = "tool"
    TASK = "task"


_SWITCHED: Final = frozenset({AgentStatus.ACTIVE, AgentStatus.DISABLED})
"""Whoever may change an agent switches it between these; every other way needs a decision."""


class Agent(ImportedRow):
    """A definition of an agent; where it runs is its workspace."""

    __tablename__ = "agents"
    __typeid__ = "agent"
    __topic__ = EventTopic.REGISTRY
    __read_scope__ = Scope.AGENTS_READ

    name: Mapped[str]
    title: Mapped[str | None]
    domain: Mapped[str | None]
    description: Mapped[str | None]
    type: Mapped[AgentType] = mapped_column(TextEnum(AgentType))
    model: Mapped[str | None]
    llm_provider_id: Mapped[UUID | None]
    instruction: Mapped[str | None]
    capabilities: Mapped[list[str]] = mapped_column(default=list)
    guardrails: Mapped[list[str]] = mapped_column(default=list)
    config: Mapped[dict[str, Any] | None]
    status: Mapped[AgentStatus] = mapped_column(TextEnum(AgentStatus), default=AgentStatus.PENDING)
    is_router: Mapped[bool] = mapped_column(default=False)
    workspace_id: Mapped[UUID | None]
    escalates_to: Mapped[UUID | None]
    approved_by: Mapped[UUID | None]
    approved_at: Mapped[datetime | None]
    rejection_reason: Mapped[str | None]
    api_key_secret_id: Mapped[UUID | None]
    version: Mapped[int] = mapped_column(default=1)
    deleted_at: Mapped[datetime | None]
    search: Mapped[str] = mapped_column(
        TSVECTOR, Computed(search_vector("name", "title", "domain"), persisted=True), deferred=True
    )

    __mapper_args__ = {"version_id_col": version}

    @classmethod
    def constraints(cls) -> tuple[Any, ...]:
        return (
            *super().constraints(),
            tenant_key(),
            belongs_to("workspace_id", "workspaces", ondelete="SET NULL"),
            belongs_to("escalates_to", "agents", ondelete="SET NULL"),
            belongs_to("approved_by", "users", ondelete="SET NULL"),
            belongs_to("llm_provider_id", "llm_providers", ondelete="SET NULL"),
            belongs_to("api_key_secret_id", "secrets", ondelete="SET NULL"),
            one_of("type", AgentType),
            one_of("status", AgentStatus),
            Index(
                "uq_agents_router",
                "tenant_id",
                unique=True,
                postgresql_where=text("is_router AND deleted_at IS NULL"),
            ),
            Index("ix_agents_newest", "tenant_id", text("created_at DESC"), text("id DESC")),
            Index("ix_agents_name", "tenant_id", "name", "id"),
            Index("ix_agents_updated", "tenant_id", text("updated_at DESC"), text("id DESC")),
            Index("ix_agents_workspace", "tenant_id", "workspace_id"),
            Index("ix_agents_escalates_to", "tenant_id", "escalates_to"),
            Index("ix_agents_approved_by", "tenant_id", "approved_by"),
            Index("ix_agents_llm_provider", "tenant_id", "llm_provider_id"),
            Index("ix_agents_api_key_secret", "tenant_id", "api_key_secret_id"),
            Index("ix_agents_status", "tenant_id", "status"),
            Index("ix_agents_domain", "tenant_id", "domain"),
            Index("ix_agents_search", "search", postgresql_using="gin"),
        )

    @property
    def has_api_key(self) -> bool:
        """Whether a model-provider key is stored."""
        return self.api_key_secret_id is not None

    def facets(self) -> dict[str, Any]:
        """What filters and visibility may look at in an event's envelope."""
        return {
            "id": str(self.id),
            "status": self.status.value,
            "type": self.type.value,
            "domain": self.domain,
            "workspace_id": str(self.workspace_id) if self.workspace_id else None,
            "search": [word for word in (self.name, self.title, self.domain) if word],
        }

    def decide(self, decision: Decision, *, by: UUID | None, now: datetime, reason: str | None = None) -> None:
        """Let a pending agent work, or refuse it with a ``reason``. Raises ALREADY_DECIDED with this row."""
        if self.status is not AgentStatus.PENDING:
            raise Refusal(
                RefusalCode.ALREADY_DECIDED,
                f"It was decided before: it is {self.status.value.upper()}.",
                field=("input", "id"),
                current=self,
            )
        rejected = decision is Decision.REJECT
        self.status = AgentStatus.REJECTED if rejected else AgentStatus.ACTIVE
        self.approved_by, self.approved_at = by, now
        self.rejection_reason = reason if rejected else None

    def switch(self, status: AgentStatus) -> None:
        """Switch an agent that was approved off, or on again. Raises ILLEGAL_TRANSITION with this row."""
        self.refuse_switch(status)
        self.status = status

    def refuse_switch(self, status: AgentStatus) -> None:
        """Refuse what ``switch`` would. Raises ILLEGAL_TRANSITION with this row."""
        if status is not self.status and not {status, self.status} <= _SWITCHED:
            raise Refusal(
                RefusalCode.ILLEGAL_TRANSITION,
                f"An agent that is {self.status.value.upper()} cannot become {status.value.upper()} by an update.",
                field=("input", "status"),
                current=self,
            )


class AgentReference(TenantRow):
    """One place of an agent's configuration that names another agent; written with the configuration, never alone.

    The configuration itself holds TypeIDs. These rows are what cycles and whoever still needs an agent are found by.
    """

    __tablename__ = "agent_references"
    __typeid__ = "reference"
    __table_args__ = (
        belongs_to("agent_id", "agents", ondelete="CASCADE"),
        belongs_to("target_id", "agents", ondelete="CASCADE"),
        one_of("kind", ReferenceKind),
        CheckConstraint("place >= 0", name="place"),
        Index("uq_agent_references_place", "tenant_id", "agent_id", "kind", "place", unique=True),
        Index("ix_agent_references_target", "tenant_id", "target_id", "agent_id"),
    )

    agent_id: Mapped[UUID]
    target_id: Mapped[UUID]
    kind: Mapped[ReferenceKind] = mapped_column(TextEnum(ReferenceKind))
    place: Mapped[int]


class AgentTemplate(SharedRow):
    """A set of agents that can be made at once. The platform's are there for everybody to use."""

    __tablename__ = "agent_templates"
    __typeid__ = "template"
    __topic__ = EventTopic.REGISTRY
    __read_scope__ = Scope.AGENTS_READ

    name: Mapped[str]
    description: Mapped[str] = mapped_column(default="")
    config: Mapped[dict[str, Any]] = mapped_column(default=dict)
    category: Mapped[str] = mapped_column(default="general")
    is_builtin: Mapped[bool] = mapped_column(default=False)
    version: Mapped[int] = mapped_column(default=1)

    __mapper_args__ = {"version_id_col": version}

    @classmethod
    def constraints(cls) -> tuple[Any, ...]:
        return (
            *super().constraints(),
            tenant_key(),
            Index("uq_agent_templates_name", "tenant_id", "name", unique=True),
            Index("ix_agent_templates_by_name", "tenant_id", "name", "id"),
            Index("ix_agent_templates_newest", "tenant_id", text("created_at DESC"), text("id DESC")),
            Index("ix_agent_templates_category", "tenant_id", "category"),
        )

    def facets(self) -> dict[str, Any]:
        """What filters and visibility may look at in an event's envelope."""
        return {"id": str(self.id), "category": self.category, "search": [self.name]}
