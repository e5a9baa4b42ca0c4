"""This module is where agents get their places: one active assignment per workspace, all earlier ones kept."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import select

from dataloaders.agents import place_of
from models import Agent, AgentAssignment, AssignmentStatus, EventTopic, Workspace, WorkspaceStatus
from models.errors import Refusal, RefusalCode, not_found
from resolvers.call import Call
from resolvers.unit_of_work import UnitOfWork
from resolvers.validation import prose


async def assign_agent(call: Call, *, workspace_id: UUID, agent_id: UUID, replace: bool = False) -> Workspace:
    """Put an agent into a workspace, moving it from where it was. Commits.

    Raises NOT_FOUND, ILLEGAL_TRANSITION for a removed workspace, and CONFLICT when another agent is there and
    ``replace`` is false. Assigning the agent that is there already changes nothing.
    """
    async with call.work() as work:
        workspace, agent = await _both(work, workspace_id, agent_id)
        if agent.workspace_id == workspace_id:
            return workspace
        before = workspace.facets()
        present = await _active(work, workspace_id)
        if present is not None and not replace:
            raise Refusal(
                RefusalCode.CONFLICT,
                "Another agent is there; say replace to take its place.",
                field=("input", "agentId"),
                current=workspace,
            )
        kind, structure = "agent.assigned", "AGENT_ASSIGNED"
        if present is not None:
            await _leave(work, present, AssignmentStatus.REPLACED, "model_replaced")
            kind, structure = "agent.replaced", "AGENT_REPLACED"
        left = agent.workspace_id
        if left is not None and (old := await _active(work, left)) is not None:
            old.end(AssignmentStatus.REMOVED, work.now, "moved")
            await _arrive(work, workspace, agent)
            # Not locked: its agent is, by whoever comes for it, and workspaces are locked before agents.
            source = await work.session.get_one(Workspace, (work.tenant_id, left))
            _record_move(work, workspace, source, before, agent_id)
            return workspace
        await _arrive(work, workspace, agent)
        work.tell(workspace, kind, before, structure=structure, topic=EventTopic.STRUCTURE, agent_id=agent_id)
    return workspace


async def move_agent(call: Call, *, agent_id: UUID, workspace_id: UUID) -> Workspace:
    """Take an agent from where it is to an empty workspace, which is returned. Commits.

    Raises NOT_FOUND, also for an agent that is nowhere; ILLEGAL_TRANSITION for a removed workspace; CONFLICT when
    there is an agent already. Moving it to where it is changes nothing.
    """
    async with call.work() as work:
        left = await place_of(work.session, agent_id)
        # By id, the order everyone locks in.
        for id in sorted({workspace_id} | ({left} if left is not None else set())):
            await work.locked(Workspace, id, "input", "workspaceId")
        workspace, agent = await _both(work, workspace_id, agent_id)
        old = await _active(work, agent.workspace_id) if agent.workspace_id is not None else None
        if old is None or old.agent_id != agent_id:
            raise not_found("assignment", "input", "agentId")
        if old.workspace_id == workspace_id:
            return workspace
        if await _active(work, workspace_id) is not None:
            raise Refusal(
                RefusalCode.CONFLICT, "Another agent is there.", field=("input", "workspaceId"), current=workspace
            )
        before = workspace.facets()
        source = await work.locked(Workspace, old.workspace_id)
        old.end(AssignmentStatus.REMOVED, work.now, "moved")
        await _arrive(work, workspace, agent)
        _record_move(work, workspace, source, before, agent_id)
    return workspace


async def unassign_agent(call: Call, *, workspace_id: UUID, agent_id: UUID, reason: str | None = None) -> Workspace:
    """Take an agent out of a workspace. Raises NOT_FOUND when it is not there. Commits."""
    why = prose(reason, 1000, "reason") if reason is not None else "manual_removal"
    async with call.work() as work:
        workspace, _ = await _both(work, workspace_id, agent_id)
        before = workspace.facets()
        present = await _active(work, workspace_id)
        if present is None or present.agent_id != agent_id:
            raise not_found("assignment", "input", "agentId")
        await _leave(work, present, AssignmentStatus.REMOVED, why)
        work.tell(
            workspace,
            "agent.unassigned",
            before,
            structure="AGENT_REMOVED",
            topic=EventTopic.STRUCTURE,
            agent_id=agent_id,
        )
    return workspace


async def free_place(work: UnitOfWork, workspace_id: UUID) -> Workspace:
    """A workspace for an agent that is being made, locked. Raises NOT_FOUND, ILLEGAL_TRANSITION, CONFLICT."""
    workspace = await work.locked(Workspace, workspace_id, "input", "workspaceId")
    _refuse_removed(workspace, None)
    if await _active(work, workspace_id) is not None:
        raise Refusal(RefusalCode.CONFLICT, "Another agent is there.", field=("input", "workspaceId"))
    return workspace


def move_in(work: UnitOfWork, workspace: Workspace, agent: Agent) -> None:
    """Note that a new agent, which is inserted with its place, runs there. Does not commit."""
    work.add(AgentAssignment(workspace_id=workspace.id, agent_id=agent.id, model=agent.model))
    facets = workspace.facets()
    work.tell(
        workspace, "agent.assigned", facets, structure="AGENT_ASSIGNED", topic=EventTopic.STRUCTURE, agent_id=agent.id
    )


async def move_out(work: UnitOfWork, workspace: Workspace, agent: Agent, reason: str) -> None:
    """Take an agent, locked after its workspace, out of it. Does not commit."""
    present = await _active(work, workspace.id)
    if present is not None and present.agent_id == agent.id:
        present.end(AssignmentStatus.REMOVED, work.now, reason)
        facets = workspace.facets()
        work.tell(
            workspace,
            "agent.unassigned",
            facets,
            structure="AGENT_REMOVED",
            topic=EventTopic.STRUCTURE,
            agent_id=agent.id,
        )
    agent.workspace_id = None


async def _arrive(work: UnitOfWork, workspace: Workspace, agent: Agent) -> None:
    # What ends goes to the database first: at no time are there two that are active.
    await work.session.flush()
    agent.workspace_id = workspace.id
    work.add(AgentAssignment(workspace_id=workspace.id, agent_id=agent.id, model=agent.model))


def _record_move(
    work: UnitOfWork, workspace: Workspace, source: Workspace, before: dict[str, Any], agent_id: UUID
) -> None:
    """Tell both workspaces' watchers; in the history of the structure it is one change."""
    work.tell(
        workspace,
        "agent.moved",
        before,
        {"from": source.typeid, "to": workspace.typeid},
        structure="AGENT_MOVED",
        topic=EventTopic.STRUCTURE,
        agent_id=agent_id,
        target_id=source.id,
    )
    work.tell(source, "agent.left", source.facets(), topic=EventTopic.STRUCTURE, agent_id=agent_id)


