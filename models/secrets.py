"""This module is where secrets live: sealed values, and the wrapped data keys that open them."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar, Final
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, LargeBinary, text
from sqlalchemy.orm import Mapped, declared_attr, mapped_column

from models.activity import EventTopic
from models.base import ImportedRow, TenantRow, TextEnum, belongs_to, one_of, tenant_key
from models.envelope import Binding, DataKey, seal, unseal
from models.ids import encode
from models.scopes import Scope


class TenantKeyState(StrEnum):
    """Whether a data key still seals."""

    ACTIVE = "active"
    RETIRING = "retiring"


class TenantKey(TenantRow):
    """One version of a tenant's data key, wrapped by a key that is not in the database.

    ``key_encryption_key`` names the wrapping key. A retiring key only opens, until nothing is left that it sealed.
    """

    __tablename__ = "tenant_keys"
    __typeid__ = "datakey"
    __table_args__ = (
        tenant_key(),
        one_of("state", TenantKeyState),
        CheckConstraint("version BETWEEN 1 AND 2147483647", name="version"),
        Index("uq_tenant_keys_version", "tenant_id", "version", unique=True),
        Index("uq_tenant_keys_active", "tenant_id", unique=True, postgresql_where=text("state = 'active'")),
    )

    version: Mapped[int]
    wrapped: Mapped[bytes] = mapped_column(LargeBinary)
    key_encryption_key: Mapped[str]
    state: Mapped[TenantKeyState] = mapped_column(TextEnum(TenantKeyState), default=TenantKeyState.ACTIVE)


class SealedRow(TenantRow):
    """A row that holds one envelope. Rotation finds every subclass and seals its rows anew.

    The foreign key keeps a data key in the database for as long as one envelope needs it.
    """

    __abstract__ = True

    PURPOSE: ClassVar[str]
    """What the envelope is for; part of what it is bound to, so it never changes."""

    key_id: Mapped[UUID] = mapped_column(sort_order=80)
    sealed: Mapped[bytes] = mapped_column(LargeBinary, sort_order=81)
    sealed_version: Mapped[int] = mapped_column(sort_order=82)

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:
        return cls.constraints()

    @classmethod
    def constraints(cls) -> tuple[Any, ...]:
        """The table's constraints and indexes; a subclass adds its own to these."""
        name = cls.__tablename__
        return (
            tenant_key(),
            ForeignKeyConstraint(["tenant_id", "key_id"], ["tenant_keys.tenant_id", "tenant_keys.id"]),
            Index(f"ix_{name}_key", "tenant_id", "key_id", "id"),
        )

    @property
    def sealed_name(self) -> str:
        """What the sealed thing is called; part of what the envelope is bound to, so it never changes."""
        raise NotImplementedError

    @property
    def binding(self) -> Binding:
        """What the present envelope is bound to."""
        return Binding(self.id, self.sealed_name, self.sealed_version, self.PURPOSE)

    def seal(self, plaintext: bytes, key: DataKey) -> None:
        """Put ``plaintext`` in a new envelope; the earlier one will not open any more. ``id`` must be set."""
        self.sealed_version = (self.sealed_version or 0) + 1
        self.key_id, self.sealed = key.id, seal(plaintext, key, self.binding)

    def unseal(self, key: DataKey) -> bytes:
        """What the envelope holds. Raises Unreadable."""
        return unseal(self.sealed, key, self.binding)


class SecretOwner(StrEnum):
    """What kind of thing a secret belongs to."""

    TENANT = "tenant"
    WORKSPACE = "workspace"
    AGENT = "agent"
    LLM_PROVIDER = "llm_provider"
    SERVER = "server"
    CONNECTOR = "connector"
    WEBHOOK_ENDPOINT = "webhook_endpoint"


_PREFIXES: Final = {SecretOwner.LLM_PROVIDER: "provider", SecretOwner.WEBHOOK_ENDPOINT: "webhook"}
"""Owners whose ids begin with another word."""


class Secret(SealedRow):
    """One secret of one owner under one key. A tenant's own reach every workspace that has none of that key."""

    __tablename__ = "secrets"
    __typeid__ = "secret"
    __topic__ = EventTopic.SECURITY
    __read_scope__ = Scope.SECRETS_READ
    __place__ = "workspace_id"
    PURPOSE = "secret"

    owner_type: Mapped[SecretOwner] = mapped_column(TextEnum(SecretOwner))
    owner_id: Mapped[UUID]
    key: Mapped[str]
    set_by: Mapped[UUID | None]
    # Lists show that secrets exist; only whoever uses one fetches its envelope.
    sealed: Mapped[bytes] = mapped_column(LargeBinary, sort_order=81, deferred=True)
    source_ref: Mapped[str | None] = mapped_column(sort_order=89)

    @classmethod
    def constraints(cls) -> tuple[Any, ...]:
        return (
            *super().constraints(),
            *ImportedRow.constraints(),
            one_of("owner_type", SecretOwner),
            belongs_to("set_by", "users", ondelete="SET NULL"),
            CheckConstraint("sealed_version > 0", name="sealed_version"),
            Index("uq_secrets_key", "tenant_id", "owner_id", "key", "owner_type", unique=True),
            Index("ix_secrets_key_name", "tenant_id", "key", "id"),
            Index("ix_secrets_newest", "tenant_id", text("created_at DESC"), text("id DESC")),
            Index("ix_secrets_updated", "tenant_id", text("updated_at DESC"), text("id DESC")),
            Index("ix_secrets_set_by", "tenant_id", "set_by"),
        )

    @property
    def owner_typeid(self) -> str:
        """The owner's id as the outside sees it."""
        return encode(_PREFIXES.get(self.owner_type, self.owner_type.value), self.owner_id)

    @property
    def workspace_id(self) -> UUID | None:
        """The workspace whose own it is, if it is one's."""
        return self.owner_id if self.owner_type is SecretOwner.WORKSPACE else None

    @property
    def sealed_name(self) -> str:
        """Owner and key: an envelope does not open as another owner's."""
        return f"{self.owner_type.value}:{self.owner_id}:{self.key}"

    def facets(self) -> dict[str, Any]:
        """What an event tells of it: never the value."""
        return {
            "id": str(self.id),
            "ownerType": self.owner_type.value,
            "ownerId": str(self.owner_id),
            "key": self.key,
            "version": self.sealed_version,
        }


class ForgottenSecret(TenantRow):
    """That a workspace or the tenant had a secret under a key: whoever runs still knows it. ``updated_at`` is when."""

    __tablename__ = "forgotten_secrets"
    __typeid__ = "forgotten"
    __table_args__ = (
        tenant_key(),
        one_of("owner_type", SecretOwner),
        Index("uq_forgotten_secrets_key", "tenant_id", "owner_id", "key", "owner_type", unique=True),
        Index("ix_forgotten_secrets_updated", "updated_at", postgresql_using="brin"),
    )

    owner_type: Mapped[SecretOwner] = mapped_column(TextEnum(SecretOwner))
    owner_id: Mapped[UUID]
    key: Mapped[str]
