"""This module is where webhooks live: who is told of which events over HTTP, and how each telling fares."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from models.activity import EventTopic
from models.base import TenantRow, TextEnum, belongs_to, one_of, tenant_key
from models.ids import encode
from models.scopes import Scope

ANY_KIND: Final = "*"
GAP: Final = "signalbox.gap"
"""Kind of a delivery that tells of events which were deleted before they could be sent."""
PING: Final = "signalbox.ping"
"""Kind of a delivery that somebody asked for, to see that it arrives."""


class WebhookDisabledReason(StrEnum):
    """Why an endpoint is told nothing."""

    MANUAL = "manual"
    GONE = "gone"
    FAILING = "failing"


class WebhookDeliveryState(StrEnum):
    """How far a delivery got."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


class WebhookError(StrEnum):
    """Why an attempt failed; never in the words of whoever was asked."""

    ADDRESS_REFUSED = "address_refused"
    CONNECTION_FAILED = "connection_failed"
    TIMED_OUT = "timed_out"
    REFUSED = "refused"
    SECRET_MISSING = "secret_missing"  # noqa: S105 - a word, not a secret
    OUT_OF_SCOPE = "out_of_scope"


class WebhookEndpoint(TenantRow):
    """An address that is told of a tenant's events, in the order of the log up to ``cursor``, signed.

    ``scopes`` are those of whoever last said where it is: it is told of nothing beyond what they may see. What
    deliveries change of it (``cursor`` and the columns about failures) leaves ``version`` alone.
    """

    __tablename__ = "webhook_endpoints"
    __typeid__ = "webhook"
    __topic__ = EventTopic.INTEGRATIONS
    __read_scope__ = Scope.WEBHOOKS_MANAGE
    __table_args__ = (
        tenant_key(),
        belongs_to("secret_id", "secrets", ondelete="SET NULL"),
        belongs_to("previous_secret_id", "secrets", ondelete="SET NULL"),
        belongs_to("created_by", "users", ondelete="SET NULL"),
        one_of("disabled_reason", WebhookDisabledReason),
        CheckConstraint("is_enabled = (disabled_at IS NULL)", name="disabled_at"),
        CheckConstraint("(disabled_at IS NULL) = (disabled_reason IS NULL)", name="disabled"),
        CheckConstraint("cursor >= 0", name="cursor"),
        CheckConstraint("consecutive_failures >= 0", name="consecutive_failures"),
        Index("ix_webhook_endpoints_newest", "tenant_id", text("created_at DESC"), text("id DESC")),
        Index("ix_webhook_endpoints_secret", "tenant_id", "secret_id"),
        Index("ix_webhook_endpoints_previous_secret", "tenant_id", "previous_secret_id"),
        Index("ix_webhook_endpoints_created_by", "tenant_id", "created_by"),
        # The worker asks each second which of them are behind, across tenants.
        Index("ix_webhook_endpoints_enabled", "tenant_id", "id", postgresql_where=text("is_enabled")),
    )

    url: Mapped[str]
    description: Mapped[str | None]
    event_kinds: Mapped[list[str]]
    scopes: Mapped[list[str]] = mapped_column(default=list)
    secret_id: Mapped[UUID | None]
    previous_secret_id: Mapped[UUID | None]
    previous_secret_expires_at: Mapped[datetime | None]
    is_enabled: Mapped[bool] = mapped_column(default=True)
    disabled_at: Mapped[datetime | None]
    disabled_reason: Mapped[WebhookDisabledReason | None] = mapped_column(TextEnum(WebhookDisabledReason))
    cursor: Mapped[int] = mapped_column(BigInteger)
    """The seq up to which the tenant's log was looked through."""
    consecutive_failures: Mapped[int] = mapped_column(default=0)
    failing_since: Mapped[datetime | None]
    last_delivered_at: Mapped[datetime | None]
    created_by: Mapped[UUID | None]
    version: Mapped[int] = mapped_column(default=1)

    __mapper_args__ = {"version_id_col": version}

    def facets(self) -> dict[str, Any]:
        """What an event tells of it: not where it is, which may be a secret by itself."""
        return {"id": str(self.id), "is_enabled": self.is_enabled}

    def wants(self, kind: str) -> bool:
        """Whether it is to be told of events of this kind: named, or by its beginning (``approval.*``), or all."""
        return any(_matches(pattern, kind) for pattern in self.event_kinds)

    def may_see(self, required_scope: str) -> bool:
        """Whether what was recorded under this scope is for it."""
        return required_scope in {Scope.PUBLIC.value, Scope.SIGNED_IN.value} or required_scope in self.scopes

    def disable(self, reason: WebhookDisabledReason, now: datetime) -> None:
        """Tell it nothing from now on; where it stands in the log stays."""
        if self.is_enabled:
            self.is_enabled, self.disabled_at, self.disabled_reason = False, now, reason

    def enable(self) -> None:
        """Tell it again, from where it stood on."""
        self.is_enabled, self.disabled_at, self.disabled_reason = True, None, None
        self.consecutive_failures, self.failing_since = 0, None


