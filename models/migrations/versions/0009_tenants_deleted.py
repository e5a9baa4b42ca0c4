"""When all rows of a deleted tenant were gone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tenants", sa.Column("purged_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_tenants_to_purge", "tenants", ["deleted_at"], postgresql_where=sa.text("purged_at IS NULL"))
