"""This module is where people's keys are made, fetched and destroyed: whose key is gone, their part of the log is.

Security boundary: a key that was destroyed is never made again. Another gateway may seal under it for a minute more;
nobody can open that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from models import PersonKey
from models.database import TenantSession
from models.sealing import AuditKeys, NotOpened, new_key

_log = structlog.get_logger(__name__)


async def sealing_keys(
    session: TenantSession, keys: AuditKeys, persons: Collection[UUID], now: datetime
) -> dict[UUID, bytes]:
    """The keys of ``persons``, made where there are none yet; those that were destroyed are left out."""
    tenant = session.tenant_id
    found = {one: key for one in persons if (key := keys.recent.get((tenant, one))) is not None}
    missing = sorted(set(persons) - found.keys())
    if not missing:
        return found
    stored = await wrapped_keys(session, missing)
    if new := [one for one in missing if one not in stored]:
        # In the order of their ids, so that two that make the same keys wait for each other one way only.
        made = {one: keys.wrap(tenant, one, new_key()) for one in new}
        rows = [{"tenant_id": tenant, "person_id": one, "wrapped": made[one], "created_at": now} for one in new]
        own = await session.scalars(
            insert(PersonKey).values(rows).on_conflict_do_nothing().returning(PersonKey.person_id)
        )
        mine = set(own)
        stored |= {one: made[one] for one in mine}
        stored |= await wrapped_keys(session, [one for one in new if one not in mine])
        # Not remembered: were this rolled back, entries would be sealed under keys that nobody has.
        uncommitted: set[UUID] = session.info.setdefault("person_keys_made", set())
        uncommitted |= mine
    for one, wrapped in stored.items():
        key = _opened(keys, tenant, one, wrapped)
        if key is not None:
            found[one] = key
            if one not in session.info.get("person_keys_made", ()):
                keys.recent.put((tenant, one), key)
    return found


async def opening_keys(session: TenantSession, keys: AuditKeys, persons: Iterable[UUID]) -> dict[UUID, bytes]:
    """The keys of ``persons`` as the database has them now; those that never were or were destroyed are left out."""
    stored = await wrapped_keys(session, sorted(set(persons)))
    opened = {one: _opened(keys, session.tenant_id, one, wrapped) for one, wrapped in stored.items()}
    return {one: key for one, key in opened.items() if key is not None}


async def destroy_key(session: TenantSession, keys: AuditKeys | None, person_id: UUID, now: datetime) -> None:
    """Make a person's part of the log unreadable for ever. Does not commit."""
    tenant = session.tenant_id
    gone = {"wrapped": None, "destroyed_at": now}
    await session.execute(
        insert(PersonKey)
        .values(tenant_id=tenant, person_id=person_id, created_at=now, **gone)
        .on_conflict_do_update(index_elements=["tenant_id", "person_id"], set_=gone)
    )
    if keys is not None:
        keys.recent.forget((tenant, person_id))


def _opened(keys: AuditKeys, tenant_id: UUID, person_id: UUID, wrapped: bytes | None) -> bytes | None:
    """None where it was destroyed, and where it was wrapped by a key that is not at hand: work goes on without it."""
    try:
        return keys.unwrap(tenant_id, person_id, wrapped) if wrapped is not None else None
    except NotOpened:
        # Never replaced: were it only a wrong setting, everything sealed before would be lost.
        _log.error("audit.person_key_not_opened", tenant_id=str(tenant_id))
        return None


async def wrapped_keys(session: TenantSession, persons: Collection[UUID]) -> dict[UUID, bytes | None]:
    """The keys of ``persons`` as they are stored; None for one that was destroyed, nothing for one that never was."""
    if not persons:
        return {}
    statement = select(PersonKey.person_id, PersonKey.wrapped).where(
        PersonKey.tenant_id == session.tenant_id, PersonKey.person_id == func.any(list(persons))
    )
    return {row.person_id: row.wrapped for row in await session.execute(statement)}
