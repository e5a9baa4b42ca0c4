"""This module is where a fleet keeps count of what happened to it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(slots=True)
class Silence:
    """A stretch without beats. It begins when the last beat before it was answered; open until the agent is back."""

    workspace_id: str
    began_at: datetime
    ended_at: datetime | None = None


@dataclass(slots=True)
class FleetReport:
    """What a run came to. ``beats`` are those that were answered; ``errors`` counts everything else, by code.

    When a run ends, every agent that still beat falls silent at once: those silences are listed too.
    """

    agents: int
    enlisted: int = 0
    beats: int = 0
    registrations: int = 0
    slowest_seconds: float = 0.0
    """The longest that an answered beat had to wait for its answer."""
    conversations: int = 0
    """Begun in this run; an agent goes on with the one it has."""
    messages: int = 0
    """Questions and finished answers."""
    pieces: int = 0
    """Of replies that were streamed."""
    runs: int = 0
    tools: Counter[str] = field(default_factory=Counter)
    """Uses of tools, by how they ended."""
    activities: int = 0
    questions: int = 0
    """Asked of people, who approve or reject."""
    alerts: int = 0
    """Raised by the Alertmanager that runs beside the fleet."""
    errors: Counter[str] = field(default_factory=Counter)
    silences: list[Silence] = field(default_factory=list)
    ended: Counter[str] = field(default_factory=Counter)
    """Agents that stopped before the run did, by why: removed, fenced, or the code they were refused with."""
    doing: dict[str, str] = field(default_factory=dict)
    """What each agent does now, by its name."""

    @property
    def summary(self) -> str:
        """One line: how many agents do what, beats, talk and errors so far."""
        moods = Counter(self.doing.values())
        parts = [f"{count} {mood}" for mood, count in sorted(moods.items())]
        parts += [f"{count} {why}" for why, count in sorted(self.ended.items())]
        errors = ", ".join(f"{count} {code}" for code, count in sorted(self.errors.items()))
        return (
            f"{self.enlisted}/{self.agents} agents: {', '.join(parts) or 'starting'} · "
            f"{self.beats:,} beats · {len(self.silences):,} silences · {self._talk}{errors or 'no errors'}"
        )

    @property
    def _talk(self) -> str:
        if not self.messages:
            return f"{self.alerts:,} alerts · " if self.alerts else ""
        tools = ", ".join(f"{count:,} {status}" for status, count in sorted(self.tools.items()))
        return (
            f"{self.messages:,} messages in {self.pieces:,} pieces · {self.runs:,} runs"
            f"{f' with tools: {tools}' if tools else ''} · {self.questions:,} questions to people · "
            f"{self.alerts:,} alerts · "
        )
