"""Find old sessions by a BRIN index: a B-tree on their age tempted the planner away from the tenant's own order."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_sessions_started", "sessions")
    op.create_index("ix_sessions_started", "sessions", ["started_at"], postgresql_using="brin")
