"""Tell every change of what a tenant's credentials are worth.

Gateways keep what they know of a session or a key for as long as the tenant's version stays the same. Triggers set it,
so that no writer can forget it: a mutation, a job, an import, or an operator with a prompt. They run with the rights of
whoever writes, confined by row-level security like any other statement. New rows are not told: nobody knows them yet.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from models.protection import TAIL, protect

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_WORTH = {
    "sessions": ("user_id", "revoked_at"),
    "users": ("roles", "is_platform_admin", "authorization_version", "status", "deleted_at"),
    "api_keys": ("secret_hash", "scopes", "workspace_id", "expires_at", "revoked_at"),
    "tenants": ("slug", "status", "deleted_at"),
}


def upgrade() -> None:
    op.create_table(
        "credential_versions",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.id"],
            name=op.f("fk_credential_versions_tenant_id_tenants"),
        ),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_credential_versions")),
    )
    for statement in (
        *protect("credential_versions", app="SELECT, INSERT, UPDATE", others=[(TAIL, "SELECT", "SELECT")]),
        *_triggers(),
        "INSERT INTO credential_versions (tenant_id, version) SELECT id, 0 FROM tenants",
    ):
        op.execute(statement)


def _triggers() -> list[str]:
    statements = [_function("NEW", "tenant_id"), _function("OLD", "tenant_id"), _function("NEW", "id")]
    # Deferred, so that the version's row is the last that a transaction locks, and for its commit alone.
    deferred = "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW"
    for table, columns in _WORTH.items():
        row = "new_id" if table == "tenants" else "new_tenant_id"
        old, new = (", ".join(f"{side}.{column}" for column in columns) for side in ("OLD", "NEW"))
        statements.append(
            f"CREATE CONSTRAINT TRIGGER credential_version_changed AFTER UPDATE ON {table} {deferred} "
            f"WHEN (({old}) IS DISTINCT FROM ({new})) EXECUTE FUNCTION renew_credential_version_of_{row}()"
        )
        # A tenant that is gone took its version along; one that is new gets its own.
        event, row = ("INSERT", "new_id") if table == "tenants" else ("DELETE", "old_tenant_id")
        statements.append(
            f"CREATE CONSTRAINT TRIGGER credential_version_{event.lower()} AFTER {event} ON {table} {deferred} "
            f"EXECUTE FUNCTION renew_credential_version_of_{row}()"
        )
    return statements


def _function(side: str, column: str) -> str:
    # The transaction's number: another one than before, and one update however many rows a transaction changes.
    return f"""
CREATE FUNCTION renew_credential_version_of_{side.lower()}_{column}() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  INSERT INTO credential_versions AS kept (tenant_id, version)
    SELECT id, pg_current_xact_id()::text::bigint FROM tenants WHERE id = {side}.{column}
    ON CONFLICT (tenant_id) DO UPDATE SET version = excluded.version WHERE kept.version <> excluded.version;
  RETURN NULL;
END $$
"""
