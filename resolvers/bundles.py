"""This module is where a tree of workspaces leaves as a document, and where one comes to life with new ids.

Security boundary: secrets stay behind, and what comes in begins as anything new does: its agents are PENDING until
somebody decides about them, its workspaces wait for a runtime and have no token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import func, select

from dataloaders.canvas import keep_layouts
from dataloaders.registry import tree_of
from models import Agent, AgentAssignment, AgentType, CanvasLayout, EventTopic, Scope, Workspace, WorkspaceStatus
from models.database import TenantSession
from models.errors import Refusal, RefusalCode, not_found
from models.ids import encode, uuid7
from resolvers.bundle_documents import MOST_WORKSPACES, Parts, localized, read, write
from resolvers.call import Call
from resolvers.hierarchy import lock_structure, parent_with_room
from resolvers.plans import refuse_beyond
from resolvers.registry import record
from resolvers.unit_of_work import UnitOfWork
from subscriptions.log import Envelope


@dataclass(frozen=True, slots=True)
class Bundle:
    """A document that was written, and what is in it."""

    bundle_id: str
    workspace_count: int
    agent_count: int
    bundle: dict[str, Any]


async def export_bundle(call: Call, id: UUID) -> Bundle:
    """The document of a workspace and all that is below it: layouts and agents with them, secrets not.

    Four statements. Raises FORBIDDEN, NOT_FOUND, and LIMIT_EXCEEDED for more than 100 workspaces.
    """
    call.require(Scope.WORKSPACES_READ)
    call.require(Scope.AGENTS_READ)
    call.require_workspace(id)
    async with call.services.database.session(call.tenant_id) as session:
        ids = await tree_of(session, id)
        if len(ids) > MOST_WORKSPACES:
            raise Refusal(
                RefusalCode.LIMIT_EXCEEDED, f"A bundle holds at most {MOST_WORKSPACES} workspaces.", field=("id",)
            )
        rows = await _all(session, Workspace, Workspace.id, ids)
        agents = await _all(session, Agent, Agent.workspace_id, ids)
        layouts = await _all(session, CanvasLayout, CanvasLayout.workspace_id, ids)
    workspaces = _parents_first(id, rows)
    if not workspaces:
        raise not_found("workspace", "id")
    placed = {one.workspace_id: one for one in agents if one.deleted_at is None}
    bundle_id = uuid7()
    said = write(bundle_id, workspaces, placed, {one.workspace_id: one for one in layouts})
    return Bundle(encode("bundle", bundle_id), len(workspaces), len(placed), said)


async def import_bundle(call: Call, *, bundle: Any, parent_id: UUID | None = None) -> Workspace:
    """Make a bundle's workspaces, agents and layouts, all or none, with new ids; its root. Commits.

    Raises FORBIDDEN, INVALID by the path of what is wrong, NOT_FOUND, LIMIT_EXCEEDED. The number of statements does
    not grow with the bundle.
    """
    parts = read(bundle)
    if parts.agents:
        call.require(Scope.AGENTS_WRITE)
    async with call.work() as work:
        await refuse_beyond(work, "workspaces", len(parts.workspaces))
        if parts.agents:
            await refuse_beyond(work, "agents", parts.agents)
        if parent_id is not None:
            await lock_structure(work)
            await parent_with_room(work, parent_id, levels=parts.levels)
        places = await _make_places(work, parts, parent_id)
        agents = await _make_agents(work, parts, places)
        layouts = [
            {"workspace_id": places[one["ref"]].id, "updated_at": work.now, "collapsed": False}
            | {name: one["layout"][name] for name in ("x", "y", "collapsed") if name in one["layout"]}
            for one in parts.workspaces
            if one.get("layout") is not None
        ]
        if layouts:
            await keep_layouts(work.session, layouts)
        _tell(work, parts, places, agents)
    return places[parts.workspaces[0]["ref"]]


async def _all(session: TenantSession, model: Any, column: Any, ids: list[UUID]) -> list[Any]:
    statement = select(model).where(model.tenant_id == session.tenant_id, column == func.any(ids))
    return list(await session.scalars(statement.limit(MOST_WORKSPACES)))


def _parents_first(root: UUID, rows: list[Workspace]) -> list[Workspace]:
    """Level by level, each by name; nothing when the root was removed."""
    children: dict[UUID | None, list[Workspace]] = {}
    for row in sorted(rows, key=lambda row: (row.name, row.id)):
        children.setdefault(row.parent_id, []).append(row)
    level = [row for row in rows if row.id == root and row.status is not WorkspaceStatus.REMOVED]
    found: list[Workspace] = []
    while level:
        found += level
        level = [child for row in level for child in children.get(row.id, ())]
    return found


async def _make_places(work: UnitOfWork, parts: Parts, parent_id: UUID | None) -> dict[str, Workspace]:
    places: dict[str, Workspace] = {}
    for one in parts.workspaces:
        parent = one.get("parent")
        place = Workspace(
            id=uuid7(),
            name=one["name"].strip(),
            role=one.get("role"),
            tier=one.get("tier", 2),
            agent_card=one.get("agentCard"),
            max_concurrent_tasks=one.get("maxConcurrentTasks", 1),
            heartbeat_ttl_seconds=one.get("heartbeatTtlSeconds", 60),
            source_bundle_id=parts.id,
            parent_id=places[parent].id if parent is not None else parent_id,
        )
        places[one["ref"]] = place
        work.add(place)
    await work.session.flush()
    return places


async def _make_agents(work: UnitOfWork, parts: Parts, places: dict[str, Workspace]) -> dict[str, Agent]:
    said = {one["ref"]: one["agent"] for one in parts.workspaces if one.get("agent") is not None}
    ids = {ref: uuid7() for ref in said}
    agents: dict[str, Agent] = {}
    for ref, one in said.items():
        config = one.get("config")
        agents[ref] = Agent(
            id=ids[ref],
            workspace_id=places[ref].id,
            type=AgentType[one["type"]],
            config=localized(config, ids) if config is not None else None,
            escalates_to=ids[one["escalatesTo"]] if one.get("escalatesTo") is not None else None,
            capabilities=one.get("capabilities", []),
            guardrails=one.get("guardrails", []),
            name=one["name"].strip(),
            **{name: one.get(name) for name in ("title", "domain", "description", "model", "instruction")},
        )
        work.add(agents[ref])
    await work.session.flush()
    for agent in agents.values():
        work.add(AgentAssignment(workspace_id=agent.workspace_id, agent_id=agent.id, model=agent.model))
    await work.session.flush()
    return agents


def _tell(work: UnitOfWork, parts: Parts, places: dict[str, Workspace], agents: dict[str, Agent]) -> None:
    for one in parts.workspaces:
        place, agent = places[one["ref"]], agents.get(one["ref"])
        structure = "WORKSPACE_AWAITING_AGENT"
        record(work, place, "workspace.created", None, structure=structure, target_id=place.parent_id)
        if agent is None:
            continue
        work.record(
            Envelope(
                topic=EventTopic.REGISTRY,
                kind="agent.created",
                entity_type=Agent.__typeid__,
                entity_id=agent.id,
                required_scope=Scope.AGENTS_READ,
                before=None,
                after=_facets(agent),
                payload={"status": agent.status.value},
            )
        )
        before, kind = place.facets(), "agent.assigned"
        structure = "AGENT_ASSIGNED"
        record(work, place, kind, before, structure=structure, topic=EventTopic.STRUCTURE, agent_id=agent.id)


def _facets(agent: Agent) -> dict[str, Any]:
    return {
        "id": str(agent.id),
        "status": agent.status.value,
        "type": agent.type.value,
        "domain": agent.domain,
        "workspace_id": str(agent.workspace_id),
        "search": [word for word in (agent.name, agent.title, agent.domain) if word],
    }
