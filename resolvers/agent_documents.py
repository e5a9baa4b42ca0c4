"""This module is where an agent becomes a document that leaves, and a document becomes an agent.

A document holds no key, and no decision: what comes in waits for one. It names other agents by their ids, with their
names beside them; where an id is not known, the one agent of that name takes its place.
"""

from __future__ import annotations

from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import Field

from dataloaders.agents import agents_named, agents_present
from dataloaders.base import by_id
from dataloaders.catalog import provider_named
from models import Agent, AgentType, LlmProvider, Scope
from models.database import TenantSession
from models.errors import Refusal, not_found
from models.ids import encode, parse
from resolvers.agent_configs import agents_in, renamed
from resolvers.agents import AgentFields, create_agent
from resolvers.call import Call
from resolvers.shapes import Shape, shaped
from resolvers.validation import document

FORMAT: Final = "signalbox.agent"
VERSION: Final = 1
DOCUMENT_LIMIT_BYTES: Final = 262_144
_AT: Final = ("document", "agent")
_PLAIN: Final = ("title", "domain", "description", "model", "instruction")
_WORDS: Final = {
    "name": "name",
    "isRouter": "isRouter",
    "escalatesToId": "escalatesTo",
    "llmProviderId": "llmProvider",
}
"""What a field of createAgent is called in a document, where the names differ; the others are the same."""

_Type = Annotated[str, Field(pattern="^(" + "|".join(one.value for one in AgentType) + ")$")]


class AgentBody(Shape):
    """An agent in a document; what is not said is left out."""

    name: str
    type: _Type
    title: str = ""
    domain: str = ""
    description: str = ""
    model: str = ""
    instruction: str = ""
    capabilities: list[str] = Field(default_factory=list)
    guardrails: list[str] = Field(default_factory=list)
    config: dict[str, Any] = Field(default_factory=dict)
    isRouter: bool = False
    escalatesTo: str = ""
    llmProvider: str = ""


class AgentDocument(Shape):
    """A document; ``agents`` are the names of the agents that it names, by id."""

    format: Annotated[str, Field(pattern=f"^{FORMAT}$")]
    version: Annotated[int, Field(ge=VERSION, le=VERSION)]
    agent: AgentBody
    agents: dict[str, str] = Field(default_factory=dict)


async def export_agent(call: Call, *, id: UUID) -> dict[str, Any] | None:
    """The agent as a document, without keys, approvals and times; None where there is none. Three statements."""
    agent: Agent | None = await call.load(by_id(Agent), id)
    if agent is None:
        return None
    provider: LlmProvider | None = None
    if agent.llm_provider_id is not None and call.allows(Scope.CATALOG_READ):
        provider = await call.load(by_id(LlmProvider), agent.llm_provider_id)
    ids = [one.id for one in agents_in(agent.config)] + ([agent.escalates_to] if agent.escalates_to else [])
    async with call.services.database.session(call.tenant_id) as session:
        names = await agents_present(session, list(dict.fromkeys(ids))) if ids else {}
    config = {name: value for name, value in (agent.config or {}).items() if name != "api_key"}
    body: dict[str, Any] = {
        "name": agent.name,
        "type": agent.type.value,
        **{name: getattr(agent, name) for name in _PLAIN if getattr(agent, name)},
        "capabilities": agent.capabilities,
        "guardrails": agent.guardrails,
        "config": config,
        "isRouter": agent.is_router,
    }
    if agent.escalates_to is not None and agent.escalates_to in names:
        body["escalatesTo"] = encode(Agent.__typeid__, agent.escalates_to)
    if provider is not None:
        body["llmProvider"] = provider.name
    known = {encode(Agent.__typeid__, one): name for one, name in sorted(names.items(), key=lambda one: one[1])}
    return {"format": FORMAT, "version": VERSION, "agent": body, "agents": known}


async def import_agent(call: Call, *, document: Any) -> Agent:
    """An agent as a document describes it, waiting for a decision. Commits.

    Raises INVALID, NOT_FOUND and whatever making the agent raises, with the path into the document.
    """
    said = _document(document)
    body = AgentBody.model_validate(said["agent"])
    async with call.services.database.session(call.tenant_id) as session:
        provider_id = await _provider(session, body.llmProvider)
        texts = await _agents(session, body, said.get("agents", {}))
    fields = AgentFields(
        capabilities=body.capabilities,
        guardrails=body.guardrails,
        is_router=body.isRouter,
        llm_provider_id=provider_id,
        config=renamed(body.config, texts) or None,
    )
    for name in _PLAIN:
        if value := getattr(body, name):
            fields[name] = value
    if body.escalatesTo:
        fields["escalates_to_id"] = parse(texts.get(body.escalatesTo, body.escalatesTo), Agent.__typeid__)
    try:
        return await create_agent(call, name=body.name, type=AgentType(body.type), **fields)
    except Refusal as refusal:
        raise _within(refusal) from refusal


def _document(value: Any) -> dict[str, Any]:
    return shaped(AgentDocument, document(value, DOCUMENT_LIMIT_BYTES, "document"), "document")


async def _provider(session: TenantSession, name: str) -> UUID | None:
    if not name:
        return None
    found = await provider_named(session, name)
    if found is None:
        raise not_found("model provider", "input", *_AT, "llmProvider")
    return found


async def _agents(session: TenantSession, body: AgentBody, names: dict[str, str]) -> dict[str, str]:
    """Other words for ids that the tenant does not know: those of the only agents of their names."""
    texts = [one.text for one in agents_in(body.config)] + ([body.escalatesTo] if body.escalatesTo else [])
    ids = {one: parse(one, Agent.__typeid__) for one in texts}
    present = await agents_present(session, list(dict.fromkeys(ids.values()))) if ids else {}
    unknown = {text: names[text] for text, one in ids.items() if one not in present and text in names}
    found = await agents_named(session, list(dict.fromkeys(unknown.values()))) if unknown else {}
    return {
        text: encode(Agent.__typeid__, found[name][0])
        for text, name in unknown.items()
        if len(found.get(name, [])) == 1
    }


def _within(refusal: Refusal) -> Refusal:
    """The refusal with the path into the document instead of into createAgent's input."""
    if not refusal.field or len(refusal.field) < 2 or refusal.field[1] == "idempotencyKey":
        return refusal
    first, *rest = refusal.field[1:]
    field = ("input", *_AT, _WORDS.get(first, first), *rest)
    return Refusal(refusal.code, refusal.message, field=field, current=refusal.current)