def _matches(pattern: str, kind: str) -> bool:
    if pattern == ANY_KIND:
        return True
    return kind.startswith(pattern[:-1]) if pattern.endswith(".*") else kind == pattern


class WebhookDelivery(TenantRow):
    """One event on its way to one endpoint. What is sent is read from the log when it is sent, and kept nowhere else.

    ``next_attempt_at`` of one that is being sent is when whoever sends it may be given up.
    """

    __tablename__ = "webhook_deliveries"
    __typeid__ = "delivery"
    __table_args__ = (
        tenant_key(),
        belongs_to("endpoint_id", "webhook_endpoints", ondelete="CASCADE"),
        one_of("state", WebhookDeliveryState),
        one_of("last_error", WebhookError),
        CheckConstraint("(state = 'pending') = (next_attempt_at IS NOT NULL)", name="next_attempt_at"),
        CheckConstraint("(state = 'pending') = (expires_at IS NULL)", name="expires_at"),
        CheckConstraint("(gap_start IS NOT NULL) = (kind = 'signalbox.gap')", name="gap_start"),
        CheckConstraint("(event_seq IS NULL) = (kind = 'signalbox.ping')", name="event_seq"),
        CheckConstraint("attempt_count >= 0", name="attempt_count"),
        # Whatever goes wrong, an event is not told twice as two.
        Index("uq_webhook_deliveries_event", "tenant_id", "endpoint_id", "event_seq", unique=True),
        Index("ix_webhook_deliveries_newest", "tenant_id", text("created_at DESC"), text("id DESC")),
        Index("ix_webhook_deliveries_endpoint", "tenant_id", "endpoint_id", text("created_at DESC"), text("id DESC")),
        Index("ix_webhook_deliveries_state", "tenant_id", "state", text("created_at DESC"), text("id DESC")),
        Index("ix_webhook_deliveries_kind", "tenant_id", "kind", text("created_at DESC"), text("id DESC")),
        Index(
            "ix_webhook_deliveries_due",
            "tenant_id",
            "endpoint_id",
            "next_attempt_at",
            postgresql_where=text("state = 'pending'"),
        ),
        Index("ix_webhook_deliveries_dead", "tenant_id", "endpoint_id", "id", postgresql_where=text("state = 'dead'")),
        Index("ix_webhook_deliveries_expires", "expires_at"),
    )

    endpoint_id: Mapped[UUID]
    kind: Mapped[str]
    event_seq: Mapped[int | None] = mapped_column(BigInteger)
    """Of a gap, the last that is missing."""
    gap_start: Mapped[int | None] = mapped_column(BigInteger)
    """Of a gap, the first that is missing."""
    event_id: Mapped[UUID | None]
    state: Mapped[WebhookDeliveryState] = mapped_column(
        TextEnum(WebhookDeliveryState), default=WebhookDeliveryState.PENDING
    )
    attempt_count: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime | None]
    last_status_code: Mapped[int | None]
    last_error: Mapped[WebhookError | None] = mapped_column(TextEnum(WebhookError))
    last_duration_milliseconds: Mapped[int | None]
    delivered_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    """When a finished one is deleted."""

    @property
    def message_id(self) -> str:
        """What receivers tell repeats by: the event's id, and its own where no event is behind it."""
        return encode("event", self.event_id) if self.event_id is not None else self.typeid

    @property
    def event_typeid(self) -> str | None:
        """The id of the event it tells of."""
        return encode("event", self.event_id) if self.event_id is not None else None
