"""The audit log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from models.months import divide_by_month
from models.protection import PLATFORM, protect

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def _log_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor_type", sa.Text(), nullable=True),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
    ]


def upgrade() -> None:
    op.create_table(
        "audit_logs",
        *_log_columns(),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("resource_type", sa.Text(), nullable=False),
        sa.Column("resource_id", sa.Uuid(), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=True),
        sa.Column("details", sa.Text(), nullable=True),
        sa.Column("trace_id", sa.Text(), nullable=True),
        sa.Column("origin", sa.LargeBinary(), nullable=True),
        sa.Column("contents", sa.LargeBinary(), nullable=True),
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("mac", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("seq > 0", name=op.f("ck_audit_logs_seq")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_audit_logs")),
        postgresql_partition_by="RANGE (id)",
    )
    for name, column in (
        ("actor", "actor_id"),
        ("action", "action"),
        ("resource", "resource_id"),
        ("subject", "subject_id"),
    ):
        op.create_index(f"ix_audit_logs_{name}", "audit_logs", ["tenant_id", column, "id"])
    op.create_table(
        "data_access_logs",
        *_log_columns(),
        sa.Column("subject_type", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=False),
        sa.Column("data_category", sa.Text(), nullable=False),
        sa.Column("access_type", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("legal_basis", sa.Text(), nullable=False),
        sa.Column("trace_id", sa.Text(), nullable=True),
        sa.Column("origin", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint(
            "data_category IN ('account', 'tenant', 'secret', 'messages', 'approvals')",
            name=op.f("ck_data_access_logs_data_category"),
        ),
        sa.CheckConstraint(
            "access_type IN ('read', 'export', 'erasure', 'use', 'platform_access')",
            name=op.f("ck_data_access_logs_access_type"),
        ),
        sa.CheckConstraint(
            "legal_basis IN ('consent', 'contract', 'legal_obligation', 'legitimate_interest')",
            name=op.f("ck_data_access_logs_legal_basis"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_data_access_logs")),
        postgresql_partition_by="RANGE (id)",
    )
    op.create_index("ix_data_access_logs_actor", "data_access_logs", ["tenant_id", "actor_id", "id"])
    op.create_index("ix_data_access_logs_subject", "data_access_logs", ["tenant_id", "subject_id", "id"])
    op.create_table(
        "audit_heads",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_id", sa.Uuid(), nullable=True),
        sa.Column("mac", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_audit_heads")),
    )
    op.create_table(
        "audit_checkpoints",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("mac", sa.LargeBinary(), nullable=False),
        sa.Column("entries", sa.BigInteger(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "seq", name=op.f("pk_audit_checkpoints")),
    )
    op.create_table(
        "person_keys",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("destroyed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_person_keys_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", "person_id", name=op.f("pk_person_keys")),
    )
    op.create_table(
        "retention_rules",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("days", sa.Integer(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("subject IN ('audit_logs')", name=op.f("ck_retention_rules_subject")),
        sa.CheckConstraint("days BETWEEN 1096 AND 10980", name=op.f("ck_retention_rules_days")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_retention_rules_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", "subject", name=op.f("pk_retention_rules")),
    )
    for statement in _protection():
        op.execute(statement)


def _protection() -> list[str]:
    return [
        *protect("audit_logs", app="SELECT, INSERT"),
        *protect("data_access_logs", app="SELECT, INSERT"),
        *protect(
            "audit_heads",
            app="SELECT, INSERT, UPDATE",
            others=[(PLATFORM, "SELECT", "SELECT")],
        ),
        *protect("audit_checkpoints", app="SELECT, INSERT"),
        *protect("person_keys", app="SELECT, INSERT, UPDATE"),
        *protect("retention_rules", others=[(PLATFORM, "SELECT", "SELECT")]),
        "INSERT INTO audit_heads (tenant_id, seq) SELECT id, 0 FROM tenants",
        *divide_by_month(),
    ]
