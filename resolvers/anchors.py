"""This module is where the heads of the audit logs are signed and sent away, so that a tail cut off is missed.

An anchor is one line of JSON: ``tenant``, ``seq``, ``mac``, ``at``, ``key``, ``signature``; it holds nothing personal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import orjson

from dataloaders.audit import PAGE, Head, heads_after
from models import Tenant
from models.chain import anchor_signature
from models.database import Database
from models.ids import NIL, encode, parse
from models.sealing import AuditKeys
from resolvers.retention import MayGoOn
from resolvers.verification import Anchor


class AnchorTarget(Protocol):
    """Somewhere that the database's owner does not write."""

    async def keep(self, lines: list[bytes]) -> None:
        """Keep ``lines`` for good, or raise."""
        ...


class Anchoring:
    """Signs the heads that have moved; what could not be kept is signed anew in the next run."""

    def __init__(
        self, database: Database, keys: AuditKeys, target: AnchorTarget, clock: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._keys = keys
        self._target = target
        self._clock = clock
        self._anchored: dict[UUID, int] = {}

    async def run(self, may_go_on: MayGoOn) -> int:
        """Anchor every tenant whose log has grown since the last run of this process; how many."""
        after, count = NIL, 0
        while await may_go_on():
            heads = await heads_after(self._database, after)
            moved = [one for one in heads if one.mac is not None and self._anchored.get(one.tenant_id) != one.seq]
            if moved:
                await self._target.keep([self._line(one) for one in moved])
            # Only now: a head whose anchor nobody has must be signed again.
            self._anchored |= {one.tenant_id: one.seq for one in moved}
            count += len(moved)
            if len(heads) < PAGE:
                break
            after = heads[-1].tenant_id
        return count

    def _line(self, head: Head) -> bytes:
        at = self._clock()
        assert head.mac is not None
        signature = anchor_signature(self._keys, head.tenant_id, head.seq, head.mac, at)
        assert signature is not None
        return orjson.dumps(
            {
                "tenant": encode(Tenant.__typeid__, head.tenant_id),
                "seq": head.seq,
                "mac": head.mac.hex(),
                "at": at.isoformat(),
                "key": self._keys.key_id.hex(),
                "signature": signature.hex(),
            }
        )


def read_anchors(lines: Iterable[bytes]) -> Iterator[Anchor]:
    """The anchors among ``lines``; one that was cut off while it was written is passed over."""
    for line in lines:
        try:
            yield _anchor(orjson.loads(line))
        except (ValueError, TypeError, KeyError, AttributeError):
            continue


def _anchor(said: Any) -> Anchor:
    tenant_id = parse(said["tenant"], Tenant.__typeid__)
    at = datetime.fromisoformat(said["at"])
    mac, key, signature = (bytes.fromhex(said[name]) for name in ("mac", "key", "signature"))
    return Anchor(tenant_id, int(said["seq"]), mac, at, key, signature)
