"""This module is where agents' work is kept: one run in a conversation, and each tool that was used."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, ClassVar, Final
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, Numeric, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from models.activity import EventTopic
from models.base import ImportedRow, TextEnum, belongs_to, one_of, tenant_key, utcnow
from models.errors import Refusal, RefusalCode
from models.scopes import Scope

LONGEST_MILLISECONDS: Final = 2**31 - 1


class RunStatus(StrEnum):
    """Where a run stands: active → completed, failed or cancelled, and nothing after."""

    ACTIVE = "active"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ToolKind(StrEnum):
    """Where a tool comes from."""

    MCP = "mcp"
    SKILL = "skill"


class ToolStatus(StrEnum):
    """How the use of a tool ended."""

    SUCCESS = "success"
    ERROR = "error"
    TIMEOUT = "timeout"


class AgentRun(ImportedRow):
    """One agent's work, mostly in a conversation. ``user_id`` is whose conversation that is."""

    __tablename__ = "agent_runs"
    __typeid__ = "run"
    __topic__ = EventTopic.CONVERSATIONS
    __read_scope__ = Scope.RUNS_READ
    __owner__ = "user_id"
    __untold__: ClassVar[frozenset[str]] = frozenset({"state"})

    conversation_id: Mapped[UUID | None]
    user_id: Mapped[UUID | None]
    agent_id: Mapped[UUID | None]
    agent_name: Mapped[str]
    state: Mapped[dict[str, Any]] = mapped_column(default=dict)
    status: Mapped[RunStatus] = mapped_column(TextEnum(RunStatus), default=RunStatus.ACTIVE)
    input_tokens: Mapped[int] = mapped_column(BigInteger, default=0)
    output_tokens: Mapped[int] = mapped_column(BigInteger, default=0)
    total_cost: Mapped[Decimal] = mapped_column(Numeric(14, 6), default=Decimal(0))
    started_at: Mapped[datetime] = mapped_column(default=utcnow)
    ended_at: Mapped[datetime | None]
    duration_ms: Mapped[int | None]

    @classmethod
    def constraints(cls) -> tuple[Any, ...]:
        return (
            *super().constraints(),
            tenant_key(),
            belongs_to("conversation_id", "conversations", ondelete="CASCADE"),
            belongs_to("user_id", "users", ondelete="CASCADE"),
            belongs_to("agent_id", "agents", ondelete="SET NULL"),
            one_of("status", RunStatus),
            CheckConstraint("input_tokens >= 0 AND output_tokens >= 0 AND total_cost >= 0", name="amounts"),
            CheckConstraint("(status = 'active') = (ended_at IS NULL)", name="ended"),
            Index("ix_agent_runs_started", "tenant_id", text("started_at DESC"), text("id DESC")),
            Index(
                "ix_agent_runs_conversation", "tenant_id", "conversation_id", text("started_at DESC"), text("id DESC")
            ),
            Index("ix_agent_runs_user", "tenant_id", "user_id", text("started_at DESC"), text("id DESC")),
            Index("ix_agent_runs_agent", "tenant_id", "agent_id", text("started_at DESC"), text("id DESC")),
            Index("ix_agent_runs_status", "tenant_id", "status"),
        )

    def facets(self) -> dict[str, Any]:
        """What filters and visibility may look at in an event's envelope."""
        return {
            "id": str(self.id),
            "conversation_id": str(self.conversation_id) if self.conversation_id else None,
            "agent_id": str(self.agent_id) if self.agent_id else None,
            "status": self.status.value,
        }

    def require_active(self) -> None:
        """Raises ILLEGAL_TRANSITION with this row when the run is over."""
        if self.status is not RunStatus.ACTIVE:
            raise Refusal(
                RefusalCode.ILLEGAL_TRANSITION,
                f"A run that is {self.status.value.upper()} is over.",
                field=("input", "id"),
                current=self,
            )

    def finish(self, status: RunStatus, now: datetime) -> None:
        """End it; its duration is what lies between. Raises ILLEGAL_TRANSITION when it is over already."""
        self.require_active()
        if status is RunStatus.ACTIVE:
            raise Refusal(RefusalCode.INVALID, "A run does not end as ACTIVE.", field=("input", "status"), current=self)
        self.status = status
        self.ended_at = max(now, self.started_at)
        self.duration_ms = min((self.ended_at - self.started_at) // timedelta(milliseconds=1), LONGEST_MILLISECONDS)


class ToolExecution(ImportedRow):
    """One use of a tool, of a server (mcp) or of the platform's own (skill); written once it is over."""

    __tablename__ = "tool_executions"
    __typeid__ = "execution"
    __topic__ = EventTopic.CONVERSATIONS
    __read_scope__ = Scope.RUNS_READ
    __owner__ = "user_id"
    __untold__: ClassVar[frozenset[str]] = frozenset({"input", "output", "error_message"})

    kind: Mapped[ToolKind] = mapped_column(TextEnum(ToolKind))
    run_id: Mapped[UUID | None]
    conversation_id: Mapped[UUID | None]
    message_id: Mapped[UUID | None]
    user_id: Mapped[UUID | None]
    tool_name: Mapped[str]
    server_name: Mapped[str | None]
    input: Mapped[Any] = mapped_column(JSONB(none_as_null=True), nullable=True)
    output: Mapped[Any] = mapped_column(JSONB(none_as_null=True), nullable=True)
    status: Mapped[ToolStatus] = mapped_column(TextEnum(ToolStatus))
    error_message: Mapped[str | None]
    duration_ms: Mapped[int | None]

    @classmethod
    def constraints(cls) -> tuple[Any, ...]:
        return (
            *super().constraints(),
            tenant_key(),
            belongs_to("run_id", "agent_runs", ondelete="CASCADE"),
            belongs_to("conversation_id", "conversations", ondelete="CASCADE"),
            belongs_to("message_id", "messages", ondelete="SET NULL"),
            belongs_to("user_id", "users", ondelete="CASCADE"),
            one_of("kind", ToolKind),
            one_of("status", ToolStatus),
            CheckConstraint("duration_ms >= 0", name="duration_ms"),
            Index("ix_tool_executions_newest", "tenant_id", text("created_at DESC"), text("id DESC")),
            Index("ix_tool_executions_run", "tenant_id", "run_id", text("created_at DESC"), text("id DESC")),
            Index(
                "ix_tool_executions_conversation",
                "tenant_id",
                "conversation_id",
                text("created_at DESC"),
                text("id DESC"),
            ),
            Index("ix_tool_executions_message", "tenant_id", "message_id"),
            Index("ix_tool_executions_user", "tenant_id", "user_id", text("created_at DESC"), text("id DESC")),
            Index("ix_tool_executions_tool", "tenant_id", "tool_name"),
        )

    def facets(self) -> dict[str, Any]:
        """What filters and visibility may look at in an event's envelope."""
        return {
            "id": str(self.id),
            "kind": self.kind.value,
            "status": self.status.value,
            "run_id": str(self.run_id) if self.run_id else None,
            "conversation_id": str(self.conversation_id) if self.conversation_id else None,
        }
