"""This module is where all that a tenant has is read, and deleted, table by table: when it leaves, and before it does.

Tables are taken from the models, so a later one is exported and deleted from its first day, unless it is named here.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import BigInteger, Column, LargeBinary, Table, delete, select, tuple_, update
from sqlalchemy.dialects.postgresql import TSVECTOR

from models import PersonKey
from models.base import Base
from models.database import TenantSession

CHUNK: Final = 1000

NOT_EXPORTED: Final = {
    "alert_series": "names of what fired: the alerts hold them all",
    "approval_counts": "counts of what is exported",
    "audit_checkpoints": "signatures of the gateway's own",
    "audit_heads": "the gateway's own bookkeeping",
    "credential_versions": "the gateway's own bookkeeping",
    "governance_heads": "the gateway's own bookkeeping",
    "idempotency_keys": "the gateway's own bookkeeping, of a day",
    "one_time_tokens": "nothing but hashes of secrets",
    "outgoing_mails": "links that sign people in",
    "person_keys": "the keys of what is sealed",
    "refresh_tokens": "nothing but hashes of secrets",
    "secrets": "sealed: they leave through nobody's hands",
    "sign_in_failures": "nothing but hashes",
    "spent_id_tokens": "nothing but hashes",
    "stream_floors": "the gateway's own bookkeeping",
    "tenant_keys": "the keys of what is sealed",
    "tenant_streams": "the gateway's own bookkeeping",
}
"""Tables that no export holds, with the reason."""

KEPT: Final = {
    "audit_checkpoints": "they stand for months of the audit log that are gone",
    "audit_events": "evidence for three years: ids, enum values and names of rules",
    "audit_heads": "where the audit log ends, so that a cut tail shows",
    "audit_logs": "evidence for three years; what is personal in it is sealed, and its keys are destroyed",
    "credential_versions": "one number, which gateways compare",
    "data_access_logs": "evidence for three years; what is personal in it is sealed, and its keys are destroyed",
    "person_keys": "emptied: without them nobody reads what the audit log holds of people",
    "retention_rules": "how long the tenant wanted its audit log kept",
    "stream_floors": "one number; whoever still follows the log is told that it is gone",
    "structure_events": "insert-only: ids and kinds of what happened",
    "tenant_streams": "one number, which is never given twice",
}
"""Tables of which rows stay when a tenant is deleted, with the reason; the tenant's own row stays, emptied."""


def tables_of_tenants() -> list[Table]:
    """Every table whose rows belong to a tenant, by name."""
    tables = Base.metadata.tables
    return [tables[name] for name in sorted(tables) if "tenant_id" in tables[name].c]


def exported_tables() -> list[Table]:
    """What an export holds, in its order: the tenant itself, then its tables by name."""
    own = Base.metadata.tables["tenants"]
    return [own, *(table for table in tables_of_tenants() if table.name not in NOT_EXPORTED)]


def exported_columns(table: Table) -> list[Column[Any]]:
    """The columns of an export: nothing binary, no hashes, nothing that is computed for searches."""
    return [one for one in table.c if not _is_for_machines(one) and not _is_secret(one.name)]


async def rows_after(session: TenantSession, table: Table, after: list[Any] | None, limit: int) -> list[dict[str, Any]]:
    """Up to ``limit`` of the tenant's rows, in the order of their keys, behind the key ``after``."""
    columns = exported_columns(table)
    key = _key(table)
    statement = select(*columns).where(_owner(table) == session.tenant_id).order_by(*key).limit(limit)
    if after is not None and key:
        statement = statement.where(tuple_(*key) > tuple_(*after))
    return [dict(row._mapping) for row in await session.execute(statement)]


def key_of(table: Table, row: dict[str, Any]) -> list[Any]:
    """The row's place in its table, without the tenant."""
    return [row[one.name] for one in _key(table)]


async def delete_some(session: TenantSession, table: Table) -> int:
    """Delete a thousand of the tenant's rows; how many. Does not commit."""
    key = list(table.primary_key.columns)
    some = select(*key).where(table.c.tenant_id == session.tenant_id).limit(CHUNK)
    result: Any = await session.execute(
        delete(table).where(table.c.tenant_id == session.tenant_id, tuple_(*key).in_(some))
    )
    return int(result.rowcount)


async def destroy_person_keys(session: TenantSession, now: datetime) -> int:
    """Empty every key of the tenant's sealed parts; how many. Does not commit."""
    result: Any = await session.execute(
        update(PersonKey)
        .where(PersonKey.tenant_id == session.tenant_id, PersonKey.wrapped.is_not(None))
        .values(wrapped=None, destroyed_at=now)
        .execution_options(synchronize_session=False)
    )
    return int(result.rowcount)


def _owner(table: Table) -> Column[Any]:
    return table.c.tenant_id if "tenant_id" in table.c else table.c.id


def _key(table: Table) -> list[Column[Any]]:
    return [one for one in table.primary_key.columns if one is not _owner(table)]


def _is_for_machines(column: Column[Any]) -> bool:
    # The number of a series has 64 bits, of which many a reader of JSON keeps 53.
    is_number = column.computed is not None and isinstance(column.type, BigInteger)
    return is_number or isinstance(column.type, LargeBinary | TSVECTOR)


def _is_secret(name: str) -> bool:
    return name.endswith("_hash") or "password" in name
