"""This module is where agents are fetched: by workspace, by filter, along what they are made of and hand over to."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, and_, any_, bindparam, func, or_, select, text, true
from sqlalchemy.orm import aliased

from dataloaders.base import grouped
from dataloaders.pages import Listing, Order, any_of, equals, words
from models import Agent, AgentReference, AgentStatus, AgentTemplate
from models.database import TenantSession

MAX_REACHED: Final = 5_000
"""No agent is made of more than this many others, counted once for each of its parts."""

MAX_ESCALATIONS: Final = 32
MOST_NAMED: Final = 150
"""By one configuration: 50 parts, 50 tools, 50 tasks."""

MOST_USERS: Final = 50
MAX_ROUTABLE: Final = 1_000

agents: Final = Listing(
    Agent,
    filters={
        "status": any_of(Agent.status),
        "type": any_of(Agent.type),
        "domain": equals(Agent.domain),
        "workspace_id": equals(Agent.workspace_id),
        "search": words(Agent),
    },
    orders={
        "created_at": Order(Agent.created_at),
        "name": Order(Agent.name),
        "updated_at": Order(Agent.updated_at),
    },
    always=lambda _: [Agent.deleted_at.is_(None)],
)

agents_by_workspace: Final = grouped(
    select(Agent)
    .where(
        Agent.tenant_id == bindparam("tenant", type_=Uuid()),
        Agent.workspace_id == any_(bindparam("keys", type_=ARRAY(Uuid))),
        Agent.deleted_at.is_(None),
    )
    .order_by(Agent.name, Agent.id)
    .limit(10_000),
    "workspace_id",
)
"""The agents assigned to each workspace now; the assignments keep it to one."""


async def place_of(session: TenantSession, agent_id: UUID) -> UUID | None:
    """The workspace in which the agent works now; None for one that is nowhere, or is none."""
    place: UUID | None = await session.scalar(
        select(Agent.workspace_id).where(Agent.tenant_id == session.tenant_id, Agent.id == agent_id)
    )
    return place


async def sub_agents_by_agent(session: TenantSession, ids: Sequence[UUID]) -> list[list[Agent]]:
    """The agents that the configuration of each names, in its order, each once: its parts, tools and tasks."""
    statement = (
        select(AgentReference.agent_id, Agent)
        .join(Agent, and_(Agent.tenant_id == AgentReference.tenant_id, Agent.id == AgentReference.target_id))
        .where(
            AgentReference.tenant_id == session.tenant_id,
            AgentReference.agent_id == func.any(list(ids)),
            Agent.deleted_at.is_(None),
        )
        .order_by(AgentReference.agent_id, AgentReference.kind, AgentReference.place)
        .limit(MOST_NAMED * len(ids))
    )
    return _once_each(await session.execute(statement), ids)


async def users_by_agent(session: TenantSession, ids: Sequence[UUID]) -> list[list[Agent]]:
    """The agents whose configuration names each, by name, at most 50."""
    named = func.unnest(bindparam("named", list(ids), type_=ARRAY(Uuid))).table_valued("id", name="named")
    one = named.render_derived()
    naming = (
        select(AgentReference.agent_id)
        .where(AgentReference.tenant_id == session.tenant_id, AgentReference.target_id == one.c.id)
        .correlate(one)
    )
    some = (
        select(Agent)
        .where(Agent.tenant_id == session.tenant_id, Agent.id.in_(naming), Agent.deleted_at.is_(None))
        .order_by(Agent.name, Agent.id)
        .limit(MOST_USERS)
        .lateral("using")
    )
    user = aliased(Agent, some)
    statement = select(one.c.id, user).select_from(one.join(some, true())).order_by(one.c.id, user.name, user.id)
    return _once_each(await session.execute(statement), ids)


def _once_each(rows: Iterable[Any], ids: Sequence[UUID]) -> list[list[Agent]]:
    """The agents of each id, in the order of the rows: what a row names twice stands once."""
    found: dict[UUID, dict[UUID, Agent]] = {}
    for key, agent in rows:
        found.setdefault(key, {}).setdefault(agent.id, agent)
    return [list(found.get(one, {}).values()) for one in ids]


agent_templates: Final = Listing(
    AgentTemplate,
    filters={"category": equals(AgentTemplate.category), "name": equals(AgentTemplate.name)},
    orders={"created_at": Order(AgentTemplate.created_at), "name": Order(AgentTemplate.name)},
)

_REACHED: Final = text(
    """
WITH RECURSIVE reached (start, id) AS (
  SELECT one, one FROM unnest(CAST(:starts AS uuid[])) AS one
  UNION
  SELECT reached.start, r.target_id FROM agent_references r
    JOIN reached ON r.agent_id = reached.id WHERE r.tenant_id = :tenant
) SELECT start, id FROM reached LIMIT :most
"""
)

_ESCALATION: Final = text(
    """
