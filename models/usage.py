"""This module is where it is kept what was asked, what was answered, and what that cost."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, Numeric, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import ImportedRow, TextEnum, belongs_to, one_of, tenant_key, utcnow
from models.governance import HitlMode


class QueryEvent(ImportedRow):
    """One request that the policies were asked about, and what became of it. The texts go with their person."""

    __tablename__ = "query_events"
    __typeid__ = "query"
    __untold__: ClassVar[frozenset[str]] = frozenset({"query_text", "response_text", "error_message"})

    occurred_at: Mapped[datetime] = mapped_column(default=utcnow)
    user_id: Mapped[UUID | None]
    department: Mapped[str | None]
    agent_id: Mapped[UUID | None]
    agent_name: Mapped[str | None]
    conversation_id: Mapped[UUID | None]
    query_text: Mapped[str]
    response_text: Mapped[str | None]
    latency_ms: Mapped[int] = mapped_column(default=0)
    tokens_in: Mapped[int] = mapped_column(default=0)
    tokens_out: Mapped[int] = mapped_column(default=0)
    cost_usd: Mapped[Decimal] = mapped_column(Numeric(14, 6), default=Decimal(0))
    hitl_mode: Mapped[HitlMode] = mapped_column(TextEnum(HitlMode), default=HitlMode.INFORM)
    was_escalated: Mapped[bool] = mapped_column(default=False)
    was_approved: Mapped[bool] = mapped_column(default=False)
    guardrails_triggered: Mapped[list[str]] = mapped_column(default=list)
    success: Mapped[bool] = mapped_column(default=True)
    error_message: Mapped[str | None]

    @classmethod
    def constraints(cls) -> tuple[Any, ...]:
        return (
            *super().constraints(),
            tenant_key(),
            # Whoever is erased takes along what they asked.
            belongs_to("user_id", "users", ondelete="CASCADE"),
            belongs_to("agent_id", "agents", ondelete="SET NULL"),
            belongs_to("conversation_id", "conversations", ondelete="SET NULL"),
            one_of("hitl_mode", HitlMode),
            CheckConstraint("latency_ms >= 0 AND tokens_in >= 0 AND tokens_out >= 0 AND cost_usd >= 0", name="amounts"),
            Index("ix_query_events_newest", "tenant_id", text("occurred_at DESC"), text("id DESC")),
            Index("ix_query_events_user", "tenant_id", "user_id", text("occurred_at DESC"), text("id DESC")),
            Index("ix_query_events_agent", "tenant_id", "agent_id", text("occurred_at DESC"), text("id DESC")),
            Index("ix_query_events_conversation", "tenant_id", "conversation_id"),
            Index("ix_query_events_department", "tenant_id", "department", text("occurred_at DESC"), text("id DESC")),
        )
