"""Servers and terminal sessions; the name of whoever analyses an alert."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from models.protection import protect

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("alerts", sa.Column("analysis_worker", sa.Text(), nullable=True))
    _servers()
    _terminal_sessions()
    for table in ("servers", "terminal_sessions"):
        for statement in protect(table):
            op.execute(statement)


def _servers() -> None:
    op.create_table(
        "servers",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("hostname", sa.Text(), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("auth_type", sa.Text(), nullable=False),
        sa.Column("ssh_key_secret_id", sa.Uuid(), nullable=True),
        sa.Column("password_secret_id", sa.Uuid(), nullable=True),
        sa.Column("host_key_fingerprint", sa.Text(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=True),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("source_ref", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("auth_type IN ('key', 'password')", name=op.f("ck_servers_auth_type")),
        sa.CheckConstraint("port BETWEEN 1 AND 65535", name=op.f("ck_servers_port")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "ssh_key_secret_id"],
            ["secrets.tenant_id", "secrets.id"],
            name=op.f("fk_servers_tenant_id_ssh_key_secret_id_secrets"),
            ondelete="SET NULL (ssh_key_secret_id)",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "password_secret_id"],
            ["secrets.tenant_id", "secrets.id"],
            name=op.f("fk_servers_tenant_id_password_secret_id_secrets"),
            ondelete="SET NULL (password_secret_id)",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "created_by"],
            ["users.tenant_id", "users.id"],
            name=op.f("fk_servers_tenant_id_created_by_users"),
            ondelete="SET NULL (created_by)",
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_servers_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_servers")),
        sa.UniqueConstraint("tenant_id", "source_ref", name=op.f("uq_servers_tenant_id_source_ref")),
    )
    op.create_index("uq_servers_name", "servers", ["tenant_id", "name"], unique=True)
    op.create_index("ix_servers_by_name", "servers", ["tenant_id", "name", "id"])
    op.create_index(
        "ix_servers_newest",
        "servers",
        ["tenant_id", sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
    )
    op.create_index("ix_servers_hostname", "servers", ["tenant_id", "hostname"])
    op.create_index("ix_servers_environment", "servers", ["tenant_id", "environment"])
    op.create_index("ix_servers_created_by", "servers", ["tenant_id", "created_by"])
    op.create_index("ix_servers_ssh_key_secret", "servers", ["tenant_id", "ssh_key_secret_id"])
    op.create_index("ix_servers_password_secret", "servers", ["tenant_id", "password_secret_id"])


def _terminal_sessions() -> None:
    op.create_table(
        "terminal_sessions",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("server_id", sa.Uuid(), nullable=True),
        sa.Column("server_name", sa.Text(), nullable=False),
        sa.Column("alert_id", sa.Uuid(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("recording_path", sa.Text(), nullable=True),
        sa.Column("source_ref", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("ended_at >= started_at", name=op.f("ck_terminal_sessions_ended")),
        *(_to(column, parent) for column, parent in (("user_id", "users"), ("server_id", "servers"))),
        _to("alert_id", "alerts"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_terminal_sessions_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_terminal_sessions")),
        sa.UniqueConstraint("tenant_id", "source_ref", name=op.f("uq_terminal_sessions_tenant_id_source_ref")),
    )
    newest: list[Any] = [sa.literal_column("started_at DESC"), sa.literal_column("id DESC")]
    op.create_index("ix_terminal_sessions_newest", "terminal_sessions", ["tenant_id", *newest])
    for column in ("user", "server", "alert"):
        op.create_index(f"ix_terminal_sessions_{column}", "terminal_sessions", ["tenant_id", f"{column}_id", *newest])
    op.create_index(
        "ix_terminal_sessions_open",
        "terminal_sessions",
        ["tenant_id", *newest],
        postgresql_where=sa.text("ended_at IS NULL"),
    )


def _to(column: str, parent: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["tenant_id", column],
        [f"{parent}.tenant_id", f"{parent}.id"],
        name=op.f(f"fk_terminal_sessions_tenant_id_{column}_{parent}"),
        ondelete=f"SET NULL ({column})",
    )
