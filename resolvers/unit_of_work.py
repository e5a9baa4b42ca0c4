"""This module is where a mutation becomes one transaction: rows, audit entries, events, COMMIT, then the wake-up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final, Protocol, TypeVar, Unpack
from uuid import UUID

from sqlalchemy import func, select

from models import TenantRow
from models.changes import remember_changes
from models.database import Database, TenantSession
from models.errors import Refusal, RefusalCode, not_found
from models.ids import encode
from models.sealing import AuditKeys
from resolvers.audit import NOWHERE, Actor, Origin, write_entries
from resolvers.data_access import Access, write_accesses
from subscriptions.log import Envelope, Particulars, Told, append

Row = TypeVar("Row", bound=TenantRow)

MOST_KEPT_IDS: Final = 100
"""Of what one mutation changed under an idempotency key."""


class Announces(Protocol):
    """What a unit of work needs to make its commit known."""

    def announce(self, tenant_id: UUID, seq: int) -> None:
        """Say that the tenant's log reaches ``seq``."""
        ...


class Claims(Protocol):
    """What takes an idempotency key at the start and keeps the result's ids at the end."""

    async def take(self, work: UnitOfWork) -> None:
        """Take the key or raise Replay."""
        ...

    async def keep(self, work: UnitOfWork, ids: list[str]) -> None:
        """Note the TypeIDs of what was made."""
        ...


class UnitOfWork:
    """One transaction of one tenant. Entity rows are locked first, then the audit head, the event counter last."""

    def __init__(
        self,
        session: TenantSession,
        now: datetime,
        actor: Actor = None,
        origin: Origin = NOWHERE,
        keys: AuditKeys | None = None,
    ) -> None:
        self.session = session
        self.now = now
        self.actor = actor
        self.origin = origin
        self.keys = keys
        self.envelopes: list[Envelope] = []
        self.accesses: list[Access] = []
        self._changes = remember_changes(session)

    @property
    def tenant_id(self) -> UUID:
        """The tenant that everything in here belongs to."""
        return self.session.tenant_id

    def add(self, row: TenantRow) -> None:
        """Insert ``row`` at the flush, as the tenant's own."""
        row.tenant_id = self.tenant_id
        self.session.add(row)

    def record(self, envelope: Envelope) -> None:
        """Tell of a change; it is audited, numbered and inserted just before COMMIT."""
        self.envelopes.append(envelope)

    def tell(
        self,
        row: Told,
        kind: str,
        before: dict[str, Any] | None,
        payload: dict[str, Any] | None = None,
        *,
        gone: bool = False,
        **particulars: Unpack[Particulars],
    ) -> None:
        """Tell of a row's change: ``before`` are its facets as they were, None when it is new."""
        self.record(Envelope.of(row, kind, before, payload, gone=gone, **particulars))

    def note_access(self, access: Access) -> None:
        """Tell that somebody's data was looked at or used; one row of the data-access log."""
        self.accesses.append(access)

    async def finish(self) -> int | None:
        """Everything before COMMIT, in the one order that cannot deadlock; the last event's seq, if any."""
        await self.session.flush()
        await write_accesses(self.session, self.keys, self.accesses, self.actor, self.origin, self.now)
        if not self.envelopes:
            return None
        await write_entries(self.session, self.keys, self.envelopes, self._changes, self.actor, self.origin, self.now)
        return await append(self.session, self.envelopes, self.actor, self.now)

    async def lock_name(self, what: str, name: str = "") -> None:
        """Hold a name of the tenant's until COMMIT, whether or not a row bears it; others that take it wait."""
        key = f"{what}:{self.tenant_id}:{name}"
        await self.session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(key, 0))))

    async def locked(
        self,
        model: type[Row],
        row_id: UUID,
        *field: str,
        expected_version: int | None = None,
        what: str | None = None,
    ) -> Row:
        """The row, locked until COMMIT. Raises NOT_FOUND, or CONFLICT with the row as it stands."""
        row = await self.session.scalar(
            select(model)
            .where(model.tenant_id == self.tenant_id, model.id == row_id)
            .with_for_update(key_share=True)
            .execution_options(populate_existing=True)
        )
        if row is None or getattr(row, "deleted_at", None) is not None:
            raise not_found(what or model.__typeid__, *(field or ("input", "id")))
        if expected_version is not None and getattr(row, "version", expected_version) != expected_version:
            raise Refusal(
                RefusalCode.CONFLICT,
                f"It has changed: the version is {row.version} now.",  # type: ignore[attr-defined]
                field=("input", "expectedVersion"),
                current=row,
            )
        return row


@asynccontextmanager
async def unit_of_work(
    database: Database,
    announcer: Announces,
    clock: Callable[[], datetime],
    tenant_id: UUID,
    actor: Actor,
    claim: Claims | None = None,
    origin: Origin = NOWHERE,
) -> AsyncIterator[UnitOfWork]:
    """One transaction: commits when the block ends well, rolls back otherwise. Raises Unavailable.

    ``claim`` is taken first, inside the transaction, and keeps the ids of what changed, in the order it was recorded.
    """
    seq: int | None = None
    async with database.turns.taken(tenant_id), database.session(tenant_id) as session:
        work = UnitOfWork(session, clock(), actor, origin, database.audit)
        if claim is not None:
            await claim.take(work)
        yield work
        if claim is not None and work.envelopes:
            changed = dict.fromkeys(encode(one.entity_type, one.entity_id) for one in work.envelopes)
            await claim.keep(work, list(changed)[:MOST_KEPT_IDS])
        seq = await work.finish()
        await session.commit()
    if seq is not None:
        announcer.announce(tenant_id, seq)
