"""This module is where it is drawn what simulated people ask, what agents answer, and which tools they use for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, Final

MODEL: Final = "gpt-4o"

_DIALOGUES: Final = (
    (
        "invoice",
        "Why is my invoice for October higher than the one before?",
        "The invoice for October holds two items more than the one before: a second seat since the 9th, and the import "
        "of your old contacts, which is charged once. From November on only the seat remains.",
    ),
    (
        "landing page",
        "Can you look at the landing page and say what slows it down?",
        "Three things slow it down: the picture at the top has 2.4 MB, two fonts load before any text is shown, and "
        "the map is there although nobody has asked for it. Without the first two it is shown in under a second.",
    ),
    (
        "opening hours",
        "When are you open on public holidays?",
        "On public holidays we are open from ten to two. On the 25th and 26th of December and on the 1st of January we "
        "are closed; messages are answered on the next day.",
    ),
    (
        "streetlight",
        "Since when does the streetlight at the corner flicker, and who repairs it?",
        "It was reported on Monday. Public works repairs it within five working days; you hear when it is done.",
    ),
    (
        "terms",
        "What do the terms of the NDA say about how long we stay silent?",
        "Both sides stay silent for three years after the last exchange. What was known before, or becomes known "
        "through nobody's fault, is free. Sub-contractors are bound in the same words.",
    ),
    (
        "lead",
        "Is the inquiry from yesterday worth a call?",
        "Yes. They are 140 people, looked at the prices twice and asked for single sign-on, which is what those who "
        "stay ask for. Call before Thursday: their contract with somebody else ends this month.",
    ),
)
_TOOLS: Final = (
    ("MCP", "brave_search", "mcp-searxng"),
    ("MCP", "read_page", "mcp-fetch"),
    ("SKILL", "summarise", None),
    ("SKILL", "audit-seo-page", None),
)
_OUTCOMES: Final = {"SUCCESS": 0.85, "ERROR": 0.1, "TIMEOUT": 0.05}
_ERRORS: Final = {"ERROR": "the server answers 502", "TIMEOUT": "no answer in 30 s"}
_DOLLARS_A_TOKEN: Final = (0.0000025, 0.00001)
_FAILED_SHARE: Final = 0.05


@dataclass(frozen=True, slots=True)
class ToolUse:
    """One use of a tool, by the names of RecordToolExecutionInput."""

    kind: str
    tool_name: str
    server_name: str | None
    status: str
    milliseconds: int
    input: dict[str, Any]

    @property
    def said(self) -> dict[str, Any]:
        """What is recorded of it."""
        return {
            "kind": self.kind,
            "toolName": self.tool_name,
            "serverName": self.server_name,
            "status": self.status,
            "durationMilliseconds": self.milliseconds,
            "input": self.input,
            "output": {"results": self.milliseconds % 7} if self.status == "SUCCESS" else None,
            "errorMessage": _ERRORS.get(self.status),
        }


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and its answer, with the work that lies between."""

    about: str
    question: str
    pieces: tuple[str, ...]
    tools: tuple[ToolUse, ...]
    input_tokens: int
    is_completed: bool
    """Whether the run comes to its end; the others fail after the answer."""

    @property
    def answer(self) -> str:
        """All pieces."""
        return "".join(self.pieces)

    @property
    def output_tokens(self) -> int:
        """How many tokens the answer takes, about."""
        return len(self.answer) // 4

    @property
    def cost_usd(self) -> float:
        """What it costs."""
        return round(self.input_tokens * _DOLLARS_A_TOKEN[0] + self.output_tokens * _DOLLARS_A_TOKEN[1], 6)


def turns(rng: Random) -> Iterator[Turn]:
    """Turns without end, the same ones for the same generator, whatever the network does meanwhile."""
    while True:
        about, question, answer = rng.choice(_DIALOGUES)
        yield Turn(
            about,
            question,
            tuple(_pieces(answer, rng)),
            tuple(_tool_use(about, rng) for _ in range(rng.randint(0, 2))),
            rng.randint(200, 900),
            rng.random() >= _FAILED_SHARE,
        )


def _pieces(text: str, rng: Random) -> Iterator[str]:
    """The text as a model says it: some words at a time."""
    words = text.split(" ")
    at = 0
    while at < len(words):
        upto = at + rng.randint(2, 7)
        yield " ".join(words[at:upto]) + (" " if upto < len(words) else "")
        at = upto


def _tool_use(about: str, rng: Random) -> ToolUse:
    kind, tool, server = rng.choice(_TOOLS)
    status = rng.choices(list(_OUTCOMES), list(_OUTCOMES.values()))[0]
    return ToolUse(kind, tool, server, status, 30_000 if status == "TIMEOUT" else rng.randint(80, 2_500), {"q": about})
