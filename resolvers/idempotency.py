"""This module is where a retry finds what the first try did.

The key's row commits with the change and keeps ids and the body's hash, not the answer: a replay reads the object
again with the replayer's own rights, and a secret that was shown once is not shown again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import orjson
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from models import IdempotencyKey
from models.errors import Refusal, RefusalCode, invalid
from models.ids import decode
from resolvers.unit_of_work import UnitOfWork

MAX_KEY_LENGTH: Final = 255


class Replay(Exception):
    """This key has done its work already; ``ids`` are the TypeIDs of what it made."""

    def __init__(self, ids: list[str]) -> None:
        super().__init__("replay")
        self.ids = ids


@dataclass(frozen=True, slots=True)
class Claim:
    """One use of an idempotency key by one caller for one mutation."""

    principal: str
    mutation: str
    key: str
    body_hash: bytes

    @classmethod
    def of(cls, principal: str, mutation: str, key: str, body: dict[str, Any]) -> Claim:
        """A claim for ``body`` (its JSON, key order aside). Raises INVALID for a bad key or body."""
        if not 1 <= len(key) <= MAX_KEY_LENGTH or not key.isprintable():
            raise invalid(f"A key has 1 to {MAX_KEY_LENGTH} printable characters.", "input", "idempotencyKey")
        try:
            encoded = orjson.dumps(body, option=orjson.OPT_SORT_KEYS, default=str)
        except orjson.JSONEncodeError as error:
            raise invalid("This holds a value that JSON cannot.", "input") from error
        return cls(principal, mutation, key, hashlib.sha256(encoded).digest())

    async def take(self, work: UnitOfWork) -> None:
        """Insert the key's row, waiting for a parallel duplicate (at most lock_timeout, 2 s).

        Raises Replay when the key has done this already, IDEMPOTENCY_MISMATCH when it did something else.
        """
        taken = await work.session.scalar(
            insert(IdempotencyKey)
            .values(
                tenant_id=work.tenant_id,
                principal=self.principal,
                mutation=self.mutation,
                key=self.key,
                body_hash=self.body_hash,
                result_ids={},
                created_at=work.now,
            )
            .on_conflict_do_nothing()
            .returning(IdempotencyKey.key)
        )
        if taken is not None:
            return
        row = (await work.session.scalars(self._select(work.tenant_id))).one()
        if row.body_hash != self.body_hash:
            raise Refusal(
                RefusalCode.IDEMPOTENCY_MISMATCH,
                "This key was used for another request.",
                field=("input", "idempotencyKey"),
            )
        raise Replay(list(row.result_ids.get("ids", [])))

    async def keep(self, work: UnitOfWork, ids: list[str]) -> None:
        """Note what was made, in the same transaction."""
        row = (await work.session.scalars(self._select(work.tenant_id))).one()
        row.result_ids = {"ids": ids}

    def _select(self, tenant_id: UUID) -> Any:
        return select(IdempotencyKey).where(
            IdempotencyKey.tenant_id == tenant_id,
            IdempotencyKey.principal == self.principal,
            IdempotencyKey.mutation == self.mutation,
            IdempotencyKey.key == self.key,
        )


def replayed_id(replay: Replay) -> UUID:
    """The uuid of the one object a create mutation made."""
    return decode(replay.ids[0])[1]


def replayed_ids(replay: Replay, prefix: str) -> list[UUID]:
    """The uuids of all objects of one type that a mutation made, in its order."""
    return [row_id for kind, row_id in map(decode, replay.ids) if kind == prefix]
