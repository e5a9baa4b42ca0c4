"""This module is where keys are noted as used: at most once a minute each, a tenant's keys in one statement."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import func, or_, update

from models import ApiKey
from models.database import Database
from models.errors import RequestError

EVERY: Final = timedelta(minutes=1)
# Long, because the keys of a fleet fall due one after the other: a short wait would be a write for every few of them.
_COLLECT_SECONDS: Final = 20.0

_log = logging.getLogger(__name__)


class LastUsed:
    """Best effort: what could not be written is written at the key's next use."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock
        self._noted: dict[UUID, datetime] = {}
        self._pending: dict[UUID, set[UUID]] = {}
        self._task: asyncio.Task[None] | None = None

    def note(self, tenant_id: UUID, key_id: UUID, written_at: datetime | None) -> None:
        """The key was used just now; ``written_at`` is what its row says. Returns at once."""
        now = self._clock()
        known = max((at for at in (written_at, self._noted.get(key_id)) if at is not None), default=None)
        if known is not None and now - known < EVERY:
            return
        self._noted[key_id] = now
        self._pending.setdefault(tenant_id, set()).add(key_id)
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="note used keys")

    async def close(self) -> None:
        """Write what is pending, once, and end."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._write()

    async def _run(self) -> None:
        try:
            while self._pending:
                await asyncio.sleep(_COLLECT_SECONDS)
                await self._write()
        finally:
            self._task = None

    async def _write(self) -> None:
        now = self._clock()
        pending, self._pending = self._pending, {}
        for tenant_id, keys in pending.items():
            try:
                await self._write_tenant(tenant_id, sorted(keys), now)
            except RequestError:
                _log.warning("could not note when %d keys were used", len(keys))
        self._noted = {key: at for key, at in self._noted.items() if now - at < EVERY}

    async def _write_tenant(self, tenant_id: UUID, keys: list[UUID], now: datetime) -> None:
        async with self._database.session(tenant_id) as session:
            await session.execute(
                update(ApiKey)
                .where(
                    ApiKey.tenant_id == tenant_id,
                    ApiKey.id == func.any(keys),
                    # Another gateway may have noted it meanwhile.
                    or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at <= now - EVERY),
                )
                .values(last_used_at=now, updated_at=ApiKey.updated_at)
                .execution_options(synchronize_session=False)
            )
            await session.commit()
