"""This module is where tests get audit logs of their own, and a hand that changes them behind everybody's back."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import insert, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from dataloaders.audit import entries_after
from models import AuditLog, EventTopic, Scope, User, Workspace, utcnow
from models.database import Database
from models.ids import uuid7
from models.sealing import unseal
from resolvers.audit import NOWHERE, Actor, Origin
from resolvers.person_keys import opening_keys
from resolvers.unit_of_work import UnitOfWork, unit_of_work
from resolvers.verification import Anchor, Verdict, verify_tenant
from subscriptions.log import Envelope
from tests.resolvers.people import Announced
from tests.world import AUDIT


@dataclass(slots=True)
class Chain:
    """One tenant's audit log."""

    database: Database
    tenant_id: UUID
    announced: Announced = field(default_factory=Announced)

    def work(self, actor: Actor = None, origin: Origin = NOWHERE) -> AbstractAsyncContextManager[UnitOfWork]:
        """A unit of work of ``actor``."""
        return unit_of_work(self.database, self.announced, utcnow, self.tenant_id, actor, origin=origin)

    async def grow(self, count: int, actor: Actor = None) -> None:
        """``count`` changes by ``actor``, each a commit of its own."""
        for number in range(count):
            async with self.work(actor or ("user", uuid7())) as work:
                row = Workspace(id=uuid7(), name=f"place {number}")
                work.add(row)
                work.record(change("workspace", row.id, "workspace.created"))

    async def rows(self) -> list[AuditLog]:
        """Every entry, in the order of the chain."""
        async with self.database.session(self.tenant_id) as session:
            return list(await entries_after(session, None))

    async def contents(self, row: AuditLog) -> Any:
        """Old and new values; None where there are none, or they cannot be opened any more."""
        return await self._opened(row, row.contents, row.subject_id or row.tenant_id, "contents")

    async def origin(self, row: AuditLog) -> Any:
        """Address and agent."""
        is_person = row.actor_type == User.__typeid__
        return await self._opened(row, row.origin, row.actor_id if is_person else row.tenant_id, "origin")

    async def _opened(self, row: AuditLog, sealed: bytes | None, holder: UUID | None, part: str) -> Any:
        if sealed is None or holder is None:
            return None
        async with self.database.session(self.tenant_id) as session:
            found = await opening_keys(session, AUDIT, [holder])
        key = found.get(holder)
        return orjson.loads(unseal(key, sealed, row.tenant_id, row.id, part)) if key else None

    async def verdict(self, anchors: Sequence[Anchor] = ()) -> Verdict:
        """What verification says."""
        return await verify_tenant(self.database, AUDIT, self.tenant_id, anchors)


def change(kind: str, row_id: UUID, action: str, **given: Any) -> Envelope:
    """An event of any kind of row."""
    said: dict[str, Any] = {"topic": EventTopic.REGISTRY, "required_scope": Scope.WORKSPACES_READ}
    return Envelope(kind=action, entity_type=kind, entity_id=row_id, **(said | {"before": None, "after": None} | given))


class Intruder:
    """Whoever owns the database: no policy, no grant and no trigger stops them."""

    def __init__(self, superuser: AsyncEngine, tenant_id: UUID) -> None:
        self._engine = superuser
        self._tenant_id = tenant_id

    async def run(self, *statements: str, **values: Any) -> None:
        """Run ``statements``, which may say :tenant, with triggers off."""
        async with self._engine.begin() as connection:
            await connection.execute(text("SET LOCAL session_replication_role = replica"))
            for one in statements:
                said = {name: value for name, value in values.items() if f":{name}" in one}
                await connection.execute(text(one), {"tenant": self._tenant_id, **said} if ":tenant" in one else said)

    async def copy(self) -> list[dict[str, Any]]:
        """All of the tenant's rows, to put back."""
        async with self._engine.connect() as connection:
            rows = await connection.execute(select(AuditLog.__table__).where(AuditLog.tenant_id == self._tenant_id))
            return [dict(row._mapping) for row in rows]

    async def put_back(self, rows: list[dict[str, Any]], head: dict[str, Any]) -> None:
        """The log as it was copied."""
        await self.run("DELETE FROM audit_logs WHERE tenant_id = :tenant")
        async with self._engine.begin() as connection:
            await connection.execute(insert(AuditLog), rows)
        await self.run(
            "INSERT INTO audit_heads (tenant_id, seq, last_id, mac) VALUES (:tenant, :seq, :last_id, :mac) "
            "ON CONFLICT (tenant_id) DO UPDATE SET seq = :seq, last_id = :last_id, mac = :mac",
            **head,
        )
