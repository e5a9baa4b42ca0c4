"""This module is where agents are managed: made, changed, decided about, switched off and deleted.

Security boundary: no agent works before somebody who may decide said so. A router is active from the start, so making
one demands the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, TypedDict, Unpack
from uuid import UUID

from dataloaders.agents import agents_that_need, place_of
from models import Agent, AgentStatus, AgentType, Decision, Scope, SecretOwner
from models.envelope import DataKey
from models.errors import Refusal, RefusalCode, invalid
from models.ids import uuid7
from models.registry import Workspace
from resolvers.agent_configs import Named, configuration
from resolvers.agent_links import (
    NEEDS_LINKS,
    check_escalation,
    check_model,
    check_parts,
    check_provider,
    keep_parts,
    lock_links,
)
from resolvers.assignments import free_place, move_in, move_out
from resolvers.call import Call
from resolvers.changing import refuse_cleared
from resolvers.plans import refuse_beyond
from resolvers.secrets import Owner, forget_secrets, keep_secret, plaintext_of
from resolvers.uniqueness import flush_unique
from resolvers.unit_of_work import UnitOfWork
from resolvers.validation import line, prose

NAME_LIMIT: Final = 255
DOMAIN_LIMIT: Final = 100
DESCRIPTION_LIMIT: Final = 10_000
INSTRUCTION_LIMIT: Final = 100_000
WORDS_LIMIT: Final = 100
WORD_LIMIT: Final = 500
MODEL_KEY: Final = "MODEL_API_KEY"
"""Under which of the agent's secrets its model provider's key is kept."""

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,255}")
_TAKEN: Final = {"uq_agents_router": ("isRouter", "There is a router already.")}
_LINES: Final = {"title": NAME_LIMIT, "domain": DOMAIN_LIMIT, "model": NAME_LIMIT}
_TEXTS: Final = {"description": DESCRIPTION_LIMIT, "instruction": INSTRUCTION_LIMIT}


class AgentFields(TypedDict, total=False):
    """What can be said of an agent when it is made and later; absent stays, None clears."""

    title: str | None
    domain: str | None
    description: str | None
    model: str | None
    instruction: str | None
    capabilities: list[str] | None
    guardrails: list[str] | None
    config: dict[str, Any] | None
    api_key: str | None
    is_router: bool
    escalates_to_id: UUID | None
    llm_provider_id: UUID | None


class AgentChanges(AgentFields, total=False):
    """What an update may say besides."""

    name: str
    status: AgentStatus


async def create_agent(
    call: Call, *, name: str, type: AgentType, workspace_id: UUID | None = None, **fields: Unpack[AgentFields]
) -> Agent:
    """A new agent that waits for a decision; a router is active at once. Commits.

    Raises FORBIDDEN, INVALID, NOT_FOUND, CYCLE, ALREADY_EXISTS for a second router, CONFLICT for a taken workspace,
    ILLEGAL_TRANSITION for one that is removed, LIMIT_EXCEEDED.
    """
    agent, key = new_agent(name, type, fields)
    if agent.is_router:
        call.require(Scope.AGENTS_DECIDE)
    async with call.work() as work:
        # Before any row is locked: this may ask a KMS.
        data_key = await call.services.keyring.current(work.session) if key is not None else None
        await refuse_beyond(work, "agents")
        if any(getattr(agent, column) for column in NEEDS_LINKS):
            await lock_links(work)
        place = await free_place(work, workspace_id) if workspace_id is not None else None
        await check_model(work, agent.model)
        await check_provider(work, agent.llm_provider_id)
        agent.workspace_id = workspace_id
        # The first that is told, so that a retry finds the agent and not its key.
        work.tell(agent, "agent.created", None)
        await enrol(work, agent, (call, key, data_key) if key is not None and data_key is not None else None)
        if place is not None:
            move_in(work, place, agent)
    return agent


def new_agent(name: str, kind: AgentType, fields: AgentFields) -> tuple[Agent, bytes | None]:
    """An agent that is in no session yet, and its key for a model provider. Raises INVALID."""
    columns, key = cleaned(fields, kind)
    agent = Agent(
        id=uuid7(),
        name=agent_name(name),
        type=kind,
        status=AgentStatus.ACTIVE if columns.get("is_router") else AgentStatus.PENDING,
        **{"is_router": False, "capabilities": [], "guardrails": [], **columns},
    )
    _refuse_without_model(kind, agent.model)
    if "config" not in columns:
        configuration(kind, None, "config")
    return agent, key


async def enrol(work: UnitOfWork, agent: Agent, key: tuple[Call, bytes, DataKey] | None = None) -> None:
    """Insert a new agent with its key and what it is made of. Raises NOT_FOUND, CYCLE, ALREADY_EXISTS.

    Does not commit. What it names must be locked before.
    """
    await check_escalation(work, agent.id, agent.escalates_to)
    named = await check_parts(work, agent.config)
    if key is not None:
        call, plaintext, data_key = key
        secret = await keep_secret(call, work, Owner(SecretOwner.AGENT, agent.id), MODEL_KEY, plaintext, data_key)
        agent.api_key_secret_id = secret.id
    work.add(agent)
    await flush_unique(work, _TAKEN)
    if named:
        await keep_parts(work, agent, named)


async def update_agent(call: Call, *, id: UUID, expected_version: int, **changes: Unpack[AgentChanges]) -> Agent:
    """Change an agent; switch one that was approved off or on. Commits.

    Raises INVALID, NOT_FOUND, CONFLICT, CYCLE, ALREADY_EXISTS for a second router, ILLEGAL_TRANSITION.
    """
    refuse_cleared(changes, "name", "status", "is_router")
    async with call.work() as work:
        key = changes.get("api_key")
        data_key = await call.services.keyring.current(work.session) if key is not None else None
        if {"config", "escalates_to_id"} & changes.keys():
            await lock_links(work)
        agent = await work.locked(Agent, id, expected_version=expected_version)
        before, status = agent.facets(), agent.status
        columns, plaintext = cleaned(changes, agent.type)
        columns = {name: value for name, value in columns.items() if getattr(agent, name) != value}
        # Everything is looked up before anything is changed: a refusal shows the agent as it stands.
        named = await _check(work, agent, columns)
        agent.refuse_switch(changes.get("status", status))
        changed = sorted(columns)
        if "api_key" in changes:
            await _keep_key(call, work, agent, plaintext, data_key)
            changed.append("api_key")
        for name, value in columns.items():
            setattr(agent, name, value)
        agent.switch(changes.get("status", status))
        await flush_unique(work, _TAKEN)
        if named is not None:
            await keep_parts(work, agent, named)
        _tell_of_update(work, agent, before, status, changed)
    return agent


async def decide_agent(call: Call, *, id: UUID, decision: Decision, reason: str | None = None) -> Agent:
    """Let a pending agent work, or reject it. Raises INVALID, NOT_FOUND, ALREADY_DECIDED. Commits."""
    why = prose(reason, 1000, "reason") if reason is not None else None
    async with call.work() as work:
        agent = await work.locked(Agent, id)
        before = agent.facets()
        agent.decide(decision, by=call.who.member_id, now=work.now, reason=why)
        kind = "agent.approved" if decision is Decision.APPROVE else "agent.rejected"
        work.tell(agent, kind, before, {"status": agent.status.value})
    return agent


async def delete_agent(call: Call, *, id: UUID, expected_version: int | None = None) -> str:
    """Take an agent out of use for good, with its keys and its place; its TypeID. Commits.

    Raises NOT_FOUND, and CONFLICT when it has changed, or while others are made of it or hand over to it: what they
    do would change behind their backs.
    """
    async with call.work() as work:
        await lock_links(work)
        place = await _place_of(work, id)
        agent = await work.locked(Agent, id, expected_version=expected_version)
        if agent.workspace_id != (place.id if place is not None else None):
            raise Refusal(RefusalCode.CONFLICT, "It was given another place just now.", field=("input", "id"))
        needing = await agents_that_need(work.session, id)
        if needing:
            named = ", ".join(needing[:3]) + (" and others" if len(needing) > 3 else "")
            raise Refusal(RefusalCode.CONFLICT, f"These are made of it or hand over to it: {named}.", field=_ID)
        before = agent.facets()
        if place is not None:
            await move_out(work, place, agent, "agent_deleted")
        agent.deleted_at, agent.api_key_secret_id = work.now, None
        await work.session.flush()
        await keep_parts(work, agent, ())
        work.tell(agent, "agent.deleted", before)
        await forget_secrets(work, Owner(SecretOwner.AGENT, id))
    return agent.typeid


_ID: Final = ("input", "id")


async def _place_of(work: UnitOfWork, agent_id: UUID) -> Workspace | None:
    # A workspace is locked before its agent, as by whoever assigns one: the other way round two could wait for ever.
    workspace_id = await place_of(work.session, agent_id)
    return await work.locked(Workspace, workspace_id) if workspace_id is not None else None


async def _check(work: UnitOfWork, agent: Agent, columns: Mapping[str, Any]) -> list[Named] | None:
    """Look up what the columns name; the agents that a new configuration names. Raises INVALID, NOT_FOUND, CYCLE."""
    _refuse_without_model(agent.type, columns.get("model", agent.model))
    if "model" in columns:
        await check_model(work, columns["model"])
    if "llm_provider_id" in columns:
        await check_provider(work, columns["llm_provider_id"])
    if "escalates_to" in columns:
        await check_escalation(work, agent.id, columns["escalates_to"], agent)
    return await check_parts(work, columns["config"], agent) if "config" in columns else None


async def _keep_key(
    call: Call, work: UnitOfWork, agent: Agent, plaintext: bytes | None, data_key: DataKey | None
) -> None:
    owner = Owner(SecretOwner.AGENT, agent.id)
    if plaintext is not None and data_key is not None:
        secret_id = (await keep_secret(call, work, owner, MODEL_KEY, plaintext, data_key)).id
    else:
        await forget_secrets(work, owner, MODEL_KEY)
        secret_id = None
    agent.api_key_secret_id = secret_id
    # A key in the place of another changes no column, and is a change all the same.
    agent.updated_at = work.now


def _tell_of_update(
    work: UnitOfWork, agent: Agent, before: dict[str, Any], status: AgentStatus, changed: list[str]
) -> None:
    if agent.status is not status:
        kind = "agent.enabled" if agent.status is AgentStatus.ACTIVE else "agent.disabled"
        work.tell(agent, kind, before, {"status": agent.status.value})
    if changed:
        work.tell(agent, "agent.updated", before, {"changed": sorted(changed)})


def agent_name(name: str, *field: str) -> str:
    """1 to 255 letters, digits, _ and -. Raises INVALID."""
    if not _NAME.fullmatch(name):
        raise invalid("A name has 1 to 255 letters, digits, _ and -.", "input", *(field or ("name",)))
    return name


def cleaned(fields: Mapping[str, Any], kind: AgentType) -> tuple[dict[str, Any], bytes | None]:
    """What is said of an agent of this type as columns, and its key. Raises INVALID."""
    said = dict(fields)
    key = said.pop("api_key", None)
    said.pop("status", None)
    if said.get("name") is not None:
        said["name"] = agent_name(said["name"])
    for name, limit in _LINES.items():
        if said.get(name) is not None:
            said[name] = line(said[name], limit, name)
    for name, limit in _TEXTS.items():
        if said.get(name) is not None:
            said[name] = prose(said[name], limit, name)
    for name in ("capabilities", "guardrails"):
        if name in said:
            said[name] = _words(said[name] or [], name)
    if "config" in said:
        said["config"] = configuration(kind, said["config"], "config")
    if "escalates_to_id" in said:
        said["escalates_to"] = said.pop("escalates_to_id")
    return said, plaintext_of(key, "apiKey") if key is not None else None


def _words(values: list[str], field: str) -> list[str]:
    if len(values) > WORDS_LIMIT:
        raise invalid(f"These are at most {WORDS_LIMIT}.", "input", field)
    return [line(one, WORD_LIMIT, field, str(place)) for place, one in enumerate(values)]


def _refuse_without_model(kind: AgentType, model: str | None) -> None:
    if kind is AgentType.LLM and not model:
        raise invalid("An agent of type LLM names its model.", "input", "model")
