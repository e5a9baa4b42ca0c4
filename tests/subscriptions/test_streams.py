"""This module is where a subscriber's view is specified: which events are its own, and how they are chained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from models import Event, EventTopic
from models.ids import uuid7
from subscriptions.cursor import Cursor
from subscriptions.streams import Interest

EPOCH = b"database"
READABLE = "workspaces:read"


def event(seq: int, before: str | None, after: str | None, *, scope: str = READABLE, kind: str = "workspace") -> Event:
    """A change of a colour."""
    return Event(
        tenant_id=uuid7(),
        seq=seq,
        topic=EventTopic.REGISTRY,
        kind=f"{kind}.updated",
        entity_type=kind,
        entity_id=uuid7(),
        required_scope=scope,
        before=None if before is None else {"colour": before},
        after=None if after is None else {"colour": after},
    )


def reds(facets: Mapping[str, Any] | None) -> bool:
    """A filter."""
    return facets is not None and facets["colour"] == "red"


INTEREST = Interest(visible=lambda one: one.required_scope == READABLE, entity_type="workspace", matches=reds)


@pytest.mark.parametrize(
    ("before", "after", "is_wanted", "matches_now"),
    [
        (None, "red", True, True),
        ("red", "red", True, True),
        ("blue", "red", True, True),
        ("red", "blue", True, False),
        ("red", None, True, False),
        ("blue", "green", False, False),
        (None, "blue", False, False),
        (None, None, False, False),
    ],
)
def test_a_change_is_wanted_when_it_matched_before_or_matches_now(
    before: str | None, after: str | None, is_wanted: bool, matches_now: bool
) -> None:
    found = INTEREST.deliveries([event(1, before, after)], EPOCH, "start")
    assert [one.matches_filter for one in found] == ([matches_now] if is_wanted else [])


def test_what_is_not_for_the_caller_or_about_something_else_is_not_wanted() -> None:
    assert not INTEREST.wants(event(1, None, "red", scope="users:read"))
    assert not INTEREST.wants(event(1, None, "red", kind="agent"))
    everything = Interest(visible=lambda _: True, matches=reds)
    assert everything.wants(event(1, None, "red", kind="agent"))


def test_deliveries_keep_their_order_and_name_the_one_before_whatever_was_left_out_between() -> None:
    log = [event(seq, None, "red" if seq % 3 == 0 else "blue") for seq in range(1, 11)]
    found = INTEREST.deliveries(log, EPOCH, "start")
    assert [one.event.seq for one in found] == [3, 6, 9]
    assert [one.cursor for one in found] == [Cursor(EPOCH, seq).encode() for seq in (3, 6, 9)]
    assert [one.previous_cursor for one in found] == ["start", found[0].cursor, found[1].cursor]
    assert INTEREST.deliveries(log[:2], EPOCH, "start") == []


def test_one_that_joins_names_its_own_predecessor_and_nothing_else_of_the_item_changes() -> None:
    (shared,) = INTEREST.deliveries([event(7, None, "red")], EPOCH, "the group's")
    own = shared.following("mine")
    assert (own.previous_cursor, shared.previous_cursor) == ("mine", "the group's")
    assert (own.event, own.cursor, own.matches_filter) == (shared.event, shared.cursor, shared.matches_filter)
