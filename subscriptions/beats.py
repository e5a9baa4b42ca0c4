"""This module is where a beat is written for the bus and read from it.

A beat travels itself, unlike an event: nothing is stored per beat, so a lost one is only an older picture.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import orjson

from models import WorkspaceStatus
from models.ids import encode
from subscriptions.bus import MAX_MESSAGE_BYTES

MAX_TEXT_LENGTH: Final = 1000
MAX_ACTIVE_TASKS: Final = 1_000_000
MAX_UPTIME_SECONDS: Final = 2**53
_STATUSES: Final = {status.value: status for status in WorkspaceStatus}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_MICROSECONDS: Final = 253_402_300_799_999_999  # the last one a datetime can hold
_FIELDS: Final = 8
_UUID: Final = re.compile(r"[0-9a-f]{32}")
_HEAD: Final = re.compile(rb'\{"tenant":"([0-9a-f]{32})",')


@dataclass(frozen=True, slots=True)
class BeatSeen:
    """The latest beat of a workspace, as dashboards see it; ``status`` is the one it led to."""

    workspace_id: UUID
    status: WorkspaceStatus
    received_at: datetime
    error_rate: float
    active_tasks: int
    uptime_seconds: int
    current_task: str | None
    sample_error: str | None

    @property
    def heartbeat_id(self) -> str:
        """The one id all beats of this workspace share, as in models.registry."""
        return encode("heartbeat", self.workspace_id)

    # Read like the row's own columns, so that one type shows a live beat and a workspace's latest.

    @property
    def typeid(self) -> str:
        """The workspace's id as the outside sees it."""
        return encode("workspace", self.workspace_id)

    @property
    def last_heartbeat_at(self) -> datetime:
        """When it was received, on the database's clock."""
        return self.received_at

    @property
    def last_error_rate(self) -> float:
        """Share of failed work, 0 to 1."""
        return self.error_rate

    @property
    def last_sample_error(self) -> str | None:
        """One of the errors, in words."""
        return self.sample_error


def encode_beats(tenant_id: UUID, beats: Iterable[BeatSeen]) -> Iterator[bytes]:
    """One tenant's beats as messages of at most 16 KiB, in order. One beat always fits, whatever its texts."""
    head = b'{"tenant":"%s","beats":[' % tenant_id.hex.encode()
    room = MAX_MESSAGE_BYTES - len(head) - len(b"]}")
    parts: list[bytes] = []
    used = 0
    for beat in beats:
        part = orjson.dumps(_fields(beat))
        if parts and used + len(part) + 1 > room:
            yield head + b",".join(parts) + b"]}"
            parts, used = [], 0
        parts.append(part)
        used += len(part) + 1
    if parts:
        yield head + b",".join(parts) + b"]}"


def decode_beats(data: bytes) -> tuple[UUID, list[BeatSeen]] | None:
    """Tenant and beats, or None for anything encode_beats cannot have written, whole or in part.

    Whoever reaches the broker can write anything: what comes back is well-formed, which does not make it true.
    """
    if len(data) > MAX_MESSAGE_BYTES:
        return None
    try:
        message = orjson.loads(data)
        if not isinstance(message, dict) or message.keys() != {"tenant", "beats"}:
            return None
        return _uuid(message["tenant"]), [_beat(fields) for fields in _list(message["beats"])]
    except ValueError:
        return None


def peek_tenant(data: bytes) -> UUID | None:
    """Whose beats ``data`` says it holds, without reading them: most of a shared channel is for others."""
    match = _HEAD.match(data)
    return UUID(match[1].decode()) if match else None


def _fields(beat: BeatSeen) -> list[Any]:
    return [
        beat.workspace_id.hex,
        beat.status.value,
        (beat.received_at - _EPOCH) // timedelta(microseconds=1),
        beat.error_rate,
        beat.active_tasks,
        beat.uptime_seconds,
        beat.current_task,
        beat.sample_error,
    ]


def _beat(fields: Any) -> BeatSeen:
    if len(_list(fields)) != _FIELDS:
        raise ValueError("a beat has eight fields")
    workspace, status, micros, error_rate, active, uptime, current_task, sample_error = fields
    if not isinstance(status, str) or status not in _STATUSES:
        raise ValueError("no such status")
    if not isinstance(error_rate, int | float) or isinstance(error_rate, bool) or not 0 <= error_rate <= 1:
        raise ValueError("an error rate is 0 to 1")
    return BeatSeen(
        _uuid(workspace),
        _STATUSES[status],
        _EPOCH + timedelta(microseconds=_count(micros, _MAX_MICROSECONDS)),
        float(error_rate),
        _count(active, MAX_ACTIVE_TASKS),
        _count(uptime, MAX_UPTIME_SECONDS),
        _text(current_task),
        _text(sample_error),
    )


def _uuid(value: Any) -> UUID:
    # UUID() itself also takes braces, dashes and urn:, which we never write.
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise ValueError("no uuid")
    return UUID(value)


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("no list")
    return value


def _count(value: Any, limit: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= limit:
        raise ValueError("no count")
    return value


def _text(value: Any) -> str | None:
    if value is not None and (not isinstance(value, str) or len(value) > MAX_TEXT_LENGTH):
        raise ValueError("no text")
    return value
