"""This module is where the demo's tenants get their agents, each decided about as its sample says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from gateway.demo.samples import AgentSample, AssignmentSample
from gateway.demo.together import SharingCall
from models import Agent, AgentStatus, EventTopic, Scope
from models.ids import encode, uuid7
from resolvers.assignments import assign_agent, unassign_agent
from resolvers.unit_of_work import UnitOfWork
from subscriptions.log import Envelope

_DECIDED: Final = {
    AgentStatus.PENDING: (),
    AgentStatus.ACTIVE: ("agent.approved",),
    AgentStatus.DISABLED: ("agent.approved", "agent.disabled"),
    AgentStatus.REJECTED: ("agent.rejected",),
}
_STATUS_AFTER: Final = {
    "agent.created": AgentStatus.PENDING,
    "agent.approved": AgentStatus.ACTIVE,
    "agent.disabled": AgentStatus.DISABLED,
    "agent.rejected": AgentStatus.REJECTED,
}


async def enrol(call: SharingCall, samples: tuple[AgentSample, ...]) -> dict[str, UUID]:
    """Make the agents with the events of their lives; ids by name. Their use cases come with their domain."""
    work, made = call.shared, dict[str, UUID]()
    for sample in samples:
        agent = _agent(sample, made)
        if sample.status is not AgentStatus.PENDING:
            agent.approved_by, agent.approved_at = call.who.user_id, work.now
        work.add(agent)
        await work.session.flush()
        made[sample.name] = agent.id
        facets: dict[str, Any] | None = None
        for kind in ("agent.created", *_DECIDED[sample.status]):
            facets = _record(work, agent, kind, facets)
    return made


async def place(
    call: SharingCall, samples: tuple[AssignmentSample, ...], places: Mapping[str, UUID], agents: Mapping[str, UUID]
) -> None:
    """Assign agents, one after the other where there were several."""
    for sample in samples:
        there = places[sample.place]
        for name in sample.agents:
            await assign_agent(call, workspace_id=there, agent_id=agents[name], replace=True)
        if sample.is_over:
            await unassign_agent(call, workspace_id=there, agent_id=agents[sample.agents[-1]])


def _agent(sample: AgentSample, made: Mapping[str, UUID]) -> Agent:
    parts = [encode(Agent.__typeid__, made[name]) for name in sample.parts]
    config = {**sample.config, **({"sub_agents": parts} if parts else {})}
    return Agent(
        id=uuid7(),
        name=sample.name,
        title=sample.title,
        domain=sample.domain,
        description=sample.description,
        type=sample.type,
        model=sample.model,
        instruction=sample.instruction,
        capabilities=list(sample.capabilities),
        guardrails=list(sample.guardrails),
        config=config or None,
        status=sample.status,
        is_router=sample.is_router,
        escalates_to=made[sample.escalates_to] if sample.escalates_to else None,
        rejection_reason=sample.rejection_reason,
        source_ref=f"demo.agents:{sample.name}",
    )


def _record(work: UnitOfWork, agent: Agent, kind: str, before: dict[str, Any] | None) -> dict[str, Any]:
    status = _STATUS_AFTER[kind]
    after = {
        "id": str(agent.id),
        "status": status.value,
        "type": agent.type.value,
        "domain": agent.domain,
        "workspace_id": None,
        "search": [word for word in (agent.name, agent.title, agent.domain) if word],
    }
    work.record(
        Envelope(
            topic=EventTopic.REGISTRY,
            kind=kind,
            entity_type=Agent.__typeid__,
            entity_id=agent.id,
            required_scope=Scope.AGENTS_READ,
            before=before,
            after=after,
            payload={"status": status.value},
        )
    )
    return after
