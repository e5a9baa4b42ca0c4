"""This module is where a tenant that was cancelled is deleted, once its time to think again is over.

First it is marked, so that nobody can bring half of it back; then its rows go, a thousand at a time, whoever is the
leader meanwhile; at last that it is done is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from dataloaders.tenant_rows import CHUNK, KEPT, delete_some, destroy_person_keys, tables_of_tenants
from dataloaders.tenants import tenants_cancelled_before, tenants_to_purge
from models import PLATFORM_TENANT_ID, EventTopic, Scope, Tenant, TenantStatus
from models.database import Database
from resolvers.unit_of_work import Announces, unit_of_work
from subscriptions.log import Envelope

GRACE: Final = timedelta(days=30)
_PASSES: Final = 10
_PATIENCE_SECONDS: Final = 10.0
_log = structlog.get_logger(__name__)

MayGoOn = Callable[[], Awaitable[bool]]
"""Asked before every transaction: whether this process may still do the work."""


class Offboarding:
    """Deletes tenants that have been cancelled for ``grace``."""

    def __init__(
        self, database: Database, announcer: Announces, clock: Callable[[], datetime], grace: timedelta = GRACE
    ) -> None:
        self._database = database
        self._announcer = announcer
        self._clock = clock
        self._grace = grace

    async def run(self, may_go_on: MayGoOn) -> int:
        """Mark what is due, then delete the rows of what is marked; how many rows. Commits each thousand."""
        for tenant_id in await tenants_cancelled_before(self._database, self._clock() - self._grace):
            if not await may_go_on():
                return 0
            await self._mark(tenant_id)
        deleted = 0
        for tenant_id in await tenants_to_purge(self._database):
            count, is_done = await self._purge(tenant_id, may_go_on)
            deleted += count
            if is_done:
                await self._finish(tenant_id)
        return deleted

    async def _mark(self, tenant_id: UUID) -> None:
        async with self._database.session(tenant_id) as session:
            tenant = await session.scalar(select(Tenant).where(Tenant.id == tenant_id).with_for_update(key_share=True))
            # Looked at again under the lock: it may have been brought back at the last moment.
            due = tenant is not None and tenant.cancelled_at is not None and tenant.deleted_at is None
            if tenant is None or not due or tenant.status is not TenantStatus.CANCELLED:
                return
            tenant.deleted_at = self._clock()
            tenant.contact_email, tenant.settings, tenant.limits = None, {}, {}
            tenant.name = "deleted"
            await session.commit()

    async def _purge(self, tenant_id: UUID, may_go_on: MayGoOn) -> tuple[int, bool]:
        """Delete the tenant's rows; how many, and whether none is left."""
        left = [table for table in tables_of_tenants() if table.name not in KEPT]
        deleted = 0
        for _ in range(_PASSES):
            waiting = []
            for table in left:
                try:
                    while True:
                        if not await may_go_on():
                            return deleted, False
                        async with asyncio.timeout(_PATIENCE_SECONDS), self._database.session(tenant_id) as session:
                            count = await delete_some(session, table)
                            await session.commit()
                        deleted += count
                        if count < CHUNK:
                            break
                except IntegrityError:
                    # Something still refers to these rows: its table comes first, then this one again.
                    waiting.append(table)
            left = waiting
            if not left:
                return deleted, True
        _log.error("offboarding.rows_left", tables=[table.name for table in left])
        return deleted, False

    async def _finish(self, tenant_id: UUID) -> None:
        async with self._database.session(tenant_id) as session:
            tenant = (await session.scalars(select(Tenant).where(Tenant.id == tenant_id).with_for_update())).one()
            if tenant.purged_at is not None:
                return
            await destroy_person_keys(session, self._clock())
            tenant.purged_at = self._clock()
            await session.commit()
        async with unit_of_work(self._database, self._announcer, self._clock, PLATFORM_TENANT_ID, None) as work:
            work.record(
                Envelope(
                    topic=EventTopic.TENANCY,
                    kind="tenant.deleted",
                    entity_type=Tenant.__typeid__,
                    entity_id=tenant_id,
                    required_scope=Scope.PLATFORM_ADMIN,
                    before={"id": str(tenant_id)},
                    after=None,
                )
            )
