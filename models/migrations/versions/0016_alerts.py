"""Alerts, the rules that they meet, and their counts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from models.alert_series import KEEP_SERIES, SERIES_OF, SERIES_WORDS
from models.protection import PLATFORM, SEARCH, protect
from models.search import create_search_function

revision = "0016"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _rules()
    _alerts()
    _counts()
    _conversations()
    for table in ("alert_rules", "alert_counts", "alert_rollups", "alert_instance_rollups"):
        for statement in protect(table):
            op.execute(statement)
    due = "SELECT (tenant_id, id, escalate_at, analysis_lease_expires_at)"
    for statement in protect("alerts", others=[(PLATFORM, "SELECT", due)]):
        op.execute(statement)
    _series()


def _series() -> None:
    op.create_table(
        "alert_series",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("alert_name", sa.Text(), nullable=False),
        sa.Column("instance", sa.Text(), nullable=True),
        sa.Column("job", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_alert_series_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_alert_series")),
    )
    op.create_index(
        "ix_alert_series_words",
        "alert_series",
        [sa.literal_column(f"({SERIES_WORDS})")],
        unique=False,
        postgresql_using="gin",
    )
    found = "SELECT (tenant_id, id, alert_name, instance, job)"
    for statement in (
        *protect("alert_series", others=[(SEARCH, "SELECT", found)]),
        *create_search_function("alert_series", SERIES_WORDS, "bigint"),
        *KEEP_SERIES,
    ):
        op.execute(statement)


def _conversations() -> None:
    # There were no alerts, so what stands there names none.
    op.execute("UPDATE conversations SET alert_id = NULL WHERE alert_id IS NOT NULL")
    op.create_foreign_key(
        op.f("fk_conversations_tenant_id_alert_id_alerts"),
        "conversations",
        "alerts",
        ["tenant_id", "alert_id"],
        ["tenant_id", "id"],
        ondelete="SET NULL (alert_id)",
    )
    op.drop_index("ix_conversations_alert", table_name="conversations")
    op.create_index(
        "ix_conversations_alert",
        "conversations",
        ["tenant_id", "alert_id", sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
    )


def _rules() -> None:
    op.create_table(
        "alert_rules",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("alert_name_pattern", sa.Text(), nullable=False),
        sa.Column("severity_pattern", sa.Text(), nullable=False),
        sa.Column("instance_pattern", sa.Text(), nullable=False),
        sa.Column("job_pattern", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("source_ref", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("action IN ('auto_analyze', 'ignore', 'manual')", name=op.f("ck_alert_rules_action")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "created_by"],
            ["users.tenant_id", "users.id"],
            name=op.f("fk_alert_rules_tenant_id_created_by_users"),
            ondelete="SET NULL (created_by)",
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_alert_rules_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_alert_rules")),
        sa.UniqueConstraint("tenant_id", "source_ref", name=op.f("uq_alert_rules_tenant_id_source_ref")),
    )
    op.create_index("ix_alert_rules_created_by", "alert_rules", ["tenant_id", "created_by"], unique=False)
    op.create_index(
        "ix_alert_rules_order",
        "alert_rules",
        ["tenant_id", "priority", "created_at", "id"],
        unique=False,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )


def _alerts() -> None:
    op.create_table(
        "alerts",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("alert_name", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column(
            "severity_rank",
            sa.SmallInteger(),
            sa.Computed(
                "CASE severity WHEN 'critical'::text THEN 5 WHEN 'error'::text THEN 4 WHEN 'warning'::text THEN 3 WHEN 'info'::text THEN 2 ELSE 1 END",
                persisted=True,
            ),
            nullable=False,
        ),
        sa.Column("instance", sa.Text(), nullable=True),
        sa.Column("job", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("labels", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("annotations", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("raw_payload", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("matched_rule_id", sa.Uuid(), nullable=True),
        sa.Column("action_taken", sa.Text(), nullable=False),
        sa.Column(
            "is_ignored", sa.Boolean(), sa.Computed("action_taken = 'ignore'::text", persisted=True), nullable=False
        ),
        sa.Column("previous_alert_id", sa.Uuid(), nullable=True),
        sa.Column("acknowledged_by", sa.Uuid(), nullable=True),
        sa.Column("acknowledged_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("resolved_by", sa.Uuid(), nullable=True),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("still_firing", sa.Boolean(), nullable=False),
        sa.Column("silenced_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("escalate_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("escalated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("analyzed", sa.Boolean(), nullable=False),
        sa.Column("analysis_status", sa.Text(), nullable=False),
        sa.Column("analysis_queued_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("analysis_started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("analysis_claimed_by", sa.Uuid(), nullable=True),
        sa.Column("analysis_lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("analysis_progress", sa.SmallInteger(), nullable=False),
        sa.Column("analysis_attempts", sa.Integer(), nullable=False),
        sa.Column("analysis_error", sa.Text(), nullable=True),
        sa.Column("analysis_count", sa.Integer(), nullable=False),
        sa.Column("analyzed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("analyzed_by", sa.Uuid(), nullable=True),
        sa.Column("ai_analysis", sa.Text(), nullable=True),
        sa.Column("recommendations", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("series", sa.BigInteger(), sa.Computed(SERIES_OF, persisted=True), nullable=False),
        sa.Column("source_ref", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("(status = 'resolved') = (resolved_at IS NOT NULL)", name=op.f("ck_alerts_resolved")),
        sa.CheckConstraint("action_taken IN ('auto_analyze', 'ignore', 'manual')", name=op.f("ck_alerts_action_taken")),
        sa.CheckConstraint(
            "analysis_status IN ('none', 'queued', 'running', 'completed', 'failed')",
            name=op.f("ck_alerts_analysis_status"),
        ),
        sa.CheckConstraint(
            "severity IN ('critical', 'error', 'warning', 'info', 'unknown')", name=op.f("ck_alerts_severity")
        ),
        sa.CheckConstraint(
            "status <> 'acknowledged' OR acknowledged_at IS NOT NULL", name=op.f("ck_alerts_acknowledged")
        ),
        sa.CheckConstraint("status IN ('firing', 'acknowledged', 'resolved')", name=op.f("ck_alerts_status")),
        sa.CheckConstraint("analysis_attempts >= 0 AND analysis_count >= 0", name=op.f("ck_alerts_analysis_counts")),
        sa.CheckConstraint("analysis_progress BETWEEN 0 AND 100", name=op.f("ck_alerts_analysis_progress")),
        sa.CheckConstraint("cardinality(recommendations) <= 5", name=op.f("ck_alerts_recommendations")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "acknowledged_by"],
            ["users.tenant_id", "users.id"],
            name=op.f("fk_alerts_tenant_id_acknowledged_by_users"),
            ondelete="SET NULL (acknowledged_by)",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "matched_rule_id"],
            ["alert_rules.tenant_id", "alert_rules.id"],
            name=op.f("fk_alerts_tenant_id_matched_rule_id_alert_rules"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "previous_alert_id"],
            ["alerts.tenant_id", "alerts.id"],
            name=op.f("fk_alerts_tenant_id_previous_alert_id_alerts"),
            ondelete="SET NULL (previous_alert_id)",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "resolved_by"],
            ["users.tenant_id", "users.id"],
            name=op.f("fk_alerts_tenant_id_resolved_by_users"),
            ondelete="SET NULL (resolved_by)",
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_alerts_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_alerts")),
        sa.UniqueConstraint("tenant_id", "source_ref", name=op.f("uq_alerts_tenant_id_source_ref")),
    )
    op.create_index("ix_alerts_acknowledged_by", "alerts", ["tenant_id", "acknowledged_by"], unique=False)
    op.create_index(
        "ix_alerts_by_action",
        "alerts",
        ["tenant_id", "is_ignored", "action_taken", sa.literal_column("starts_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(
        "ix_alerts_by_analysis_status",
        "alerts",
        [
            "tenant_id",
            "is_ignored",
            "analysis_status",
            sa.literal_column("starts_at DESC"),
            sa.literal_column("id DESC"),
        ],
        unique=False,
    )
    op.create_index(
        "ix_alerts_by_analyzed",
        "alerts",
        ["tenant_id", "is_ignored", "analyzed", sa.literal_column("starts_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(
        "ix_alerts_by_instance",
        "alerts",
        ["tenant_id", "is_ignored", "instance", sa.literal_column("starts_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(
        "ix_alerts_by_job",
        "alerts",
        ["tenant_id", "is_ignored", "job", sa.literal_column("starts_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(
        "ix_alerts_by_name",
        "alerts",
        ["tenant_id", "is_ignored", "alert_name", sa.literal_column("starts_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    for name, which in (("newest", "is_ignored IS FALSE"), ("newest_ignored", "is_ignored IS TRUE")):
        op.create_index(
            f"ix_alerts_by_{name}",
            "alerts",
            ["tenant_id", "starts_at", "id", "series"],
            unique=False,
            postgresql_where=sa.text(which),
        )
    op.create_index(
        "ix_alerts_by_series",
        "alerts",
        ["tenant_id", "is_ignored", "series", sa.literal_column("starts_at DESC"), sa.literal_column("id DESC")],
        unique=False,
        postgresql_where=sa.text("severity_rank > 0"),
    )
    op.create_index(
        "ix_alerts_by_severity",
        "alerts",
        ["tenant_id", "is_ignored", "severity", sa.literal_column("starts_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(
        "ix_alerts_by_status",
        "alerts",
        ["tenant_id", "is_ignored", "status", sa.literal_column("starts_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(
        "ix_alerts_escalate",
        "alerts",
        ["escalate_at", "id"],
        unique=False,
        postgresql_where=sa.text("escalate_at IS NOT NULL"),
    )
    op.create_index(
        "ix_alerts_leases",
        "alerts",
        ["analysis_lease_expires_at", "id"],
        unique=False,
        postgresql_where=sa.text("analysis_lease_expires_at IS NOT NULL"),
    )
    op.create_index("ix_alerts_previous", "alerts", ["tenant_id", "previous_alert_id"], unique=False)
    op.create_index(
        "ix_alerts_queued",
        "alerts",
        ["tenant_id", "analysis_queued_at", "id"],
        unique=False,
        postgresql_where=sa.text("analysis_status = 'queued'"),
    )
    op.create_index(
        "ix_alerts_received",
        "alerts",
        ["tenant_id", "is_ignored", sa.literal_column("received_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index("ix_alerts_resolved_by", "alerts", ["tenant_id", "resolved_by"], unique=False)
    op.create_index("ix_alerts_rule", "alerts", ["tenant_id", "matched_rule_id"], unique=False)
    op.create_index(
        "ix_alerts_worst",
        "alerts",
        ["tenant_id", "is_ignored", sa.literal_column("severity_rank DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index("uq_alerts_firing", "alerts", ["tenant_id", "fingerprint", "starts_at"], unique=True)


def _counts() -> None:
    op.create_table(
        "alert_counts",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("is_ignored", sa.Boolean(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("alerts", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "severity IN ('critical', 'error', 'warning', 'info', 'unknown')", name=op.f("ck_alert_counts_severity")
        ),
        sa.CheckConstraint("status IN ('firing', 'acknowledged', 'resolved')", name=op.f("ck_alert_counts_status")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_alert_counts_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", "is_ignored", "severity", "status", name=op.f("pk_alert_counts")),
    )
    op.create_table(
        "alert_rollups",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("firing", sa.Integer(), nullable=False),
        sa.Column("acknowledged", sa.Integer(), nullable=False),
        sa.Column("resolved", sa.Integer(), nullable=False),
        sa.Column("ignored", sa.Integer(), nullable=False),
        sa.Column("acknowledgements", sa.Integer(), nullable=False),
        sa.Column("acknowledge_seconds", sa.Float(precision=53), nullable=False),
        sa.Column("resolutions", sa.Integer(), nullable=False),
        sa.Column("resolve_seconds", sa.Float(precision=53), nullable=False),
        sa.CheckConstraint(
            "severity IN ('critical', 'error', 'warning', 'info', 'unknown')", name=op.f("ck_alert_rollups_severity")
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_alert_rollups_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", "hour", "severity", name=op.f("pk_alert_rollups")),
    )
    op.create_table(
        "alert_instance_rollups",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("instance", sa.Text(), nullable=False),
        sa.Column("alerts", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_alert_instance_rollups_tenant_id_tenants")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "hour", "instance", name=op.f("pk_alert_instance_rollups")),
    )
