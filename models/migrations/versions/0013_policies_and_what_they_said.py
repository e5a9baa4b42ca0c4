"""Policies with their versions; audit events and query events."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy import literal_column as raw
from sqlalchemy.dialects import postgresql

from models.months import FIRST_LOGS, divide_reviewed_by_month
from models.protection import protect
from models.tenants import PLATFORM_TENANT_ID

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_JSON = postgresql.JSONB(none_as_null=True, astext_type=sa.Text())
_WORDS = postgresql.ARRAY(sa.Text())
_MODES = "hitl_mode IN ('inform', 'draft', 'escalate')"

_CONSTITUTION = (
    (
        "00000000-0000-7000-8000-00000000c001",
        "no-external-posting",
        "Nothing is said to the public before somebody has read it.",
        {"riskSignals": ["PUBLIC_STATEMENT"]},
        "escalate",
        False,
        "What is said to the public is decided by a person.",
        100_004,
    ),
    (
        "00000000-0000-7000-8000-00000000c002",
        "pii-protection",
        "Personal data stays with a local model, and its answer is a draft.",
        {"riskSignals": ["PII"]},
        "draft",
        True,
        "It seems to hold personal data.",
        100_003,
    ),
    (
        "00000000-0000-7000-8000-00000000c003",
        "legal-review",
        "Legal matters and contracts are drafts until somebody approves them.",
        {"domain": "Legal", "riskSignals": ["LEGAL_CONTRACT"]},
        "draft",
        False,
        "Legal matters are reviewed before they are answered.",
        100_002,
    ),
    (
        "00000000-0000-7000-8000-00000000c004",
        "financial-safeguard",
        "No money is moved by an agent.",
        {"domain": "Finance", "riskSignals": ["FINANCIAL"], "match": "all"},
        "escalate",
        False,
        "Whether money moves is decided by a person.",
        100_001,
    ),
)


def upgrade() -> None:
    _policies()
    _versions()
    _query_events()
    _audit_events()
    for statement in (
        *protect("policy_rules", shared=True),
        *protect("prohibited_topics"),
        *protect("governance_versions", app="SELECT, INSERT, DELETE"),
        *protect("governance_heads", shared=True),
        *protect("query_events"),
        *protect("audit_events", app="SELECT, INSERT, UPDATE"),
        *divide_reviewed_by_month("audit_events", (*FIRST_LOGS, "audit_events")),
    ):
        op.execute(statement)
    _constitution()


def _identity() -> tuple[sa.Column[object], sa.Column[object]]:
    return sa.Column("tenant_id", sa.Uuid(), nullable=False), sa.Column("id", sa.Uuid(), nullable=False)


def _times() -> tuple[sa.Column[object], sa.Column[object]]:
    return (
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
    )


def _keys(table: str) -> tuple[sa.schema.SchemaItem, ...]:
    return (
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f(f"fk_{table}_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f(f"pk_{table}")),
        sa.UniqueConstraint("tenant_id", "source_ref", name=op.f(f"uq_{table}_tenant_id_source_ref")),
    )


def _refers(table: str, column: str, target: str, ondelete: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["tenant_id", column],
        [f"{target}.tenant_id", f"{target}.id"],
        name=op.f(f"fk_{table}_tenant_id_{column}_{target}"),
        ondelete=ondelete,
    )


def _policies() -> None:
    op.create_table(
        "policy_rules",
        *_identity(),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("conditions", _JSON, nullable=False),
        sa.Column("hitl_mode", sa.Text(), nullable=False),
        sa.Column("local_only", sa.Boolean(), nullable=False),
        sa.Column("approval_required", sa.Boolean(), nullable=False),
        sa.Column("escalation_reason", sa.Text(), nullable=True),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("is_immutable", sa.Boolean(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column(
            "standing",
            sa.Integer(),
            sa.Computed(
                "CASE tier WHEN 'constitutional'::text THEN 30000000 WHEN 'organization'::text THEN 20000000 "
                "WHEN 'department'::text THEN 10000000 ELSE 0 END + priority",
                persisted=True,
            ),
            nullable=False,
        ),
        sa.Column("source_ref", sa.Text(), nullable=True),
        *_times(),
        sa.CheckConstraint(
            "tier IN ('constitutional', 'organization', 'department', 'standard')", name=op.f("ck_policy_rules_tier")
        ),
        sa.CheckConstraint(_MODES, name=op.f("ck_policy_rules_hitl_mode")),
        sa.CheckConstraint("priority BETWEEN -1000000 AND 1000000", name=op.f("ck_policy_rules_priority")),
        *_keys("policy_rules"),
    )
    op.create_index("ix_policy_rules_standing", "policy_rules", ["tenant_id", "standing", "id"])
    op.create_table(
        "prohibited_topics",
        *_identity(),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("agent_id", sa.Uuid(), nullable=True),
        sa.Column("department", sa.Text(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("source_ref", sa.Text(), nullable=True),
        *_times(),
        sa.CheckConstraint("scope IN ('global', 'agent', 'department')", name=op.f("ck_prohibited_topics_scope")),
        sa.CheckConstraint("(scope = 'agent') = (agent_id IS NOT NULL)", name=op.f("ck_prohibited_topics_agent_id")),
        sa.CheckConstraint(
            "(scope = 'department') = (department IS NOT NULL)", name=op.f("ck_prohibited_topics_department")
        ),
        _refers("prohibited_topics", "agent_id", "agents", "CASCADE"),
        *_keys("prohibited_topics"),
    )
    op.create_index(
        "ix_prohibited_topics_newest", "prohibited_topics", ["tenant_id", raw("created_at DESC"), raw("id DESC")]
    )
    op.create_index("ix_prohibited_topics_scope", "prohibited_topics", ["tenant_id", "scope"])
    op.create_index("ix_prohibited_topics_agent", "prohibited_topics", ["tenant_id", "agent_id"])


def _versions() -> None:
    op.create_table(
        "governance_versions",
        *_identity(),
        sa.Column("version_no", sa.Integer(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("rules_snapshot", _JSON, nullable=False),
        sa.Column("changed_by", sa.Uuid(), nullable=True),
        sa.Column("source_ref", sa.Text(), nullable=True),
        *_times(),
        sa.CheckConstraint("version_no > 0", name=op.f("ck_governance_versions_version_no")),
        _refers("governance_versions", "changed_by", "users", "SET NULL (changed_by)"),
        *_keys("governance_versions"),
    )
    op.create_index(
        "uq_governance_versions_version_no", "governance_versions", ["tenant_id", "version_no"], unique=True
    )
    op.create_index("ix_governance_versions_changed_by", "governance_versions", ["tenant_id", "changed_by"])
    op.create_table(
        "governance_heads",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("version_no", sa.Integer(), nullable=False),
        sa.CheckConstraint("version_no > 0", name=op.f("ck_governance_heads_version_no")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_governance_heads_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_governance_heads")),
    )


def _query_events() -> None:
    op.create_table(
        "query_events",
        *_identity(),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("department", sa.Text(), nullable=True),
        sa.Column("agent_id", sa.Uuid(), nullable=True),
        sa.Column("agent_name", sa.Text(), nullable=True),
        sa.Column("conversation_id", sa.Uuid(), nullable=True),
        sa.Column("query_text", sa.Text(), nullable=False),
        sa.Column("response_text", sa.Text(), nullable=True),
        sa.Column("latency_ms", sa.Integer(), nullable=False),
        sa.Column("tokens_in", sa.Integer(), nullable=False),
        sa.Column("tokens_out", sa.Integer(), nullable=False),
        sa.Column("cost_usd", sa.Numeric(precision=14, scale=6), nullable=False),
        sa.Column("hitl_mode", sa.Text(), nullable=False),
        sa.Column("was_escalated", sa.Boolean(), nullable=False),
        sa.Column("was_approved", sa.Boolean(), nullable=False),
        sa.Column("guardrails_triggered", _WORDS, nullable=False),
        sa.Column("success", sa.Boolean(), nullable=False),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("source_ref", sa.Text(), nullable=True),
        *_times(),
        sa.CheckConstraint(_MODES, name=op.f("ck_query_events_hitl_mode")),
        sa.CheckConstraint(
            "latency_ms >= 0 AND tokens_in >= 0 AND tokens_out >= 0 AND cost_usd >= 0",
            name=op.f("ck_query_events_amounts"),
        ),
        _refers("query_events", "user_id", "users", "CASCADE"),
        _refers("query_events", "agent_id", "agents", "SET NULL (agent_id)"),
        _refers("query_events", "conversation_id", "conversations", "SET NULL (conversation_id)"),
        *_keys("query_events"),
    )
    newest: list[Any] = [raw("occurred_at DESC"), raw("id DESC")]
    op.create_index("ix_query_events_newest", "query_events", ["tenant_id", *newest])
    op.create_index("ix_query_events_user", "query_events", ["tenant_id", "user_id", *newest])
    op.create_index("ix_query_events_agent", "query_events", ["tenant_id", "agent_id", *newest])
    op.create_index("ix_query_events_conversation", "query_events", ["tenant_id", "conversation_id"])
    op.create_index("ix_query_events_department", "query_events", ["tenant_id", "department", *newest])


def _audit_events() -> None:
    op.create_table(
        "audit_events",
        *_identity(),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor_type", sa.Text(), nullable=True),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("user_department", sa.Text(), nullable=True),
        sa.Column("agent_id", sa.Uuid(), nullable=True),
        sa.Column("agent_name", sa.Text(), nullable=True),
        sa.Column("conversation_id", sa.Uuid(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("intent_domain", sa.Text(), nullable=True),
        sa.Column("risk_signals", _WORDS, nullable=False),
        sa.Column("hitl_mode", sa.Text(), nullable=True),
        sa.Column("provider", sa.Text(), nullable=True),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("details", _JSON, nullable=False),
        sa.Column("pii_detected", _WORDS, nullable=False),
        sa.Column("guardrails_triggered", _WORDS, nullable=False),
        sa.Column("requires_review", sa.Boolean(), nullable=False),
        sa.Column("source_ref", sa.Text(), nullable=True),
        sa.Column("reviewed_by_type", sa.Text(), nullable=True),
        sa.Column("reviewed_by", sa.Uuid(), nullable=True),
        sa.Column("reviewed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("review_note", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "severity IN ('info', 'warning', 'error', 'critical')", name=op.f("ck_audit_events_severity")
        ),
        sa.CheckConstraint(_MODES, name=op.f("ck_audit_events_hitl_mode")),
        sa.CheckConstraint("(reviewed_at IS NULL) = (reviewed_by_type IS NULL)", name=op.f("ck_audit_events_reviewed")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_audit_events")),
        postgresql_partition_by="RANGE (id)",
    )
    for name, column in (
        ("event_type", "event_type"),
        ("severity", "severity"),
        ("user", "user_id"),
        ("agent", "agent_id"),
    ):
        op.create_index(f"ix_audit_events_{name}", "audit_events", ["tenant_id", column, "id"])
    op.create_index(
        "ix_audit_events_to_review",
        "audit_events",
        ["tenant_id", "id"],
        postgresql_where=sa.text("requires_review AND reviewed_at IS NULL"),
    )


# The tenant's own end is the one end of such a rule.
_REFUSE = """
CREATE FUNCTION refuse_immutable() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  IF OLD.is_immutable AND (TG_OP = 'UPDATE'
    OR NOT EXISTS (SELECT FROM tenants WHERE id = OLD.tenant_id AND deleted_at IS NOT NULL)) THEN
    RAISE EXCEPTION 'this rule is part of the constitution' USING ERRCODE = '42501';
  END IF;
  IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
  RETURN NEW;
