"""This module is where it is found which webhooks are behind or due, across tenants, and taken up within one.

Security boundary: what runs across tenants runs as signalbox_platform, which reads ids, places and due times alone.
All times are the database's, so that workers with different clocks agree on what is due.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, TextClause, any_, func, insert, literal_column, select, text, true, update
from sqlalchemy.dialects.postgresql import INTERVAL
from sqlalchemy.orm import undefer

from models import (
    Event,
    Secret,
    TenantStream,
    WebhookDelivery,
    WebhookDeliveryState,
    WebhookEndpoint,
)
from models.database import Database, TenantSession

MAX_ENDPOINTS: Final = 20
"""Of one tenant."""

PENDING: Final[ColumnElement[str]] = literal_column(f"'{WebhookDeliveryState.PENDING}'")
"""Said in the statement itself: a plan made once for all parameters could not use the index of the pending ones."""

DEAD: Final[ColumnElement[str]] = literal_column(f"'{WebhookDeliveryState.DEAD}'")
"""As the pending ones."""

_TENANTS: Final = 500
_ENDPOINTS: Final = 500

_BEHIND: Final[TextClause] = text(
    """
SELECT e.tenant_id, max(s.seq - e.cursor) AS events
FROM webhook_endpoints e JOIN tenant_streams s ON s.tenant_id = e.tenant_id JOIN tenants t ON t.id = e.tenant_id
WHERE e.is_enabled AND e.cursor < s.seq AND t.status = 'active'
GROUP BY e.tenant_id LIMIT :most
"""
)

# One probe of the index an endpoint, so that a long queue of one hides nobody else's.
_DUE: Final[TextClause] = text(
    """
SELECT e.tenant_id, e.id, CAST(extract(epoch FROM now() - first.next_attempt_at) AS float)
FROM webhook_endpoints e JOIN tenants t ON t.id = e.tenant_id CROSS JOIN LATERAL (
  SELECT d.next_attempt_at FROM webhook_deliveries d
  WHERE d.tenant_id = e.tenant_id AND d.endpoint_id = e.id AND d.state = 'pending' AND d.next_attempt_at <= now()
  ORDER BY d.next_attempt_at LIMIT 1
) first
WHERE e.is_enabled AND t.status = 'active'
ORDER BY first.next_attempt_at LIMIT :most
"""
)

# Nulls are said: rows that leave out different columns would be a statement each.
_DELIVERIES: Final = insert(WebhookDelivery).values(next_attempt_at=func.now()).execution_options(render_nulls=True)


@dataclass(frozen=True, slots=True)
class DueEndpoint:
    """An endpoint that has something to be sent, and how long it has waited."""

    tenant_id: UUID
    id: UUID
    waited_seconds: float


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """What decides whether an endpoint is told of an event."""

    seq: int
    id: UUID
    kind: str
    required_scope: str


@dataclass(frozen=True, slots=True)
class LogPart:
    """Events in the order of the log, and where it ends."""

    events: list[LoggedEvent]
    head: int


async def tenants_behind(database: Database) -> list[tuple[UUID, int]]:
    """Tenants with endpoints that have not seen all of the log, and by how many events; some, when there are many.

    Only those that are served. Raises Unavailable.
    """
    async with database.connection(database.platform) as connection:
        alone = await connection.execution_options(isolation_level="AUTOCOMMIT")
        return [(row[0], int(row[1])) for row in await alone.execute(_BEHIND, {"most": _TENANTS})]


async def due_endpoints(database: Database) -> list[DueEndpoint]:
    """Endpoints with deliveries to be sent now, longest due first; some, when there are many. Raises Unavailable."""
    async with database.connection(database.platform) as connection:
        alone = await connection.execution_options(isolation_level="AUTOCOMMIT")
        return [DueEndpoint(*row) for row in await alone.execute(_DUE, {"most": _ENDPOINTS})]


async def endpoints_behind(session: TenantSession, most_pending: int) -> Sequence[WebhookEndpoint]:
    """The tenant's endpoints that are behind and have room, locked; those that another worker holds are left to it."""
    head = select(TenantStream.seq).where(TenantStream.tenant_id == session.tenant_id).scalar_subquery()
    is_full = (
        select(WebhookDelivery.id)
        .where(
            WebhookDelivery.tenant_id == session.tenant_id,
            WebhookDelivery.endpoint_id == WebhookEndpoint.id,
            WebhookDelivery.state == PENDING,
        )
        .correlate(WebhookEndpoint)
        .offset(most_pending - 1)
        .limit(1)
        .exists()
    )
    found = await session.scalars(
        select(WebhookEndpoint)
        .where(
            WebhookEndpoint.tenant_id == session.tenant_id,
            WebhookEndpoint.is_enabled,
            WebhookEndpoint.cursor < head,
            ~is_full,
        )
        .order_by(WebhookEndpoint.id)
        .limit(MAX_ENDPOINTS)
        .with_for_update(key_share=True, skip_locked=True)
    )
    return found.all()


async def log_after(session: TenantSession, seq: int, most: int) -> LogPart:
    """Up to ``most`` events behind ``seq``; one statement, so that retention cannot come between events and end."""
    head = select(TenantStream.seq.label("head")).where(TenantStream.tenant_id == session.tenant_id).subquery()
    events = (
        select(Event.seq, Event.id, Event.kind, Event.required_scope)
        .where(Event.tenant_id == session.tenant_id, Event.seq > seq, Event.seq <= head.c.head)
        .order_by(Event.seq)
        .limit(most)
        .lateral("found")
    )
    rows = (
        await session.execute(
            select(head.c.head, *events.c).select_from(head).outerjoin(events, true()).order_by(events.c.seq)
        )
    ).all()
    found = [LoggedEvent(*row[1:]) for row in rows if row[1] is not None]
    return LogPart(found, int(rows[0][0]) if rows else seq)


