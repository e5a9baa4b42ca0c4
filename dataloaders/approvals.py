"""This module is where requests for approval are fetched: as lists, as counts, and as what is due by itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Table,
    Text,
    TextClause,
    Uuid,
    any_,
    bindparam,
    func,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.orm import InstrumentedAttribute

from dataloaders.base import grouped
from dataloaders.pages import Condition, Listing, Order, any_of, equals, words
from models import (
    ApprovalCount,
    ApprovalDecision,
    ApprovalRequest,
    ApprovalStatus,
    HitlMode,
    Priority,
    SlaState,
)
from models.approvals import URGENCY
from models.base import TextEnum
from models.database import Database, TenantSession

PAGE: Final = 500
"""Due requests of one finding, whatever tenants they are of."""


class Assignment(StrEnum):
    """Who has a request in hand, as the caller sees it."""

    MINE = "mine"
    OTHERS = "others"
    UNASSIGNED = "unassigned"


@dataclass(frozen=True, slots=True)
class Assigned:
    """Assignments that are asked for, and by whom; ``me`` is None for machines, which have nothing in hand."""

    to: frozenset[Assignment]
    me: UUID | None


def _few(column: InstrumentedAttribute[Any]) -> Condition:
    """The column is one of the values; of one value plainly so, for then the index's order is the list's."""
    one_of = any_of(column)

    def condition(values: list[Any]) -> ColumnElement[bool] | None:
        return column == values[0] if len(set(values)) == 1 else one_of(values)

    return condition


def _assigned(wanted: Assigned) -> ColumnElement[bool] | None:
    column, conditions = ApprovalRequest.assigned_to, list[ColumnElement[bool]]()
    if Assignment.MINE in wanted.to and wanted.me is not None:
        conditions.append(column == wanted.me)
    if Assignment.OTHERS in wanted.to:
        conditions.append(column.is_not(None) if wanted.me is None else column != wanted.me)
    if Assignment.UNASSIGNED in wanted.to:
        conditions.append(column.is_(None))
    return or_(*conditions) if conditions else None


def _urgent(values: list[Priority]) -> ColumnElement[bool] | None:
    numbers = sorted({URGENCY[Priority(one)] for one in values})
    return _few(ApprovalRequest.urgency)(numbers)


def _since(moment: datetime) -> ColumnElement[bool]:
    return ApprovalRequest.created_at >= moment


def _until(moment: datetime) -> ColumnElement[bool]:
    return ApprovalRequest.created_at < moment


approvals: Final = Listing(
    ApprovalRequest,
    filters={
        "status": _few(ApprovalRequest.status),
        "hitl_mode": _few(ApprovalRequest.hitl_mode),
        "priority": _urgent,
        "kind": _few(ApprovalRequest.kind),
        "agent_id": equals(ApprovalRequest.agent_id),
        "user_id": equals(ApprovalRequest.user_id),
        "department": equals(ApprovalRequest.user_department),
        "assigned_department": equals(ApprovalRequest.assigned_department),
        "assignment": _assigned,
        "sla_state": _few(ApprovalRequest.sla_state),
        "created_after": _since,
        "created_before": _until,
        "search": words(ApprovalRequest),
    },
    orders={
        "created_at": Order(ApprovalRequest.created_at),
        "priority": Order(ApprovalRequest.urgency),
        "sla_due_at": Order(ApprovalRequest.sla_due_at),
    },
)

decisions_by_approval: Final = grouped(
    select(ApprovalDecision)
    .where(
        ApprovalDecision.tenant_id == bindparam("tenant", type_=Uuid()),
        ApprovalDecision.approval_id == any_(bindparam("keys", type_=ARRAY(Uuid))),
    )
    .order_by(ApprovalDecision.id)
    .limit(10_000),
    "approval_id",
)
"""What was said of each request, oldest first; nobody says it twice, and few are asked."""


@dataclass(frozen=True, slots=True)
class ModeCount:
    """How many requests of one mode wait."""

    mode: HitlMode
    count: int


@dataclass(frozen=True, slots=True)
class PriorityCount:
    """How many requests of one priority wait."""

    priority: Priority
    count: int


@dataclass(frozen=True, slots=True)
class QueueSummary:
    """What waits. Every mode and every priority is named, also those of which nothing waits."""

    pending: int
    breached: int
    at_risk: int
    by_mode: list[ModeCount]
    by_priority: list[PriorityCount]
    oldest_pending_at: datetime | None


async def queue_summary(session: TenantSession) -> QueueSummary:
    """What waits in the tenant, from its counts: at most 36 rows, and one of the requests."""
    rows = await session.execute(
        select(ApprovalCount.hitl_mode, ApprovalCount.priority, ApprovalCount.sla_state, ApprovalCount.pending)
        .where(ApprovalCount.tenant_id == session.tenant_id)
        .limit(len(HitlMode) * len(Priority) * len(SlaState))
    )
    by_mode, by_priority = dict.fromkeys(HitlMode, 0), dict.fromkeys(Priority, 0)
    by_state = dict.fromkeys(SlaState, 0)
    for mode, priority, state, pending in rows:
        by_mode[mode] += pending
        by_priority[priority] += pending
        by_state[state] += pending
    oldest = await session.scalar(
        select(ApprovalRequest.created_at)
        .where(ApprovalRequest.tenant_id == session.tenant_id, ApprovalRequest.status == ApprovalStatus.PENDING)
        .order_by(ApprovalRequest.created_at)
        .limit(1)
    )
    return QueueSummary(
        pending=sum(by_state.values()),
        breached=by_state[SlaState.BREACHED],
        at_risk=by_state[SlaState.AT_RISK],
        by_mode=[ModeCount(*one) for one in by_mode.items()],
        by_priority=[PriorityCount(*one) for one in by_priority.items()],
        oldest_pending_at=oldest,
    )


async def pending_count(session: TenantSession) -> int:
    """How many requests of the tenant wait."""
    counted = select(func.coalesce(func.sum(ApprovalCount.pending), 0))
    return int(await session.scalar(counted.where(ApprovalCount.tenant_id == session.tenant_id)) or 0)


async def has_decided(session: TenantSession, approval_id: UUID, decided_by: str) -> bool:
    """Whether this caller has said something of the request before."""
    found = await session.scalar(
        select(ApprovalDecision.id).where(
            ApprovalDecision.tenant_id == session.tenant_id,
            ApprovalDecision.approval_id == approval_id,
            ApprovalDecision.decided_by == decided_by,
        )
    )
    return found is not None


@dataclass(frozen=True, slots=True)
class DueApproval:
    """A request for which something is to happen by itself, and since when."""

    tenant_id: UUID
    id: UUID
    next_at: datetime


_DUE: Final[TextClause] = text(
    """
