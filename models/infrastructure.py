"""This module is where servers stand and who was at them: how each is reached, and every terminal session on it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Final
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from models.activity import EventTopic
from models.base import ImportedRow, TextEnum, belongs_to, one_of, tenant_key, utcnow
from models.errors import Refusal, RefusalCode
from models.scopes import Scope

LAST_PORT: Final = 65_535


class ServerAuthType(StrEnum):
    """With what one signs in at a server."""

    KEY = "key"
    PASSWORD = "password"  # noqa: S105 - the word, not a password


class Server(ImportedRow):
    """A machine that people sign in at. Its key and its password lie sealed among the secrets.

    The fingerprint of its host key is always known: whoever connects compares it before anything is sent.
    """

    __tablename__ = "servers"
    __typeid__ = "server"
    __topic__: ClassVar[EventTopic] = EventTopic.SECURITY
    __read_scope__: ClassVar[Scope] = Scope.SERVERS_READ

    name: Mapped[str]
    hostname: Mapped[str]
    port: Mapped[int] = mapped_column(default=22)
    username: Mapped[str]
    auth_type: Mapped[ServerAuthType] = mapped_column(TextEnum(ServerAuthType))
    ssh_key_secret_id: Mapped[UUID | None]
    password_secret_id: Mapped[UUID | None]
    host_key_fingerprint: Mapped[str]
    environment: Mapped[str | None]
    created_by: Mapped[UUID | None]
    version: Mapped[int] = mapped_column(default=1)

    __mapper_args__ = {"version_id_col": version}

    @classmethod
    def constraints(cls) -> tuple[Any, ...]:
        return (
            *super().constraints(),
            tenant_key(),
            belongs_to("ssh_key_secret_id", "secrets", ondelete="SET NULL"),
            belongs_to("password_secret_id", "secrets", ondelete="SET NULL"),
            belongs_to("created_by", "users", ondelete="SET NULL"),
            one_of("auth_type", ServerAuthType),
            CheckConstraint(f"port BETWEEN 1 AND {LAST_PORT}", name="port"),
            Index("uq_servers_name", "tenant_id", "name", unique=True),
            Index("ix_servers_by_name", "tenant_id", "name", "id"),
            Index("ix_servers_newest", "tenant_id", text("created_at DESC"), text("id DESC")),
            Index("ix_servers_hostname", "tenant_id", "hostname"),
            Index("ix_servers_environment", "tenant_id", "environment"),
            Index("ix_servers_created_by", "tenant_id", "created_by"),
            Index("ix_servers_ssh_key_secret", "tenant_id", "ssh_key_secret_id"),
            Index("ix_servers_password_secret", "tenant_id", "password_secret_id"),
        )

    @property
    def has_ssh_key(self) -> bool:
        """Whether a private key is stored."""
        return self.ssh_key_secret_id is not None

    @property
    def has_password(self) -> bool:
        """Whether a password is stored."""
        return self.password_secret_id is not None

    def facets(self) -> dict[str, Any]:
        """What filters and visibility may look at in an event's envelope: no address of anything."""
        return {
            "id": str(self.id),
            "auth_type": self.auth_type.value,
            "environment": self.environment,
            "search": [self.name],
        }


class TerminalSession(ImportedRow):
    """One stay at a server, kept as evidence: it outlasts its server, its alert, and the account of who was there."""

    __tablename__ = "terminal_sessions"
    __typeid__ = "terminal"
    __topic__: ClassVar[EventTopic] = EventTopic.SECURITY
    __read_scope__: ClassVar[Scope] = Scope.TERMINALS_READ
    __owner__: ClassVar[str | None] = "user_id"

    user_id: Mapped[UUID | None]
    server_id: Mapped[UUID | None]
    server_name: Mapped[str]
    alert_id: Mapped[UUID | None]
    started_at: Mapped[datetime] = mapped_column(default=utcnow)
    ended_at: Mapped[datetime | None]
    recording_path: Mapped[str | None]

    @classmethod
    def constraints(cls) -> tuple[Any, ...]:
        newest = (text("started_at DESC"), text("id DESC"))
        return (
            *super().constraints(),
            tenant_key(),
            belongs_to("user_id", "users", ondelete="SET NULL"),
            belongs_to("server_id", "servers", ondelete="SET NULL"),
            belongs_to("alert_id", "alerts", ondelete="SET NULL"),
            CheckConstraint("ended_at >= started_at", name="ended"),
            Index("ix_terminal_sessions_newest", "tenant_id", *newest),
            Index("ix_terminal_sessions_user", "tenant_id", "user_id", *newest),
            Index("ix_terminal_sessions_server", "tenant_id", "server_id", *newest),
            Index("ix_terminal_sessions_alert", "tenant_id", "alert_id", *newest),
            Index("ix_terminal_sessions_open", "tenant_id", *newest, postgresql_where=text("ended_at IS NULL")),
        )

    @property
    def is_open(self) -> bool:
        """Whether somebody is still there."""
        return self.ended_at is None

    def facets(self) -> dict[str, Any]:
        """What filters and visibility may look at in an event's envelope."""
        return {
            "id": str(self.id),
            "user_id": str(self.user_id) if self.user_id else None,
            "server_id": str(self.server_id) if self.server_id else None,
            "alert_id": str(self.alert_id) if self.alert_id else None,
            "is_open": self.is_open,
        }

    def end(self, at: datetime) -> None:
        """Nobody is there any more. Raises ILLEGAL_TRANSITION with this row when it ended before."""
        if self.ended_at is not None:
            raise Refusal(RefusalCode.ILLEGAL_TRANSITION, "This session is over.", field=("input", "id"), current=self)
        # A clock of ours that runs behind another's must not end a session before it began.
        self.ended_at = max(at, self.started_at)
