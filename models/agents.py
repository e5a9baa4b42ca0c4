"""This module is where agents are defined: what they are, who approved them, where they run."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Computed, Index, text
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from models.base import ImportedRow, TextEnum, belongs_to, one_of, tenant_key
from models.search import search_vector


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


class Agent(ImportedRow):
    """A definition of an agent; where it runs is its workspace."""

    __tablename__ = "agents"
    __typeid__ = "agent"

    name: Mapped[str]
    title: Mapped[str | None]
    domain: Mapped[str | None]
    description: Mapped[str | None]
    type: Mapped[AgentType] = mapped_column(TextEnum(AgentType))
    model: Mapped[str | None]
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
            Index("ix_agents_status", "tenant_id", "status"),
            Index("ix_agents_domain", "tenant_id", "domain"),
            Index("ix_agents_search", "search", postgresql_using="gin"),
        )

    @property
    def has_api_key(self) -> bool:
        """Whether a model-provider key is stored."""
        return self.api_key_secret_id is not None
