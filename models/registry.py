"""This module is where the fleet's running places live: workspaces, assignments, structure events."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Computed, Index, text
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from models.activity import EventTopic
from models.base import ImportedRow, TenantRow, TextEnum, belongs_to, never_null, one_of, tenant_key
from models.errors import Refusal, RefusalCode
from models.ids import encode
from models.scopes import Scope
from models.search import search_vector

DEFAULT_TTL_SECONDS: Final = 60
DEGRADED_FROM: Final = 0.5
HEALTHY_BELOW: Final = 0.1


class WorkspaceStatus(StrEnum):
    """Where a workspace stands in its life."""

    PROVISIONING = "provisioning"
    AWAITING_AGENT = "awaiting_agent"
    ONLINE = "online"
    DEGRADED = "degraded"
    OFFLINE = "offline"
    PAUSED = "paused"
    HIBERNATED = "hibernated"
    FAILED = "failed"
    REMOVED = "removed"


class RuntimeState(StrEnum):
    """What the runtime says of itself, whatever its error rate."""

    NORMAL = "normal"
    WEDGED = "wedged"


class WorkspaceCommand(StrEnum):
    """What an operator may ask of a workspace."""

    PAUSE = "pause"
    RESUME = "resume"
    HIBERNATE = "hibernate"
    RESTART = "restart"


class AssignmentStatus(StrEnum):
    """Whether an assignment is the present one."""

    ACTIVE = "active"
    REPLACED = "replaced"
    REMOVED = "removed"


SETTLED: Final = frozenset({WorkspaceStatus.PAUSED, WorkspaceStatus.HIBERNATED, WorkspaceStatus.REMOVED})
"""A beat leaves these as they are; only an operator moves them."""

LIVE: Final = frozenset({WorkspaceStatus.ONLINE, WorkspaceStatus.DEGRADED})
"""Silence turns these to offline."""

_LEGAL: Final[dict[WorkspaceCommand, tuple[frozenset[WorkspaceStatus], WorkspaceStatus]]] = {
    WorkspaceCommand.PAUSE: (
        frozenset(WorkspaceStatus) - {WorkspaceStatus.PAUSED, WorkspaceStatus.REMOVED},
        WorkspaceStatus.PAUSED,
    ),
    WorkspaceCommand.RESUME: (
        frozenset({WorkspaceStatus.PAUSED, WorkspaceStatus.HIBERNATED}),
        WorkspaceStatus.PROVISIONING,
    ),
    WorkspaceCommand.HIBERNATE: (LIVE, WorkspaceStatus.HIBERNATED),
    WorkspaceCommand.RESTART: (
        frozenset(
            {
                WorkspaceStatus.ONLINE,
                WorkspaceStatus.DEGRADED,
                WorkspaceStatus.OFFLINE,
                WorkspaceStatus.FAILED,
                WorkspaceStatus.PROVISIONING,
            }
        ),
        WorkspaceStatus.PROVISIONING,
    ),
}


def status_after_beat(status: WorkspaceStatus, error_rate: float, runtime_state: RuntimeState) -> WorkspaceStatus:
    """The status a beat leads to. Hysteresis: degraded from 0.5 up, online again only below 0.1."""
    if status in SETTLED:
        return status
    if runtime_state is RuntimeState.WEDGED or error_rate >= DEGRADED_FROM:
        return WorkspaceStatus.DEGRADED
    if status is WorkspaceStatus.DEGRADED and error_rate >= HEALTHY_BELOW:
        return WorkspaceStatus.DEGRADED
    return WorkspaceStatus.ONLINE


class Workspace(ImportedRow):
    """A running place for an agent: it registers, sends heartbeats, has a parent."""

    __tablename__ = "workspaces"
    __typeid__ = "workspace"
    __topic__ = EventTopic.REGISTRY
    __read_scope__ = Scope.WORKSPACES_READ
    __place__ = "id"

    name: Mapped[str]
    role: Mapped[str | None]
    tier: Mapped[int] = mapped_column(default=2)
    status: Mapped[WorkspaceStatus] = mapped_column(TextEnum(WorkspaceStatus), default=WorkspaceStatus.AWAITING_AGENT)
    source_bundle_id: Mapped[str | None]
    agent_card: Mapped[dict[str, Any] | None]
    url: Mapped[str | None]
    parent_id: Mapped[UUID | None]
    forwarded_to: Mapped[UUID | None]
    last_heartbeat_at: Mapped[datetime | None]
    heartbeat_due_at: Mapped[datetime | None]
    heartbeat_ttl_seconds: Mapped[int] = mapped_column(default=DEFAULT_TTL_SECONDS)
    last_error_rate: Mapped[float] = mapped_column(default=0.0)
    last_sample_error: Mapped[str | None]
    runtime_state: Mapped[RuntimeState] = mapped_column(TextEnum(RuntimeState), default=RuntimeState.NORMAL)
    active_tasks: Mapped[int] = mapped_column(default=0)
    max_concurrent_tasks: Mapped[int] = mapped_column(default=1)
    uptime_seconds: Mapped[int] = mapped_column(BigInteger, default=0)
    current_task: Mapped[str | None]
    lease_epoch: Mapped[int] = mapped_column(default=0)
    paused_at: Mapped[datetime | None]
    registered_at: Mapped[datetime | None]
    version: Mapped[int] = mapped_column(default=1)
    search: Mapped[str] = mapped_column(
        TSVECTOR, Computed(search_vector("name", "role"), persisted=True), deferred=True
    )

    __mapper_args__ = {"version_id_col": version}

    @classmethod
    def constraints(cls) -> tuple[Any, ...]:
        return (
            *super().constraints(),
            tenant_key(),
            belongs_to("parent_id", "workspaces", ondelete="SET NULL"),
            belongs_to("forwarded_to", "workspaces", ondelete="SET NULL"),
            one_of("status", WorkspaceStatus),
            one_of("runtime_state", RuntimeState),
            CheckConstraint("tier BETWEEN 1 AND 4", name="tier"),
            CheckConstraint("heartbeat_ttl_seconds BETWEEN 1 AND 86400", name="heartbeat_ttl_seconds"),
            Index("ix_workspaces_newest", "tenant_id", text("created_at DESC"), text("id DESC")),
            Index("ix_workspaces_name", "tenant_id", "name", "id"),
            Index(
                "ix_workspaces_last_heartbeat",
                "tenant_id",
                text(f"{never_null('last_heartbeat_at', '-infinity')} DESC"),
                text("id DESC"),
            ),
            Index(
                "ix_workspaces_last_heartbeat_oldest",
                "tenant_id",
                text(never_null("last_heartbeat_at", "infinity")),
                "id",
            ),
            Index("ix_workspaces_parent", "tenant_id", "parent_id", "name"),
            Index("ix_workspaces_forwarded_to", "tenant_id", "forwarded_to"),
            Index("ix_workspaces_status", "tenant_id", "status"),
            Index(
                "ix_workspaces_due",
                "heartbeat_due_at",
                postgresql_where=text("status IN ('online', 'degraded')"),
            ),
            Index("ix_workspaces_search", "search", postgresql_using="gin"),
        )

    @property
    def heartbeat_id(self) -> str:
        """The one id all beats of this workspace share, so caches replace the older one."""
        return encode("heartbeat", self.id)

    def facets(self) -> dict[str, Any]:
        """What filters and visibility may look at in an event's envelope."""
        return {
            "id": str(self.id),
            "status": self.status.value,
            "tier": self.tier,
            "parent_id": str(self.parent_id) if self.parent_id else None,
            "search": [self.name, self.role or ""],
        }

    def obey(self, command: WorkspaceCommand, now: datetime) -> None:
        """Move to the status ``command`` asks for. Raises ILLEGAL_TRANSITION with this row."""
        allowed, target = _LEGAL[command]
        if self.status not in allowed:
            raise Refusal(
                RefusalCode.ILLEGAL_TRANSITION,
                f"A workspace that is {self.status.value.upper()} cannot be told to {command.value.upper()}.",
                field=("input", "command"),
                current=self,
            )
        self.status = target
        self.paused_at = now if target is WorkspaceStatus.PAUSED else None
        self.heartbeat_due_at = None

    def register(self, now: datetime, *, url: str | None, agent_card: dict[str, Any] | None) -> None:
        """Take a (new) runtime in: it goes online and fences whoever held the lease before."""
        if self.status in SETTLED:
            raise Refusal(
                RefusalCode.ILLEGAL_TRANSITION,
                f"A workspace that is {self.status.value.upper()} cannot register.",
                field=("input", "id"),
                current=self,
            )
        self.url = url if url is not None else self.url
        self.agent_card = agent_card if agent_card is not None else self.agent_card
        self.status = WorkspaceStatus.ONLINE
        self.runtime_state = RuntimeState.NORMAL
        self.lease_epoch += 1
        self.registered_at = now
        self.last_heartbeat_at = now
        self.heartbeat_due_at = now + timedelta(seconds=self.heartbeat_ttl_seconds)

    def remove(self) -> None:
        """End of life; nothing brings it back, and its lease is void."""
        self.status = WorkspaceStatus.REMOVED
        self.heartbeat_due_at = None
        self.lease_epoch += 1


