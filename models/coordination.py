"""This module is where gateways agree with each other: leases, and the keys that make retries safe."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Index, LargeBinary, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, tenant_key, utcnow


class Lease(Base):
    """Who does a job that only one may do, on the database's clock; not a tenant's row."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[str]
    epoch: Mapped[int] = mapped_column(BigInteger, default=1)
    acquired_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class IdempotencyKey(Base):
    """What a mutation did under a key; committed with the change itself. Ids only, never the answer."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (tenant_key(), Index("ix_idempotency_keys_created", text("created_at")))

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    principal: Mapped[str] = mapped_column(primary_key=True)
    mutation: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    body_hash: Mapped[bytes] = mapped_column(LargeBinary)
    result_ids: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime] = mapped_column(default=utcnow)
