"""This module is where the event log lives: one contiguous sequence of committed changes per tenant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, SmallInteger, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, TextEnum, one_of, tenant_key, utcnow
from models.ids import encode, uuid7


class EventTopic(StrEnum):
    """Which part of the house an event is about."""

    TENANCY = "tenancy"
    REGISTRY = "registry"
    STRUCTURE = "structure"
    CONVERSATIONS = "conversations"
    APPROVALS = "approvals"
    GOVERNANCE = "governance"
    ALERTS = "alerts"
    KNOWLEDGE = "knowledge"
    INTEGRATIONS = "integrations"
    RESEARCH = "research"
    ONBOARDING = "onboarding"
    SECURITY = "security"
    CANVAS = "canvas"


class Event(Base):
    """One committed change. The envelope alone decides who sees it and which filter it matches.

    ``before`` and ``after`` hold the entity's filterable facets; payloads hold ids, enum values, numbers and
    names of changed fields, never free text or addresses.
    """

    __tablename__ = "events"
    __typeid__ = "event"
    __table_args__ = (
        tenant_key(),
        one_of("topic", EventTopic),
        CheckConstraint("seq > 0", name="seq"),
        Index("uq_events_id", "tenant_id", "id", unique=True),
        Index("ix_events_entity", "tenant_id", "entity_id", "seq"),
    )

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    id: Mapped[UUID] = mapped_column(default=uuid7)
    topic: Mapped[EventTopic] = mapped_column(TextEnum(EventTopic))
    kind: Mapped[str]
    entity_type: Mapped[str]
    entity_id: Mapped[UUID]
    required_scope: Mapped[str]
    owner_user_id: Mapped[UUID | None]
    workspace_id: Mapped[UUID | None]
    actor_type: Mapped[str | None]
    actor_id: Mapped[UUID | None]
    before: Mapped[dict[str, Any] | None]
    after: Mapped[dict[str, Any] | None]
    payload: Mapped[dict[str, Any]] = mapped_column(default=dict)
    occurred_at: Mapped[datetime] = mapped_column(default=utcnow)

    @property
    def typeid(self) -> str:
        """The id as the outside sees it."""
        return encode(self.__typeid__, self.id)

    @property
    def entity_typeid(self) -> str:
        """The id of what changed, also when it is gone."""
        return encode(self.entity_type, self.entity_id)


@dataclass(frozen=True, slots=True)
class EventView:
    """Which events are asked for, and which of them the caller may see: columns of the envelope and their values.

    An event is in it when every column of ``asked`` and one of ``granted`` has one of its values. The list reads
    it as SQL and the live stream as a test on the row, so the two cannot differ.
    """

    asked: Mapping[str, frozenset[Any]]
    granted: Mapping[str, frozenset[Any]]


class TenantStream(Base):
    """The tenant's counter: the seq of its last committed event. Bumped last in every unit of work."""

    __tablename__ = "tenant_streams"
    __table_args__ = (tenant_key(),)

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))


class StreamFloor(Base):
    """The seq up to which events were deleted; apart from the counter so that retention never waits for it."""

    __tablename__ = "stream_floors"
    __table_args__ = (tenant_key(),)

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    low_water: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))


class StreamEpoch(Base):
    """One row: the marker that ``signalbox new-epoch`` renews after a restore, so old cursors are refused."""

    __tablename__ = "stream_epoch"
    __table_args__ = (CheckConstraint("singleton = 1", name="singleton"),)

    singleton: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False, default=1)
    marker: Mapped[str] = mapped_column(Text)
