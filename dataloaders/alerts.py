"""This module is where alerts are fetched: as lists, by what came before them, and as the counts of a board."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, true
from sqlalchemy.orm import InstrumentedAttribute, defer

from dataloaders.alert_series import narrowed, searched
from dataloaders.pages import Condition, Direction, Listing, Order, any_of, equals
from models import Alert, AlertAction, AlertCount, AlertSeverity, AlertStatus
from models.database import Database, TenantSession

_SPLIT: Final = ("status", "severity", "analysis_status", "action_taken")
"""Filters of a few words each: two of them are two lists in an index, and neither has the order of both."""

_ONLY: Final = "only"
"""In the place of true: the ignored ones and no others."""

_HEAVY: Final = (defer(Alert.labels), defer(Alert.annotations), defer(Alert.raw_payload), defer(Alert.ai_analysis))


def _one_or_any(column: InstrumentedAttribute[Any]) -> Condition:
    # Of one word the index has the order of what follows; of any of several it has not.
    several = any_of(column)
    return lambda values: column == values[0] if len(set(values)) == 1 else several(values)


def _from(column: InstrumentedAttribute[datetime]) -> Condition:
    return lambda moment: column >= moment


def _until(column: InstrumentedAttribute[datetime]) -> Condition:
    return lambda moment: column < moment


def _shown(given: Mapping[str, Any]) -> list[ColumnElement[bool]]:
    if "action_taken" in given:
        ignored = {one is AlertAction.IGNORE for one in given["action_taken"]}
        return [Alert.is_ignored.is_(True in ignored)] if len(ignored) == 1 else []
    wanted = given.get("include_ignored", False)
    if wanted is _ONLY:
        return [Alert.is_ignored.is_(True)]
    return [] if wanted else [Alert.is_ignored.is_(False)]


def _apart(given: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    name = next((one for one in _SPLIT if len(set(given.get(one, ()))) > 1), None)
    parts: list[Mapping[str, Any]] = [given]
    if name is not None:
        parts = [{**given, name: [value]} for value in dict.fromkeys(given[name])]
    if given.get("include_ignored") is True and "action_taken" not in given:
        parts = [{**part, "include_ignored": which} for part in parts for which in (False, _ONLY)]
    return parts


def _everything(_: Any) -> ColumnElement[bool]:
    # Whether ignored ones are shown is decided once, beside all other filters.
    return true()


alerts: Final = Listing(
    Alert,
    filters={
        "status": _one_or_any(Alert.status),
        "severity": _one_or_any(Alert.severity),
        "analyzed": equals(Alert.analyzed),
        "analysis_status": _one_or_any(Alert.analysis_status),
        "alert_name": equals(Alert.alert_name),
        "instance": equals(Alert.instance),
        "job": equals(Alert.job),
        "action_taken": _one_or_any(Alert.action_taken),
        "include_ignored": _everything,
        "started_after": _from(Alert.starts_at),
        "started_before": _until(Alert.starts_at),
        "search": searched,
    },
    orders={
        "starts_at": Order(Alert.starts_at),
        "received_at": Order(Alert.received_at),
        "severity": Order(Alert.severity_rank),
    },
    default=("starts_at", Direction.DESC),
    always=_shown,
    apart=_apart,
    narrow=narrowed,
)


async def lock_alerts(session: TenantSession, ids: Sequence[UUID], *conditions: ColumnElement[bool]) -> list[Alert]:
    """Those of ``ids`` that there are, locked until COMMIT in the order of their ids; they belong to no session.

    What was sent stays in the database: labels, annotations and payload are not read.
    """
    statement = (
        select(Alert)
        .where(Alert.tenant_id == session.tenant_id, Alert.id == func.any(list(ids)), *conditions)
        .order_by(Alert.id)
        .with_for_update(key_share=True)
        .options(*_HEAVY)
    )
    rows = list(await session.scalars(statement))
    for row in rows:
        # Changes of many rows are stored by one statement; the session would make one of each.
        session.expunge(row)
    return rows


@dataclass(frozen=True, slots=True)
class BoardCount:
    """How many alerts of one severity stand in one status."""

    severity: AlertSeverity
    status: AlertStatus
    count: int


async def board(database: Database, tenant_id: UUID, include_ignored: bool) -> list[BoardCount]:
    """Counts for every severity, the worst first, and every status of it; zeros included. Raises Unavailable."""
    shown = [] if include_ignored else [AlertCount.is_ignored.is_(False)]
    statement = (
        select(AlertCount.severity, AlertCount.status, func.sum(AlertCount.alerts))
        .where(AlertCount.tenant_id == tenant_id, *shown)
        .group_by(AlertCount.severity, AlertCount.status)
        .limit(len(AlertSeverity) * len(AlertStatus))
    )
    async with database.session(tenant_id) as session:
        found = {(severity, status): int(count) for severity, status, count in await session.execute(statement)}
    return [
        BoardCount(severity, status, found.get((severity, status), 0))
        for severity in AlertSeverity
        for status in AlertStatus
    ]