END $$
"""


def _constitution() -> None:
    insert = sa.text(
        "INSERT INTO policy_rules (tenant_id, id, name, description, tier, conditions, hitl_mode, local_only, "
        "approval_required, escalation_reason, priority, is_immutable, enabled, version, source_ref) "
        "VALUES (CAST(:tenant AS uuid), CAST(:id AS uuid), :name, :description, 'constitutional', "
        "CAST(:conditions AS jsonb), :mode, :local_only, true, :reason, :priority, true, true, 1, :ref)"
    )
    for rule_id, name, description, conditions, mode, local_only, reason, priority in _CONSTITUTION:
        values = {
            "tenant": str(PLATFORM_TENANT_ID),
            "id": rule_id,
            "name": name,
            "description": description,
            "conditions": json.dumps(conditions),
            "mode": mode,
            "local_only": local_only,
            "reason": reason,
            "priority": priority,
            "ref": f"signalbox.policy_rules:{name}",
        }
        op.execute(insert.bindparams(**values))
    op.execute(_REFUSE)
    op.execute("REVOKE ALL ON FUNCTION refuse_immutable() FROM PUBLIC")
    op.execute(
        "CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON policy_rules "
        "FOR EACH ROW EXECUTE FUNCTION refuse_immutable()"
    )
