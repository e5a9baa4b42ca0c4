"""This module is where a beat's message is pinned down: every process writes and reads it alike, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import WorkspaceStatus
from models.ids import encode, uuid7
from subscriptions.beat_publisher import liveness_key
from subscriptions.beats import BeatSeen, decode_beats, encode_beats, peek_tenant
from subscriptions.bus import MAX_MESSAGE_BYTES

TENANT, WORKSPACE = uuid7(), uuid7()
TEXTS = st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=1000)
BEATS = st.builds(
    BeatSeen,
    workspace_id=st.uuids(),
    status=st.sampled_from(WorkspaceStatus),
    received_at=st.datetimes(
        min_value=datetime(1970, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
        max_value=datetime(9999, 12, 31),  # noqa: DTZ001
        timezones=st.just(UTC),
    ),
    error_rate=st.floats(0, 1),
    active_tasks=st.integers(0, 1_000_000),
    uptime_seconds=st.integers(0, 2**53),
    current_task=TEXTS,
    sample_error=TEXTS,
)


def a_beat(**values: Any) -> BeatSeen:
    received_at = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
    return replace(BeatSeen(WORKSPACE, WorkspaceStatus.ONLINE, received_at, 0.25, 1, 2, "triage", None), **values)


@given(st.lists(BEATS, max_size=40))
def test_beats_come_back_as_they_went_in_messages_of_at_most_16_kib(beats: list[BeatSeen]) -> None:
    messages = list(encode_beats(TENANT, beats))
    assert all(len(message) <= MAX_MESSAGE_BYTES for message in messages)
    assert all(peek_tenant(message) == TENANT for message in messages)
    back = [decode_beats(message) for message in messages]
    assert [beat for one in back if one is not None for beat in one[1]] == beats
    assert {one[0] for one in back if one is not None} <= {TENANT}


@pytest.mark.parametrize("letter", ["x", "\x01", '"', "\U0001f62e"])
def test_one_beat_always_fits_whatever_its_texts(letter: str) -> None:
    (message,) = encode_beats(TENANT, [a_beat(current_task=letter * 1000, sample_error=letter * 1000)])
    assert len(message) <= MAX_MESSAGE_BYTES
    assert decode_beats(message) is not None


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, "x" * 32),
        (0, f"{{{WORKSPACE}}}"),
        (0, WORKSPACE.hex.upper()),
        (0, 5),
        (1, "ONLINE"),
        (1, "gone"),
        (1, None),
        (2, -1),
        (2, 2**62),
        (2, "2026-03-01"),
        (3, -0.1),
        (3, 1.1),
        (3, True),
        (3, None),
        (4, -1),
        (4, 1.5),
        (4, 1_000_001),
        (5, True),
        (5, 2**53 + 1),
        (6, 5),
        (6, "x" * 1001),
        (7, []),
    ],
)
def test_a_message_with_one_bad_field_is_no_message(place: int, value: object) -> None:
    (message,) = encode_beats(TENANT, [a_beat()])
    forged = orjson.loads(message)
    forged["beats"][0][place] = value
    assert decode_beats(orjson.dumps(forged)) is None


@pytest.mark.parametrize(
    "forged",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b'{"tenant":"%s"}' % TENANT.hex.encode(),
        b'{"tenant":"%s","beats":{}}' % TENANT.hex.encode(),
        b'{"tenant":"%s","beats":[],"more":1}' % TENANT.hex.encode(),
        b'{"tenant":"%s","beats":[[]]}' % TENANT.hex.encode(),
        b'{"tenant":null,"beats":[]}',
        b'{"tenant":"%s","beats":[]}' % str(TENANT).encode(),
        b'{"tenant":"%s","beats":[' % TENANT.hex.encode() + b" " * MAX_MESSAGE_BYTES + b"]}",
    ],
)
def test_another_shape_is_no_message(forged: bytes) -> None:
    assert decode_beats(forged) is None


@given(st.binary(max_size=200))
def test_no_bytes_make_reading_fail(data: bytes) -> None:
    decode_beats(data)
    peek_tenant(data)


def test_a_live_beat_reads_like_the_workspaces_row() -> None:
    beat = a_beat(sample_error="rate limit")
    assert beat.heartbeat_id == encode("heartbeat", WORKSPACE)
    assert beat.typeid == encode("workspace", WORKSPACE)
    assert (beat.last_heartbeat_at, beat.last_error_rate, beat.last_sample_error) == (
        beat.received_at,
        0.25,
        "rate limit",
    )


def test_the_liveness_key_is_named_by_the_workspaces_id() -> None:
    assert liveness_key(WORKSPACE) == "signalbox:ws:" + encode("workspace", WORKSPACE).removeprefix("workspace_")