async def insert_deliveries(session: TenantSession, rows: list[dict[str, Any]]) -> None:
    """Deliveries that are due at once. Does not commit."""
    if rows:
        await session.execute(_DELIVERIES, rows)


async def move_cursor(session: TenantSession, ids: Iterable[UUID], seq: int) -> None:
    """Note how far the log was looked through for these endpoints. Does not commit."""
    await session.execute(
        update(WebhookEndpoint)
        .where(WebhookEndpoint.tenant_id == session.tenant_id, WebhookEndpoint.id == func.any(list(ids)))
        .values(cursor=seq, updated_at=WebhookEndpoint.updated_at)
        .execution_options(synchronize_session=False)
    )


async def enabled_endpoint(session: TenantSession, endpoint_id: UUID) -> WebhookEndpoint | None:
    """The endpoint, unless it is not told anything now."""
    found: WebhookEndpoint | None = await session.scalar(
        select(WebhookEndpoint).where(
            WebhookEndpoint.tenant_id == session.tenant_id,
            WebhookEndpoint.id == endpoint_id,
            WebhookEndpoint.is_enabled,
        )
    )
    return found


async def claim_deliveries(
    session: TenantSession, endpoint_id: UUID, most: int, lease: timedelta
) -> Sequence[WebhookDelivery]:
    """Up to ``most`` due deliveries, each put off for ``lease``, when whoever takes them may be given up."""
    due = (
        select(WebhookDelivery.id)
        .where(
            WebhookDelivery.tenant_id == session.tenant_id,
            WebhookDelivery.endpoint_id == endpoint_id,
            WebhookDelivery.state == PENDING,
            WebhookDelivery.next_attempt_at <= func.now(),
        )
        .order_by(WebhookDelivery.next_attempt_at, WebhookDelivery.id)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    claimed = await session.scalars(
        update(WebhookDelivery)
        # An array is made once; a list of an IN might be made again for each row, and lock more.
        .where(
            WebhookDelivery.tenant_id == session.tenant_id,
            WebhookDelivery.id == any_(func.array(due.scalar_subquery())),
        )
        .values(attempt_count=WebhookDelivery.attempt_count + 1, next_attempt_at=func.now() + in_seconds(lease))
        .returning(WebhookDelivery)
        .execution_options(synchronize_session=False)
    )
    return sorted(claimed.all(), key=lambda one: one.event_seq or 0)


async def events_by_seq(session: TenantSession, seqs: Sequence[int]) -> dict[int, Event]:
    """Those of these events that the log still holds."""
    if not seqs:
        return {}
    rows = await session.scalars(
        select(Event).where(Event.tenant_id == session.tenant_id, Event.seq == func.any(list(seqs))).limit(len(seqs))
    )
    return {row.seq: row for row in rows}


async def secrets_by_id(session: TenantSession, ids: Sequence[UUID], *, sealed: bool) -> dict[UUID, Secret]:
    """These secrets; ``sealed`` with their envelopes."""
    statement = select(Secret).where(Secret.tenant_id == session.tenant_id, Secret.id == func.any(list(ids)))
    if sealed:
        statement = statement.options(undefer(Secret.sealed)).execution_options(populate_existing=True)
    return {row.id: row for row in await session.scalars(statement.limit(len(ids)))}


async def mark_delivery(
    session: TenantSession, delivery_id: UUID, values: Mapping[str, Any], *, attempt: int | None = None
) -> None:
    """Write how a pending delivery fared; with ``attempt`` only if no other attempt began since. Does not commit."""
    same = [WebhookDelivery.attempt_count == attempt] if attempt is not None else []
    await session.execute(
        update(WebhookDelivery)
        .where(
            WebhookDelivery.tenant_id == session.tenant_id,
            WebhookDelivery.id == delivery_id,
            WebhookDelivery.state == WebhookDeliveryState.PENDING,
            *same,
        )
        .values(dict(values))
        .execution_options(synchronize_session=False)
    )


async def count_attempts(session: TenantSession, endpoint_id: UUID, attempts: int, *, arrived: bool) -> None:
    """Count attempts at an endpoint, which all failed unless something ``arrived``. Does not commit."""
    values: dict[str, Any] = {"consecutive_failures": 0, "failing_since": None, "last_delivered_at": func.now()}
    if not arrived:
        values = {
            "consecutive_failures": WebhookEndpoint.consecutive_failures + attempts,
            "failing_since": func.coalesce(WebhookEndpoint.failing_since, func.now()),
        }
    # Not the row's own doing: neither its version nor its time of change says that it was tried.
    await session.execute(
        update(WebhookEndpoint)
        .where(WebhookEndpoint.tenant_id == session.tenant_id, WebhookEndpoint.id == endpoint_id)
        .values(updated_at=WebhookEndpoint.updated_at, **values)
        .execution_options(synchronize_session=False)
    )


async def endpoint_as_it_stands(session: TenantSession, endpoint_id: UUID) -> WebhookEndpoint | None:
    """The endpoint, read anew and locked until COMMIT; None where it is gone."""
    return await session.get(
        WebhookEndpoint,
        (session.tenant_id, endpoint_id),
        with_for_update={"key_share": True},
        populate_existing=True,
    )


def in_seconds(span: timedelta) -> Any:
    """The span as SQL."""
    return func.make_interval(0, 0, 0, 0, 0, 0, span.total_seconds(), type_=INTERVAL())
