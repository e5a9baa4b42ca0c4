"""This module is where a tree of workspaces leaves as a document, and where one comes to life with new ids.

Security boundary: secrets stay behind, and what comes in begins as anything new does: its agents are PENDING until
somebody decides about them, its workspaces wait for a runtime and have no token.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func, select

from dataloaders.canvas import keep_layouts
from dataloaders.registry import tree_of
from models import (
    Agent,
    AgentAssignment,
    AgentReference,
    AgentType,
    CanvasLayout,
    EventTopic,
    Scope,
    Workspace,
    WorkspaceStatus,
)
from models.database import TenantSession
from models.errors import Refusal, RefusalCode, not_found
from models.ids import encode, uuid7
from resolvers.agent_configs import agents_in
from resolvers.agent_links import check_catalog, check_model, lock_links
from resolvers.agents import AgentFields, new_agent
from resolvers.bundle_documents import MOST_WORKSPACES, Parts, localized, read, write
from resolvers.call import Call
from resolvers.hierarchy import lock_structure, parent_with_room
from resolvers.plans import refuse_beyond
from resolvers.unit_of_work import UnitOfWork

_SAID: Final = ("title", "domain", "description", "model", "instruction")


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
    not grow with the bundle, but for agents that use servers and tools.
    """
    parts = read(bundle)
    if parts.agents:
        call.require(Scope.AGENTS_WRITE)
    async with call.work() as work:
        await refuse_beyond(work, "workspaces", len(parts.workspaces))
        if parts.agents:
            await refuse_beyond(work, "agents", parts.agents)
            # Before any workspace is locked, as by everybody who changes what agents are made of.
            await lock_links(work)
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
    """The bundle's agents by the ref of their workspace, as createAgent would make each; two statements for all.

    Besides two for each that uses servers or tools, and one for each model.
    """
    said = {one["ref"]: (place, one["agent"]) for place, one in enumerate(parts.workspaces) if one.get("agent")}
    if not said:
        return {}
    ids = {ref: uuid7() for ref in said}
    agents: dict[str, Agent] = {}
    for ref, (place, one) in said.items():
        with _within(place):
            agents[ref] = _agent(one, ids)
        agents[ref].id, agents[ref].workspace_id = ids[ref], places[ref].id
    _refuse_cycles({ref: place for ref, (place, _) in said.items()}, agents)
    for model in dict.fromkeys(agent.model for agent in agents.values()):
        await check_model(work, model)
    for ref, (place, _) in said.items():
        with _within(place):
            await check_catalog(work, agents[ref].config)
    for agent in _highest_first(agents.values()):
        work.add(agent)
    await work.session.flush()
    for agent in agents.values():
        work.add(AgentAssignment(workspace_id=agent.workspace_id, agent_id=agent.id, model=agent.model))
        for named in agents_in(agent.config):
            work.add(AgentReference(agent_id=agent.id, target_id=named.id, kind=named.kind, place=named.place))
    await work.session.flush()
    return agents


def _agent(one: dict[str, Any], ids: dict[str, UUID]) -> Agent:
    config, escalates_to = one.get("config"), one.get("escalatesTo")
    fields = AgentFields(
        capabilities=one.get("capabilities", []),
        guardrails=one.get("guardrails", []),
        escalates_to_id=ids[escalates_to] if escalates_to is not None else None,
    )
    for name in _SAID:
        if one.get(name) is not None:
            fields[name] = one[name]
    if config is not None:
        fields["config"] = localized(config, ids)
    agent, _ = new_agent(one["name"].strip(), AgentType[one["type"]], fields)
    return agent


@contextmanager
def _within(place: int) -> Iterator[None]:
    """A refusal of an agent, with the path into the bundle instead of into createAgent's input."""
    try:
        yield
    except Refusal as refusal:
        field = ("input", "bundle", "workspaces", str(place), "agent", *(refusal.field or ("input",))[1:])
        raise Refusal(refusal.code, refusal.message, field=field) from refusal


def _refuse_cycles(order: dict[str, int], agents: dict[str, Agent]) -> None:
    """None is made of itself or hands over to itself; agents of the bundle name no others."""
    parts = {one.id: [named.id for named in agents_in(one.config)] for one in agents.values()}
    handed = {one.id: [one.escalates_to] if one.escalates_to is not None else [] for one in agents.values()}
    for ref, agent in agents.items():
        for edges, field in ((parts, "config"), (handed, "escalatesTo")):
            reached, waiting = set[UUID](), list(edges[agent.id])
            while waiting:
                one = waiting.pop()
                if one not in reached:
                    reached.add(one)
                    waiting += edges.get(one, [])
            if agent.id in reached:
                at = ("input", "bundle", "workspaces", str(order[ref]), "agent", field)
                raise Refusal(RefusalCode.CYCLE, "It would be made of itself or hand over to itself.", field=at)


def _highest_first(agents: Iterable[Agent]) -> list[Agent]:
    """In an order in which each comes after the one that it hands over to; there are no cycles."""
    by_id = {one.id: one for one in agents}
    ordered: dict[UUID, Agent] = {}
    for agent in by_id.values():
        line: list[Agent] = []
        above: Agent | None = agent
        while above is not None and above.id not in ordered:
            line.append(above)
            above = by_id.get(above.escalates_to) if above.escalates_to is not None else None
        ordered |= {one.id: one for one in reversed(line)}
    return list(ordered.values())


def _tell(work: UnitOfWork, parts: Parts, places: dict[str, Workspace], agents: dict[str, Agent]) -> None:
    for one in parts.workspaces:
        place, agent = places[one["ref"]], agents.get(one["ref"])
        structure = "WORKSPACE_AWAITING_AGENT"
        work.tell(place, "workspace.created", None, structure=structure, target_id=place.parent_id)
        if agent is None:
            continue
        work.tell(agent, "agent.created", None, {"status": agent.status.value})
        before, kind = place.facets(), "agent.assigned"
        structure = "AGENT_ASSIGNED"
        work.tell(place, kind, before, structure=structure, topic=EventTopic.STRUCTURE, agent_id=agent.id)
