"""This module is where it is written down who looked at whose data, in the transaction that shows it.

One row for each subject and operation; lists that show no content of others are not logged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast
from uuid import UUID

import orjson
from sqlalchemy import Table, insert

from models import AccessType, DataAccessLog, DataCategory, LegalBasis, User
from models.database import TenantSession
from models.ids import uuid7
from models.sealing import AuditKeys, seal
from resolvers.audit import Actor, Origin
from resolvers.person_keys import sealing_keys

_ACCESSES: Final = cast(Table, DataAccessLog.__table__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """One subject whose data is looked at or used, and why."""

    subject: tuple[str, UUID]
    """TypeID prefix and id of a person, a secret, a tenant."""
    category: DataCategory
    kind: AccessType
    purpose: str
    legal_basis: LegalBasis = LegalBasis.LEGITIMATE_INTEREST


async def write_accesses(
    session: TenantSession,
    keys: AuditKeys | None,
    accesses: Sequence[Access],
    actor: Actor,
    origin: Origin,
    now: datetime,
) -> None:
    """One row for each different access, in one statement. Does not commit."""
    if not accesses:
        return
    sealer = await _sealer(session, keys, actor, origin, now)
    rows = [_row(session.tenant_id, one, actor, origin, now) for one in dict.fromkeys(accesses)]
    said = orjson.dumps(origin.said)
    for row in rows:
        row["origin"] = seal(sealer, said, session.tenant_id, row["id"], "origin") if sealer else None
    await session.execute(insert(_ACCESSES), rows)


async def _sealer(
    session: TenantSession, keys: AuditKeys | None, actor: Actor, origin: Origin, now: datetime
) -> bytes | None:
    if not origin.said or keys is None or actor is None:
        return None
    holder = actor[1] if actor is not None and actor[0] == User.__typeid__ else session.tenant_id
    return (await sealing_keys(session, keys, {holder}, now)).get(holder)


def _row(tenant: UUID, one: Access, actor: Actor, origin: Origin, now: datetime) -> dict[str, Any]:
    return {
        "tenant_id": tenant,
        "id": uuid7(),
        "occurred_at": now,
        "actor_type": actor[0] if actor else None,
        "actor_id": actor[1] if actor else None,
        "subject_type": one.subject[0],
        "subject_id": one.subject[1],
        "data_category": one.category,
        "access_type": one.kind,
        "purpose": one.purpose,
        "legal_basis": one.legal_basis,
        "trace_id": origin.request_id or None,
    }
