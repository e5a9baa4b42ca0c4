"""This module is where committed changes are numbered: the last statements before every COMMIT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol, TypedDict, Unpack
from uuid import UUID

from sqlalchemy import insert, text, update

from models import Event, EventTopic, Scope, StructureEvent, TenantStream
from models.database import TenantSession
from models.ids import uuid7

# Nulls are said: rows that leave out different columns would be a statement each.
_EVENTS: Final = insert(Event).execution_options(render_nulls=True)
_STRUCTURE: Final = insert(StructureEvent).execution_options(render_nulls=True)


class Told(Protocol):
    """A row whose changes are told. It declares of which part of the house it is and which scope reads of it.

    ``__owner__`` names the column of the person whose own row it is, ``__place__`` that of its workspace.
    """

    @property
    def __typeid__(self) -> str: ...

    @property
    def __topic__(self) -> EventTopic: ...

    @property
    def __read_scope__(self) -> Scope: ...

    @property
    def id(self) -> UUID:
        """Which one it is."""
        ...

    def facets(self) -> dict[str, Any]:
        """What filters and visibility may look at."""
        ...


class Particulars(TypedDict, total=False):
    """What one change says otherwise than the row declares."""

    topic: EventTopic
    required_scope: Scope
    after: dict[str, Any] | None
    owner_user_id: UUID | None
    workspace_id: UUID | None
    structure: str | None
    agent_id: UUID | None
    target_id: UUID | None
    audited: bool


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

    @classmethod
    def of(
        cls,
        row: Told,
        kind: str,
        before: dict[str, Any] | None,
        payload: dict[str, Any] | None = None,
        *,
        gone: bool = False,
        **particulars: Unpack[Particulars],
    ) -> Envelope:
        """What is told of ``row``: it was ``before``, None when it is new; it is as it stands unless it is ``gone``."""
        gone = gone or getattr(row, "deleted_at", None) is not None
        declared = Particulars(
            topic=row.__topic__,
            required_scope=row.__read_scope__,
            after=None if gone else row.facets(),
            owner_user_id=_column(row, "__owner__"),
            workspace_id=_column(row, "__place__"),
        )
        told: Any = {**declared, **particulars}
        return cls(
            kind=kind, entity_type=row.__typeid__, entity_id=row.id, before=before, payload=payload or {}, **told
        )


def _column(row: Told, declared: str) -> UUID | None:
    name = getattr(type(row), declared, None)
    return getattr(row, name) if name is not None else None


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
