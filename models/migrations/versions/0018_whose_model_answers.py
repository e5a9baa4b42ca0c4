"""The model provider that a person prefers, and that answers in a conversation; conversations by age."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from models.roles import PLATFORM

revision = "0018"
down_revision = "0012"
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
    # Whoever deletes old ones finds the tenants that have some, and sees nothing else of them.
    op.execute(f"CREATE POLICY platform_select ON conversations FOR SELECT TO {PLATFORM} USING (true)")
    op.execute(f"GRANT SELECT (tenant_id, updated_at) ON conversations TO {PLATFORM}")
