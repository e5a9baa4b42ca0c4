"""This module is where alerts of one delivery are found and stored: each step one statement, however many there are.

Security boundary: every statement runs in a transaction that is bound to the tenant, and names it besides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson
from sqlalchemy import TextClause, bindparam, select, text
from sqlalchemy.orm import defer
from sqlalchemy.types import Uuid

from models import Alert
from models.database import TenantSession

Firing = tuple[str, datetime]
"""What names one firing in its tenant: the fingerprint and when it started."""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The firings of the same alert just before and just after one; None where there is none."""

    before: UUID | None
    after: UUID | None


def _unnested(*columns: tuple[str, str]) -> str:
    return ", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in columns)


_NAMED: Final = (("fingerprints", "text"), ("starts", "timestamptz"))

# Of each firing the row itself or, where there is none, the next one of its alert, which will be linked to it.
_TOUCHED: Final[TextClause] = text(
    f"""
alerts.id = ANY (ARRAY(
  SELECT here.id FROM unnest({_unnested(*_NAMED)}) AS named (fingerprint, starts_at)
  CROSS JOIN LATERAL (
    SELECT a.id FROM alerts a
    WHERE a.tenant_id = CAST(:tenant AS uuid) AND a.fingerprint = named.fingerprint AND a.starts_at >= named.starts_at
    ORDER BY a.starts_at LIMIT 1
  ) here
))
"""  # noqa: S608 - only constants of ours are written into it
)
_EXISTING: Final = (
    select(Alert)
    .where(Alert.tenant_id == bindparam("tenant", type_=Uuid()), _TOUCHED)
    .order_by(Alert.id)
    .with_for_update(key_share=True)
    .options(defer(Alert.labels), defer(Alert.annotations), defer(Alert.raw_payload), defer(Alert.ai_analysis))
)

_NEIGHBOURS: Final[TextClause] = text(
    f"""
SELECT earlier.id, later.id
FROM unnest({_unnested(*_NAMED)}) WITH ORDINALITY AS named (fingerprint, starts_at, n)
LEFT JOIN LATERAL (
  SELECT a.id FROM alerts a
  WHERE a.tenant_id = CAST(:tenant AS uuid) AND a.fingerprint = named.fingerprint AND a.starts_at < named.starts_at
  ORDER BY a.starts_at DESC LIMIT 1
) earlier ON true
LEFT JOIN LATERAL (
  SELECT a.id FROM alerts a
  WHERE a.tenant_id = CAST(:tenant AS uuid) AND a.fingerprint = named.fingerprint AND a.starts_at > named.starts_at
  ORDER BY a.starts_at LIMIT 1
) later ON true
ORDER BY named.n
"""  # noqa: S608 - only constants of ours are written into it
)

_INSERTED: Final = (
    ("id", "uuid"),
    ("fingerprint", "text"),
    ("starts_at", "timestamptz"),
    ("ends_at", "timestamptz"),
    ("alert_name", "text"),
    ("severity", "text"),
    ("instance", "text"),
    ("job", "text"),
    ("status", "text"),
    ("labels", "text"),
    ("annotations", "text"),
    ("raw_payload", "text"),
    ("matched_rule_id", "uuid"),
    ("action_taken", "text"),
    ("previous_alert_id", "uuid"),
    ("resolved_at", "timestamptz"),
    ("escalate_at", "timestamptz"),
    ("analysis_status", "text"),
    ("analysis_queued_at", "timestamptz"),
)
_DOCUMENTS: Final = frozenset({"labels", "annotations", "raw_payload"})
_NAMES: Final = ", ".join(name for name, _ in _INSERTED)
_VALUES: Final = ", ".join(f"CAST(u.{n} AS jsonb)" if n in _DOCUMENTS else f"u.{n}" for n, _ in _INSERTED)

_INSERT: Final[TextClause] = text(
    f"""
INSERT INTO alerts (
  tenant_id, {_NAMES}, received_at, created_at, updated_at, still_firing, analyzed, analysis_progress,
  analysis_attempts, analysis_count, recommendations, version
)
SELECT CAST(:tenant AS uuid), {_VALUES}, CAST(:now AS timestamptz), CAST(:now AS timestamptz),
  CAST(:now AS timestamptz), false, false, 0, 0, 0,
  CAST(ARRAY[] AS text[]), 1
FROM unnest({_unnested(*_INSERTED)}) AS u ({_NAMES})
"""  # noqa: S608 - only constants of ours are written into it
)

