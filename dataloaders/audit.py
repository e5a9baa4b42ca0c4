"""This module is where the audit and access logs are fetched: as lists, in the order of the chain, and by month."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, text
from sqlalchemy.orm import InstrumentedAttribute

from dataloaders.base import Batch
from dataloaders.pages import Condition, Direction, Listing, Order, any_of, any_text_of, equals
from models import (
    AuditCheckpoint,
    AuditEvent,
    AuditHead,
    AuditLog,
    DataAccessLog,
    PersonKey,
    RetentionRule,
    RetentionSubject,
)
from models.database import Database, TenantSession
from models.months import BY_MONTH, first_id

PAGE: Final = 500


def _since(column: InstrumentedAttribute[UUID]) -> Condition:
    # By the id, which is what months are divided by: the months before are not even opened.
    return lambda moment: column >= first_id(moment)


def _until(column: InstrumentedAttribute[UUID]) -> Condition:
    def condition(moment: datetime) -> ColumnElement[bool]:
        return column < first_id(moment)

    return condition


audit_logs: Final = Listing(
    AuditLog,
    filters={
        "actor_id": equals(AuditLog.actor_id),
        "subject_id": equals(AuditLog.subject_id),
        "action": any_text_of(AuditLog.action),
        "resource_type": any_text_of(AuditLog.resource_type),
        "resource_id": equals(AuditLog.resource_id),
        "occurred_after": _since(AuditLog.id),
        "occurred_before": _until(AuditLog.id),
    },
    orders={"occurred_at": Order(AuditLog.id)},
    default=("occurred_at", Direction.DESC),
)

data_access_logs: Final = Listing(
    DataAccessLog,
    filters={
        "actor_id": equals(DataAccessLog.actor_id),
        "subject_id": equals(DataAccessLog.subject_id),
        "data_category": any_of(DataAccessLog.data_category),
        "access_type": any_of(DataAccessLog.access_type),
        "occurred_after": _since(DataAccessLog.id),
        "occurred_before": _until(DataAccessLog.id),
    },
    orders={"occurred_at": Order(DataAccessLog.id)},
    default=("occurred_at", Direction.DESC),
)


_AWAITS: Final = AuditEvent.requires_review & AuditEvent.reviewed_at.is_(None)

audit_events: Final = Listing(
    AuditEvent,
    filters={
        "event_type": any_text_of(AuditEvent.event_type),
        "severity": any_of(AuditEvent.severity),
        "user_id": equals(AuditEvent.user_id),
        "agent_id": equals(AuditEvent.agent_id),
        "awaits_review": lambda awaits: _AWAITS if awaits else ~_AWAITS,
        "occurred_after": _since(AuditEvent.id),
        "occurred_before": _until(AuditEvent.id),
    },
    orders={"occurred_at": Order(AuditEvent.id)},
    default=("occurred_at", Direction.DESC),
)


async def person_keys_by_id(session: TenantSession, ids: Sequence[UUID]) -> list[bytes | None]:
    """The wrapped key of each person; None for one that never was or was destroyed."""
    statement = select(PersonKey.person_id, PersonKey.wrapped).where(
        PersonKey.tenant_id == session.tenant_id, PersonKey.person_id == func.any(list(ids))
    )
    found = {row.person_id: row.wrapped for row in await session.execute(statement)}
    return [found.get(one) for one in ids]


PERSON_KEYS: Final[Batch[UUID, bytes | None]] = person_keys_by_id


async def locked_audit_event(session: TenantSession, event_id: UUID) -> AuditEvent | None:
    """One of the tenant's audit events, locked until COMMIT."""
    mine = AuditEvent.tenant_id == session.tenant_id, AuditEvent.id == event_id
    found: AuditEvent | None = await session.scalar(select(AuditEvent).where(*mine).with_for_update())
    return found


async def entries_after(session: TenantSession, after: UUID | None) -> Sequence[AuditLog]:
    """The next of the tenant's entries in the order of their ids, which is the chain's; 500 at a time."""
    statement = select(AuditLog).where(AuditLog.tenant_id == session.tenant_id)
    if after is not None:
        statement = statement.where(AuditLog.id > after)
    return (await session.scalars(statement.order_by(AuditLog.id).limit(PAGE))).all()


