"""This module is where the agent cards of the A2A protocol are held to their shape, as far as they are said.

What a card does not name is let through: the protocol grows, and clients keep things of their own beside it.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import AfterValidator, Discriminator, Field, Tag

from resolvers.shapes import Shape, address, shaped
from resolvers.validation import document

CARD_LIMIT_BYTES: Final = 65_536

_Name = Annotated[str, Field(min_length=1, max_length=255)]
_Word = Annotated[str, Field(min_length=1, max_length=128)]
_Words = Annotated[list[_Word], Field(max_length=100)]
_Text = Annotated[str, Field(max_length=8_000)]


class Skill(Shape):
    """One thing an agent can do."""

    id: _Word
    name: _Name = "skill"
    description: _Text = ""
    tags: _Words = Field(default_factory=list)
    examples: Annotated[list[_Text], Field(max_length=100)] = Field(default_factory=list)
    inputModes: _Words = Field(default_factory=list)
    outputModes: _Words = Field(default_factory=list)


class Capabilities(Shape):
    """Which parts of the protocol it speaks."""

    streaming: bool = False
    pushNotifications: bool = False
    stateTransitionHistory: bool = False


def _told_in_full(value: Any) -> str:
    return "full" if isinstance(value, dict) else "word"


_Skill = Annotated[Annotated[_Word, Tag("word")] | Annotated[Skill, Tag("full")], Discriminator(_told_in_full)]


class AgentCard(Shape):
    """What an agent says of itself. Skills are told in full, or by their ids."""

    name: _Name
    version: _Word = "1"
    description: _Text = ""
    url: Annotated[str, AfterValidator(address)] = ""
    skills: Annotated[list[_Skill], Field(max_length=100)] = Field(default_factory=list)
    capabilities: Capabilities = Capabilities()
    defaultInputModes: _Words = Field(default_factory=list)
    defaultOutputModes: _Words = Field(default_factory=list)


def agent_card(value: Any) -> dict[str, Any]:
    """An agent card. Raises INVALID naming the first member that is wrong, e.g. input, agentCard, skills, 0, id."""
    return shaped(AgentCard, document(value, CARD_LIMIT_BYTES, "agentCard"), "agentCard")