async def _both(work: UnitOfWork, workspace_id: UUID, agent_id: UUID) -> tuple[Workspace, Agent]:
    workspace = await work.locked(Workspace, workspace_id, "input", "workspaceId")
    agent = await work.locked(Agent, agent_id, "input", "agentId")
    _refuse_removed(workspace, workspace)
    return workspace, agent


def _refuse_removed(workspace: Workspace, current: Workspace | None) -> None:
    if workspace.status is WorkspaceStatus.REMOVED:
        raise Refusal(
            RefusalCode.ILLEGAL_TRANSITION,
            "A removed workspace takes no agents.",
            field=("input", "workspaceId"),
            current=current,
        )


async def _active(work: UnitOfWork, workspace_id: UUID) -> AgentAssignment | None:
    found: AgentAssignment | None = await work.session.scalar(
        select(AgentAssignment).where(
            AgentAssignment.tenant_id == work.tenant_id,
            AgentAssignment.workspace_id == workspace_id,
            AgentAssignment.status == AssignmentStatus.ACTIVE,
        )
    )
    return found


async def _leave(work: UnitOfWork, assignment: AgentAssignment, status: AssignmentStatus, reason: str) -> None:
    assignment.end(status, work.now, reason)
    if assignment.agent_id is not None:
        agent = await work.session.scalar(
            select(Agent).where(Agent.tenant_id == work.tenant_id, Agent.id == assignment.agent_id)
        )
        if agent is not None and agent.workspace_id == assignment.workspace_id:
            agent.workspace_id = None
