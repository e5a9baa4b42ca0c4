"""This module is where committed changes are numbered: the last statements before every COMMIT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import insert, text, update

from models import Event, EventTopic, Scope, StructureEvent, TenantStream
from models.database import TenantSession
from models.ids import uuid7

# Nulls are said: rows that leave out different columns would be a statement each.
_EVENTS: Final = insert(Event).execution_options(render_nulls=True)
_STRUCTURE: Final = insert(StructureEvent).execution_options(render_nulls=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """An event that has no number yet.

    ``before`` and ``after`` are the entity's facets; None means it did not exist, or does no longer.
    ``structure`` names the structure event that goes with it, e.g. ``WORKSPACE_MOVED``. Every change is audited
    unless ``audited`` says otherwise: what beats and silence do by the thousand, nobody did.
    """

    topic: EventTopic
    kind: str
    entity_type: str
    entity_id: UUID
    required_scope: Scope
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    payload: dict[str, Any] = field(default_factory=dict)
    owner_user_id: UUID | None = None
    workspace_id: UUID | None = None
    structure: str | None = None
    agent_id: UUID | None = None
    target_id: UUID | None = None
    audited: bool = True


async def append(
    session: TenantSession,
    envelopes: Sequence[Envelope],
    actor: tuple[str, UUID] | None,
    occurred_at: datetime,
) -> int:
    """Number and insert ``envelopes``; returns the last seq. Does not commit, and nothing may follow but COMMIT.

    The session forgets its rows, so that none can be changed after this.

    The counter is bumped last because its row is locked from here to the COMMIT: work after it would make every
    other writer of the tenant wait for that work.
    """
    tenant = session.tenant_id
    if session.new or session.dirty or session.deleted:
        raise RuntimeError("rows are flushed before the counter is bumped")
    session.expunge_all()
    last = await session.scalar(
        update(TenantStream)
        .where(TenantStream.tenant_id == tenant)
        .values(seq=TenantStream.seq + len(envelopes))
        .returning(TenantStream.seq)
    )
    if last is None:
        raise RuntimeError("the tenant has no event counter")
    numbered = list(enumerate(envelopes, start=last - len(envelopes) + 1))
    await session.execute(_EVENTS, [_event(tenant, seq, one, actor, occurred_at) for seq, one in numbered])
    structural = [_structure(tenant, seq, one, occurred_at) for seq, one in numbered if one.structure]
    if structural:
        await session.execute(_STRUCTURE, structural)
    return int(last)


def _event(
    tenant: UUID, seq: int, one: Envelope, actor: tuple[str, UUID] | None, occurred_at: datetime
) -> dict[str, Any]:
    return {
        "tenant_id": tenant,
        "seq": seq,
        "id": uuid7(),
        "topic": one.topic,
        "kind": one.kind,
        "entity_type": one.entity_type,
        "entity_id": one.entity_id,
        "required_scope": one.required_scope.value,
        "owner_user_id": one.owner_user_id,
        "workspace_id": one.workspace_id,
        "actor_type": actor[0] if actor else None,
        "actor_id": actor[1] if actor else None,
        "before": one.before,
        "after": one.after,
        "payload": one.payload,
        "occurred_at": occurred_at,
    }


def _structure(tenant: UUID, seq: int, one: Envelope, occurred_at: datetime) -> dict[str, Any]:
    return {
        "tenant_id": tenant,
        "id": uuid7(),
        "seq": seq,
        "event_type": one.structure,
        "workspace_id": one.workspace_id,
        "agent_id": one.agent_id,
        "target_id": one.target_id,
        "payload": one.payload,
        "created_at": occurred_at,
        "updated_at": occurred_at,
    }


OPEN_STREAM = text(
    "WITH counter AS (INSERT INTO tenant_streams (tenant_id, seq) VALUES (:tenant, 0)), "
    "head AS (INSERT INTO audit_heads (tenant_id, seq) VALUES (:tenant, 0)) "
    "INSERT INTO stream_floors (tenant_id, low_water) VALUES (:tenant, 0)"
)
"""Gives a new tenant its counter, floor and audit head; runs in the transaction that creates the tenant."""
