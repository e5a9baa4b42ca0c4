"""Identity providers of tenants, whom they sign in, and when a tenant was cancelled."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from models.protection import protect

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "identity_providers",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("jwks_uri", sa.Text(), nullable=True),
        sa.Column("email_claim", sa.Text(), nullable=False),
        sa.Column("name_claim", sa.Text(), nullable=False),
        sa.Column("roles_claim", sa.Text(), nullable=True),
        sa.Column("role_mapping", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("default_roles", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("creates_users", sa.Boolean(), nullable=False),
        sa.Column("links_by_email", sa.Boolean(), nullable=False),
        sa.Column("trusts_emails", sa.Boolean(), nullable=False),
        sa.Column("is_enabled", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_identity_providers_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_identity_providers")),
        sa.UniqueConstraint("tenant_id", name=op.f("uq_identity_providers_tenant_id")),
    )
    op.create_table(
        "spent_id_tokens",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_spent_id_tokens_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_spent_id_tokens")),
    )
    op.create_index("uq_spent_id_tokens_hash", "spent_id_tokens", ["tenant_id", "token_hash"], unique=True)
    op.create_index("ix_spent_id_tokens_expires", "spent_id_tokens", ["tenant_id", "expires_at"])
    for table in ("identity_providers", "spent_id_tokens"):
        for statement in protect(table):
            op.execute(statement)
    _extend_users()
    op.add_column("tenants", sa.Column("cancelled_at", sa.DateTime(timezone=True), nullable=True))
    op.execute("UPDATE tenants SET cancelled_at = updated_at WHERE status = 'cancelled'")
    op.create_index("ix_tenants_cancelled", "tenants", ["cancelled_at"], postgresql_where=sa.text("deleted_at IS NULL"))


def _extend_users() -> None:
    op.add_column("users", sa.Column("identity_provider_id", sa.Uuid(), nullable=True))
    op.add_column("users", sa.Column("external_subject", sa.Text(), nullable=True))
    op.create_foreign_key(
        op.f("fk_users_tenant_id_identity_provider_id_identity_providers"),
        "users",
        "identity_providers",
        ["tenant_id", "identity_provider_id"],
        ["tenant_id", "id"],
        ondelete="SET NULL (identity_provider_id)",
    )
    op.create_check_constraint(
        op.f("ck_users_password_elsewhere"), "users", "identity_provider_id IS NULL OR password_hash IS NULL"
    )
    op.create_index(
        "uq_users_identity", "users", ["tenant_id", "identity_provider_id", "external_subject"], unique=True
    )
