"""This module is where what is too old is found across tenants, and deleted within one, a thousand rows at a time."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import TextClause, text

from models.database import Database, TenantSession

CHUNK: Final = 1000
_TENANTS: Final = 500

_TENANTS_WITH_OLD_KEYS: Final[TextClause] = text(
    "SELECT DISTINCT tenant_id FROM idempotency_keys WHERE created_at < now() - CAST(:age AS interval) LIMIT :tenants"
)

_DELETE_KEYS: Final[TextClause] = text(
    """
DELETE FROM idempotency_keys WHERE tenant_id = :tenant AND ctid = ANY (ARRAY(
  SELECT ctid FROM idempotency_keys WHERE tenant_id = :tenant AND created_at < now() - CAST(:age AS interval)
  ORDER BY created_at LIMIT :chunk FOR UPDATE SKIP LOCKED
))
"""
)

_TENANTS_WITH_OLD_EVENTS: Final[TextClause] = text(
    """
SELECT s.tenant_id FROM tenant_streams s JOIN stream_floors f ON f.tenant_id = s.tenant_id
WHERE s.seq - f.low_water > :most OR now() - CAST(:age AS interval) > (
  SELECT e.occurred_at FROM events e
  WHERE e.tenant_id = s.tenant_id AND e.seq > f.low_water ORDER BY e.seq LIMIT 1
)
LIMIT :tenants
"""
)

# The floor's row is locked first, so two that trim one tenant take turns and neither skips an event.
_LOW_WATER: Final[TextClause] = text(
    "SELECT f.low_water, s.seq FROM stream_floors f JOIN tenant_streams s ON s.tenant_id = f.tenant_id "
    "WHERE f.tenant_id = :tenant FOR UPDATE OF f"
)

# Up to the first event that must stay: times are the writers', so an old one may stand behind a young one.
_NEW_FLOOR: Final[TextClause] = text(
    """
WITH oldest AS (
  SELECT seq, seq <= :surplus OR occurred_at < now() - CAST(:age AS interval) AS may_go FROM events
  WHERE tenant_id = :tenant AND seq > :low ORDER BY seq LIMIT :chunk
)
SELECT coalesce((SELECT min(seq) - 1 FROM oldest WHERE NOT may_go), (SELECT max(seq) FROM oldest), :low)
"""
)

_DELETE_EVENTS: Final[TextClause] = text(
    "DELETE FROM events WHERE tenant_id = :tenant AND seq > :low AND seq <= :floor"
)
_MOVE_FLOOR: Final[TextClause] = text("UPDATE stream_floors SET low_water = :floor WHERE tenant_id = :tenant")


async def tenants_with_old_keys(database: Database, age: timedelta) -> list[UUID]:
    """Tenants that hold idempotency keys older than ``age``; some of them, when there are many."""
    return await _tenants(database, _TENANTS_WITH_OLD_KEYS, age=age)


async def tenants_with_old_events(database: Database, age: timedelta, most: int) -> list[UUID]:
    """Tenants whose log holds events older than ``age`` or more than ``most``; some of them, when there are many."""
    return await _tenants(database, _TENANTS_WITH_OLD_EVENTS, age=age, most=most)


async def delete_old_keys(session: TenantSession, age: timedelta) -> int:
    """Delete a chunk of the tenant's old idempotency keys; how many. Does not commit."""
    values = {"tenant": session.tenant_id, "age": age, "chunk": CHUNK}
    result: Any = await session.execute(_DELETE_KEYS, values)
    return int(result.rowcount)


async def delete_old_events(session: TenantSession, age: timedelta, most: int) -> int:
    """Delete a chunk from the start of the tenant's log and move its floor; how many. Does not commit."""
    tenant = {"tenant": session.tenant_id}
    found = (await session.execute(_LOW_WATER, tenant)).first()
    if found is None:
        return 0
    low, head = found
    bounds = tenant | {"low": low, "surplus": head - most, "age": age, "chunk": CHUNK}
    floor = await session.scalar(_NEW_FLOOR, bounds)
    if floor is None or floor <= low:
        return 0
    result: Any = await session.execute(_DELETE_EVENTS, tenant | {"low": low, "floor": floor})
    await session.execute(_MOVE_FLOOR, tenant | {"floor": floor})
    return int(result.rowcount)


async def _tenants(database: Database, statement: TextClause, **values: object) -> list[UUID]:
    async with database.connection(database.platform) as connection:
        alone = await connection.execution_options(isolation_level="AUTOCOMMIT")
        return list((await alone.execute(statement, {"tenants": _TENANTS, **values})).scalars())
