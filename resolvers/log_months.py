"""This module is where the logs' months are made ahead, and given up when nobody keeps them any longer.

Security boundary: a month of the audit log goes only when every tenant's chain up to its end was proven and signed
for; a log that is broken stays as it is, for people to look at.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from sqlalchemy.dialects.postgresql import insert

from dataloaders.audit import (
    PAGE,
    checkpoints_of,
    drop_month,
    heads_after,
    last_entry_before,
    longest_retention,
    make_months,
    months_of,
)
from models import AuditCheckpoint
from models.audit import AUDIT_DAYS
from models.chain import checkpoint_signature
from models.database import Database, TenantSession
from models.ids import NIL
from models.months import BY_MONTH, MONTHS_AHEAD, first_id
from models.sealing import AuditKeys
from resolvers.retention import MayGoOn
from resolvers.verification import verify_tenant

_YEARS: Final = 3
_log = structlog.get_logger(__name__)


class LogMonths:
    """Keeps the logs' months: those to come and those that may go."""

    def __init__(self, database: Database, keys: AuditKeys, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._keys = keys
        self._clock = clock

    async def make(self, may_go_on: MayGoOn) -> int:
        """Make the months that are missing, a year ahead; how many. Commits."""
        return await make_months(self._database, MONTHS_AHEAD) if await may_go_on() else 0

    async def drop(self, may_go_on: MayGoOn) -> int:
        """Drop the months that nobody keeps any longer; how many. Commits each."""
        days = max(AUDIT_DAYS, await longest_retention(self._database) or 0)
        dropped = 0
        for log in BY_MONTH:
            for month in await months_of(self._database, log):
                end = _month_after(month)
                if not self._may_go(log, end, days) or not await may_go_on():
                    break
                if log == "audit_logs" and not await self._sign_for_all(end, may_go_on):
                    break
                dropped += await drop_month(self._database, log, month)
                _log.info("audit.month_dropped", log=log, month=month.strftime("%Y-%m"))
        return dropped

    def _may_go(self, log: str, end: datetime, days: int) -> bool:
        now = self._clock()
        kept = timedelta(days=days) if log == "audit_logs" else timedelta(days=AUDIT_DAYS)
        # The database counts in months and refuses what is younger; it is only asked for what it will do.
        return end + kept <= now and _months(now) - _months(end) >= 12 * _YEARS

    async def _sign_for_all(self, end: datetime, may_go_on: MayGoOn) -> bool:
        after = NIL
        while True:
            heads = await heads_after(self._database, after)
            for head in heads:
                if head.seq and not (await may_go_on() and await self._sign_for(head.tenant_id, end)):
                    return False
            if len(heads) < PAGE:
                return True
            after = heads[-1].tenant_id

    async def _sign_for(self, tenant_id: UUID, end: datetime) -> bool:
        """Whether a checkpoint stands for all of the tenant's entries before ``end``. Commits."""
        async with self._database.session(tenant_id) as session:
            last = await last_entry_before(session, first_id(end))
            checkpoints = await checkpoints_of(session)
        signed = checkpoints[-1].seq if checkpoints else 0
        if last is None or last.seq <= signed:
            return True
        verdict = await verify_tenant(self._database, self._keys, tenant_id)
        if verdict.fault is not None:
            _log.error("audit.month_kept", tenant_id=str(tenant_id), seq=verdict.fault.seq, what=verdict.fault.what)
            return False
        async with self._database.session(tenant_id) as session:
            await self._sign(session, last.seq, last.mac, last.seq - signed)
            await session.commit()
        return True

    async def _sign(self, session: TenantSession, seq: int, mac: bytes, entries: int) -> None:
        tenant = session.tenant_id
        await session.execute(
            insert(AuditCheckpoint)
            .values(
                tenant_id=tenant,
                seq=seq,
                mac=mac,
                entries=entries,
                made_at=self._clock(),
                key_id=self._keys.key_id,
                signature=checkpoint_signature(self._keys, tenant, seq, mac, entries),
            )
            .on_conflict_do_nothing()
        )


def _months(moment: datetime) -> int:
    return moment.year * 12 + moment.month


def _month_after(month: datetime) -> datetime:
    return (month.replace(tzinfo=UTC) + timedelta(days=32)).replace(day=1)
