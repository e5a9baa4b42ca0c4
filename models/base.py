"""This module is where every row's common ground lies: naming, tenancy, times and text enums."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar, Final
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    CheckConstraint,
    DateTime,
    Dialect,
    ForeignKeyConstraint,
    MetaData,
    Text,
    TypeDecorator,
    UniqueConstraint,
    Uuid,
    func,
    inspect,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, declared_attr, mapped_column

from models.ids import encode, uuid7

NAMING: Final = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


def utcnow() -> datetime:
    """Now, tz-aware."""
    return datetime.now(UTC)


class TextEnum(TypeDecorator[Any]):
    """A StrEnum stored as text: under row-level security a native enum never reaches an index."""

    impl = Text
    cache_ok = True

    def __init__(self, kind: type[StrEnum]) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else str(self.kind(value).value)

    def process_result_value(self, value: Any, dialect: Dialect) -> StrEnum | None:
        return None if value is None else self.kind(value)


def one_of(column: str, kind: type[StrEnum]) -> CheckConstraint:
    """The CHECK that keeps a text column to the members of ``kind``."""
    members = ", ".join(f"'{member.value}'" for member in kind)
    return CheckConstraint(f"{column} IN ({members})", name=column)


def belongs_to(column: str, target: str, *, ondelete: str | None = None, is_late: bool = False) -> ForeignKeyConstraint:
    """A foreign key that carries the tenant, so a row can never point into another tenant.

    ``ondelete="SET NULL"`` empties only ``column``, never the tenant. ``is_late`` for one that closes a ring of tables,
    which would have no order otherwise.
    """
    action = f"SET NULL ({column})" if ondelete == "SET NULL" else ondelete
    parent = [f"{target}.tenant_id", f"{target}.id"]
    return ForeignKeyConstraint(["tenant_id", column], parent, ondelete=action, use_alter=is_late)


class Base(DeclarativeBase):
    """Declarative base with a constraint naming convention."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {
        datetime: DateTime(timezone=True),
        UUID: Uuid(),
        dict[str, Any]: JSONB(none_as_null=True),
        list[str]: ARRAY(Text),
        str: Text(),
    }

    def __repr__(self) -> str:
        # Only loaded columns: a repr of a detached or expired row must not emit SQL.
        state = inspect(self)
        key = state.identity if state is not None and state.identity else "new"
        return f"<{type(self).__name__} {key}>"


class TenantRow(Base):
    """A row that belongs to one tenant; its key leads with the tenant."""

    __abstract__ = True
    __typeid__: ClassVar[str]

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True, sort_order=-100)
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7, sort_order=-99)
    created_at: Mapped[datetime] = mapped_column(default=utcnow, server_default=func.now(), sort_order=90)
    updated_at: Mapped[datetime] = mapped_column(
        default=utcnow, onupdate=utcnow, server_default=func.now(), sort_order=91
    )

    @property
    def typeid(self) -> str:
        """The id as the outside sees it."""
        return encode(self.__typeid__, self.id)


class ImportedRow(TenantRow):
    """A tenant's row that may stem from one of the unified systems (``source_ref`` = system.table:id)."""

    __abstract__ = True

    source_ref: Mapped[str | None] = mapped_column(sort_order=89)

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:
        return cls.constraints()

    @classmethod
    def constraints(cls) -> tuple[Any, ...]:
        """The table's constraints and indexes; a subclass adds its own to these."""
        return (UniqueConstraint("tenant_id", "source_ref"),)


def never_null(column: str, edge: str) -> str:
    """SQL for a nullable time that sorts its nulls at ``edge``, ``infinity`` or ``-infinity``."""
    # CASE, not coalesce: the planner takes coalesce for leaky, so under row-level security no index is reached.
    # Broken into lines as PostgreSQL shows it, because alembic compares the two as text.
    return f"(\nCASE\n    WHEN {column} IS NULL THEN '{edge}'::timestamptz\n    ELSE {column}\nEND)"


def tenant_key() -> ForeignKeyConstraint:
    """The foreign key from a tenant's row to its tenant."""
    return ForeignKeyConstraint(["tenant_id"], ["tenants.id"])
