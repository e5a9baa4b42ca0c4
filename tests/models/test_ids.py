"""This module is where TypeIDs are held to their specification's published vectors (0.3), and UUIDv7 to RFC 9562."""

from __future__ import annotations

import time
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.ids import NIL, InvalidId, decode, encode, parse, uuid7

VALID = {
    "nil": ("00000000000000000000000000", "", "00000000-0000-0000-0000-000000000000"),
    "one": ("00000000000000000000000001", "", "00000000-0000-0000-0000-000000000001"),
    "ten": ("0000000000000000000000000a", "", "00000000-0000-0000-0000-00000000000a"),
    "sixteen": ("0000000000000000000000000g", "", "00000000-0000-0000-0000-000000000010"),
    "thirty-two": ("00000000000000000000000010", "", "00000000-0000-0000-0000-000000000020"),
    "max-valid": ("7zzzzzzzzzzzzzzzzzzzzzzzzz", "", "ffffffff-ffff-ffff-ffff-ffffffffffff"),
    "valid-alphabet": ("prefix_0123456789abcdefghjkmnpqrs", "prefix", "0110c853-1d09-52d8-d73e-1194e95b5f19"),
    "valid-uuidv7": ("prefix_01h455vb4pex5vsknk084sn02q", "prefix", "01890a5d-ac96-774b-bcce-b302099a8057"),
    "prefix-underscore": ("pre_fix_00000000000000000000000000", "pre_fix", "00000000-0000-0000-0000-000000000000"),
}

INVALID = {
    "prefix-uppercase": "PREFIX_00000000000000000000000000",
    "prefix-numeric": "12345_00000000000000000000000000",
    "prefix-period": "pre.fix_00000000000000000000000000",
    "prefix-non-ascii": "préfix_00000000000000000000000000",
    "prefix-spaces": "  prefix_00000000000000000000000000",
    "prefix-64-chars": "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijkl_00000000000000000000000000",
    "separator-empty-prefix": "_00000000000000000000000000",
    "separator-empty": "_",
    "suffix-short": "prefix_1234567890123456789012345",
    "suffix-long": "prefix_123456789012345678901234567",
    "suffix-spaces": "prefix_1234567890123456789012345 ",
    "suffix-uppercase": "prefix_0123456789ABCDEFGHJKMNPQRS",
    "suffix-hyphens": "prefix_123456789-123456789-123456",
    "suffix-wrong-alphabet": "prefix_ooooooiiiiiiuuuuuuulllllll",
    "suffix-ambiguous-crockford": "prefix_i23456789ol23456789oi23456",
    "suffix-hyphens-crockford": "prefix_123456789-0123456789-0123456",
    "suffix-overflow": "prefix_8zzzzzzzzzzzzzzzzzzzzzzzzz",
    "prefix-underscore-start": "_prefix_00000000000000000000000000",
    "prefix-underscore-end": "prefix__00000000000000000000000000",
}


@pytest.mark.parametrize(("text", "prefix", "uuid"), VALID.values(), ids=VALID)
def test_a_published_valid_id_is_read_and_written(text: str, prefix: str, uuid: str) -> None:
    assert decode(text) == (prefix, UUID(uuid))
    assert encode(prefix, UUID(uuid)) == text


@pytest.mark.parametrize("text", INVALID.values(), ids=INVALID)
def test_a_published_invalid_id_is_refused(text: str) -> None:
    with pytest.raises(InvalidId):
        decode(text)
    assert parse(text, "prefix") == NIL


@pytest.mark.parametrize("prefix", ["A", "a1", "_a", "a_", "a" * 64, "a\n", "é"])
def test_a_bad_prefix_is_never_written(prefix: str) -> None:
    with pytest.raises(InvalidId):
        encode(prefix, NIL)


@given(st.uuids())
def test_every_uuid_survives_the_way_out_and_in(value: UUID) -> None:
    assert decode(encode("workspace", value)) == ("workspace", value)


@given(st.text())
def test_no_text_does_more_than_be_refused(text: str) -> None:
    assert isinstance(parse(text, "workspace"), UUID)


def test_another_types_id_reads_like_none() -> None:
    assert parse(encode("agent", uuid7()), "workspace") == NIL


def test_new_ids_are_uuidv7_and_sort_in_the_order_they_were_made() -> None:
    before = time.time_ns() // 1_000_000
    made = [uuid7() for _ in range(10_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert {(one.version, one.variant) for one in made} == {(7, "specified in RFC 4122")}
    assert made[0].int >> 80 >= before
