"""This module is where a tenant's audit log is proven: entry by entry from its start, or from what stands for it.

Whoever owns the database can change rows, but without the keys not so that the chain closes. A tail that was cut
off together with the head closes; that is what anchors are for, which were written elsewhere.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from dataloaders.audit import checkpoints_of, entries_after, head_of
from models import AuditCheckpoint, AuditHead, AuditLog
from models.chain import anchor_signature, checkpoint_signature, entry_mac, genesis, is_same
from models.database import Database, TenantSession
from models.sealing import AuditKeys


@dataclass(frozen=True, slots=True)
class Anchor:
    """A tenant's head as it was once, written where the database's owner does not write."""

    tenant_id: UUID
    seq: int
    mac: bytes
    at: datetime
    key_id: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Fault:
    """The first entry that is not as it was written; ``entry`` is its id where there is a row."""

    seq: int
    what: str
    entry: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was read of one tenant's log, and the first that is wrong with it."""

    tenant_id: UUID
    entries: int
    fault: Fault | None


class _Broken(Exception):
    def __init__(self, seq: int, what: str, row: AuditLog | None = None) -> None:
        super().__init__(what)
        self.fault = Fault(seq, what, row.typeid if row is not None else None)


async def verify_tenant(
    database: Database, keys: AuditKeys, tenant_id: UUID, anchors: Iterable[Anchor] = ()
) -> Verdict:
    """Prove one tenant's log as it stands at one moment. Raises Unavailable."""
    mine = (one for one in anchors if one.tenant_id == tenant_id and _is_ours(keys, one))
    chain = _Chain(keys, tenant_id, {one.seq: one for one in mine})
    async with database.session(tenant_id) as session:
        # One snapshot: what is appended meanwhile is the next run's.
        await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        try:
            checkpoints = await checkpoints_of(session)
            head = await head_of(session)
            async for rows in _pages(session):
                for row in rows:
                    chain.follow(row, checkpoints)
            chain.close(head, checkpoints)
        except _Broken as broken:
            return Verdict(tenant_id, chain.entries, broken.fault)
    return Verdict(tenant_id, chain.entries, None)


async def _pages(session: TenantSession) -> AsyncIterator[Sequence[AuditLog]]:
    after: UUID | None = None
    while rows := await entries_after(session, after):
        after = rows[-1].id
        yield rows
        session.expunge_all()


class _Chain:
    def __init__(self, keys: AuditKeys, tenant_id: UUID, anchors: Mapping[int, Anchor]) -> None:
        self._keys = keys
        self._tenant_id = tenant_id
        self._anchors = anchors
        self._seq = 0
        self._mac: bytes | None = None
        self.entries = 0

    def follow(self, row: AuditLog, checkpoints: Sequence[AuditCheckpoint]) -> None:
        """Take the next row in. Raises _Broken."""
        if self.entries == 0:
            self._begin(row, checkpoints)
        if row.seq != self._seq + 1:
            raise _Broken(self._seq + 1, f"is missing or out of its place; what follows is entry {row.seq}", row)
        expected = entry_mac(self._keys, self._mac, row, key_id=row.key_id)
        if expected is None:
            raise _Broken(row.seq, "was chained with a key that is not in SIGNALBOX_AUDIT_KEYS", row)
        if not is_same(expected, row.mac):
            raise _Broken(row.seq, "is not as it was written", row)
        anchor = self._anchors.get(row.seq)
        if anchor is not None and not is_same(anchor.mac, row.mac):
            raise _Broken(row.seq, f"is not the one that was anchored at {anchor.at.isoformat()}", row)
        self._seq, self._mac = row.seq, row.mac
        self.entries += 1

    def close(self, head: AuditHead | None, checkpoints: Sequence[AuditCheckpoint]) -> None:
        """Compare the end with the head, and with what was anchored. Raises _Broken."""
        if self.entries == 0 and checkpoints:
            self._stand_on(checkpoints[-1])
        last = max(self._anchors.values(), key=lambda one: one.seq, default=None)
        if last is not None and last.seq > self._seq:
            raise _Broken(
                self._seq + 1, f"is missing: the log had {last.seq} entries at {last.at.isoformat()}, by its anchor"
            )
        if head is None:
            raise _Broken(self._seq + 1, "cannot be told: the log's head is gone")
        if head.seq > self._seq:
            raise _Broken(self._seq + 1, f"is missing: the log has {head.seq} entries, by its head")
        if head.seq < self._seq:
            raise _Broken(head.seq + 1, "stands behind the log's head, which was set back")
        if self._seq and not is_same(head.mac, self._mac):
            raise _Broken(self._seq, "is not the one that the log's head names")

    def _begin(self, row: AuditLog, checkpoints: Sequence[AuditCheckpoint]) -> None:
        if row.seq == 1:
            self._mac = genesis(self._keys, self._tenant_id, key_id=row.key_id)
            return
        standing = next((one for one in checkpoints if one.seq == row.seq - 1), None)
        if standing is None:
            raise _Broken(1, f"is missing, and no checkpoint stands for it; the first there is is {row.seq}", row)
        self._stand_on(standing)

    def _stand_on(self, one: AuditCheckpoint) -> None:
        signature = checkpoint_signature(self._keys, self._tenant_id, one.seq, one.mac, one.entries, key_id=one.key_id)
        if not is_same(signature, one.signature):
            raise _Broken(one.seq, "is stood for by a checkpoint that was not signed by us")
        self._seq, self._mac = one.seq, one.mac


def _is_ours(keys: AuditKeys, one: Anchor) -> bool:
    # Whoever can write among the anchors must not be able to accuse a log that is whole.
    signature = anchor_signature(keys, one.tenant_id, one.seq, one.mac, one.at, key_id=one.key_id)
    return is_same(signature, one.signature)
