"""This module is where envelopes are specified: what opens, and that nothing else does."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.envelope import (
    KEY_BYTES,
    OVERHEAD,
    Binding,
    DataKey,
    Unreadable,
    key_version,
    length_prefixed,
    seal,
    unseal,
)
from tests.report import record

SHOW = "swapped, flipped, rolled-back and moved ciphertexts never open"

ids = st.uuids()
versions = st.integers(1, 2**31 - 1)
bindings = st.builds(Binding, ids, st.text(max_size=40), versions, st.sampled_from(["secret", "person key"]))
keys = st.builds(DataKey, ids, ids, versions, st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES))
texts = st.binary(max_size=200)

KEY = DataKey(UUID(int=1), UUID(int=2), 3, bytes(range(32)))
BOUND = Binding(UUID(int=4), "tenant:acme:OPENAI_API_KEY", 5, "secret")


def refuses(envelope: bytes, key: DataKey, binding: Binding) -> bool:
    """Whether it stays shut."""
    try:
        unseal(envelope, key, binding)
    except Unreadable:
        return True
    return False


@given(texts, keys, bindings)
def test_what_was_sealed_opens_under_the_same_key_and_binding(text: bytes, key: DataKey, binding: Binding) -> None:
    envelope = seal(text, key, binding)
    assert unseal(envelope, key, binding) == text
    assert len(envelope) == len(text) + OVERHEAD
    assert key_version(envelope) == key.version


def test_an_envelope_is_laid_out_as_the_document_says() -> None:
    envelope = seal(b"swordfish", KEY, BOUND)
    assert envelope[:9] == b"SBXE\x01\x00\x00\x00\x03"
    assert len(envelope) == 4 + 1 + 4 + 32 + 32 + 12 + len(b"swordfish") + 16
    assert b"swordfish" not in envelope


def test_no_two_envelopes_share_an_id_a_commitment_or_a_nonce() -> None:
    envelopes = [seal(b"", KEY, BOUND) for _ in range(200)]
    for start, end in ((9, 41), (41, 73), (73, 85)):
        assert len({one[start:end] for one in envelopes}) == 200


@given(texts, keys, bindings, st.data())
def test_an_envelope_with_one_bit_flipped_stays_shut(
    text: bytes, key: DataKey, binding: Binding, data: st.DataObject
) -> None:
    envelope = bytearray(seal(text, key, binding))
    bit = data.draw(st.integers(0, len(envelope) * 8 - 1))
    envelope[bit // 8] ^= 1 << bit % 8
    assert refuses(bytes(envelope), key, binding)


@given(texts, keys, bindings, st.data())
def test_an_envelope_that_was_cut_or_lengthened_stays_shut(
    text: bytes, key: DataKey, binding: Binding, data: st.DataObject
) -> None:
    envelope = seal(text, key, binding)
    assert refuses(envelope[: data.draw(st.integers(0, len(envelope) - 1))], key, binding)
    assert refuses(envelope + data.draw(st.binary(min_size=1, max_size=8)), key, binding)


@given(texts, keys, bindings, bindings)
def test_an_envelope_that_was_moved_to_another_place_stays_shut(
    text: bytes, key: DataKey, binding: Binding, other: Binding
) -> None:
    envelope = seal(text, key, binding)
    for moved in (
        replace(binding, secret_id=other.secret_id),
        replace(binding, name=other.name),
        replace(binding, version=other.version),
        replace(binding, purpose=other.purpose),
        other,
    ):
        assert refuses(envelope, key, moved) == (moved != binding)


@given(texts, keys, keys, bindings)
def test_an_envelope_stays_shut_under_any_other_key_and_in_any_other_tenant(
    text: bytes, key: DataKey, other: DataKey, binding: Binding
) -> None:
    envelope = seal(text, key, binding)
    for wrong in (
        replace(key, material=other.material),
        replace(key, version=other.version),
        replace(key, tenant_id=other.tenant_id),
    ):
        assert refuses(envelope, wrong, binding) == (wrong != key)


@given(texts, texts, keys, bindings)
def test_two_envelopes_that_swapped_places_stay_shut(
    text: bytes, other_text: bytes, key: DataKey, binding: Binding
) -> None:
    elsewhere = replace(binding, secret_id=UUID(int=binding.secret_id.int ^ 1))
    here, there = seal(text, key, binding), seal(other_text, key, elsewhere)
    assert refuses(there, key, binding)
    assert refuses(here, key, elsewhere)


@given(texts, keys, bindings)
def test_an_earlier_envelope_of_the_same_secret_stays_shut(text: bytes, key: DataKey, binding: Binding) -> None:
    assert refuses(seal(text, key, binding), key, replace(binding, version=binding.version + 1))


@given(texts, texts, keys, bindings)
def test_parts_of_two_envelopes_put_together_stay_shut(
    text: bytes, other_text: bytes, key: DataKey, binding: Binding
) -> None:
    one, other = seal(text, key, binding), seal(other_text, key, binding)
    for cut in (41, 73, 85):
        assert refuses(one[:cut] + other[cut:], key, binding)


def test_a_ciphertext_that_opens_under_a_key_it_does_not_commit_to_stays_shut() -> None:
    # What AES-GCM alone would let through: the right key, another commitment.
    envelope = seal(b"swordfish", KEY, BOUND)
    assert refuses(envelope[:41] + bytes(32) + envelope[73:], KEY, BOUND)


@given(st.lists(st.binary(max_size=5), max_size=4), st.lists(st.binary(max_size=5), max_size=4))
def test_two_lists_of_parts_never_read_the_same(some: list[bytes], others: list[bytes]) -> None:
    assert (length_prefixed(*some) == length_prefixed(*others)) == (some == others)


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_data_key_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        DataKey(UUID(int=1), UUID(int=2), 1, bytes(size))


def test_neither_a_key_nor_its_wrapping_shows_itself_in_a_log() -> None:
    assert KEY.material.hex() not in repr(KEY)
    assert "material" not in repr(KEY)


def test_every_single_bit_of_an_envelope_keeps_it_shut() -> None:
    envelope = seal(b"swordfish", KEY, BOUND)
    flipped = 0
    for bit in range(len(envelope) * 8):
        changed = bytearray(envelope)
        changed[bit // 8] ^= 1 << bit % 8
        assert refuses(bytes(changed), KEY, BOUND)
        flipped += 1
    record(4, SHOW, n=flipped, figure=f"each of {flipped} bits flipped: none opened; 100 examples of each other change")
