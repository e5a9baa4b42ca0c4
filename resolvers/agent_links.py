"""This module is where what an agent names is looked up: its parts, whom it hands over to, its provider and model.

A tenant's agents change what they are made of one at a time, so that two changes cannot close a cycle together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import delete

from dataloaders.agents import (
    MAX_ESCALATIONS,
    MAX_REACHED,
    agents_present,
    escalation_line,
    reached_from,
)
from dataloaders.catalog import catalog_rows
from models import Agent, AgentReference, LlmProvider, Tenant, Tool
from models.errors import Refusal, RefusalCode, invalid, not_found
from resolvers.agent_configs import Named, agents_in, catalog_in, refuse_unfit
from resolvers.unit_of_work import UnitOfWork

NEEDS_LINKS: Final = frozenset({"config", "escalates_to"})
"""Columns that may name other agents: whoever writes one takes the lock first."""


async def lock_links(work: UnitOfWork) -> None:
    """Wait for every other change of what the tenant's agents are made of. Call it before agents are locked."""
    await work.lock_name("agents")


async def check_parts(work: UnitOfWork, config: dict[str, Any] | None, current: Agent | None = None) -> list[Named]:
    """The agents that a configuration names; each is there, and none is made of ``current``. Four statements at most.

    ``current`` is the agent as it stands; None for a new one, of which nothing can be made yet. Raises NOT_FOUND and
    CYCLE with the path of the one that is wrong, LIMIT_EXCEEDED for one that is made of too many.
    """
    named = list(agents_in(config))
    if named:
        ids = list(dict.fromkeys(one.id for one in named))
        present = await agents_present(work.session, ids)
        for one in named:
            if one.id not in present:
                raise not_found("agent", "input", "config", *one.path)
        if current is not None:
            await _refuse_cycle(work, current, named, ids)
    await check_catalog(work, config)
    return named


async def _refuse_cycle(work: UnitOfWork, current: Agent, named: Sequence[Named], ids: list[UUID]) -> None:
    reached = await reached_from(work.session, ids)
    closing = {start for start, end in reached if end == current.id}
    for one in named:
        if one.id in closing:
            raise Refusal(
                RefusalCode.CYCLE,
                "It would be made of itself.",
                field=("input", "config", *one.path),
                current=current,
            )
    if len(reached) > MAX_REACHED:
        raise Refusal(
            RefusalCode.LIMIT_EXCEEDED, f"It would be made of over {MAX_REACHED:,} agents.", field=("input", "config")
        )


async def check_catalog(work: UnitOfWork, config: dict[str, Any] | None) -> None:
    """The servers and tools that a configuration names are there, and have what it asks for. Two statements at most.

    Raises NOT_FOUND and INVALID with the path.
    """
    used = catalog_in(config)
    for model in dict.fromkeys(one.model for one in used):
        mine = [one for one in used if one.model is model]
        rows = await catalog_rows(work.session, model, list({one.id for one in mine}))
        for one in mine:
            row = rows.get(one.id)
            if row is None:
                what = "tool" if model is Tool else "MCP server"
                raise not_found(what, "input", "config", *one.path, "id")
            refuse_unfit(one, row, "config")


async def keep_parts(work: UnitOfWork, agent: Agent, named: Sequence[Named]) -> None:
    """Write down which agents the configuration names, in the place of what it named before. Does not commit."""
    await work.session.execute(
        delete(AgentReference).where(AgentReference.tenant_id == work.tenant_id, AgentReference.agent_id == agent.id)
    )
    for one in named:
        work.add(AgentReference(agent_id=agent.id, target_id=one.id, kind=one.kind, place=one.place))


async def check_escalation(
    work: UnitOfWork, agent_id: UUID, target_id: UUID | None, current: Agent | None = None
) -> None:
    """Whom an agent hands over to is there, and hands nothing back to it. Raises NOT_FOUND, CYCLE, LIMIT_EXCEEDED."""
    if target_id is None:
        return
    field = ("input", "escalatesToId")
    line = await escalation_line(work.session, target_id)
    if agent_id in line:
        raise Refusal(RefusalCode.CYCLE, "It would hand over to itself.", field=field, current=current)
    if not line:
        raise not_found("agent", *field)
    if len(line) >= MAX_ESCALATIONS:
        raise Refusal(RefusalCode.LIMIT_EXCEEDED, f"At most {MAX_ESCALATIONS} hand over in a row.", field=field)


async def check_provider(work: UnitOfWork, provider_id: UUID | None, field: str = "llmProviderId") -> None:
    """The model provider is there and enabled; locked until COMMIT. Raises NOT_FOUND, INVALID."""
    if provider_id is None:
        return
    provider = await work.locked(LlmProvider, provider_id, "input", field, what="model provider")
    if not provider.is_enabled:
        raise invalid("This model provider is switched off.", "input", field)


async def check_model(work: UnitOfWork, model: str | None) -> None:
    """The model is among those that the tenant's settings allow, where they name any. Raises INVALID."""
    if model is not None and model not in (allowed := await allowed_models(work)) and allowed:
        raise invalid("This model is not among the tenant's allowed_models.", "input", "model")


async def allowed_models(work: UnitOfWork) -> list[str]:
    """The models that the tenant's settings allow; all where they name none."""
    return list((await settings_of(work)).get("allowed_models") or [])


async def settings_of(work: UnitOfWork) -> dict[str, Any]:
    """What the tenant's administrators set."""
    tenant = await work.session.get(Tenant, work.tenant_id)
    return tenant.settings if tenant is not None else {}
