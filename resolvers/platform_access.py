"""This module is where platform administrators enter a tenant, which that tenant is told of.

Security boundary: the event is committed before the first request is served; when it cannot be, nobody enters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import select

from dataloaders.tenants import tenant_by_slug, tenant_exists
from models import AccessType, DataCategory, Event, EventTopic, Scope, Session, Tenant, User
from models.database import Database
from models.errors import BadRequest, Forbidden
from models.ids import encode, parse
from resolvers.data_access import Access
from resolvers.principal import Principal
from resolvers.unit_of_work import Announces, UnitOfWork, unit_of_work
from subscriptions.log import Envelope

ONCE_IN: Final = timedelta(hours=1)
KIND: Final = "platform.accessed"
_MOST_REMEMBERED: Final = 1000


@dataclass(frozen=True, slots=True)
class _Entry:
    tenant_id: UUID
    told_at: datetime


class PlatformAccess:
    """Binds a platform administrator to the tenant that the request names."""

    def __init__(self, database: Database, announcer: Announces, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._announcer = announcer
        self._clock = clock
        self._entries: dict[tuple[UUID | None, str], _Entry] = {}

    async def enter(self, principal: Principal, own_slug: str, named: str) -> Principal:
        """The principal in the tenant ``named`` by slug or TypeID. Raises FORBIDDEN, BAD_REQUEST.

        Anyone may name the own tenant, which changes nothing. A tenant is told once an hour and session.
        """
        if named in (own_slug, encode(Tenant.__typeid__, principal.tenant_id)):
            return principal
        if not principal.is_platform_admin:
            raise Forbidden("Only platform administrators name another tenant.")
        key, now = (principal.session_id, named), self._clock()
        entry = self._entries.get(key)
        if entry is None or now - entry.told_at >= ONCE_IN:
            tenant_id = await self._find(named)
            entry = self._entries[key] = _Entry(tenant_id, await self._tell(principal, tenant_id))
            self._trim()
        return replace(principal, tenant_id=entry.tenant_id)

    async def _find(self, named: str) -> UUID:
        tenant_id = parse(named, Tenant.__typeid__)
        if tenant_id.int and await tenant_exists(self._database, tenant_id):
            return tenant_id
        found = await tenant_by_slug(self._database, named)
        if found is None:
            raise BadRequest("X-Signalbox-Tenant names no tenant.")
        return found[0]

    async def _tell(self, principal: Principal, tenant_id: UUID) -> datetime:
        assert principal.user_id is not None
        assert principal.session_id is not None
        work = unit_of_work(self._database, self._announcer, self._clock, tenant_id, principal.actor)
        async with work as unit:
            told_at = await _told_at(unit, principal.session_id)
            if told_at is not None and unit.now - told_at < ONCE_IN:
                return told_at
            unit.record(
                Envelope(
                    topic=EventTopic.SECURITY,
                    kind=KIND,
                    entity_type=Session.__typeid__,
                    entity_id=principal.session_id,
                    required_scope=Scope.USERS_READ,
                    before=None,
                    after=None,
                    payload={"user": encode(User.__typeid__, principal.user_id)},
                )
            )
            unit.note_access(
                Access(
                    subject=(Tenant.__typeid__, tenant_id),
                    category=DataCategory.TENANT,
                    kind=AccessType.PLATFORM_ACCESS,
                    purpose="platform administration",
                )
            )
            return unit.now

    def _trim(self) -> None:
        while len(self._entries) > _MOST_REMEMBERED:
            # Forgetting only means that the log is asked again.
            del self._entries[next(iter(self._entries))]


async def _told_at(work: UnitOfWork, session_id: UUID) -> datetime | None:
    told_at: datetime | None = await work.session.scalar(
        select(Event.occurred_at)
        .where(Event.tenant_id == work.tenant_id, Event.entity_id == session_id, Event.kind == KIND)
        .order_by(Event.seq.desc())
        .limit(1)
    )
    return told_at
