"""This module is where people say what may be done with what is known of them, and take it back.

Security boundary: a consent is the person's own word; nobody gives or withdraws one for another.
"""

from __future__ import annotations

import re
from typing import Final
from uuid import UUID

from sqlalchemy import select

from models import UserConsent
from models.errors import Forbidden, invalid
from resolvers.call import Call
from resolvers.unit_of_work import UnitOfWork

_TYPE: Final = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
_MOST_TOLD: Final = 100


async def grant_consent(call: Call, *, consent_type: str) -> UserConsent:
    """The caller's consent, one more row each time. Raises FORBIDDEN, INVALID. Commits."""
    user_id = _person(call)
    consent = UserConsent(user_id=user_id, consent_type=_kind(consent_type), granted=True)
    async with call.work() as work:
        consent.granted_at = work.now
        work.add(consent)
        await work.session.flush()
        work.tell(consent, "consent.granted", None)
    return consent


async def revoke_consent(call: Call, *, consent_type: str) -> list[UserConsent]:
    """Withdraw every consent of this kind; those that stood, newest first. Raises FORBIDDEN, INVALID. Commits."""
    user_id = _person(call)
    kind = _kind(consent_type)
    revoked: list[UserConsent] = []
    async with call.work() as work:
        while rows := await _standing(work, user_id, kind):
            for consent in rows:
                before = consent.facets()
                consent.granted, consent.revoked_at = False, work.now
                work.tell(consent, "consent.revoked", before)
            await work.session.flush()
            revoked += rows
    return revoked[:_MOST_TOLD]


async def _standing(work: UnitOfWork, user_id: UUID, kind: str) -> list[UserConsent]:
    """Some that stand, locked in the order of their ids."""
    rows = await work.session.scalars(
        select(UserConsent)
        .where(
            UserConsent.tenant_id == work.tenant_id,
            UserConsent.user_id == user_id,
            UserConsent.consent_type == kind,
            UserConsent.granted.is_(True),
        )
        .order_by(UserConsent.id.desc())
        .limit(_MOST_TOLD)
        .with_for_update(key_share=True)
    )
    return list(rows)


def _person(call: Call) -> UUID:
    if call.who.member_id is None:
        raise Forbidden("Only a person of this tenant consents, and only for themselves.")
    return call.who.member_id


def _kind(value: str) -> str:
    if not _TYPE.fullmatch(value):
        raise invalid("A kind has 1 to 64 lower-case letters, digits and underscores.", "input", "consentType")
    return value
