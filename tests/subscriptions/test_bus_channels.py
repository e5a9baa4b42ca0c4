"""This module is where channel names and wake-ups are pinned down: every process must agree on them."""

from uuid import UUID, uuid4

import pytest

from models.ids import uuid7
from subscriptions.channels import (
    MAX_WAKEUP_BYTES,
    SHARDS,
    beats_channel,
    decode_wakeup,
    encode_wakeup,
    events_channel,
)

TENANT = UUID("01932c07-209c-7b2d-8a6f-1f3d5c7e9b0a")


def test_a_tenant_has_the_same_channels_in_every_process() -> None:
    assert events_channel(TENANT) == "signalbox:events:10"
    assert beats_channel(TENANT) == "signalbox:beats:10"


def test_tenants_spread_over_all_shards() -> None:
    assert len({events_channel(uuid7()) for _ in range(1000)}) == SHARDS


@pytest.mark.parametrize("seq", [1, 42, 2**63 - 1])
def test_a_wakeup_comes_back_as_it_was(seq: int) -> None:
    data = encode_wakeup(TENANT, seq)
    assert len(data) <= MAX_WAKEUP_BYTES
    assert decode_wakeup(data) == (TENANT, seq)


@pytest.mark.parametrize("seq", [0, -1, 2**63])
def test_a_seq_that_no_event_has_is_not_announced(seq: int) -> None:
    with pytest.raises(ValueError):
        encode_wakeup(TENANT, seq)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b":",
        b"canary",
        b"\xff\xfe\x00",
        TENANT.hex.encode(),
        TENANT.hex.encode() + b":",
        TENANT.hex.encode() + b":0",
        TENANT.hex.encode() + b":-1",
        TENANT.hex.encode() + b":01",
        TENANT.hex.encode() + b":+1",
        TENANT.hex.encode() + b":1_0",
        TENANT.hex.encode() + b": 1",
        TENANT.hex.encode() + b":1\n",
        TENANT.hex.encode() + b":1:2",
        TENANT.hex.encode() + ":\u0661".encode(),
        TENANT.hex.encode() + b":9223372036854775808",
        TENANT.hex.encode() + b":" + b"9" * 5000,
        TENANT.hex.upper().encode() + b":1",
        str(TENANT).encode() + b":1",
        b"z" * 32 + b":1",
        b" " + encode_wakeup(TENANT, 1),
        encode_wakeup(TENANT, 1) + bytes(MAX_WAKEUP_BYTES),
        b'{"tenant":"%s","seq":1}' % str(uuid4()).encode(),
    ],
)
def test_a_forged_or_malformed_wakeup_is_nothing(data: bytes) -> None:
    assert decode_wakeup(data) is None
