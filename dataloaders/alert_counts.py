"""This module is where counts of alerts are written: one statement a table, its rows in one order for everybody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import TextClause, text

from models import AlertSeverity, AlertStatus
from models.database import TenantSession

COUNTED: Final = (
    "firing",
    "acknowledged",
    "resolved",
    "ignored",
    "acknowledgements",
    "acknowledge_seconds",
    "resolutions",
    "resolve_seconds",
)
"""What a roll-up adds up, in the order of its amounts."""


def _added(table: str, key: Sequence[tuple[str, str]], amounts: Sequence[tuple[str, str]]) -> TextClause:
    """Adds to the rows of ``table``, which come into being when there is something to add."""
    columns = (*key, *amounts)
    names = ", ".join(name for name, _ in columns)
    arrays = ", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in columns)
    sums = ", ".join(f"{name} = t.{name} + excluded.{name}" for name, _ in amounts)
    return text(
        f"INSERT INTO {table} AS t (tenant_id, {names}) "  # noqa: S608 - only constants of ours are written into it
        f"SELECT CAST(:tenant AS uuid), u.* FROM unnest({arrays}) AS u ({names}) "
        f"ON CONFLICT (tenant_id, {', '.join(name for name, _ in key)}) DO UPDATE SET {sums}"
    )


_COUNTS: Final = _added(
    "alert_counts", (("is_ignored", "boolean"), ("severity", "text"), ("status", "text")), (("alerts", "bigint"),)
)
_ROLLUPS: Final = _added(
    "alert_rollups",
    (("hour", "timestamptz"), ("severity", "text")),
    [(name, "float8" if name.endswith("_seconds") else "int") for name in COUNTED],
)
_INSTANCES: Final = _added(
    "alert_instance_rollups", (("hour", "timestamptz"), ("instance", "text")), (("alerts", "int"),)
)


async def add_counts(session: TenantSession, added: Mapping[tuple[bool, AlertSeverity, AlertStatus], int]) -> None:
    """Add to a board's counts. Does not commit."""
    rows = sorted((key, count) for key, count in added.items() if count)
    columns = {
        "is_ignored": [key[0] for key, _ in rows],
        "severity": [key[1].value for key, _ in rows],
        "status": [key[2].value for key, _ in rows],
        "alerts": [count for _, count in rows],
    }
    await _add(session, _COUNTS, rows, columns)


async def add_rollups(session: TenantSession, added: Mapping[tuple[datetime, AlertSeverity], Sequence[float]]) -> None:
    """Add amounts, in the order of ``COUNTED``, to hours. Does not commit."""
    rows = sorted((key, amounts) for key, amounts in added.items() if any(amounts))
    columns: dict[str, list[Any]] = {
        "hour": [key[0] for key, _ in rows],
        "severity": [key[1].value for key, _ in rows],
    }
    for place, name in enumerate(COUNTED):
        number = float if name.endswith("_seconds") else int
        columns[name] = [number(amounts[place]) for _, amounts in rows]
    await _add(session, _ROLLUPS, rows, columns)


async def add_instances(session: TenantSession, added: Mapping[tuple[datetime, str], int]) -> None:
    """Add to the hours of instances. Does not commit."""
    rows = sorted((key, count) for key, count in added.items() if count)
    columns = {
        "hour": [key[0] for key, _ in rows],
        "instance": [key[1] for key, _ in rows],
        "alerts": [count for _, count in rows],
    }
    await _add(session, _INSTANCES, rows, columns)


async def _add(session: TenantSession, statement: TextClause, rows: Sequence[Any], columns: dict[str, Any]) -> None:
    if rows:
        await session.execute(statement, {"tenant": session.tenant_id, **columns})
