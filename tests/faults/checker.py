"""This module is where journals are held against the log: delivered = committed and visible, in order, once, chained.

It knows the promise and nothing of the gateway's code: what is visible and what matches is said here again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from uuid import UUID

from models import Event
from models.ids import encode
from tests.faults.journal import Connection, Item, Journal

Facets = Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Audience:
    """Who looks at what: a caller's scopes, one type of entity, tiers (None for all)."""

    scopes: frozenset[str]
    entity_type: str = "workspace"
    tiers: frozenset[int] | None = None

    def expects(self, event: Event) -> bool:
        """Whether this event is delivered: visible, and its entity matches now or did before."""
        return (
            event.entity_type == self.entity_type
            and event.required_scope in self.scopes
            and (self.matches(event.before) or self.matches(event.after))
        )

    def matches(self, facets: Facets) -> bool:
        """Whether an entity with these facets stands on the list; without a status filter, removed ones do not."""
        if facets is None or facets["status"] == "removed":
            return False
        return self.tiers is None or facets["tier"] in self.tiers


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong with a journal, in words, and how much of it was looked at."""

    faults: tuple[str, ...]
    deliveries: int
    resumes: int


def check(journal: Journal, log: Sequence[Event], audience: Audience, until_seq: int) -> Verdict:
    """Hold one client's journal against its tenant's whole log, up to ``until_seq``."""
    faults = [
        *_unbroken(journal),
        *_resumed(journal),
        *_equal(journal, log, audience, until_seq),
    ]
    resumes = sum(bool(one.items) and one.after is not None for one in journal.connections)
    return Verdict(tuple(f"{journal.name}: {one}" for one in faults), len(journal.changes), resumes)


def check_contiguous(log: Sequence[Event]) -> list[str]:
    """Whether the log itself has every seq from 1 on, once."""
    seqs = [event.seq for event in log]
    return [] if seqs == list(range(1, len(seqs) + 1)) else ["the log has holes"]


def _unbroken(journal: Journal) -> list[str]:
    """Each connection begins with Ready, and every change names the item before it."""
    faults: list[str] = []
    for number, connection in enumerate(journal.connections):
        items = connection.items
        if items and items[0].recovered is None:
            faults.append(f"connection {number} began with {items[0].type}")
        for before, item in pairwise(items):
            if item.recovered is not None:
                faults.append(f"connection {number} had a second Ready")
            if item.is_change and item.previous != before.cursor:
                faults.append(f"connection {number}: the chain broke at {item.seq} after {before.type} {before.seq}")
            if item.seq < before.seq:
                faults.append(f"connection {number} went back from {before.seq} to {item.seq}")
    return faults


def _resumed(journal: Journal) -> list[str]:
    """Each connection stands where the client asked it to, and says that nothing was missed."""
    return [
        f"connection {number} did not resume at its cursor"
        for number, connection in enumerate(journal.connections)
        if connection.after is not None and connection.items and not _stands_at(connection, connection.after)
    ]


def _stands_at(connection: Connection, cursor: str) -> bool:
    ready = connection.items[0]
    return ready.recovered is True and ready.cursor == cursor


def _equal(journal: Journal, log: Sequence[Event], audience: Audience, until_seq: int) -> list[str]:
    items = journal.items
    if not items:
        return ["it is empty"]
    start = items[0].seq
    expected = [event for event in log if start < event.seq <= until_seq and audience.expects(event)]
    received = [item for item in journal.changes if item.seq <= until_seq]
    faults = _compare_seqs([event.seq for event in expected], [item.seq for item in received])
    by_seq = {event.seq: event for event in expected}
    faults += [
        f"{item.seq} was told otherwise than committed"
        for item in received
        if item.seq in by_seq and not _tells(item, by_seq[item.seq], audience)
    ]
    return faults


def _compare_seqs(expected: Sequence[int], received: Sequence[int]) -> list[str]:
    if expected == received:
        return []
    lost = sorted(set(expected) - set(received))
    foreign = sorted(set(received) - set(expected))
    repeated = (
        sorted({one for one in received if received.count(one) > 1}) if len(set(received)) < len(received) else []
    )
    faults = [
        f"{what}: {seqs[:10]}" for what, seqs in (("lost", lost), ("foreign", foreign), ("twice", repeated)) if seqs
    ]
    return faults or ["out of order"]


def _tells(item: Item, event: Event, audience: Audience) -> bool:
    return (
        item.kind == event.kind
        and item.entity_id == encode(event.entity_type, _uuid(event.entity_id))
        and item.matches == audience.matches(event.after)
    )


def _uuid(value: Any) -> UUID:
    return value if isinstance(value, UUID) else UUID(str(value))
