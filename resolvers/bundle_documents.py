"""This module is where bundles are written and read: a tree of workspaces with their agents, as one document.

Security boundary: whatever is called as secrets are leaves no document, nor do the values of headers and of
environments; ids of agents that are not in the bundle stay behind.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import AfterValidator, Field

from dataloaders.registry import MAX_CHILDREN, MAX_DEPTH
from models import Agent, AgentType, CanvasLayout, Workspace
from models.changes import is_secret_name
from models.errors import invalid
from models.ids import encode
from resolvers.agent_cards import AgentCard
from resolvers.shapes import Shape, shaped
from resolvers.validation import document

FORMAT: Final = "signalbox.bundle/1"
MOST_WORKSPACES: Final = 100
LIMIT_BYTES: Final = 1_048_576

_REFERENCE: Final = "bundle:agent:"
_AGENT_ID: Final = re.compile(r"agent_[0-7][0-9a-hjkmnp-tv-z]{25}")
_VALUES_ONLY_HERE: Final = frozenset({"envs", "env", "environments", "headers"})
_GONE: Final = object()

# No control characters, so one line; what is printed stays readable.
_Line = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f]*\S[^\x00-\x1f]*$")]
_Ref = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
_Text = Annotated[str, Field(max_length=100_000)]
_Words = Annotated[list[Annotated[str, Field(max_length=1_000)]], Field(max_length=100)]
_Place = Annotated[float, Field(ge=-10_000_000, le=10_000_000)]


def _type(value: str) -> str:
    if value not in AgentType.__members__:
        raise ValueError(f"This is one of {', '.join(AgentType.__members__)}")
    return value


class LayoutPart(Shape):
    """Where a workspace is drawn."""

    x: _Place
    y: _Place
    collapsed: bool = False


class AgentPart(Shape):
    """An agent's document."""

    name: _Line
    title: _Line | None = None
    domain: _Line | None = None
    description: _Text | None = None
    type: Annotated[str, AfterValidator(_type)]
    model: _Line | None = None
    instruction: _Text | None = None
    capabilities: _Words = Field(default_factory=list)
    guardrails: _Words = Field(default_factory=list)
    config: dict[str, Any] | None = None
    escalatesTo: _Ref | None = None


class WorkspacePart(Shape):
    """A workspace's document; ``parent`` is the ref of one that stands before it."""

    ref: _Ref
    parent: _Ref | None = None
    name: _Line
    role: Annotated[str, Field(max_length=1_000)] | None = None
    tier: Annotated[int, Field(ge=1, le=4)] = 2
    agentCard: AgentCard | None = None
    maxConcurrentTasks: Annotated[int, Field(ge=1, le=10_000)] = 1
    heartbeatTtlSeconds: Annotated[int, Field(ge=1, le=86_400)] = 60
    layout: LayoutPart | None = None
    agent: AgentPart | None = None


class BundleDocument(Shape):
    """A bundle."""

    format: Literal["signalbox.bundle/1"]
    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,128}$")]
    workspaces: Annotated[list[WorkspacePart], Field(min_length=1, max_length=MOST_WORKSPACES)]


@dataclass(frozen=True, slots=True)
class Parts:
    """A bundle that was read: its parts as they were given, parents before children, and how deep they lie."""

    id: str
    workspaces: list[dict[str, Any]]
    levels: int

    @property
    def agents(self) -> int:
        """How many agents there are."""
        return sum(one.get("agent") is not None for one in self.workspaces)


def read(value: Any) -> Parts:
    """A bundle's parts. Raises INVALID naming the first member that is wrong, by its path."""
    if not isinstance(value, dict) or not value:
        raise invalid("This is no bundle.", "input", "bundle")
    said = shaped(BundleDocument, document(value, LIMIT_BYTES, "bundle"), "bundle")
    depth: dict[str, int] = {}
    children: dict[str, int] = {}
    for number, one in enumerate(said["workspaces"]):
        at = "input", "bundle", "workspaces", str(number)
        ref, parent = one["ref"], one.get("parent")
        if ref in depth:
            raise invalid("Another workspace of the bundle has this ref.", *at, "ref")
        if (parent is None) != (number == 0) or (parent is not None and parent not in depth):
            raise invalid("The first has no parent; every other one's stands before it.", *at, "parent")
        depth[ref] = depth.get(parent, 0) + 1
        children[parent] = children.get(parent, 0) + 1
        if depth[ref] > MAX_DEPTH or children[parent] > MAX_CHILDREN:
            raise invalid(f"At most {MAX_DEPTH} levels, and {MAX_CHILDREN} children each.", *at, "parent")
    for number, one in enumerate(said["workspaces"]):
        wanted = (one.get("agent") or {}).get("escalatesTo")
        if wanted is not None and not any(o["ref"] == wanted and o.get("agent") for o in said["workspaces"]):
            at = "input", "bundle", "workspaces", str(number)
            raise invalid("No agent of the bundle works there.", *at, "agent", "escalatesTo")
    return Parts(said["id"], said["workspaces"], max(depth.values()))


