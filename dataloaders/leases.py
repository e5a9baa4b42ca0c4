"""This module is where leases are kept: one statement each, as signalbox_platform, on the database's clock."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import TextClause, text

from models.database import Database

_RENEW_SHARED: Final[TextClause] = text(
    """
INSERT INTO leases AS l (name, holder, epoch, acquired_at, expires_at)
VALUES (:name, :holder, 1, now(), now() + make_interval(secs => :seconds))
ON CONFLICT (name) DO UPDATE SET
  holder = excluded.holder,
  epoch = l.epoch + (l.expires_at < now())::int,
  acquired_at = CASE WHEN l.expires_at < now() THEN now() ELSE l.acquired_at END,
  expires_at = excluded.expires_at
"""
)

_TAKE: Final[TextClause] = text(
    """
INSERT INTO leases AS l (name, holder, epoch, acquired_at, expires_at)
VALUES (:name, :holder, 1, now(), now() + make_interval(secs => :seconds))
ON CONFLICT (name) DO UPDATE SET
  holder = excluded.holder,
  epoch = l.epoch + (l.holder <> excluded.holder OR l.expires_at < now())::int,
  acquired_at = CASE WHEN l.holder <> excluded.holder OR l.expires_at < now() THEN now() ELSE l.acquired_at END,
  expires_at = excluded.expires_at
WHERE l.holder = excluded.holder OR l.expires_at < now()
RETURNING epoch
"""
)

_GIVE_BACK: Final[TextClause] = text("UPDATE leases SET expires_at = now() WHERE name = :name AND holder = :holder")

_IS_HELD: Final[TextClause] = text(
    "SELECT EXISTS (SELECT FROM leases WHERE name = :name AND holder = :holder AND epoch = :epoch "
    "AND expires_at > now())"
)


async def renew_shared_lease(database: Database, name: str, holder: str, seconds: float) -> None:
    """Keep a lease alive that many hold together; ``acquired_at`` moves only after a span in which nobody did."""
    await _run(database, _RENEW_SHARED, name=name, holder=holder, seconds=seconds)


async def take_lease(database: Database, name: str, holder: str, seconds: float) -> int | None:
    """Take or renew a lease that one holds; its epoch, or None while another holds it.

    The epoch rises whenever the lease was lost in between, so work begun under an older one can be told.
    """
    epoch = await _run(database, _TAKE, name=name, holder=holder, seconds=seconds)
    return None if epoch is None else int(epoch)


async def give_lease_back(database: Database, name: str, holder: str) -> None:
    """Let the next one in at once. Does nothing when ``holder`` does not have it."""
    await _run(database, _GIVE_BACK, name=name, holder=holder)


async def is_lease_held(database: Database, name: str, holder: str, epoch: int) -> bool:
    """Whether the lease is still ``holder``'s, never lost since ``epoch``."""
    return bool(await _run(database, _IS_HELD, name=name, holder=holder, epoch=epoch))


async def _run(database: Database, statement: TextClause, **values: object) -> Any:
    async with database.connection(database.platform) as connection:
        alone = await connection.execution_options(isolation_level="AUTOCOMMIT")
        result = await alone.execute(statement, values)
        first = result.first() if result.returns_rows else None
        return None if first is None else first[0]
