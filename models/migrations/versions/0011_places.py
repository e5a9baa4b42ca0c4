"""The canvas, what workspaces did, when a runtime took its place; lists of assignments and structure events."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy import literal_column as raw
from sqlalchemy.dialects import postgresql

from models.protection import PLATFORM, protect

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("workspaces", sa.Column("registered_at", sa.DateTime(timezone=True), nullable=True))
    # No restart is asked for because of what was set before this was noticed.
    op.execute("UPDATE workspaces SET registered_at = now() WHERE lease_epoch > 0")
    _assignments_and_structure()
    _canvas()
    _activity_logs()


def _assignments_and_structure() -> None:
    newest: list[Any] = [raw("created_at DESC"), raw("id DESC")]
    op.drop_index("ix_agent_assignments_workspace", "agent_assignments")
    op.drop_index("ix_agent_assignments_agent", "agent_assignments")
    for name, columns in (("newest", []), ("workspace", ["workspace_id"]), ("agent", ["agent_id"])):
        op.create_index(f"ix_agent_assignments_{name}", "agent_assignments", ["tenant_id", *columns, *newest])
    op.create_index(
        "uq_agent_assignments_active_agent",
        "agent_assignments",
        ["tenant_id", "agent_id"],
        unique=True,
        postgresql_where=sa.text("status = 'active'"),
    )
    op.create_index("ix_structure_events_agent", "structure_events", ["tenant_id", "agent_id", "seq"])


def _canvas() -> None:
    op.create_table(
        "canvas_layouts",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("x", sa.Double(), nullable=False),
        sa.Column("y", sa.Double(), nullable=False),
        sa.Column("collapsed", sa.Boolean(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "workspace_id"],
            ["workspaces.tenant_id", "workspaces.id"],
            name=op.f("fk_canvas_layouts_tenant_id_workspace_id_workspaces"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "workspace_id", name=op.f("pk_canvas_layouts")),
    )
    op.create_table(
        "canvas_viewports",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("x", sa.Double(), nullable=False),
        sa.Column("y", sa.Double(), nullable=False),
        sa.Column("zoom", sa.Double(), nullable=False),
        sa.Column("saved_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("source_ref", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("zoom > 0", name=op.f("ck_canvas_viewports_zoom")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "user_id"],
            ["users.tenant_id", "users.id"],
            name=op.f("fk_canvas_viewports_tenant_id_user_id_users"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_canvas_viewports")),
        sa.UniqueConstraint("tenant_id", "source_ref", name=op.f("uq_canvas_viewports_tenant_id_source_ref")),
    )
    op.create_index("uq_canvas_viewports_user", "canvas_viewports", ["tenant_id", "user_id"], unique=True)
    for table in ("canvas_layouts", "canvas_viewports"):
        for statement in protect(table):
            op.execute(statement)


def _activity_logs() -> None:
    op.create_table(
        "activity_logs",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("activity_type", sa.Text(), nullable=False),
        sa.Column("source_workspace_id", sa.Uuid(), nullable=True),
        sa.Column("target_workspace_id", sa.Uuid(), nullable=True),
        sa.Column("method", sa.Text(), nullable=True),
        sa.Column("summary", sa.Text(), nullable=True),
        sa.Column("request_body", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("response_body", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("duration_ms", sa.Integer(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("error_detail", sa.Text(), nullable=True),
        sa.Column("source_ref", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "activity_type IN ('a2a_send', 'a2a_receive', 'task_update', 'agent_log', 'error', 'skill_promotion', 'memory_write', 'delegation')",
            name=op.f("ck_activity_logs_activity_type"),
        ),
        sa.CheckConstraint(
            "status IN ('ok', 'error', 'timeout', 'pending', 'dispatched', 'received', 'in_progress', 'completed', 'failed')",
            name=op.f("ck_activity_logs_status"),
        ),
        sa.CheckConstraint("duration_ms >= 0", name=op.f("ck_activity_logs_duration_ms")),
        _of_workspace("workspace_id", "CASCADE"),
        _of_workspace("source_workspace_id", "SET NULL (source_workspace_id)"),
        _of_workspace("target_workspace_id", "SET NULL (target_workspace_id)"),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_activity_logs")),
        sa.UniqueConstraint("tenant_id", "source_ref", name=op.f("uq_activity_logs_tenant_id_source_ref")),
    )
    newest: list[Any] = [raw("created_at DESC"), raw("id DESC")]
    for name, columns in (
        ("newest", newest),
        ("workspace", ["workspace_id", *newest]),
        ("type", ["activity_type", *newest]),
        ("status", ["status", *newest]),
        ("source", ["source_workspace_id"]),
        ("target", ["target_workspace_id"]),
    ):
        op.create_index(f"ix_activity_logs_{name}", "activity_logs", ["tenant_id", *columns])
    op.create_index("ix_activity_logs_created", "activity_logs", ["created_at"], postgresql_using="brin")
    for statement in protect("activity_logs", others=[(PLATFORM, "SELECT", "SELECT (tenant_id, created_at)")]):
        op.execute(statement)


def _of_workspace(column: str, on_delete: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["tenant_id", column],
        ["workspaces.tenant_id", "workspaces.id"],
        name=op.f(f"fk_activity_logs_tenant_id_{column}_workspaces"),
        ondelete=on_delete,
    )
