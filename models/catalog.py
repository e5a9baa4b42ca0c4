"""This module is where stands what agents can be given: model providers, MCP servers and tools."""

from __future__ import annotations

from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from models.activity import EventTopic
from models.base import ImportedRow, TextEnum, belongs_to, one_of, tenant_key
from models.scopes import Scope
from models.tenants import SharedRow


class LlmProviderType(StrEnum):
    """Whose interface a model provider speaks."""

    ANTHROPIC = "anthropic"
    OPENAI = "openai"
    GOOGLE = "google"
    OLLAMA = "ollama"


class McpServerType(StrEnum):
    """Where an MCP server comes from."""

    OFFICIAL = "official"
    COMMUNITY = "community"
    CUSTOM = "custom"


class LlmProvider(ImportedRow):
    """A language model at a provider; at most one of a tenant is the default."""

    __tablename__ = "llm_providers"
    __typeid__ = "provider"
    __topic__ = EventTopic.INTEGRATIONS
    __read_scope__ = Scope.CATALOG_READ

    name: Mapped[str]
    provider_type: Mapped[LlmProviderType] = mapped_column(TextEnum(LlmProviderType))
    model_id: Mapped[str]
    secret_id: Mapped[UUID | None]
    is_default: Mapped[bool] = mapped_column(default=False)
    is_enabled: Mapped[bool] = mapped_column(default=True)
    api_base_url: Mapped[str | None]
    config: Mapped[dict[str, Any]] = mapped_column(default=dict)
    version: Mapped[int] = mapped_column(default=1)

    __mapper_args__ = {"version_id_col": version}

    @classmethod
    def constraints(cls) -> tuple[Any, ...]:
        return (
            *super().constraints(),
            tenant_key(),
            belongs_to("secret_id", "secrets", ondelete="SET NULL"),
            one_of("provider_type", LlmProviderType),
            Index("uq_llm_providers_name", "tenant_id", "name", unique=True),
            Index("uq_llm_providers_default", "tenant_id", unique=True, postgresql_where=text("is_default")),
            Index("ix_llm_providers_by_name", "tenant_id", "name", "id"),
            Index("ix_llm_providers_newest", "tenant_id", text("created_at DESC"), text("id DESC")),
            Index("ix_llm_providers_secret", "tenant_id", "secret_id"),
        )

    @property
    def has_key(self) -> bool:
        """Whether a key is stored."""
        return self.secret_id is not None

    def facets(self) -> dict[str, Any]:
        """What filters and visibility may look at in an event's envelope."""
        return {
            "id": str(self.id),
            "provider_type": self.provider_type.value,
            "is_default": self.is_default,
            "is_enabled": self.is_enabled,
            "search": [self.name, self.model_id],
        }


class McpServer(SharedRow):
    """A server of tools that speaks the Model Context Protocol."""

    __tablename__ = "mcp_servers"
    __typeid__ = "mcp"
    __topic__ = EventTopic.INTEGRATIONS
    __read_scope__ = Scope.CATALOG_READ

    name: Mapped[str]
    description: Mapped[str | None]
    config: Mapped[dict[str, Any]] = mapped_column(default=dict)
    environments: Mapped[dict[str, Any]] = mapped_column(default=dict)
    tools: Mapped[list[Any]] = mapped_column(JSONB(none_as_null=True), default=list)
    type: Mapped[McpServerType] = mapped_column(TextEnum(McpServerType), default=McpServerType.CUSTOM)
    version: Mapped[int] = mapped_column(default=1)

    __mapper_args__ = {"version_id_col": version}

    @classmethod
    def constraints(cls) -> tuple[Any, ...]:
        return (
            *super().constraints(),
            tenant_key(),
            one_of("type", McpServerType),
            Index("uq_mcp_servers_name", "tenant_id", "name", unique=True),
            Index("ix_mcp_servers_by_name", "tenant_id", "name", "id"),
            Index("ix_mcp_servers_newest", "tenant_id", text("created_at DESC"), text("id DESC")),
        )

    def facets(self) -> dict[str, Any]:
        """What filters and visibility may look at in an event's envelope."""
        return {"id": str(self.id), "type": self.type.value, "search": [self.name]}


class Tool(SharedRow):
    """A tool that agents can be given by itself."""

    __tablename__ = "tools"
    __typeid__ = "tool"
    __topic__ = EventTopic.INTEGRATIONS
    __read_scope__ = Scope.CATALOG_READ

    name: Mapped[str]
    description: Mapped[str | None]
    config: Mapped[dict[str, Any]] = mapped_column(default=dict)
    environments: Mapped[dict[str, Any]] = mapped_column(default=dict)
    version: Mapped[int] = mapped_column(default=1)

    __mapper_args__ = {"version_id_col": version}

    @classmethod
    def constraints(cls) -> tuple[Any, ...]:
        return (
            *super().constraints(),
            tenant_key(),
            Index("uq_tools_name", "tenant_id", "name", unique=True),
            Index("ix_tools_by_name", "tenant_id", "name", "id"),
            Index("ix_tools_newest", "tenant_id", text("created_at DESC"), text("id DESC")),
        )

    def facets(self) -> dict[str, Any]:
        """What filters and visibility may look at in an event's envelope."""
        return {"id": str(self.id), "search": [self.name]}