_CHANGED: Final = (
    ("id", "uuid"),
    ("status", "text"),
    ("ends_at", "timestamptz"),
    ("acknowledged_by", "uuid"),
    ("acknowledged_at", "timestamptz"),
    ("resolved_by", "uuid"),
    ("resolved_at", "timestamptz"),
    ("still_firing", "boolean"),
    ("silenced_until", "timestamptz"),
    ("escalate_at", "timestamptz"),
    ("escalated_at", "timestamptz"),
)

_UPDATE: Final[TextClause] = text(
    f"""
UPDATE alerts a SET {", ".join(f"{name} = u.{name}" for name, _ in _CHANGED[1:])},
  version = a.version + 1, updated_at = CAST(:now AS timestamptz)
FROM unnest({_unnested(*_CHANGED)}) AS u ({", ".join(name for name, _ in _CHANGED)})
WHERE a.tenant_id = CAST(:tenant AS uuid) AND a.id = u.id
"""  # noqa: S608 - only constants of ours are written into it
)

_LINK: Final[TextClause] = text(
    f"""
UPDATE alerts a SET previous_alert_id = u.previous
FROM unnest({_unnested(("ids", "uuid"), ("previous", "uuid"))}) AS u (id, previous)
WHERE a.tenant_id = CAST(:tenant AS uuid) AND a.id = u.id
"""  # noqa: S608 - only constants of ours are written into it
)


async def lock_firings(session: TenantSession, firings: Sequence[Firing]) -> dict[Firing, Alert]:
    """The alerts that there are of ``firings``, locked until COMMIT in the order of their ids.

    Locked with them, and part of the answer, are those that ``link_alerts`` changes: were they locked only there,
    behind the others, whoever takes several alerts in the order of their ids would meet the delivery halfway.
    They belong to no session: whoever changes them stores that with ``store_changes``.
    """
    values = {"tenant": session.tenant_id, **_lists(firings)}
    rows = list(await session.scalars(_EXISTING, values))
    for row in rows:
        session.expunge(row)
    return {(row.fingerprint, row.starts_at): row for row in rows}


async def neighbours_of(session: TenantSession, firings: Sequence[Firing]) -> list[Neighbours]:
    """What fired before and after each of ``firings``, in their order."""
    if not firings:
        return []
    rows = await session.execute(_NEIGHBOURS, {"tenant": session.tenant_id, **_lists(firings)})
    return [Neighbours(before, after) for before, after in rows]


async def insert_alerts(session: TenantSession, alerts: Sequence[Alert], now: datetime) -> None:
    """Store new alerts, received ``now``. Does not commit."""
    if alerts:
        columns = {name: [_stored(name, getattr(one, name)) for one in alerts] for name, _ in _INSERTED}
        await session.execute(_INSERT, {"tenant": session.tenant_id, "now": now, **columns})


async def store_changes(session: TenantSession, alerts: Sequence[Alert], now: datetime) -> None:
    """Store how ``alerts`` stand now, each one version further; rows must be locked. Does not commit."""
    if alerts:
        for one in alerts:
            one.version += 1
            one.updated_at = now
        columns = {name: [getattr(one, name) for one in alerts] for name, _ in _CHANGED}
        await session.execute(_UPDATE, {"tenant": session.tenant_id, "now": now, **columns})


async def link_alerts(session: TenantSession, previous: dict[UUID, UUID]) -> None:
    """Say which firing came before each of those that stood there without it; they must be locked. Does not commit."""
    if previous:
        ids = sorted(previous)
        await session.execute(
            _LINK, {"tenant": session.tenant_id, "ids": ids, "previous": [previous[one] for one in ids]}
        )


def _lists(firings: Sequence[Firing]) -> dict[str, Any]:
    return {"fingerprints": [one[0] for one in firings], "starts": [one[1] for one in firings]}


def _stored(name: str, value: Any) -> Any:
    return orjson.dumps(value).decode() if name in _DOCUMENTS else value