SELECT tenant_id, id, next_at FROM approval_requests
WHERE next_at <= now() AND (next_at, id) > (CAST(:next AS timestamptz), CAST(:id AS uuid))
ORDER BY next_at, id LIMIT :page
"""
)


async def due_approvals(database: Database, after: DueApproval | None) -> list[DueApproval]:
    """The next page of what is due in all tenants, longest due first: ids and times, nothing else.

    Only a finding: whoever acts on it checks again under the row's lock. Raises Unavailable.
    """
    start = (after.next_at, after.id) if after else (datetime.min.replace(tzinfo=UTC), UUID(int=0))
    values = {"next": start[0], "id": start[1], "page": PAGE}
    async with database.connection(database.platform) as connection:
        alone = await connection.execution_options(isolation_level="AUTOCOMMIT")
        rows = (await alone.execute(_DUE, values)).all()
    return [DueApproval(*row) for row in rows]


async def locked_due(session: TenantSession, ids: Iterable[UUID]) -> Sequence[ApprovalRequest]:
    """Those of ``ids`` that are due still, locked until COMMIT; what somebody else works on is left to them."""
    rows = await session.scalars(
        select(ApprovalRequest)
        .where(
            ApprovalRequest.tenant_id == session.tenant_id,
            ApprovalRequest.id == func.any(list(ids)),
            ApprovalRequest.next_at <= func.now(),
        )
        .order_by(ApprovalRequest.id)
        .limit(PAGE)
        .with_for_update(skip_locked=True, key_share=True)
    )
    return rows.all()


_MOVED: Final = (
    "status assigned_to assigned_department delegated_to sla_state next_at escalated_at escalations resolved_at version"
)


async def write_passed(session: TenantSession, rows: Sequence[ApprovalRequest], now: datetime) -> None:
    """Write what time did to ``rows``, which no session holds, in one statement. Does not commit."""
    if not rows:
        return
    table: Any = ApprovalRequest.__table__
    assert isinstance(table, Table)
    columns = [table.c[name] for name in _MOVED.split()]
    moved = func.unnest(
        bindparam("ids", [row.id for row in rows], ARRAY(Uuid)),
        *(
            bindparam(f"all_{one.name}", [_stored(getattr(row, one.name)) for row in rows], ARRAY(_kind(one)))
            for one in columns
        ),
    ).table_valued("row_id", *(f"new_{one.name}" for one in columns), name="moved")
    moved = moved.render_derived()
    # One statement: the counts are kept by the statement, and in one order whoever counts.
    await session.execute(
        update(table)
        .where(table.c.tenant_id == session.tenant_id, table.c.id == moved.c.row_id)
        .values({one.name: moved.c[f"new_{one.name}"] for one in columns} | {"updated_at": now})
    )


def _stored(value: Any) -> Any:
    return value.value if isinstance(value, StrEnum) else value


def _kind(column: Any) -> Any:
    return Text() if isinstance(column.type, TextEnum) else column.type
