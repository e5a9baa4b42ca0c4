"""This module is where tests get fleets of their own: a tenant, workspaces in any state, and what became of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import event, func, select, text, update

from dataloaders.heartbeats import Beat
from models import Event, StructureEvent, TenantStream, Workspace, WorkspaceStatus
from models.database import Database, TenantSession
from models.ids import uuid7
from resolvers.intake_lease import INTAKE_LEASE
from tests.world import make_tenant


@dataclass(slots=True)
class BeatingFleet:
    """One tenant's workspaces in a real database."""

    database: Database
    tenant_id: UUID

    @classmethod
    async def start(cls, database: Database) -> BeatingFleet:
        """A new tenant without workspaces."""
        return cls(database, await make_tenant(database))

    async def add(self, status: WorkspaceStatus = WorkspaceStatus.ONLINE, count: int = 1, **values: Any) -> list[UUID]:
        """``count`` new workspaces; lease 1 unless ``values`` say otherwise."""
        values = {"lease_epoch": 1, "name": "Worker", **values}
        rows = [Workspace(tenant_id=self.tenant_id, id=uuid7(), status=status, **values) for _ in range(count)]
        async with self.database.session(self.tenant_id) as session:
            session.add_all(rows)
            await session.commit()
        return [row.id for row in rows]

    def beat(self, workspace_id: UUID, **values: Any) -> Beat:
        """A beat of one of the tenant's workspaces."""
        return Beat(tenant_id=self.tenant_id, workspace_id=workspace_id, **values)

    async def row(self, workspace_id: UUID) -> Workspace:
        """The workspace as it stands."""
        async with self.database.session(self.tenant_id) as session:
            return (await session.scalars(select(Workspace).where(Workspace.id == workspace_id))).one()

    async def statuses(self) -> dict[UUID, WorkspaceStatus]:
        """Every workspace's status."""
        async with self.database.session(self.tenant_id) as session:
            return {row.id: row.status for row in await session.scalars(select(Workspace))}

    async def set(self, workspace_id: UUID, **values: Any) -> None:
        """Change a row behind everyone's back."""
        async with self.database.session(self.tenant_id) as session:
            await session.execute(update(Workspace).where(Workspace.id == workspace_id).values(**values))
            await session.commit()

    async def make_overdue(self, seconds: float = 1) -> None:
        """Let every workspace's time have run out ``seconds`` ago, on the database's clock."""
        async with self.database.session(self.tenant_id) as session:
            due_at = func.now() - text(f"interval '{seconds} seconds'")
            await session.execute(update(Workspace).values(heartbeat_due_at=due_at))
            await session.commit()

    async def events(self) -> list[Event]:
        """The tenant's log, oldest first."""
        async with self.database.session(self.tenant_id) as session:
            return list(await session.scalars(select(Event).order_by(Event.seq)))

    async def kinds(self) -> list[str]:
        """The kinds of the tenant's events, oldest first."""
        return [one.kind for one in await self.events()]

    async def structure(self) -> list[tuple[str, UUID | None, int]]:
        """The tenant's structure events, oldest first: type, workspace and seq."""
        async with self.database.session(self.tenant_id) as session:
            rows = await session.scalars(select(StructureEvent).order_by(StructureEvent.seq))
            return [(row.event_type, row.workspace_id, row.seq) for row in rows]

    async def head(self) -> int:
        """The tenant's event counter."""
        async with self.database.session(self.tenant_id) as session:
            return (await session.scalars(select(TenantStream.seq))).one()

    @asynccontextmanager
    async def holding(self, workspace_id: UUID, strength: str = "FOR UPDATE") -> AsyncIterator[TenantSession]:
        """Somebody else's transaction that holds the workspace's row."""
        async with self.database.session(self.tenant_id) as session:
            await session.execute(text(f"SELECT FROM workspaces WHERE id = :id {strength}"), {"id": workspace_id})
            yield session


async def set_lease(database: Database, taken_ago: float, lapses_in: float, name: str = INTAKE_LEASE) -> None:
    """Let ``name`` be a lease taken and lapsing so many seconds from now."""
    statement = text(
        "INSERT INTO leases (name, holder, epoch, acquired_at, expires_at) VALUES (:name, 'another', 1, "
        "now() - make_interval(secs => :ago), now() + make_interval(secs => :lapses)) "
        "ON CONFLICT (name) DO UPDATE SET acquired_at = excluded.acquired_at, expires_at = excluded.expires_at, "
        "holder = excluded.holder"
    )
    async with database.platform.begin() as connection:
        await connection.execute(statement, {"name": name, "ago": taken_ago, "lapses": lapses_in})


async def lease(database: Database, name: str = INTAKE_LEASE) -> Any:
    """The lease's row, with ``is_live`` and ``age`` (seconds since it was taken) on the database's clock."""
    statement = text(
        "SELECT *, expires_at > now() AS is_live, extract(epoch FROM now() - acquired_at)::float8 AS age "
        "FROM leases WHERE name = :name"
    )
    async with database.platform.connect() as connection:
        return (await connection.execute(statement, {"name": name})).one_or_none()


@contextmanager
def counted_statements(database: Database, *roles: str) -> Iterator[list[str]]:
    """Every statement that goes out while the block runs, of the pools named (ingest, platform, app)."""
    statements: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        statements.append(statement)

    engines = [getattr(database, role).sync_engine for role in roles]
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    yield statements
    for engine in engines:
        event.remove(engine, "before_cursor_execute", note)
