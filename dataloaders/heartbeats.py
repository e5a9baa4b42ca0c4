"""This module is where beats reach their rows: one statement per batch, whatever the number of tenants.

Security boundary: the statement runs as signalbox_ingest, which sees all tenants and may write heartbeat columns
only. It touches a workspace by (tenant, id) alone, so a beat can never reach another tenant's row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Final
from uuid import UUID

from sqlalchemy import TextClause, text

from models import RuntimeState, WorkspaceStatus
from models.database import Database
from models.registry import DEGRADED_FROM, HEALTHY_BELOW, SETTLED


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """What an agent said of itself, with the tenant its credentials belong to."""

    tenant_id: UUID
    workspace_id: UUID
    lease_epoch: int | None = None
    runtime_state: RuntimeState | None = None
    error_rate: float = 0.0
    active_tasks: int = 0
    uptime_seconds: int = 0
    current_task: str | None = None
    sample_error: str | None = None


class Reception(IntEnum):
    """What became of a beat."""

    STORED = 0
    LOCKED = 1
    """Somebody holds the row; nothing was written, try again with the next batch."""
    UNKNOWN = 2
    FENCED = 3
    REMOVED = 4


@dataclass(frozen=True, slots=True)
class StoredBeat:
    """A beat's answer from the database. ``received_at`` is the database's clock.

    The fields after ``reception`` are the row's; they mean nothing when it was LOCKED or UNKNOWN.
    ``next_status`` is where this beat leads; the status itself is not changed here.
    """

    reception: Reception
    status: WorkspaceStatus
    next_status: WorkspaceStatus
    lease_epoch: int
    ttl_seconds: int
    received_at: datetime


def status_case(status: str, error_rate: str, runtime_state: str) -> str:
    """models.registry.status_after_beat as SQL over three expressions; a test compares the two."""
    settled = ", ".join(f"'{one.value}'" for one in sorted(SETTLED))
    degraded, online = WorkspaceStatus.DEGRADED.value, WorkspaceStatus.ONLINE.value
    return (
        f"CASE WHEN {status} IN ({settled}) THEN {status} "
        f"WHEN {runtime_state} = '{RuntimeState.WEDGED.value}' OR {error_rate} >= {DEGRADED_FROM} THEN '{degraded}' "
        f"WHEN {status} = '{degraded}' AND {error_rate} >= {HEALTHY_BELOW} THEN '{degraded}' "
        f"ELSE '{online}' END"
    )


# held: NO KEY UPDATE, because a foreign key check on a workspace must not make its beats wait.
# chosen: several beats of one workspace in a batch are one write, of the newest that is not fenced.
_STORE: Final[TextClause] = text(
    f"""
WITH beat AS MATERIALIZED (
  SELECT * FROM unnest(
    CAST(:tenants AS uuid[]), CAST(:workspaces AS uuid[]), CAST(:epochs AS int[]), CAST(:states AS text[]),
    CAST(:error_rates AS float8[]), CAST(:active_tasks AS int[]), CAST(:uptimes AS bigint[]),
    CAST(:current_tasks AS text[]), CAST(:sample_errors AS text[])
  ) WITH ORDINALITY AS b (
    tenant_id, workspace_id, epoch, runtime_state, error_rate, active_tasks, uptime_seconds, current_task,
    sample_error, n
  )
), held AS MATERIALIZED (
  SELECT w.tenant_id, w.id, w.status, w.lease_epoch, w.heartbeat_ttl_seconds FROM workspaces w
  WHERE (w.tenant_id, w.id) IN (SELECT tenant_id, workspace_id FROM beat)
  FOR NO KEY UPDATE OF w SKIP LOCKED
), chosen AS (
  SELECT DISTINCT ON (b.tenant_id, b.workspace_id) b.*, h.heartbeat_ttl_seconds
  FROM beat b JOIN held h ON h.tenant_id = b.tenant_id AND h.id = b.workspace_id
  WHERE h.status <> '{WorkspaceStatus.REMOVED.value}' AND (b.epoch IS NULL OR b.epoch >= h.lease_epoch)
  ORDER BY b.tenant_id, b.workspace_id, b.n DESC
), stored AS (
  UPDATE workspaces w SET
    last_heartbeat_at = now(), heartbeat_due_at = now() + make_interval(secs => c.heartbeat_ttl_seconds),
    last_error_rate = c.error_rate, last_sample_error = c.sample_error, runtime_state = c.runtime_state,
    active_tasks = c.active_tasks, uptime_seconds = c.uptime_seconds, current_task = c.current_task
  FROM chosen c WHERE w.tenant_id = c.tenant_id AND w.id = c.workspace_id
)
SELECT
  CASE
    WHEN h.id IS NULL AND EXISTS (
      SELECT FROM workspaces k WHERE k.tenant_id = b.tenant_id AND k.id = b.workspace_id
    ) THEN {Reception.LOCKED.value}
    WHEN h.id IS NULL THEN {Reception.UNKNOWN.value}
    WHEN h.status = '{WorkspaceStatus.REMOVED.value}' THEN {Reception.REMOVED.value}
    WHEN b.epoch < h.lease_epoch THEN {Reception.FENCED.value}
    ELSE {Reception.STORED.value}
  END,
  h.status, {status_case("h.status", "b.error_rate", "b.runtime_state")}, h.lease_epoch, h.heartbeat_ttl_seconds, now()
FROM beat b LEFT JOIN held h ON h.tenant_id = b.tenant_id AND h.id = b.workspace_id
ORDER BY b.n
"""  # noqa: S608 - only constants of ours are written into it
)

_STATUSES: Final = {status.value: status for status in WorkspaceStatus}
_RECEPTIONS: Final = tuple(Reception)
_NOBODY: Final = WorkspaceStatus.OFFLINE


async def store_beats(database: Database, beats: Sequence[Beat]) -> list[StoredBeat]:
    """Write the heartbeat columns of all ``beats`` in one statement; answers stand in their order.

    Commits by itself, never waits for a lock, and bumps neither a version nor an event counter. Raises Unavailable.
    """
    normal = RuntimeState.NORMAL
    columns = {
        "tenants": [beat.tenant_id for beat in beats],
        "workspaces": [beat.workspace_id for beat in beats],
        "epochs": [beat.lease_epoch for beat in beats],
        "states": [(beat.runtime_state or normal).value for beat in beats],
        "error_rates": [beat.error_rate for beat in beats],
        "active_tasks": [beat.active_tasks for beat in beats],
        "uptimes": [beat.uptime_seconds for beat in beats],
        "current_tasks": [beat.current_task for beat in beats],
        "sample_errors": [beat.sample_error for beat in beats],
    }
    async with database.connection(database.ingest) as connection:
        rows = (await connection.execute(_STORE, columns)).all()
    return [
        StoredBeat(
            _RECEPTIONS[reception],
            _STATUSES.get(status, _NOBODY),
            _STATUSES.get(after, _NOBODY),
            epoch or 0,
            ttl or 0,
            now,
        )
        for reception, status, after, epoch, ttl, now in rows
    ]
