"""Requests for approval, what was decided about them, and how many wait."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy import literal_column as raw
from sqlalchemy.dialects import postgresql

from models.protection import PLATFORM, SEARCH, protect
from models.search import create_search_function

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_MODES = "hitl_mode IN ('inform', 'draft', 'escalate')"
_PRIORITIES = "priority IN ('urgent', 'high', 'normal', 'low')"
_STATES = "sla_state IN ('on_track', 'at_risk', 'breached', 'met')"
_SEARCH = (
    "to_tsvector('simple'::regconfig, regexp_replace(coalesce(agent_name, '') || ' ' || "
    "coalesce(user_department, '') || ' ' || coalesce(original_query, ''), "
    "'[\\x01-\\x2f\\x3a-\\x40\\x5b-\\x60\\x7b-\\x7f]+', ' ', 'g')) "
    "|| array_to_tsvector(ARRAY[':' || tenant_id::text])"
)


def upgrade() -> None:
    _requests()
    _indexes()
    _decisions()
    _counts()
    others = [
        (SEARCH, "SELECT", "SELECT (tenant_id, id, search)"),
        (PLATFORM, "SELECT", "SELECT (tenant_id, id, next_at)"),
    ]
    for statement in (
        *protect("approval_requests", others=others),
        *create_search_function("approval_requests"),
        *protect("approval_decisions"),
        *protect("approval_counts"),
        *_COUNTING,
    ):
        op.execute(statement)


def _times() -> tuple[sa.Column[object], sa.Column[object]]:
    return (
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
    )


def _person(table: str, column: str, ondelete: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["tenant_id", column],
        ["users.tenant_id", "users.id"],
        name=op.f(f"fk_{table}_tenant_id_{column}_users"),
        ondelete=ondelete,
    )


def _requests() -> None:
    op.create_table(
        "approval_requests",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject_type", sa.Text(), nullable=True),
        sa.Column("subject_id", sa.Uuid(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("hitl_mode", sa.Text(), nullable=False),
        sa.Column("priority", sa.Text(), nullable=False),
        sa.Column("urgency", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("user_department", sa.Text(), nullable=True),
        sa.Column("requester", sa.Text(), nullable=False),
        sa.Column("agent_id", sa.Uuid(), nullable=True),
        sa.Column("agent_name", sa.Text(), nullable=True),
        sa.Column("original_query", sa.Text(), nullable=False),
        sa.Column("proposed_response", sa.Text(), nullable=True),
        sa.Column("modified_response", sa.Text(), nullable=True),
        sa.Column("risk_signals", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("guardrails_triggered", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("escalation_reason", sa.Text(), nullable=True),
        sa.Column("required_approvals", sa.Integer(), nullable=False),
        sa.Column("approvals_given", sa.Integer(), nullable=False),
        sa.Column("assigned_to", sa.Uuid(), nullable=True),
        sa.Column("assigned_department", sa.Text(), nullable=True),
        sa.Column("delegated_to", sa.Uuid(), nullable=True),
        sa.Column("sla_state", sa.Text(), nullable=False),
        sa.Column("at_risk_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sla_due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("escalated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("escalations", sa.Integer(), nullable=False),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("resolved_by", sa.Uuid(), nullable=True),
        sa.Column("reviewer_notes", sa.Text(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("search", postgresql.TSVECTOR(), sa.Computed(_SEARCH, persisted=True), nullable=False),
        sa.Column("source_ref", sa.Text(), nullable=True),
        *_times(),
        sa.CheckConstraint(
            "kind IN ('response', 'action', 'agent', 'connector', 'onboarding', 'policy')",
            name=op.f("ck_approval_requests_kind"),
        ),
        sa.CheckConstraint(
            "status IN ('pending', 'approved', 'rejected', 'expired', 'cancelled')",
            name=op.f("ck_approval_requests_status"),
        ),
        sa.CheckConstraint(_MODES, name=op.f("ck_approval_requests_hitl_mode")),
        sa.CheckConstraint(_PRIORITIES, name=op.f("ck_approval_requests_priority")),
        sa.CheckConstraint(_STATES, name=op.f("ck_approval_requests_sla_state")),
        sa.CheckConstraint(
            "required_approvals > 0 AND approvals_given >= 0 AND escalations >= 0",
            name=op.f("ck_approval_requests_counts"),
        ),
        sa.CheckConstraint("urgency BETWEEN 0 AND 3", name=op.f("ck_approval_requests_urgency")),
        sa.CheckConstraint("(status = 'pending') = (resolved_at IS NULL)", name=op.f("ck_approval_requests_resolved")),
        sa.CheckConstraint("status = 'pending' OR next_at IS NULL", name=op.f("ck_approval_requests_next_at")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "agent_id"],
            ["agents.tenant_id", "agents.id"],
            name=op.f("fk_approval_requests_tenant_id_agent_id_agents"),
            ondelete="SET NULL (agent_id)",
        ),
        _person("approval_requests", "user_id", "CASCADE"),
        *(
            _person("approval_requests", one, f"SET NULL ({one})")
            for one in ("assigned_to", "delegated_to", "resolved_by")
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_approval_requests_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_approval_requests")),
        sa.UniqueConstraint("tenant_id", "source_ref", name=op.f("uq_approval_requests_tenant_id_source_ref")),
    )


def _indexes() -> None:
    newest: list[Any] = [raw("created_at DESC"), raw("id DESC")]
    listed: dict[str, list[Any]] = {
        "newest": newest,
        "status": ["status", *newest],
        "user": ["user_id", *newest],
        "agent": ["agent_id", *newest],
        "urgency": ["urgency", "id"],
        "status_urgency": ["status", "urgency", "id"],
        "sla_due": ["sla_due_at", "id"],
        "status_sla_due": ["status", "sla_due_at", "id"],
        "kind": ["kind"],
        "hitl_mode": ["hitl_mode"],
        "sla_state": ["sla_state"],
        "user_department": ["user_department"],
        "assigned_department": ["assigned_department"],
        "assigned_to": ["assigned_to"],
        "delegated_to": ["delegated_to"],
        "resolved_by": ["resolved_by"],
    }
    for name, columns in listed.items():
        op.create_index(f"ix_approval_requests_{name}", "approval_requests", ["tenant_id", *columns])
    op.create_index("ix_approval_requests_search", "approval_requests", ["search"], postgresql_using="gin")
    op.create_index(
        "ix_approval_requests_due",
        "approval_requests",
        ["next_at", "id"],
        postgresql_where=sa.text("next_at IS NOT NULL"),
    )


def _decisions() -> None:
    op.create_table(
        "approval_decisions",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("approval_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("notes", sa.Text(), nullable=True),
        *_times(),
        sa.CheckConstraint("decision IN ('approve', 'reject')", name=op.f("ck_approval_decisions_decision")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "approval_id"],
            ["approval_requests.tenant_id", "approval_requests.id"],
            name=op.f("fk_approval_decisions_tenant_id_approval_id_approval_requests"),
            ondelete="CASCADE",
        ),
        _person("approval_decisions", "user_id", "SET NULL (user_id)"),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_approval_decisions")),
    )
    op.create_index(
        "uq_approval_decisions_once", "approval_decisions", ["tenant_id", "approval_id", "decided_by"], unique=True
    )
    op.create_index("ix_approval_decisions_user", "approval_decisions", ["tenant_id", "user_id"])


def _counts() -> None:
    op.create_table(
        "approval_counts",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("hitl_mode", sa.Text(), nullable=False),
        sa.Column("priority", sa.Text(), nullable=False),
        sa.Column("sla_state", sa.Text(), nullable=False),
        sa.Column("pending", sa.Integer(), nullable=False),
        sa.CheckConstraint(_MODES, name=op.f("ck_approval_counts_hitl_mode")),
        sa.CheckConstraint(_PRIORITIES, name=op.f("ck_approval_counts_priority")),
        sa.CheckConstraint(_STATES, name=op.f("ck_approval_counts_sla_state")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_approval_counts_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", "hitl_mode", "priority", "sla_state", name=op.f("pk_approval_counts")),
    )


def _counting(name: str, came: str, went: str) -> str:
    # One after the other, always in the same order, so that two that count never wait for each other. What leaves a
    # count that is gone already (a tenant that is deleted, table by table) is not counted.
    parts = [
        f"SELECT tenant_id, hitl_mode, priority, sla_state, {n} AS n FROM {table} WHERE status = 'pending'"
        for table, n in ((came, 1), (went, -1))
        if table
    ]
    return f"""
