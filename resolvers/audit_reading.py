"""This module is where sealed parts of the audit and access logs are opened, for whoever may read the log.

Security boundary: keys are fetched anew in every operation. What was sealed for a person who has been erased stays
shut, and reads like something that was never said.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson

from dataloaders.audit import person_keys_by_id
from models import AuditLog, DataAccessLog, User
from models.sealing import AuditKeys, NotOpened, unseal
from resolvers.call import Call


async def contents_of(row: AuditLog, call: Call) -> dict[str, Any]:
    """Old and new values, by ``old`` and ``new``; empty for none, and for what cannot be opened."""
    return await _opened(call, row, row.contents, row.subject_id or row.tenant_id, "contents")


async def origin_of(row: AuditLog | DataAccessLog, call: Call) -> dict[str, Any]:
    """``address`` and ``agent`` of whoever acted; empty for none, and for what cannot be opened."""
    person = row.actor_id if row.actor_type == User.__typeid__ else None
    return await _opened(call, row, row.origin, person or row.tenant_id, "origin")


async def _opened(
    call: Call, row: AuditLog | DataAccessLog, sealed: bytes | None, holder: UUID, part: str
) -> dict[str, Any]:
    keys = call.services.database.audit
    if sealed is None or keys is None:
        return {}
    return opened(keys, row, sealed, holder, await call.load(person_keys_by_id, holder), part)


def opened(
    keys: AuditKeys, row: AuditLog | DataAccessLog, sealed: bytes, holder: UUID, wrapped: bytes | None, part: str
) -> dict[str, Any]:
    """What ``sealed`` holds; empty where the holder's key is gone, or the keys at hand do not open it."""
    if wrapped is None:
        return {}
    try:
        key = keys.unwrap(row.tenant_id, holder, wrapped)
        found: dict[str, Any] = orjson.loads(unseal(key, sealed, row.tenant_id, row.id, part))
        return found
    except NotOpened:
        return {}
