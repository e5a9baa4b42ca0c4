"""This module is where conversations that nobody has touched for long are found, and deleted with all that is in them.

Their age is the tenant's own where its settings say one (``retention.conversation_days``).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import TextClause, text

from dataloaders.retention import CHUNK
from models.database import Database, TenantSession

_TENANTS: Final = 500

# CASE decides before the cast, which would fail on anything but a number.
_AGE: Final = (
    "CASE WHEN t.settings #>> '{retention,conversation_days}' ~ '^[0-9]{1,5}$' "
    "THEN make_interval(days => CAST(t.settings #>> '{retention,conversation_days}' AS integer)) "
    "ELSE CAST(:age AS interval) END"
)

_TENANTS_WITH_OLD: Final[TextClause] = text(
    f"""
SELECT t.id FROM tenants t WHERE EXISTS (
  SELECT 1 FROM conversations c WHERE c.tenant_id = t.id AND c.updated_at < now() - {_AGE}
) LIMIT :tenants
"""  # noqa: S608 - nothing in it is anybody's
)

_OLD: Final[TextClause] = text(
    f"""
SELECT c.id FROM conversations c WHERE c.tenant_id = :tenant
  AND c.updated_at < now() - (SELECT {_AGE} FROM tenants t WHERE t.id = :tenant)
ORDER BY c.updated_at LIMIT :chunk FOR UPDATE OF c SKIP LOCKED
"""  # noqa: S608
)

# From here on nobody writes in them, should what they hold take more than one transaction. Their age stays as it is.
_CLOSE: Final[TextClause] = text(
    """
UPDATE conversations SET status = 'deleted', title = NULL, summary = NULL, metadata = '{}', message_count = 0,
  token_count = 0
WHERE tenant_id = :tenant AND id = ANY (:ids) AND status <> 'deleted'
"""
)

_HELD: Final = ("tool_executions", "agent_runs", "read_markers", "messages")
"""What goes with a conversation, children first."""

_EMPTY: Final[tuple[TextClause, ...]] = tuple(
    text(
        f"DELETE FROM {table} WHERE tenant_id = :tenant AND ctid = ANY (ARRAY("  # noqa: S608 - the names above
        f"SELECT ctid FROM {table} WHERE tenant_id = :tenant AND conversation_id = ANY (:ids) LIMIT :chunk))"
    )
    for table in _HELD
)

_DELETE: Final[TextClause] = text("DELETE FROM conversations WHERE tenant_id = :tenant AND id = ANY (:ids)")


async def tenants_with_old_conversations(database: Database, age: timedelta) -> list[UUID]:
    """Tenants that hold conversations older than they keep them; some of them, when there are many."""
    async with database.connection(database.platform) as connection:
        return list((await connection.execute(_TENANTS_WITH_OLD, {"age": age, "tenants": _TENANTS})).scalars())


async def delete_old_conversations(session: TenantSession, age: timedelta) -> int:
    """Delete a chunk of what the tenant's old conversations hold, and those that hold nothing more; how many rows.

    A chunk or more means that there may be others. Does not commit.
    """
    tenant: dict[str, Any] = {"tenant": session.tenant_id}
    ids = list(await session.scalars(_OLD, tenant | {"age": age, "chunk": CHUNK}))
    if not ids:
        return 0
    old = tenant | {"ids": ids}
    await session.execute(_CLOSE, old)
    left = CHUNK
    for statement in _EMPTY:
        result: Any = await session.execute(statement, old | {"chunk": left})
        left -= int(result.rowcount)
        if left <= 0:
            return CHUNK
    await session.execute(_DELETE, old)
    return CHUNK - left + len(ids)
