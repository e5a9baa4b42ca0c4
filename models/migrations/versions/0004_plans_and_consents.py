"""Plans and consents: what a plan allows counts at once; lists of tenants and of consents have their indexes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# What the tenant may have stands in its callers' credentials, so a change of it renews their version too.
_WORTH = ("slug", "status", "deleted_at", "plan", "limits")


def upgrade() -> None:
    old, new = (", ".join(f"{side}.{column}" for column in _WORTH) for side in ("OLD", "NEW"))
    op.execute("DROP TRIGGER credential_version_changed ON tenants")
    op.execute(
        "CREATE CONSTRAINT TRIGGER credential_version_changed AFTER UPDATE ON tenants DEFERRABLE INITIALLY DEFERRED "
        f"FOR EACH ROW WHEN (({old}) IS DISTINCT FROM ({new})) EXECUTE FUNCTION renew_credential_version_of_new_id()"
    )
    op.create_index("ix_tenants_name", "tenants", ["name", "id"])
    op.create_index("ix_tenants_status", "tenants", ["status"])
    op.create_index("ix_tenants_plan", "tenants", ["plan"])
    op.create_index(
        "ix_user_consents_newest",
        "user_consents",
        ["tenant_id", sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
    )
    op.create_index("ix_user_consents_type", "user_consents", ["tenant_id", "consent_type"])