CREATE FUNCTION count_approvals_{name}() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
  one record;
BEGIN
  FOR one IN
    SELECT tenant_id, hitl_mode, priority, sla_state, sum(n)::integer AS n FROM ({" UNION ALL ".join(parts)}) changed
    GROUP BY 1, 2, 3, 4 HAVING sum(n) <> 0 ORDER BY 1, 2, 3, 4
  LOOP
    UPDATE approval_counts c SET pending = c.pending + one.n WHERE c.tenant_id = one.tenant_id
      AND c.hitl_mode = one.hitl_mode AND c.priority = one.priority AND c.sla_state = one.sla_state;
    IF NOT FOUND AND one.n > 0 THEN
      INSERT INTO approval_counts AS c (tenant_id, hitl_mode, priority, sla_state, pending)
      VALUES (one.tenant_id, one.hitl_mode, one.priority, one.sla_state, one.n)
      ON CONFLICT (tenant_id, hitl_mode, priority, sla_state) DO UPDATE SET pending = c.pending + excluded.pending;
    END IF;
  END LOOP;
  RETURN NULL;
END $$
"""


def _trigger(name: str, event: str, tables: str) -> str:
    return (
        f"CREATE TRIGGER count_approvals_{name} AFTER {event} ON approval_requests REFERENCING {tables} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION count_approvals_{name}()"
    )


_COUNTING = (
    _counting("inserted", "came", ""),
    _counting("updated", "came", "went"),
    _counting("deleted", "", "went"),
    _trigger("inserted", "INSERT", "NEW TABLE AS came"),
    _trigger("updated", "UPDATE", "OLD TABLE AS went NEW TABLE AS came"),
    _trigger("deleted", "DELETE", "OLD TABLE AS went"),
)
