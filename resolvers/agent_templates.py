"""This module is where sets of agents are kept as templates, and made all at once.

In a template agents name each other by name. Everybody sees the platform's templates; they are the platform's to
change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypedDict, Unpack
from uuid import UUID

from pydantic import Field
from sqlalchemy import select

from dataloaders.agents import router_of
from dataloaders.base import by_id, seen_by
from models import Agent, AgentTemplate, AgentType, Scope
from models.errors import Refusal, RefusalCode, invalid, not_found
from models.ids import encode
from resolvers.agent_configs import agents_in, renamed
from resolvers.agent_links import check_catalog, check_model, keep_parts, lock_links, settings_of
from resolvers.agents import AgentFields, new_agent
from resolvers.call import Call
from resolvers.changing import take_over
from resolvers.idempotency import Replay, replayed_ids
from resolvers.plans import refuse_beyond
from resolvers.shapes import Shape, shaped
from resolvers.shared import locked_own
from resolvers.uniqueness import flush_unique
from resolvers.unit_of_work import UnitOfWork
from resolvers.validation import document, line, prose

NAME_LIMIT: Final = 255
CATEGORY_LIMIT: Final = 100
DESCRIPTION_LIMIT: Final = 10_000
CONFIG_LIMIT_BYTES: Final = 131_072
MOST_AGENTS: Final = 50

_TAKEN: Final = {"uq_agent_templates_name": ("name", "There is a template of this name already.")}
_Type = Annotated[str, Field(pattern="^(" + "|".join(one.value for one in AgentType) + ")$")]


class AgentPart(Shape):
    """One agent of a template."""

    name: str
    type: _Type = AgentType.LLM.value
    title: str = ""
    domain: str = ""
    description: str = ""
    model: str = ""
    instruction: str = ""
    capabilities: list[str] = Field(default_factory=list)
    guardrails: list[str] = Field(default_factory=list)
    config: dict[str, Any] = Field(default_factory=dict)
    is_router: bool = False
    escalates_to: str = ""


class TemplateConfig(Shape):
    """What a template holds."""

    agents: list[AgentPart] = Field(min_length=1, max_length=MOST_AGENTS)


class TemplateChanges(TypedDict, total=False):
    """What an update may say; absent stays, None clears."""

    name: str
    description: str | None
    config: dict[str, Any]
    category: str | None


@dataclass(frozen=True, slots=True)
class _Plan:
    """One agent that is about to be made, with the name of the one that it hands over to."""

    agent: Agent
    escalates_to: str


async def create_agent_template(
    call: Call, *, name: str, config: Any, description: str | None = None, category: str | None = None
) -> AgentTemplate:
    """A new template of the tenant's own. Raises INVALID, ALREADY_EXISTS. Commits."""
    said = TemplateChanges(name=name, config=config)
    template = AgentTemplate(
        **_cleaned(said),
        description=prose(description, DESCRIPTION_LIMIT, "description") if description is not None else "",
        category=line(category, CATEGORY_LIMIT, "category") if category is not None else "general",
    )
    async with call.work() as work:
        work.add(template)
        await flush_unique(work, _TAKEN)
        work.tell(template, "agent_template.created", None)
    return template


async def update_agent_template(
    call: Call, *, id: UUID, expected_version: int, **changes: Unpack[TemplateChanges]
) -> AgentTemplate:
    """Change a template of the tenant's own. Raises INVALID, NOT_FOUND, CONFLICT, IMMUTABLE, ALREADY_EXISTS. Commits.

    Agents that were made from it stay as they are.
    """
    cleaned = _cleaned(changes)
    async with call.work() as work:
        template = await locked_own(work, AgentTemplate, id, expected_version=expected_version, what="template")
        _refuse_builtin(template)
        before = template.facets()
        changed = take_over(template, cleaned)
        if changed:
            await flush_unique(work, _TAKEN)
            work.tell(template, "agent_template.updated", before, {"changed": changed})
    return template


async def delete_agent_template(call: Call, *, id: UUID, expected_version: int | None = None) -> str:
    """Forget a template of the tenant's own; its TypeID. Raises NOT_FOUND, CONFLICT, IMMUTABLE. Commits."""
    async with call.work() as work:
        template = await locked_own(work, AgentTemplate, id, expected_version=expected_version, what="template")
        _refuse_builtin(template)
        await work.session.delete(template)
        await work.session.flush()
        work.tell(template, "agent_template.deleted", template.facets(), gone=True)
    return template.typeid


async def create_agents_from_template(call: Call, *, template_id: UUID, model: str | None = None) -> list[Agent]:
    """The template's agents, in its order, waiting for a decision; its router is active at once. Commits.

    Where the tenant has a router already, that one takes the place of the template's. ``model`` stands before what the
    template and the tenant's settings say. Raises FORBIDDEN, NOT_FOUND, INVALID, LIMIT_EXCEEDED.
    """
    try:
        async with call.work() as work:
            return await _make(call, work, template_id, model)
    except Replay as replay:
        found: list[Agent | None] = await call.loaders.of(by_id(Agent)).load_many(replayed_ids(replay, "agent"))
        return [one for one in found if one is not None]


async def _make(call: Call, work: UnitOfWork, template_id: UUID, model: str | None) -> list[Agent]:
    template = await _found(work, template_id)
    parts = [AgentPart.model_validate(one) for one in template.config["agents"]]
    await refuse_beyond(work, "agents", adding=len(parts))
    await lock_links(work)
    router = await router_of(work.session)
    fallback = str((await settings_of(work)).get("default_model") or "")
    ids = {one.name: router for one in parts if one.is_router and router is not None}
    plans = [_plan(one, model or one.model or fallback) for one in parts if one.name not in ids]
    if any(plan.agent.is_router for plan in plans):
        call.require(Scope.AGENTS_DECIDE)
    for wanted in dict.fromkeys(plan.agent.model for plan in plans):
        await check_model(work, wanted)
    ids |= {plan.agent.name: plan.agent.id for plan in plans}
    await _insert(work, template, plans, ids)
    return [plan.agent for plan in plans]


