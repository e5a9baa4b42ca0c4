"""Webhook endpoints and deliveries; secrets that belong to an endpoint."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy import literal_column as raw
from sqlalchemy.dialects import postgresql

from models.protection import PLATFORM, protect

revision = "0015"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_constraint(op.f("ck_secrets_owner_type"), "secrets", type_="check")
    op.create_check_constraint(
        op.f("ck_secrets_owner_type"),
        "secrets",
        "owner_type IN ('tenant', 'workspace', 'agent', 'llm_provider', 'server', 'connector', 'webhook_endpoint')",
    )
    _endpoints()
    _deliveries()
    # Across tenants: who is behind, what is due, what may be deleted.
    reads = {
        "webhook_endpoints": "tenant_id, id, is_enabled, cursor",
        "webhook_deliveries": "tenant_id, endpoint_id, state, next_attempt_at, expires_at",
    }
    for table, columns in reads.items():
        for statement in protect(table, others=[(PLATFORM, "SELECT", f"SELECT ({columns})")]):
            op.execute(statement)


def _times() -> tuple[sa.Column[object], sa.Column[object]]:
    return (
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
    )


def _leads_to(table: str, column: str, target: str, ondelete: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["tenant_id", column],
        [f"{target}.tenant_id", f"{target}.id"],
        name=op.f(f"fk_{table}_tenant_id_{column}_{target}"),
        ondelete=ondelete,
    )


def _keys(table: str) -> tuple[sa.schema.SchemaItem, ...]:
    return (
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f(f"fk_{table}_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f(f"pk_{table}")),
    )


def _endpoints() -> None:
    op.create_table(
        "webhook_endpoints",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("event_kinds", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("secret_id", sa.Uuid(), nullable=True),
        sa.Column("previous_secret_id", sa.Uuid(), nullable=True),
        sa.Column("previous_secret_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("is_enabled", sa.Boolean(), nullable=False),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("disabled_reason", sa.Text(), nullable=True),
        sa.Column("cursor", sa.BigInteger(), nullable=False),
        sa.Column("consecutive_failures", sa.Integer(), nullable=False),
        sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        *_times(),
        sa.CheckConstraint(
            "disabled_reason IN ('manual', 'gone', 'failing')", name=op.f("ck_webhook_endpoints_disabled_reason")
        ),
        sa.CheckConstraint("is_enabled = (disabled_at IS NULL)", name=op.f("ck_webhook_endpoints_disabled_at")),
        sa.CheckConstraint(
            "(disabled_at IS NULL) = (disabled_reason IS NULL)", name=op.f("ck_webhook_endpoints_disabled")
        ),
        sa.CheckConstraint("cursor >= 0", name=op.f("ck_webhook_endpoints_cursor")),
        sa.CheckConstraint("consecutive_failures >= 0", name=op.f("ck_webhook_endpoints_consecutive_failures")),
        _leads_to("webhook_endpoints", "secret_id", "secrets", "SET NULL (secret_id)"),
        _leads_to("webhook_endpoints", "previous_secret_id", "secrets", "SET NULL (previous_secret_id)"),
        _leads_to("webhook_endpoints", "created_by", "users", "SET NULL (created_by)"),
        *_keys("webhook_endpoints"),
    )
    newest: list[Any] = ["tenant_id", raw("created_at DESC"), raw("id DESC")]
    op.create_index("ix_webhook_endpoints_newest", "webhook_endpoints", newest)
    op.create_index("ix_webhook_endpoints_secret", "webhook_endpoints", ["tenant_id", "secret_id"])
    op.create_index("ix_webhook_endpoints_previous_secret", "webhook_endpoints", ["tenant_id", "previous_secret_id"])
    op.create_index("ix_webhook_endpoints_created_by", "webhook_endpoints", ["tenant_id", "created_by"])
    op.create_index(
        "ix_webhook_endpoints_enabled", "webhook_endpoints", ["tenant_id", "id"], postgresql_where=sa.text("is_enabled")
    )


def _deliveries() -> None:
    op.create_table(
        "webhook_deliveries",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("endpoint_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("event_seq", sa.BigInteger(), nullable=True),
        sa.Column("gap_start", sa.BigInteger(), nullable=True),
        sa.Column("event_id", sa.Uuid(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempt_count", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_status_code", sa.Integer(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("last_duration_milliseconds", sa.Integer(), nullable=True),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        *_times(),
        sa.CheckConstraint("state IN ('pending', 'delivered', 'dead')", name=op.f("ck_webhook_deliveries_state")),
        sa.CheckConstraint(
            "last_error IN ('address_refused', 'connection_failed', 'timed_out', 'refused', 'secret_missing', "
            "'out_of_scope')",
            name=op.f("ck_webhook_deliveries_last_error"),
        ),
        sa.CheckConstraint(
            "(state = 'pending') = (next_attempt_at IS NOT NULL)", name=op.f("ck_webhook_deliveries_next_attempt_at")
        ),
        sa.CheckConstraint("(state = 'pending') = (expires_at IS NULL)", name=op.f("ck_webhook_deliveries_expires_at")),
        sa.CheckConstraint(
            "(gap_start IS NOT NULL) = (kind = 'signalbox.gap')", name=op.f("ck_webhook_deliveries_gap_start")
        ),
        sa.CheckConstraint(
            "(event_seq IS NULL) = (kind = 'signalbox.ping')", name=op.f("ck_webhook_deliveries_event_seq")
        ),
        sa.CheckConstraint("attempt_count >= 0", name=op.f("ck_webhook_deliveries_attempt_count")),
        _leads_to("webhook_deliveries", "endpoint_id", "webhook_endpoints", "CASCADE"),
        *_keys("webhook_deliveries"),
    )
    newest: list[Any] = [raw("created_at DESC"), raw("id DESC")]
    op.create_index(
        "uq_webhook_deliveries_event", "webhook_deliveries", ["tenant_id", "endpoint_id", "event_seq"], unique=True
    )
    op.create_index("ix_webhook_deliveries_newest", "webhook_deliveries", ["tenant_id", *newest])
    op.create_index("ix_webhook_deliveries_endpoint", "webhook_deliveries", ["tenant_id", "endpoint_id", *newest])
    op.create_index("ix_webhook_deliveries_state", "webhook_deliveries", ["tenant_id", "state", *newest])
    op.create_index("ix_webhook_deliveries_kind", "webhook_deliveries", ["tenant_id", "kind", *newest])
    op.create_index(
        "ix_webhook_deliveries_due",
        "webhook_deliveries",
        ["tenant_id", "endpoint_id", "next_attempt_at"],
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_index(
        "ix_webhook_deliveries_dead",
        "webhook_deliveries",
        ["tenant_id", "endpoint_id", "id"],
        postgresql_where=sa.text("state = 'dead'"),
    )
    op.create_index("ix_webhook_deliveries_expires", "webhook_deliveries", ["expires_at"])
