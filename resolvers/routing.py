"""This module is where it is worked out which agent a query is for, and why; nothing is remembered of the query.

Points: 5 for the domain that was asked for, or else that the query's words are about, as policies read them; 3 for a
domain that the query names, 2 for the agent's name, 1.5 for each capability and half a point for each longer word of
the description. Eight points are certainty.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from dataloaders.agents import Candidate, routable
from dataloaders.base import by_id
from models import Agent
from models.errors import BadRequest
from resolvers.call import Call
from resolvers.risk_signals import read

QUERY_LIMIT: Final = 10_000
MOST_ALTERNATIVES: Final = 5
CERTAIN: Final = 8.0

_SAME_DOMAIN: Final = 5.0
_DOMAIN_NAMED: Final = 3.0
_NAME_NAMED: Final = 2.0
_CAPABILITY_NAMED: Final = 1.5
_WORD_NAMED: Final = 0.5
_LONGER_THAN: Final = 4
_ABOUT: Final = "The query's words are about its domain."
_WORD: Final = re.compile(r"\w+")
_JOINED: Final = re.compile(r"[\s_-]+")


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that speaks for an agent."""

    reason: str
    points: float


@dataclass(frozen=True, slots=True)
class Scored:
    """How well an agent fits."""

    agent_id: UUID
    reasons: list[Reason]

    @property
    def score(self) -> float:
        """The sum of the points."""
        return sum(one.points for one in self.reasons)

    @property
    def confidence(self) -> float:
        """0 to 1; eight points are certainty."""
        return min(self.score / CERTAIN, 1.0)


@dataclass(frozen=True, slots=True)
class Choice:
    """An agent that could answer."""

    agent: Agent | None
    score: float
    confidence: float
    reasons: list[Reason]


@dataclass(frozen=True, slots=True)
class Route(Choice):
    """Where a query goes, and where else it could go."""

    alternatives: list[Choice] = field(default_factory=list)


async def route_query(call: Call, *, query: str, domain: str | None = None) -> Route:
    """The active agent that fits best, the oldest of equals, and up to five others that fit at all. Two statements.

    Where nothing speaks for anybody it is the oldest; no agent where none is active. The router is chosen only when
    there is nobody else. Raises BAD_REQUEST for a query of over 10,000 characters.
    """
    if len(query) > QUERY_LIMIT or len(domain or "") > QUERY_LIMIT:
        raise BadRequest(f"A query holds at most {QUERY_LIMIT:,} characters.")
    async with call.services.database.session(call.tenant_id) as session:
        found = await routable(session)
    ranked = ranking(found, query, domain)
    if not ranked:
        return Route(None, 0.0, 0.0, [])
    best, *others = ranked[: MOST_ALTERNATIVES + 1]
    kept = [best, *(one for one in others if one.score > 0)]
    rows: list[Any] = await call.loaders.of(by_id(Agent)).load_many([one.agent_id for one in kept])
    choices = [Choice(row, one.score, one.confidence, one.reasons) for one, row in zip(kept, rows, strict=True) if row]
    if not choices:
        return Route(None, 0.0, 0.0, [])
    first = choices[0]
    return Route(first.agent, first.score, first.confidence, first.reasons, choices[1:])


def ranking(candidates: list[Candidate], query: str, domain: str | None) -> list[Scored]:
    """The candidates, best first, in their own order where they are equal; routers only where there is nobody else.

    Without ``domain`` it is what the query's words are about, General where they are about nothing that is known.
    """
    asked = [one for one in candidates if not one.is_router] or candidates
    said = _folded(query)
    about = (domain, "Its domain is the one that was asked for.") if domain else (read(query).domain, _ABOUT)
    scored = [Scored(one.id, list(_reasons(one, said, *about))) for one in asked]
    return sorted(scored, key=lambda one: -one.score)


def _reasons(agent: Candidate, said: str, domain: str, why: str) -> Iterator[Reason]:
    if agent.domain and agent.domain.casefold() == domain.casefold():
        yield Reason(why, _SAME_DOMAIN)
    if _names(said, agent.domain or ""):
        yield Reason("The query names its domain.", _DOMAIN_NAMED)
    if _names(said, agent.name):
        yield Reason("The query names it.", _NAME_NAMED)
    for capability in agent.capabilities:
        if _names(said, capability):
            yield Reason(f"The query names what it can do: {capability}.", _CAPABILITY_NAMED)
    words = dict.fromkeys(_WORD.findall((agent.description or "").casefold()))
    for word in words:
        if len(word) > _LONGER_THAN and word in said:
            yield Reason(f"The query holds a word of its description: {word}.", _WORD_NAMED)


def _names(said: str, text: str) -> bool:
    word = _folded(text)
    return bool(word) and word in said


def _folded(text: str) -> str:
    # People write support triage where the agent is called support_triage.
    return _JOINED.sub(" ", text.casefold()).strip()
