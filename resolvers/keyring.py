"""This module is where a tenant's data keys are made, unwrapped and remembered for a few minutes.

Security boundary: a key that is not in the caller's tenant, or not in the database any more, opens nothing.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert

from models import TenantKey, TenantKeyState, utcnow
from models.database import TenantSession
from models.envelope import DataKey, Unreadable
from models.errors import Unavailable
from models.ids import uuid7

REMEMBERED_SECONDS: Final = 300.0
_MOST_REMEMBERED: Final = 1000


class KeyNotAtHand(Unavailable):
    """The key that protects this is not at hand; try again."""


@dataclass(frozen=True, slots=True)
class KeyContext:
    """Whose data key it is; a wrapped key unwraps as this one's only."""

    tenant_id: UUID
    version: int


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A data key as it is kept, and the name of what wrapped it."""

    wrapped: bytes
    key_encryption_key: str
    material: bytes = field(repr=False)


class KeyProvider(Protocol):
    """What holds the keys outside the database."""

    @property
    def name(self) -> str:
        """The name of the key that wraps now."""
        ...

    async def make(self, context: KeyContext) -> WrappedKey:
        """A new data key. Raises KeyNotAtHand."""
        ...

    async def unwrap(self, wrapped: bytes, name: str, context: KeyContext) -> bytes:
        """The data key that ``name`` wrapped for ``context``. Raises KeyNotAtHand, Unreadable."""
        ...


class Keyring:
    """Data keys of every tenant, unwrapped when first needed."""

    def __init__(self, provider: KeyProvider, seconds: Callable[[], float] = time.monotonic) -> None:
        self.provider = provider
        self._seconds = seconds
        self._known: OrderedDict[UUID, tuple[DataKey, float]] = OrderedDict()

    async def current(self, session: TenantSession) -> DataKey:
        """The key that seals in the session's tenant, made when there is none yet. Does not commit."""
        row = await _active(session)
        if row is None:
            await self._insert(session, 1)
            # Of two that made the first one at once, the database kept one.
            row = await _active(session)
            assert row is not None
        return await self._unwrapped(row)

    async def of(self, session: TenantSession, key_id: UUID) -> DataKey:
        """The tenant's key with this id, sealing or retiring. Raises Unreadable, KeyNotAtHand."""
        known = self._remembered(key_id)
        if known is not None and known.tenant_id == session.tenant_id:
            return known
        row = await session.scalar(
            select(TenantKey).where(TenantKey.tenant_id == session.tenant_id, TenantKey.id == key_id)
        )
        if row is None:
            raise Unreadable
        return await self._unwrapped(row)

    async def renew(self, session: TenantSession, retiring: TenantKey) -> None:
        """Let a new key seal from now on and ``retiring`` only open. Does not commit."""
        newest = await session.scalar(
            select(func.max(TenantKey.version)).where(TenantKey.tenant_id == session.tenant_id)
        )
        await session.execute(
            update(TenantKey)
            .where(TenantKey.tenant_id == session.tenant_id, TenantKey.id == retiring.id)
            .values(state=TenantKeyState.RETIRING)
        )
        await self._insert(session, (newest or 0) + 1)

    async def _insert(self, session: TenantSession, version: int) -> None:
        made = await self.provider.make(KeyContext(session.tenant_id, version))
        row = {
            "tenant_id": session.tenant_id,
            "id": uuid7(),
            "version": version,
            "wrapped": made.wrapped,
            "key_encryption_key": made.key_encryption_key,
            "state": TenantKeyState.ACTIVE,
            "created_at": utcnow(),
            "updated_at": utcnow(),
        }
        await session.execute(insert(TenantKey).values(row).on_conflict_do_nothing())

    async def _unwrapped(self, row: TenantKey) -> DataKey:
        known = self._remembered(row.id)
        if known is not None:
            return known
        context = KeyContext(row.tenant_id, row.version)
        material = await self.provider.unwrap(row.wrapped, row.key_encryption_key, context)
        key = DataKey(row.id, row.tenant_id, row.version, material)
        self._known[row.id] = (key, self._seconds() + REMEMBERED_SECONDS)
        while len(self._known) > _MOST_REMEMBERED:
            self._known.popitem(last=False)
        return key

    def _remembered(self, key_id: UUID) -> DataKey | None:
        known, until = self._known.get(key_id, (None, 0.0))
        if known is not None and self._seconds() >= until:
            del self._known[key_id]
            return None
        return known


async def _active(session: TenantSession) -> TenantKey | None:
    row: TenantKey | None = await session.scalar(
        select(TenantKey).where(TenantKey.tenant_id == session.tenant_id, TenantKey.state == TenantKeyState.ACTIVE)
    )
    return row
