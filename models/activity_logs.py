"""This module is where it is kept for some days what workspaces did: calls to each other, tasks, errors."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from models.activity import EventTopic
from models.base import ImportedRow, TextEnum, belongs_to, one_of
from models.scopes import Scope


class ActivityType(StrEnum):
    """What kind of thing a workspace did."""

    A2A_SEND = "a2a_send"
    A2A_RECEIVE = "a2a_receive"
    TASK_UPDATE = "task_update"
    AGENT_LOG = "agent_log"
    ERROR = "error"
    SKILL_PROMOTION = "skill_promotion"
    MEMORY_WRITE = "memory_write"
    DELEGATION = "delegation"


class ActivityStatus(StrEnum):
    """How it went; a delegation says how far it is."""

    OK = "ok"
    ERROR = "error"
    TIMEOUT = "timeout"
    PENDING = "pending"
    DISPATCHED = "dispatched"
    RECEIVED = "received"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"


class ActivitySource(StrEnum):
    """Where an activity began."""

    CANVAS = "canvas"
    AGENT = "agent"


OUTCOMES: Final = frozenset({ActivityStatus.OK, ActivityStatus.ERROR, ActivityStatus.TIMEOUT})
"""What everything but a delegation can end with."""


class ActivityLog(ImportedRow):
    """One thing that a workspace did; deleted after some days."""

    __tablename__ = "activity_logs"
    __typeid__ = "activity"
    __topic__ = EventTopic.REGISTRY
    __read_scope__ = Scope.ACTIVITY_READ
    __place__ = "workspace_id"

    workspace_id: Mapped[UUID]
    activity_type: Mapped[ActivityType] = mapped_column(TextEnum(ActivityType))
    source_workspace_id: Mapped[UUID | None]
    target_workspace_id: Mapped[UUID | None]
    method: Mapped[str | None]
    summary: Mapped[str | None]
    request_body: Mapped[dict[str, Any] | None]
    response_body: Mapped[dict[str, Any] | None]
    duration_ms: Mapped[int | None]
    status: Mapped[ActivityStatus] = mapped_column(TextEnum(ActivityStatus), default=ActivityStatus.OK)
    error_detail: Mapped[str | None]

    @classmethod
    def constraints(cls) -> tuple[Any, ...]:
        newest = text("created_at DESC"), text("id DESC")
        return (
            *super().constraints(),
            belongs_to("workspace_id", "workspaces", ondelete="CASCADE"),
            belongs_to("source_workspace_id", "workspaces", ondelete="SET NULL"),
            belongs_to("target_workspace_id", "workspaces", ondelete="SET NULL"),
            one_of("activity_type", ActivityType),
            one_of("status", ActivityStatus),
            CheckConstraint("duration_ms >= 0", name="duration_ms"),
            Index("ix_activity_logs_newest", "tenant_id", *newest),
            Index("ix_activity_logs_workspace", "tenant_id", "workspace_id", *newest),
            Index("ix_activity_logs_type", "tenant_id", "activity_type", *newest),
            Index("ix_activity_logs_status", "tenant_id", "status", *newest),
            Index("ix_activity_logs_source", "tenant_id", "source_workspace_id"),
            Index("ix_activity_logs_target", "tenant_id", "target_workspace_id"),
            # Who has old ones, in all tenants; a B-tree would tempt the planner away from a tenant's own order.
            Index("ix_activity_logs_created", "created_at", postgresql_using="brin"),
        )

    @property
    def source(self) -> ActivitySource:
        """Whether an agent began it, or a person at the canvas."""
        return ActivitySource.CANVAS if self.source_workspace_id is None else ActivitySource.AGENT

    def facets(self) -> dict[str, Any]:
        """What visibility may look at in an event's envelope."""
        return {"id": str(self.id), "type": self.activity_type.value, "status": self.status.value}