class AgentAssignment(ImportedRow):
    """Which agent (and model) ran where, and when that ended."""

    __tablename__ = "agent_assignments"
    __typeid__ = "assignment"

    workspace_id: Mapped[UUID]
    agent_id: Mapped[UUID | None]
    model: Mapped[str | None]
    status: Mapped[AssignmentStatus] = mapped_column(TextEnum(AssignmentStatus), default=AssignmentStatus.ACTIVE)
    removed_at: Mapped[datetime | None]
    removal_reason: Mapped[str | None]

    @classmethod
    def constraints(cls) -> tuple[Any, ...]:
        return (
            *super().constraints(),
            belongs_to("workspace_id", "workspaces", ondelete="CASCADE"),
            belongs_to("agent_id", "agents", ondelete="SET NULL"),
            one_of("status", AssignmentStatus),
            Index(
                "uq_agent_assignments_active",
                "tenant_id",
                "workspace_id",
                unique=True,
                postgresql_where=text("status = 'active'"),
            ),
            Index(
                "uq_agent_assignments_active_agent",
                "tenant_id",
                "agent_id",
                unique=True,
                postgresql_where=text("status = 'active'"),
            ),
            Index("ix_agent_assignments_newest", "tenant_id", text("created_at DESC"), text("id DESC")),
            Index(
                "ix_agent_assignments_workspace", "tenant_id", "workspace_id", text("created_at DESC"), text("id DESC")
            ),
            Index("ix_agent_assignments_agent", "tenant_id", "agent_id", text("created_at DESC"), text("id DESC")),
        )

    def end(self, status: AssignmentStatus, now: datetime, reason: str) -> None:
        """Close this assignment; its row stays as history."""
        self.status = status
        self.removed_at = now
        self.removal_reason = reason


class StructureEvent(TenantRow):
    """One change of the fleet's structure; append-only, never deleted. ``seq`` is its event's seq."""

    __tablename__ = "structure_events"
    __typeid__ = "structure"
    __table_args__ = (
        tenant_key(),
        Index("uq_structure_events_seq", "tenant_id", "seq", unique=True),
        Index("ix_structure_events_workspace", "tenant_id", "workspace_id", "seq"),
        Index("ix_structure_events_agent", "tenant_id", "agent_id", "seq"),
        Index("uq_structure_events_source_ref", "tenant_id", "source_ref", unique=True),
    )

    seq: Mapped[int] = mapped_column(BigInteger)
    event_type: Mapped[str]
    workspace_id: Mapped[UUID | None]
    agent_id: Mapped[UUID | None]
    target_id: Mapped[UUID | None]
    payload: Mapped[dict[str, Any]] = mapped_column(default=dict)
    source_ref: Mapped[str | None]

    @property
    def workspace_typeid(self) -> str | None:
        """The id of whose change it is, also when that is gone."""
        return encode(Workspace.__typeid__, self.workspace_id) if self.workspace_id is not None else None
