"""Secrets, and the data keys that open them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy import literal_column as raw

from models.protection import protect

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tenant_keys",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("key_encryption_key", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("state IN ('active', 'retiring')", name=op.f("ck_tenant_keys_state")),
        sa.CheckConstraint("version BETWEEN 1 AND 2147483647", name=op.f("ck_tenant_keys_version")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_tenant_keys_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_tenant_keys")),
    )
    op.create_index("uq_tenant_keys_version", "tenant_keys", ["tenant_id", "version"], unique=True)
    op.create_index(
        "uq_tenant_keys_active", "tenant_keys", ["tenant_id"], unique=True, postgresql_where=sa.text("state = 'active'")
    )
    op.create_table(
        "secrets",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_type", sa.Text(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("set_by", sa.Uuid(), nullable=True),
        sa.Column("key_id", sa.Uuid(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_version", sa.Integer(), nullable=False),
        sa.Column("source_ref", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "owner_type IN ('tenant', 'workspace', 'agent', 'llm_provider', 'server', 'connector')",
            name=op.f("ck_secrets_owner_type"),
        ),
        sa.CheckConstraint("sealed_version > 0", name=op.f("ck_secrets_sealed_version")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_secrets_tenant_id_tenants")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "key_id"],
            ["tenant_keys.tenant_id", "tenant_keys.id"],
            name=op.f("fk_secrets_tenant_id_key_id_tenant_keys"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "set_by"],
            ["users.tenant_id", "users.id"],
            name=op.f("fk_secrets_tenant_id_set_by_users"),
            ondelete="SET NULL (set_by)",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_secrets")),
        sa.UniqueConstraint("tenant_id", "source_ref", name=op.f("uq_secrets_tenant_id_source_ref")),
    )
    op.create_index("ix_secrets_key", "secrets", ["tenant_id", "key_id", "id"], unique=False)
    op.create_index("ix_secrets_key_name", "secrets", ["tenant_id", "key", "id"], unique=False)
    op.create_index("ix_secrets_newest", "secrets", ["tenant_id", raw("created_at DESC"), raw("id DESC")], unique=False)
    op.create_index(
        "ix_secrets_updated", "secrets", ["tenant_id", raw("updated_at DESC"), raw("id DESC")], unique=False
    )
    op.create_index("ix_secrets_set_by", "secrets", ["tenant_id", "set_by"], unique=False)
    op.create_index("uq_secrets_key", "secrets", ["tenant_id", "owner_id", "key", "owner_type"], unique=True)
    for table in ("tenant_keys", "secrets"):
        for statement in protect(table):
            op.execute(statement)
