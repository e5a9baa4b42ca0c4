"""This module is where the canvas lives: where each workspace is drawn, and what each person last looked at."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, func
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, ImportedRow, belongs_to, utcnow
from models.ids import encode
from models.registry import Workspace


class CanvasLayout(Base):
    """Where one workspace is drawn, in the canvas's own units; it ends with its workspace."""

    __tablename__ = "canvas_layouts"
    __table_args__ = (belongs_to("workspace_id", "workspaces", ondelete="CASCADE"),)

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    workspace_id: Mapped[UUID] = mapped_column(primary_key=True)
    x: Mapped[float] = mapped_column(default=0.0)
    y: Mapped[float] = mapped_column(default=0.0)
    collapsed: Mapped[bool] = mapped_column(default=False)
    updated_at: Mapped[datetime] = mapped_column(default=utcnow, server_default=func.now())

    @property
    def workspace_typeid(self) -> str:
        """The workspace's id as the outside sees it."""
        return encode(Workspace.__typeid__, self.workspace_id)


class CanvasViewport(ImportedRow):
    """What one person last looked at; a person has at most one."""

    __tablename__ = "canvas_viewports"
    __typeid__ = "viewport"

    user_id: Mapped[UUID]
    x: Mapped[float] = mapped_column(default=0.0)
    y: Mapped[float] = mapped_column(default=0.0)
    zoom: Mapped[float] = mapped_column(default=1.0)
    saved_at: Mapped[datetime] = mapped_column(default=utcnow)

    @classmethod
    def constraints(cls) -> tuple[Any, ...]:
        return (
            *super().constraints(),
            belongs_to("user_id", "users", ondelete="CASCADE"),
            CheckConstraint("zoom > 0", name="zoom"),
            Index("uq_canvas_viewports_user", "tenant_id", "user_id", unique=True),
        )
