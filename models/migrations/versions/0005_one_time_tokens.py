"""Tokens that work once, mails that carry them, wrong passwords by network, and sessions that can be listed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from models.protection import PLATFORM, protect

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    _tokens()
    _mails()
    _failures()
    _sessions()
    op.create_check_constraint(op.f("ck_users_email_key"), "users", "(email IS NULL) = (email_key IS NULL)")
    for statement in (
        *protect("one_time_tokens", others=[(PLATFORM, "SELECT", "SELECT (tenant_id, expires_at)")]),
        *protect("outgoing_mails", others=[(PLATFORM, "SELECT", "SELECT (tenant_id, due_at)")]),
        *protect("sign_in_failures", others=[(PLATFORM, "SELECT", "SELECT (tenant_id, failed_at)")]),
        f"CREATE POLICY platform_select ON sessions FOR SELECT TO {PLATFORM} USING (true)",
        f"GRANT SELECT (tenant_id, started_at) ON sessions TO {PLATFORM}",
    ):
        op.execute(statement)


def _tokens() -> None:
    op.create_table(
        "one_time_tokens",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("sent_to", sa.Text(), nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("used_at", _TIME, nullable=True),
        *_made(),
        sa.CheckConstraint(
            "purpose IN ('password_reset', 'email_verification', 'invitation')",
            name=op.f("ck_one_time_tokens_purpose"),
        ),
        _of_user("one_time_tokens"),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_one_time_tokens")),
    )
    op.create_index("ix_one_time_tokens_user", "one_time_tokens", ["tenant_id", "user_id", "purpose"])
    op.create_index("ix_one_time_tokens_expires", "one_time_tokens", ["expires_at"])


def _mails() -> None:
    op.create_table(
        "outgoing_mails",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("due_at", _TIME, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("asked_at", _TIME, nullable=False),
        *_made(),
        sa.CheckConstraint(
            "kind IN ('password_reset', 'email_verification', 'invitation', 'password_changed')",
            name=op.f("ck_outgoing_mails_kind"),
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_outgoing_mails_tenant_id_tenants")),
        _of_user("outgoing_mails"),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_outgoing_mails")),
    )
    op.create_index("ix_outgoing_mails_user", "outgoing_mails", ["tenant_id", "user_id"])
    op.create_index("ix_outgoing_mails_due", "outgoing_mails", ["due_at"])


def _failures() -> None:
    op.create_table(
        "sign_in_failures",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("account", sa.LargeBinary(), nullable=False),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("failed_at", _TIME, nullable=False),
        sa.Column("network_locked_until", _TIME, nullable=True),
        sa.Column("account_locked_until", _TIME, nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_sign_in_failures_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_sign_in_failures")),
    )
    op.create_index(
        "ix_sign_in_failures_account", "sign_in_failures", ["tenant_id", "account", sa.text("failed_at DESC")]
    )
    op.create_index("ix_sign_in_failures_failed", "sign_in_failures", ["failed_at"])


def _sessions() -> None:
    op.add_column("sessions", sa.Column("network", sa.Text(), nullable=True))
    newest_first = sa.text("id DESC")
    op.drop_index("ix_sessions_user", "sessions")
    op.create_index("ix_sessions_user", "sessions", ["tenant_id", "user_id", sa.text("started_at DESC"), newest_first])
    op.create_index("ix_sessions_newest", "sessions", ["tenant_id", sa.text("started_at DESC"), newest_first])
    op.create_index("ix_sessions_last_seen", "sessions", ["tenant_id", sa.text("last_seen_at DESC"), newest_first])
    op.create_index("ix_sessions_network", "sessions", ["tenant_id", "user_id", "network", "started_at"])
    op.create_index("ix_sessions_started", "sessions", ["started_at"])


def _made() -> list[sa.Column[object]]:
    return [
        sa.Column(name, _TIME, server_default=sa.text("now()"), nullable=False) for name in ("created_at", "updated_at")
    ]


def _of_user(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["tenant_id", "user_id"],
        ["users.tenant_id", "users.id"],
        name=op.f(f"fk_{table}_tenant_id_user_id_users"),
        ondelete="CASCADE",
    )