async def last_entry_before(session: TenantSession, end: UUID) -> Any:
    """Seq and mac of the tenant's last entry whose id is below ``end``; None where there is none."""
    statement = (
        select(AuditLog.seq, AuditLog.mac)
        .where(AuditLog.tenant_id == session.tenant_id, AuditLog.id < end)
        .order_by(AuditLog.id.desc())
        .limit(1)
    )
    return (await session.execute(statement)).one_or_none()


async def head_of(session: TenantSession) -> AuditHead | None:
    """Where the tenant's chain ends."""
    found: AuditHead | None = await session.scalar(select(AuditHead).where(AuditHead.tenant_id == session.tenant_id))
    return found


async def checkpoints_of(session: TenantSession) -> Sequence[AuditCheckpoint]:
    """What stands for the months that are gone, oldest first; one a month, so there are few."""
    statement = select(AuditCheckpoint).where(AuditCheckpoint.tenant_id == session.tenant_id)
    return (await session.scalars(statement.order_by(AuditCheckpoint.seq).limit(1000))).all()


async def rules_of(session: TenantSession) -> Sequence[RetentionRule]:
    """What the tenant keeps longer than everybody does; one rule a subject."""
    statement = select(RetentionRule).where(RetentionRule.tenant_id == session.tenant_id)
    return (await session.scalars(statement.order_by(RetentionRule.subject).limit(len(RetentionSubject)))).all()


@dataclass(frozen=True, slots=True)
class Head:
    """Where one tenant's chain ends."""

    tenant_id: UUID
    seq: int
    mac: bytes | None


_HEADS: Final = text(
    "SELECT tenant_id, seq, mac FROM audit_heads WHERE tenant_id > :after ORDER BY tenant_id LIMIT :page"
)
_TENANTS: Final = text("SELECT id FROM tenants WHERE id > :after ORDER BY id LIMIT :page")
_LONGEST: Final = text("SELECT max(days) FROM retention_rules WHERE subject = :subject")
_MONTHS: Final = text(
    "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
    "WHERE i.inhparent = to_regclass(:log) ORDER BY c.relname LIMIT 1000"
)
_MAKE: Final = text("SELECT make_log_months(:ahead)")
_DROP: Final = text("SELECT drop_log_month(:log, :month)")


async def heads_after(database: Database, after: UUID) -> list[Head]:
    """The next tenants' heads in the order of the tenants' ids; 500 at a time, across tenants."""
    return [Head(*row) for row in await _ask(database, _HEADS, after=after, page=PAGE)]


async def tenants_after(database: Database, after: UUID) -> list[UUID]:
    """The next tenants' ids in their order, the deleted ones included; 500 at a time."""
    return [row[0] for row in await _ask(database, _TENANTS, after=after, page=PAGE)]


async def longest_retention(database: Database) -> int | None:
    """The most days that any tenant keeps its audit log; None when none said so."""
    rows = await _ask(database, _LONGEST, subject=RetentionSubject.AUDIT_LOGS.value)
    days: int | None = rows[0][0]
    return days


async def months_of(database: Database, log: str) -> list[datetime]:
    """The months that ``log`` has tables for, oldest first; without a time zone, as they are named."""
    rows = await _ask(database, _MONTHS, log=log)
    return [datetime.strptime(row[0].removeprefix(log), "_%Y_%m") for row in rows]  # noqa: DTZ007 - a name


async def make_months(database: Database, ahead: int) -> int:
    """Make the tables of this month and the next ``ahead`` where they are missing; how many. Commits."""
    return int((await _ask(database, _MAKE, ahead=ahead))[0][0])


async def drop_month(database: Database, log: str, month: datetime) -> bool:
    """Give up a month of a log; whether it was there. Commits. The database refuses one that must be kept."""
    assert log in BY_MONTH
    return bool((await _ask(database, _DROP, log=log, month=month))[0][0])


async def _ask(database: Database, statement: Any, **values: object) -> Sequence[Any]:
    async with database.connection(database.platform) as connection:
        alone = await connection.execution_options(isolation_level="AUTOCOMMIT")
        return list((await alone.execute(statement, values)).all())