def write(
    bundle_id: UUID,
    workspaces: Sequence[Workspace],
    agents: Mapping[UUID, Agent],
    layouts: Mapping[UUID, CanvasLayout],
) -> dict[str, Any]:
    """The document of a tree: ``workspaces`` parents first, with agents and layouts by workspace id."""
    refs = {row.id: str(number) for number, row in enumerate(workspaces, start=1)}
    by_agent = {agent.id: refs[place] for place, agent in agents.items()}
    return {
        "format": FORMAT,
        "id": encode("bundle", bundle_id),
        "workspaces": [_workspace(row, refs, by_agent, agents.get(row.id), layouts.get(row.id)) for row in workspaces],
    }


def localized(value: Any, ids: Mapping[str, UUID]) -> Any:
    """A part of a document whose references to agents became the ids of those that were made of them."""
    if isinstance(value, str) and value.startswith(_REFERENCE):
        made = ids.get(value.removeprefix(_REFERENCE))
        return encode(Agent.__typeid__, made) if made is not None else _GONE
    return _rebuilt(value, lambda one: localized(one, ids))


def _workspace(
    row: Workspace,
    refs: Mapping[UUID, str],
    by_agent: Mapping[UUID, str],
    agent: Agent | None,
    layout: CanvasLayout | None,
) -> dict[str, Any]:
    return {
        "ref": refs[row.id],
        "parent": refs.get(row.parent_id) if row.parent_id is not None else None,
        "name": row.name,
        "role": row.role,
        "tier": row.tier,
        "agentCard": _portable(row.agent_card, by_agent) if row.agent_card is not None else None,
        "maxConcurrentTasks": row.max_concurrent_tasks,
        "heartbeatTtlSeconds": row.heartbeat_ttl_seconds,
        "layout": {"x": layout.x, "y": layout.y, "collapsed": layout.collapsed} if layout is not None else None,
        "agent": _agent(agent, by_agent) if agent is not None else None,
    }


def _agent(row: Agent, by_agent: Mapping[UUID, str]) -> dict[str, Any]:
    return {
        "name": row.name,
        "title": row.title,
        "domain": row.domain,
        "description": row.description,
        "type": row.type.name,
        "model": row.model,
        "instruction": row.instruction,
        "capabilities": row.capabilities,
        "guardrails": row.guardrails,
        "config": _portable(row.config, by_agent) if row.config is not None else None,
        "escalatesTo": by_agent.get(row.escalates_to) if row.escalates_to is not None else None,
    }


def _portable(value: Any, by_agent: Mapping[UUID, str]) -> Any:
    """A part of a document without secrets, and with references where ids of agents stood."""
    known = {encode(Agent.__typeid__, id): ref for id, ref in by_agent.items()}
    known |= {str(id): ref for id, ref in by_agent.items()}

    def made(one: Any) -> Any:
        if isinstance(one, str) and one in known:
            return _REFERENCE + known[one]
        if isinstance(one, str) and _AGENT_ID.fullmatch(one):
            return _GONE
        if isinstance(one, dict):
            one = {name: _emptied(name, inner) for name, inner in one.items() if not _is_secret(name, inner)}
        return _rebuilt(one, made)

    return made(value)


def _is_secret(name: str, value: Any) -> bool:
    # A number is none: max_tokens is no token.
    return is_secret_name(name) and isinstance(value, str | list | dict)


def _emptied(name: str, value: Any) -> Any:
    if name.lower() in _VALUES_ONLY_HERE and isinstance(value, dict):
        return dict.fromkeys((one for one in value if not is_secret_name(one)), "")
    return value


def _rebuilt(value: Any, made: Any) -> Any:
    if isinstance(value, dict):
        parts = {name: made(one) for name, one in value.items()}
        return {name: one for name, one in parts.items() if one is not _GONE}
    if isinstance(value, list):
        return [one for one in map(made, value) if one is not _GONE]
    return value
