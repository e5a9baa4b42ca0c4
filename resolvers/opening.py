"""This module is where a sealed secret is opened for code of ours that uses it.

Security boundary: each use is written down in the transaction that reads it; should that not commit, nobody gets the
value.
"""

from __future__ import annotations

from typing import Final

from models import AccessType, DataCategory, Secret
from models.envelope import Unreadable
from resolvers.data_access import Access
from resolvers.keyring import Keyring
from resolvers.unit_of_work import UnitOfWork

PURPOSE_LIMIT: Final = 200


async def open_secret(keyring: Keyring, work: UnitOfWork, secret: Secret, purpose: str) -> str:
    """The value of a secret whose envelope is at hand; ``work`` commits that it was used, or nobody gets it.

    Raises KeyNotAtHand, Unreadable.
    """
    try:
        data_key = await keyring.of(work.session, secret.key_id)
    except Unreadable:
        # Rotation sealed it anew, and ended the key, between the two statements.
        await work.session.refresh(secret, ["sealed", "sealed_version", "key_id"])
        data_key = await keyring.of(work.session, secret.key_id)
    value = secret.unseal(data_key).decode()
    # Written before the COMMIT that this ends with; should it fail, nobody gets the value.
    work.note_access(
        Access(
            subject=(Secret.__typeid__, secret.id),
            category=DataCategory.SECRET,
            kind=AccessType.USE,
            purpose=purpose[:PURPOSE_LIMIT],
        )
    )
    return value
