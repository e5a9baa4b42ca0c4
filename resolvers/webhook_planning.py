"""This module is where the event log becomes deliveries: each endpoint's cursor moves with what it is to be told.

The log itself is the queue. An endpoint that does not keep up has a bounded number of deliveries; behind them its
cursor waits, and what retention deletes in front of it is told as a gap, never passed over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import structlog

from dataloaders.webhook_queue import (
    LogPart,
    endpoints_behind,
    insert_deliveries,
    log_after,
    move_cursor,
    tenants_behind,
)
from models import WebhookDeliveryState, WebhookEndpoint
from models.database import Database
from models.errors import Unavailable
from models.webhooks import GAP
from resolvers.webhook_counters import WebhookCounters

PAGE: Final = 200
"""Events of one transaction, which inserts at most twenty times as many deliveries."""

MOST_PENDING: Final = 10_000
"""Of one endpoint, a page more or less."""

_PAGES_OF_A_TENANT: Final = 100  # then the others get their turn; the next run goes on
_PATIENCE_SECONDS: Final = 10.0
_log = structlog.get_logger(__name__)


class WebhookPlanning:
    """Looks through the logs of all tenants; any number of workers may."""

    def __init__(
        self, database: Database, counters: WebhookCounters, *, page: int = PAGE, most_pending: int = MOST_PENDING
    ) -> None:
        self._database = database
        self._counters = counters
        self._page = page
        self._most_pending = most_pending

    async def run(self) -> int:
        """Plan what was committed since; how many deliveries. Commits page by page. Raises Unavailable, TimeoutError.

        A tenant that cannot be served now is logged and left to the next run.
        """
        planned = 0
        async with asyncio.timeout(_PATIENCE_SECONDS):
            behind = await tenants_behind(self._database)
        self._counters.events_behind = max((events for _, events in behind), default=0)
        for tenant_id, _ in behind:
            try:
                planned += await self._plan(tenant_id)
            except Exception as error:
                is_passing = isinstance(error, Unavailable | TimeoutError)
                _log.error("webhooks.planning_put_off", tenant_id=str(tenant_id), exc_info=not is_passing)
        return planned

    async def _plan(self, tenant_id: UUID) -> int:
        planned = 0
        for _ in range(_PAGES_OF_A_TENANT):
            async with asyncio.timeout(_PATIENCE_SECONDS):
                count, is_done = await self._plan_page(tenant_id)
            planned += count
            if is_done:
                break
        return planned

    async def _plan_page(self, tenant_id: UUID) -> tuple[int, bool]:
        """Deliveries and cursors, in one transaction; how many deliveries, and whether the end was reached."""
        is_done = True
        rows: list[dict[str, Any]] = []
        async with self._database.turns.taken(tenant_id), self._database.session(tenant_id) as session:
            for cursor, endpoints in _by_cursor(await endpoints_behind(session, self._most_pending)).items():
                part = await log_after(session, cursor, self._page)
                reached = part.events[-1].seq if part.events else part.head
                for one in endpoints:
                    rows += _rows_for(one, cursor, part)
                await move_cursor(session, [one.id for one in endpoints], reached)
                is_done = is_done and reached >= part.head
            await insert_deliveries(session, rows)
            await session.commit()
        self._counters.planned += len(rows)
        self._counters.gaps += sum(row["kind"] == GAP for row in rows)
        return len(rows), is_done


def _by_cursor(endpoints: Sequence[WebhookEndpoint]) -> dict[int, list[WebhookEndpoint]]:
    """Those that stand at the same place together; nearly always that is all of them."""
    found: dict[int, list[WebhookEndpoint]] = {}
    for one in endpoints:
        found.setdefault(one.cursor, []).append(one)
    return found


def _rows_for(endpoint: WebhookEndpoint, cursor: int, part: LogPart) -> list[dict[str, Any]]:
    # Numbers are contiguous, so whatever is missing behind the cursor was deleted.
    first = part.events[0].seq if part.events else part.head + 1
    rows = []
    if first > cursor + 1:
        rows.append(_row(endpoint, GAP, first - 1, None) | {"gap_start": cursor + 1})
    return rows + [
        _row(endpoint, one.kind, one.seq, one.id)
        for one in part.events
        if endpoint.wants(one.kind) and endpoint.may_see(one.required_scope)
    ]


def _row(endpoint: WebhookEndpoint, kind: str, seq: int, event_id: UUID | None) -> dict[str, Any]:
    return {
        "tenant_id": endpoint.tenant_id,
        "endpoint_id": endpoint.id,
        "kind": kind,
        "event_seq": seq,
        "gap_start": None,
        "event_id": event_id,
        "state": WebhookDeliveryState.PENDING,
        "attempt_count": 0,
    }
