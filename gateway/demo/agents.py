"""This module is where the demo's tenants get their agents, each decided about as its sample says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from gateway.demo.samples import AgentSample, AssignmentSample
from gateway.demo.together import SharingCall
from models import Agent, AgentStatus, Decision
from models.ids import encode
from resolvers.agent_configs import renamed
from resolvers.agents import create_agent, decide_agent, update_agent
from resolvers.assignments import assign_agent, unassign_agent


async def enrol(call: SharingCall, samples: tuple[AgentSample, ...]) -> dict[str, UUID]:
    """Make the agents, and decide about each as its sample says; ids by name."""
    made: dict[str, UUID] = {}
    for sample in samples:
        agent = await _make(call, sample, made)
        made[sample.name] = agent.id
        await _decide(call, agent, sample)
        agent.source_ref = f"demo.agents:{sample.name}"
        await call.shared.session.flush()
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


async def _make(call: SharingCall, sample: AgentSample, made: Mapping[str, UUID]) -> Agent:
    parts: dict[str, Any] = {"sub_agents": list(sample.parts)} if sample.parts else {}
    ids = {name: encode(Agent.__typeid__, one) for name, one in made.items()}
    return await create_agent(
        call,
        name=sample.name,
        type=sample.type,
        title=sample.title,
        domain=sample.domain,
        description=sample.description,
        model=sample.model,
        instruction=sample.instruction,
        capabilities=list(sample.capabilities),
        guardrails=list(sample.guardrails),
        config=renamed({**sample.config, **parts} or None, ids),
        is_router=sample.is_router,
        escalates_to_id=made[sample.escalates_to] if sample.escalates_to else None,
    )


async def _decide(call: SharingCall, agent: Agent, sample: AgentSample) -> None:
    if agent.status is sample.status:
        return
    if sample.status is AgentStatus.REJECTED:
        await decide_agent(call, id=agent.id, decision=Decision.REJECT, reason=sample.rejection_reason)
        return
    await decide_agent(call, id=agent.id, decision=Decision.APPROVE)
    if sample.status is AgentStatus.DISABLED:
        await update_agent(call, id=agent.id, expected_version=agent.version, status=AgentStatus.DISABLED)
