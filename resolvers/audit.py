"""This module is where a unit of work's changes become audit entries: sealed, chained, just before the event counter.

Security boundary: an entry commits with the change it tells of, or neither does. Every change that is recorded for
the event log leaves one; nobody who writes a mutation has to think of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast
from uuid import UUID

import orjson
from sqlalchemy import Table, insert, select, update

from models import AuditHead, AuditLog, User
from models.chain import entry_mac, genesis
from models.changes import Changes, Values, redacted
from models.database import TenantSession
from models.ids import uuid7
from models.sealing import AuditKeys, seal
from resolvers.person_keys import sealing_keys
from subscriptions.log import Envelope

Actor = tuple[str, UUID] | None

# Tables and not classes: rows go in as they are, past the session's bookkeeping.
_ENTRIES: Final = cast(Table, AuditLog.__table__)
_HEADS: Final = cast(Table, AuditHead.__table__)
_LONGEST_BYTES: Final = 65_536
_AGENT_LENGTH: Final = 512


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a change came from: the caller's address and agent, and the id of the request."""

    address: str | None = None
    agent: str | None = None
    request_id: str | None = None

    @property
    def said(self) -> dict[str, str]:
        """The personal part; empty for a request of the machine's own."""
        agent = self.agent.replace("\x00", "")[:_AGENT_LENGTH] if self.agent else None
        return {name: value for name, value in (("address", self.address), ("agent", agent)) if value}


NOWHERE: Final = Origin()


@dataclass(frozen=True, slots=True)
class _Entry:
    envelope: Envelope
    subject_id: UUID | None
    contents: bytes | None


async def write_entries(
    session: TenantSession,
    keys: AuditKeys | None,
    envelopes: Sequence[Envelope],
    changes: Changes,
    actor: Actor,
    origin: Origin,
    now: datetime,
) -> None:
    """Chain an entry for each envelope that is audited. Does not commit; only the event counter may follow.

    Locks the tenant's head until COMMIT.
    """
    entries = [_entry_of(one, changes) for one in envelopes if one.audited]
    if not entries:
        return
    if keys is None:
        raise RuntimeError("there are no keys for the audit log")
    tenant = session.tenant_id
    # An address without anybody to seal it for could not be erased with them.
    from_where = orjson.dumps(origin.said) if origin.said and actor is not None else None
    holder = actor[1] if actor is not None and actor[0] == User.__typeid__ else tenant
    wanted = {one.subject_id or tenant for one in entries if one.contents} | ({holder} if from_where else set())
    sealers = await sealing_keys(session, keys, wanted, now)
    head = await _locked_head(session)
    seq, last_id, mac = head.seq, head.last_id, head.mac or genesis(keys, tenant)
    rows = []
    for entry in entries:
        seq, last_id = seq + 1, _next_id(last_id)
        row = _row(tenant, last_id, seq, entry, actor, origin.request_id, now)
        row["contents"] = _sealed(sealers, entry.contents, entry.subject_id or tenant, last_id, tenant, "contents")
        row["origin"] = _sealed(sealers, from_where, holder, last_id, tenant, "origin")
        row["key_id"] = keys.key_id
        mac = row["mac"] = entry_mac(keys, mac, row)
        rows.append(row)
    await _store(session, rows)


def _entry_of(envelope: Envelope, changes: Changes) -> _Entry:
    found = changes.take(envelope.entity_type, envelope.entity_id)
    old, new = found if found is not None else _by_facets(envelope)
    said = {name: values for name, values in (("old", old), ("new", new)) if values}
    is_person = envelope.entity_type == User.__typeid__
    subject = envelope.entity_id if is_person else envelope.owner_user_id
    return _Entry(envelope, subject, _bounded(said) if said else None)


def _by_facets(envelope: Envelope) -> tuple[Values, Values]:
    """What the event itself says: enough for changes that no flush saw."""
    before, after = envelope.before or {}, envelope.after or {}
    names = sorted((before.keys() | after.keys()) - {"id", "search"})
    differing = [name for name in names if before.get(name) != after.get(name)]
    return (
        {name: redacted(name, before[name]) for name in differing if name in before},
        {name: redacted(name, after[name]) for name in differing if name in after},
    )


def _bounded(said: dict[str, Values]) -> bytes:
    encoded = orjson.dumps(said, default=str, option=orjson.OPT_NON_STR_KEYS)
    if len(encoded) <= _LONGEST_BYTES:
        return encoded
    return orjson.dumps({side: dict.fromkeys(values, "[too long]") for side, values in said.items()})


def _next_id(last: UUID | None) -> UUID:
    # Ids stand in the order of the chain, whatever the writers' clocks say: months are cut between ids.
    made = uuid7()
    return made if last is None or made > last else UUID(int=last.int + 1)


def _row(
    tenant: UUID, row_id: UUID, seq: int, entry: _Entry, actor: Actor, request_id: str | None, now: datetime
) -> dict[str, Any]:
    envelope = entry.envelope
    return {
        "tenant_id": tenant,
        "id": row_id,
        "seq": seq,
        "occurred_at": now,
        "actor_type": actor[0] if actor else None,
        "actor_id": actor[1] if actor else None,
        "action": envelope.kind,
        "resource_type": envelope.entity_type,
        "resource_id": envelope.entity_id,
        "subject_id": entry.subject_id,
        "details": _plainly(envelope.payload) if envelope.payload else None,
        "trace_id": request_id or None,
    }


def _plainly(payload: dict[str, Any]) -> str:
    return orjson.dumps(payload, default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS).decode()


def _sealed(
    sealers: dict[UUID, bytes], content: bytes | None, holder: UUID, row_id: UUID, tenant: UUID, part: str
) -> bytes | None:
    """None for nothing, and for an erased person: what cannot be opened again need not be kept."""
    key = sealers.get(holder)
    return seal(key, content, tenant, row_id, part) if content is not None and key is not None else None


async def _locked_head(session: TenantSession) -> Any:
    statement = select(AuditHead.seq, AuditHead.last_id, AuditHead.mac).where(AuditHead.tenant_id == session.tenant_id)
    head = (await session.execute(statement.with_for_update(key_share=True))).one_or_none()
    if head is None:
        raise RuntimeError("the tenant has no audit log")
    return head


async def _store(session: TenantSession, rows: Sequence[dict[str, Any]]) -> None:
    last = rows[-1]
    moved = (
        update(_HEADS)
        .where(_HEADS.c.tenant_id == session.tenant_id)
        .values(seq=last["seq"], last_id=last["id"], mac=last["mac"])
    )
    if len(rows) == 1:
        await session.execute(insert(_ENTRIES).values(**last).add_cte(moved.cte("moved")))
        return
    await session.execute(insert(_ENTRIES), list(rows))
    await session.execute(moved)


def origin_of(address: str | None, agent: str | None, request_id: str | None, *, at_home: bool) -> Origin:
    """A caller's origin. A visitor's address is the platform's to know, not the visited tenant's."""
    return Origin(address, agent, request_id) if at_home else Origin(request_id=request_id)
