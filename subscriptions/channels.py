"""This module is where the bus's channels are named and the wake-up is written and read."""

import re
from typing import Final
from uuid import UUID

SHARDS: Final = 16
CONTROL_PREFIX: Final = "signalbox:control:"
MAX_WAKEUP_BYTES: Final = 1024
_MAX_SEQ: Final = 2**63 - 1  # events.seq is a bigint
_WAKEUP: Final = re.compile(rb"([0-9a-f]{32}):([1-9][0-9]{0,18})")


def events_channel(tenant_id: UUID) -> str:
    """Where a tenant's wake-ups travel; tenants share 16 channels, so a reader must check the tenant."""
    return f"signalbox:events:{_shard(tenant_id)}"


def all_events_channels() -> list[str]:
    """Every channel wake-ups can arrive on."""
    return [f"signalbox:events:{shard}" for shard in range(SHARDS)]


def beats_channel(tenant_id: UUID) -> str:
    """Where a tenant's heartbeats travel, shared in the same way."""
    return f"signalbox:beats:{_shard(tenant_id)}"


def replies_channel(tenant_id: UUID) -> str:
    """Where pieces of replies and signs of typing travel, shared in the same way."""
    return f"signalbox:replies:{_shard(tenant_id)}"


def encode_wakeup(tenant_id: UUID, seq: int) -> bytes:
    """The whole wake-up: whose log grew, and how far. Never a payload."""
    if not 1 <= seq <= _MAX_SEQ:
        raise ValueError(f"an event's seq is 1 to {_MAX_SEQ}, not {seq}")
    return b"%s:%d" % (tenant_id.hex.encode(), seq)


def decode_wakeup(data: bytes) -> tuple[UUID, int] | None:
    """Tenant and seq, or None for anything that encode_wakeup cannot have written.

    Whoever reaches the broker can write anything: a wake-up is a hint where to look, it proves nothing.
    """
    if len(data) > MAX_WAKEUP_BYTES:
        return None
    match = _WAKEUP.fullmatch(data)
    if match is None:
        return None
    seq = int(match[2])
    return (UUID(match[1].decode()), seq) if seq <= _MAX_SEQ else None


def _shard(tenant_id: UUID) -> int:
    return tenant_id.int % SHARDS  # the low bits of a UUIDv7 are random, the high ones are the time