WITH RECURSIVE line AS (
  SELECT id, escalates_to, 1 AS depth FROM agents
    WHERE tenant_id = :tenant AND id = :start AND deleted_at IS NULL
  UNION ALL
  SELECT a.id, a.escalates_to, line.depth + 1 FROM agents a
    JOIN line ON a.id = line.escalates_to WHERE a.tenant_id = :tenant AND line.depth < :depth
) SELECT id FROM line LIMIT :depth
"""
)


async def reached_from(session: TenantSession, starts: Sequence[UUID]) -> list[tuple[UUID, UUID]]:
    """Each of ``starts`` with every agent that it is made of, itself included; at most one more than 5,000 pairs."""
    # UNION, not UNION ALL: what was reached before is not walked again, so even a cycle comes to its end.
    rows = await session.execute(
        _REACHED, {"tenant": session.tenant_id, "starts": list(starts), "most": MAX_REACHED + 1}
    )
    return [(row.start, row.id) for row in rows]


async def escalation_line(session: TenantSession, agent_id: UUID) -> list[UUID]:
    """The agent and those it hands over to, one after the other; at most 32, none where there is no such agent."""
    rows = await session.scalars(
        _ESCALATION, {"tenant": session.tenant_id, "start": agent_id, "depth": MAX_ESCALATIONS}
    )
    return list(rows)


async def places_of(session: TenantSession, ids: Collection[UUID]) -> dict[UUID, UUID]:
    """The workspaces in which these agents work now, by agent; without those that are nowhere."""
    if not ids:
        return {}
    rows = await session.execute(
        select(Agent.id, Agent.workspace_id)
        .where(Agent.tenant_id == session.tenant_id, Agent.id == func.any(list(ids)))
        .limit(len(ids))
    )
    return {row.id: row.workspace_id for row in rows if row.workspace_id is not None}


async def agents_present(session: TenantSession, ids: Sequence[UUID]) -> dict[UUID, str]:
    """Which of ``ids`` are agents of the tenant that are not deleted, with their names."""
    rows = await session.execute(
        select(Agent.id, Agent.name)
        .where(
            Agent.tenant_id == session.tenant_id,
            Agent.id == func.any(list(ids)),
            Agent.deleted_at.is_(None),
        )
        .limit(len(ids))
    )
    return {row.id: row.name for row in rows}


async def agents_named(session: TenantSession, names: Sequence[str]) -> dict[str, list[UUID]]:
    """The agents of these names that are not deleted, at most 1,000."""
    rows = await session.execute(
        select(Agent.id, Agent.name)
        .where(Agent.tenant_id == session.tenant_id, Agent.name == func.any(list(names)), Agent.deleted_at.is_(None))
        .order_by(Agent.name, Agent.id)
        .limit(1000)
    )
    found: dict[str, list[UUID]] = {}
    for row in rows:
        found.setdefault(row.name, []).append(row.id)
    return found


async def agents_that_need(session: TenantSession, agent_id: UUID) -> list[str]:
    """The names of up to 4 agents that are made of this one or hand over to it."""
    made_of_it = select(AgentReference.agent_id).where(
        AgentReference.tenant_id == session.tenant_id, AgentReference.target_id == agent_id
    )
    rows = await session.scalars(
        select(Agent.name)
        .where(
            Agent.tenant_id == session.tenant_id,
            Agent.deleted_at.is_(None),
            Agent.id != agent_id,
            or_(Agent.escalates_to == agent_id, Agent.id.in_(made_of_it)),
        )
        .order_by(Agent.name, Agent.id)
        .limit(4)
    )
    return list(rows)


async def router_of(session: TenantSession) -> UUID | None:
    """The tenant's router."""
    found: UUID | None = await session.scalar(
        select(Agent.id).where(Agent.tenant_id == session.tenant_id, Agent.is_router, Agent.deleted_at.is_(None))
    )
    return found


@dataclass(frozen=True, slots=True)
class Candidate:
    """What routing looks at of an agent."""

    id: UUID
    name: str
    domain: str | None
    description: str | None
    capabilities: list[str]
    is_router: bool


async def routable(session: TenantSession) -> list[Candidate]:
    """The tenant's active agents, oldest first, at most 1,000."""
    rows = await session.execute(
        select(Agent.id, Agent.name, Agent.domain, Agent.description, Agent.capabilities, Agent.is_router)
        .where(Agent.tenant_id == session.tenant_id, Agent.status == AgentStatus.ACTIVE, Agent.deleted_at.is_(None))
        .order_by(Agent.created_at, Agent.id)
        .limit(MAX_ROUTABLE)
    )
    return [Candidate(*row) for row in rows]
