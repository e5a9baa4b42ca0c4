"""Which model provider a person prefers and a conversation has; conversations by age; secrets that are gone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from models.protection import PLATFORM, protect

revision = "0018"
down_revision = "0015"
branch_labels = None
depends_on = None

_CHOSEN = (
    ("users", "default_llm_provider_id", "default_llm_provider"),
    ("conversations", "llm_provider_id", "llm_provider"),
)


def upgrade() -> None:
    op.add_column("users", sa.Column("default_llm_provider_id", sa.Uuid(), nullable=True))
    for table, column, name in _CHOSEN:
        op.create_foreign_key(
            op.f(f"fk_{table}_tenant_id_{column}_llm_providers"),
            table,
            "llm_providers",
            ["tenant_id", column],
            ["tenant_id", "id"],
            ondelete=f"SET NULL ({column})",
        )
        op.create_index(f"ix_{table}_{name}", table, ["tenant_id", column])
    op.create_index("ix_conversations_updated", "conversations", ["tenant_id", "updated_at"])
    _forgotten_secrets()
    # Whoever deletes old ones finds the tenants that have some, and sees nothing else of them.
    op.execute(f"CREATE POLICY platform_select ON conversations FOR SELECT TO {PLATFORM} USING (true)")
    op.execute(f"GRANT SELECT (tenant_id, updated_at) ON conversations TO {PLATFORM}")


def _forgotten_secrets() -> None:
    op.create_table(
        "forgotten_secrets",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_type", sa.Text(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "owner_type IN ('tenant', 'workspace', 'agent', 'llm_provider', 'server', 'connector', 'webhook_endpoint')",
            name=op.f("ck_forgotten_secrets_owner_type"),
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_forgotten_secrets_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_forgotten_secrets")),
    )
    op.create_index(
        "uq_forgotten_secrets_key", "forgotten_secrets", ["tenant_id", "owner_id", "key", "owner_type"], unique=True
    )
    op.create_index("ix_forgotten_secrets_updated", "forgotten_secrets", ["updated_at"], postgresql_using="brin")
    for statement in protect("forgotten_secrets", others=[(PLATFORM, "SELECT", "SELECT (tenant_id, updated_at)")]):
        op.execute(statement)
