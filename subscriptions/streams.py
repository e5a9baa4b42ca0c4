"""This module is where a subscriber's view of the log is decided: what it may see, what it wants, in what order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from models import Event
from subscriptions.cursor import Cursor

Matches = Callable[[Mapping[str, Any] | None], bool]


@dataclass(frozen=True, slots=True)
class Ready:
    """The stream stands at ``cursor``; ``recovered`` false says that what came before is not to be had."""

    cursor: str
    recovered: bool


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Nothing matched for a while; the stream stands at ``cursor`` now."""

    cursor: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for a subscriber. ``previous_cursor`` is that of the item it was sent before."""

    event: Event
    cursor: str
    previous_cursor: str
    matches_filter: bool

    def following(self, previous_cursor: str) -> Delivery:
        """The same event for a subscriber whose last item was another."""
        return replace(self, previous_cursor=previous_cursor)


Item = Ready | Checkpoint | Delivery


@dataclass(slots=True)
class Place:
    """Where a subscriber stood when its stream ended; None for one that never began."""

    cursor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Interest:
    """Which events a subscriber wants and may see; decided on the envelope alone.

    The current row plays no part: a live and a resumed subscriber get the same set, and a checker can be written.
    """

    visible: Callable[[Event], bool]
    entity_type: str | None = None
    matches: Matches

    def wants(self, event: Event) -> bool:
        """Whether the event is delivered: the entity matches now or did before."""
        if self.entity_type is not None and event.entity_type != self.entity_type:
            return False
        return (self.matches(event.before) or self.matches(event.after)) and self.visible(event)

    def deliveries(self, events: Sequence[Event], epoch: bytes, previous: str) -> list[Delivery]:
        """The wanted ones of ``events`` in order, chained from ``previous``."""
        found: list[Delivery] = []
        for event in events:
            if self.wants(event):
                cursor = Cursor(epoch, event.seq).encode()
                found.append(Delivery(event, cursor, previous, self.matches(event.after)))
                previous = cursor
        return found