async def _insert(work: UnitOfWork, template: AgentTemplate, plans: list[_Plan], ids: dict[str, UUID]) -> None:
    named = {name: encode(Agent.__typeid__, one) for name, one in ids.items()}
    for plan in plans:
        plan.agent.config = renamed(plan.agent.config, named)
        plan.agent.escalates_to = ids[plan.escalates_to] if plan.escalates_to else None
        work.tell(plan.agent, "agent.created", None, {"template": template.typeid})
        await check_catalog(work, plan.agent.config)
    for plan in _highest_first(plans):
        work.add(plan.agent)
    await flush_unique(work, {"uq_agents_router": ("templateId", "There is a router already.")})
    for plan in plans:
        await keep_parts(work, plan.agent, list(agents_in(plan.agent.config)))


async def _found(work: UnitOfWork, template_id: UUID) -> AgentTemplate:
    template: AgentTemplate | None = await work.session.scalar(
        select(AgentTemplate).where(seen_by(AgentTemplate, work.tenant_id), AgentTemplate.id == template_id)
    )
    if template is None:
        raise not_found("template", "input", "templateId")
    return template


def _plan(part: AgentPart, model: str) -> _Plan:
    said = {
        "title": part.title or None,
        "domain": part.domain or None,
        "description": part.description or None,
        "instruction": part.instruction or None,
        "capabilities": part.capabilities,
        "guardrails": part.guardrails,
        "config": part.config or None,
        "is_router": part.is_router,
    }
    kind = AgentType(part.type)
    if kind is AgentType.LLM and not model:
        raise invalid("Neither the template nor the tenant's default_model names a model.", "input", "model")
    fields = AgentFields(**said, **({"model": model} if kind is AgentType.LLM else {}))  # type: ignore[typeddict-item]
    agent, _ = new_agent(part.name, kind, fields)
    return _Plan(agent, part.escalates_to)


def _highest_first(plans: Sequence[_Plan]) -> list[_Plan]:
    """The plans in an order in which each comes after the one that it hands over to; there are no cycles."""
    by_name = {plan.agent.name: plan for plan in plans}
    ordered: dict[str, _Plan] = {}
    for plan in plans:
        line = []
        above: _Plan | None = plan
        while above is not None and above.agent.name not in ordered:
            line.append(above)
            above = by_name.get(above.escalates_to)
        ordered |= {one.agent.name: one for one in reversed(line)}
    return list(ordered.values())


def _cleaned(changes: TemplateChanges) -> dict[str, Any]:
    cleaned: dict[str, Any] = dict(changes)
    if "name" in cleaned:
        cleaned["name"] = line(cleaned["name"] or "", NAME_LIMIT, "name")
    if "description" in cleaned:
        cleaned["description"] = prose(cleaned["description"] or "", DESCRIPTION_LIMIT, "description")
    if "category" in cleaned:
        cleaned["category"] = line(cleaned["category"] or "general", CATEGORY_LIMIT, "category")
    if "config" in cleaned:
        cleaned["config"] = _config(cleaned["config"])
    return cleaned


def _config(value: Any) -> dict[str, Any]:
    """A template's configuration, of which every agent could be made. Raises INVALID, CYCLE with the path."""
    said = document(value, CONFIG_LIMIT_BYTES, "config")
    parts = [AgentPart.model_validate(one) for one in shaped(TemplateConfig, said, "config")["agents"]]
    field = ("config", "agents")
    names = [one.name for one in parts]
    routers = [place for place, one in enumerate(parts) if one.is_router]
    if len(routers) > 1:
        raise invalid("A template has one router at most.", "input", *field, str(routers[1]), "is_router")
    for place, part in enumerate(parts):
        at = (*field, str(place))
        if names.index(part.name) != place:
            raise invalid("Each agent of a template has a name of its own.", "input", *at, "name")
        _check_part(part, names, *at)
    _refuse_cycles(parts, *field)
    return said


def _check_part(part: AgentPart, names: Sequence[str], *at: str) -> None:
    try:
        _plan(part, part.model or "any")
    except Refusal as refusal:
        path = (refusal.field or ("input",))[1:]
        raise Refusal(refusal.code, refusal.message, field=("input", *at, *path)) from refusal
    if part.escalates_to and part.escalates_to not in names:
        raise invalid("No agent of the template has this name.", "input", *at, "escalates_to")
    for one in agents_in(part.config):
        if one.text not in names:
            raise invalid("No agent of the template has this name.", "input", *at, "config", *one.path)


def _refuse_cycles(parts: Sequence[AgentPart], *field: str) -> None:
    edges = {one.name: [*(named.text for named in agents_in(one.config))] for one in parts}
    handed = {one.name: [one.escalates_to] if one.escalates_to else [] for one in parts}
    for kind in (edges, handed):
        for place, part in enumerate(parts):
            reached, waiting = set[str](), list(kind[part.name])
            while waiting:
                name = waiting.pop()
                if name == part.name:
                    raise Refusal(
                        RefusalCode.CYCLE,
                        "It would be made of itself or hand over to itself.",
                        field=("input", *field, str(place)),
                    )
                if name not in reached:
                    reached.add(name)
                    waiting += kind[name]


def _refuse_builtin(template: AgentTemplate) -> None:
    if template.is_builtin:
        raise Refusal(
            RefusalCode.IMMUTABLE, "Built-in templates stay as they are.", field=("input", "id"), current=template
        )
