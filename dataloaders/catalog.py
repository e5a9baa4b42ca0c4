"""This module is where what agents can be given is fetched: providers of the tenant, servers and tools also shared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Text, cast, func, select

from dataloaders.base import seen_by
from dataloaders.pages import Listing, Order, any_of, equals
from models import Agent, LlmProvider, McpServer, Tool
from models.database import TenantSession


def _orders(model: Any) -> dict[str, Order]:
    return {"created_at": Order(model.created_at), "name": Order(model.name)}


llm_providers: Final = Listing(
    LlmProvider,
    filters={
        "name": equals(LlmProvider.name),
        "provider_type": any_of(LlmProvider.provider_type),
        "is_enabled": equals(LlmProvider.is_enabled),
    },
    orders=_orders(LlmProvider),
)

mcp_servers: Final = Listing(
    McpServer,
    filters={"name": equals(McpServer.name), "type": any_of(McpServer.type)},
    orders=_orders(McpServer),
)

tools: Final = Listing(Tool, filters={"name": equals(Tool.name)}, orders=_orders(Tool))


async def catalog_rows(session: TenantSession, model: Any, ids: Sequence[UUID]) -> dict[UUID, Any]:
    """The servers or tools with these ids that the tenant sees, by id; one statement."""
    rows = await session.scalars(
        select(model).where(seen_by(model, session.tenant_id), model.id == func.any(list(ids))).limit(len(ids))
    )
    return {row.id: row for row in rows}


async def agent_with(session: TenantSession, typeid: str) -> UUID | None:
    """An agent of the tenant whose configuration names this id."""
    # No index reaches into a configuration: the tenant's agents are gone through, of which the plan allows so many.
    found: UUID | None = await session.scalar(
        select(Agent.id)
        .where(
            Agent.tenant_id == session.tenant_id,
            Agent.deleted_at.is_(None),
            cast(Agent.config, Text).contains(f'"{typeid}"', autoescape=True),
        )
        .limit(1)
    )
    return found


async def agent_of_provider(session: TenantSession, provider_id: UUID) -> UUID | None:
    """An agent of the tenant that uses this provider."""
    found: UUID | None = await session.scalar(
        select(Agent.id)
        .where(Agent.tenant_id == session.tenant_id, Agent.llm_provider_id == provider_id, Agent.deleted_at.is_(None))
        .limit(1)
    )
    return found


async def default_provider(session: TenantSession) -> LlmProvider | None:
    """The tenant's default, locked until COMMIT."""
    found: LlmProvider | None = await session.scalar(
        select(LlmProvider)
        .where(LlmProvider.tenant_id == session.tenant_id, LlmProvider.is_default)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    return found


async def provider_named(session: TenantSession, name: str) -> UUID | None:
    """The tenant's provider of this name."""
    found: UUID | None = await session.scalar(
        select(LlmProvider.id).where(LlmProvider.tenant_id == session.tenant_id, LlmProvider.name == name)
    )
    return found
