"""This module is where a place in a tenant's log is written down: which database, which seq."""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from dataclasses import dataclass
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from models.database import Database

_PLACE = struct.Struct(">8sq")


@dataclass(frozen=True, slots=True)
class Cursor:
    """A seq of the database that ``epoch`` names. Carries no authority: the tenant comes from the credentials."""

    epoch: bytes
    seq: int

    def encode(self) -> str:
        """The opaque text clients keep."""
        return base64.urlsafe_b64encode(_PLACE.pack(self.epoch, self.seq)).rstrip(b"=").decode()

    @classmethod
    def decode(cls, value: str) -> Cursor | None:
        """The cursor, or None for text that is none; a seq below 0 is none either."""
        try:
            raw = base64.b64decode(value.encode("ascii") + b"==", altchars=b"-_", validate=True)
            epoch, seq = _PLACE.unpack(raw)
        except (ValueError, binascii.Error, struct.error):
            return None
        return cls(epoch, seq) if seq >= 0 else None


IDENTITY: Final = (
    "(SELECT system_identifier FROM pg_control_system())::text || ':' || "
    "(SELECT timeline_id FROM pg_control_checkpoint())::text || ':' || (SELECT marker FROM stream_epoch)"
)
"""SQL of a text that changes when the database is another one, was promoted, or was restored (``new-epoch``)."""


def epoch_of(identity: str) -> bytes:
    """The 8 bytes that stand for the identity in cursors."""
    return hashlib.sha256(identity.encode()).digest()[:8]


async def read_epoch(database: Database) -> bytes:
    """The epoch as it is now. Raises Unavailable."""
    async with database.connection(database.tail) as connection:
        return epoch_of(await connection.scalar(text(f"SELECT {IDENTITY}")))


async def renew_epoch(owner: AsyncEngine) -> None:
    """Give the database a new epoch, so that every cursor there is names another one; ``owner`` is the owner's engine.

    Commits. Gateways read the epoch again within a second.
    """
    async with owner.begin() as connection:
        await connection.execute(text("UPDATE stream_epoch SET marker = gen_random_uuid()::text"))
