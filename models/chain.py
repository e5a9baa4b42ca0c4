"""This module is where audit entries are bound to one another, and where a chain is told from a broken one."""

from __future__ import annotations

import hmac
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from models.sealing import AuditKeys, Part

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
CHAINED: Final = (
    "tenant_id",
    "id",
    "seq",
    "actor_type",
    "actor_id",
    "action",
    "resource_type",
    "resource_id",
    "subject_id",
    "details",
    "trace_id",
    "origin",
    "contents",
)
"""Columns that the chain is over, in this order; ``occurred_at`` follows as microseconds."""


def genesis(keys: AuditKeys, tenant_id: UUID, key_id: bytes | None = None) -> bytes | None:
    """What the first entry follows."""
    return keys.mac(tenant_id, "genesis", key_id=key_id)


def entry_mac(keys: AuditKeys, previous: bytes | None, row: Any, key_id: bytes | None = None) -> bytes | None:
    """The mac of ``row`` (an entry, or its columns in a dict) behind ``previous``; None for a key not at hand."""
    said = row if isinstance(row, dict) else {name: getattr(row, name) for name in (*CHAINED, "occurred_at")}
    parts: list[Part] = [said[name] for name in CHAINED]
    return keys.mac(said["tenant_id"], previous, *parts, microseconds(said["occurred_at"]), key_id=key_id)


def checkpoint_signature(
    keys: AuditKeys, tenant_id: UUID, seq: int, mac: bytes, entries: int, key_id: bytes | None = None
) -> bytes | None:
    """What proves a checkpoint."""
    return keys.signature(tenant_id, "checkpoint", seq, mac, entries, key_id=key_id)


def anchor_signature(
    keys: AuditKeys, tenant_id: UUID, seq: int, mac: bytes, at: datetime, key_id: bytes | None = None
) -> bytes | None:
    """What proves an anchor."""
    return keys.signature(tenant_id, "anchor", seq, mac, microseconds(at), key_id=key_id)


def is_same(one: bytes | None, other: bytes | None) -> bool:
    """Whether both are there and equal, told in constant time."""
    return one is not None and other is not None and hmac.compare_digest(one, other)


def microseconds(moment: datetime) -> int:
    """Since the epoch; exact, as the database keeps it."""
    return (moment - _EPOCH) // timedelta(microseconds=1)
