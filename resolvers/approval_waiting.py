"""This module is where a machine waits for a person: woken by the tenant's log, wherever the decision was made.

Security boundary: one waits for one's own request, or with approvals:read for any; what is another's, foreign or never
was is answered alike.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Final
from uuid import UUID

from dataloaders.base import by_id
from models import ApprovalRequest, Scope
from models.errors import Throttled
from resolvers.approval_access import is_own
from resolvers.call import Call

MOST_WAITING: Final = 2_000
"""Callers of one process that wait over HTTP at once."""

MOST_OF_ONE: Final = 100
"""Of them, those of one credential."""


async def visible(call: Call, approval_id: UUID) -> ApprovalRequest | None:
    """The request as it stands now; None where there is none. Raises FORBIDDEN for who may see none but their own.

    Were what is not there told apart, a caller without the scope would learn which ids exist.
    """
    fresh = call.fresh()
    row: ApprovalRequest | None = await fresh.load(by_id(ApprovalRequest), approval_id)
    if call.allows(Scope.APPROVALS_READ):
        return row
    if row is not None:
        own = is_own(fresh, row)
        if own if isinstance(own, bool) else await own:
            return row
    call.require(Scope.APPROVALS_READ)
    return None


async def until_decided(call: Call, approval_id: UUID) -> ApprovalRequest | None:
    """The request once it is pending no more, at once if it is so already; None for one that is not there.

    Raises FORBIDDEN, Unavailable. Waits for as long as it takes: the caller sets the time.
    """
    services = call.services
    async with services.approval_watch.waiting(services.tails, call.tenant_id, approval_id) as waiter:
        while True:
            # First forgotten, then read: what is committed after the row was read wakes again.
            waiter.forget()
            row = await visible(call, approval_id)
            if row is None or not row.is_pending:
                return row
            await waiter.wait()


async def watch_decided(call: Call, approval_id: UUID) -> AsyncIterator[ApprovalRequest]:
    """One item, the request once it is pending no more; none for what is not there or not the caller's to see."""
    row = await until_decided(call, approval_id)
    if row is not None:
        yield row


class Waiting:
    """Who waits over HTTP in this process: so many, and none once it drains."""

    def __init__(self, most: int = MOST_WAITING, most_of_one: int = MOST_OF_ONE) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._of: Counter[str] = Counter()
        self._draining = asyncio.Event()

    @property
    def count(self) -> int:
        """How many wait."""
        return self._of.total()

    def drain(self) -> None:
        """Everybody is answered that nothing was decided yet, and asks again elsewhere."""
        self._draining.set()

    async def decided(self, call: Call, approval_id: UUID, seconds: float) -> tuple[bool, ApprovalRequest | None]:
        """Whether it is known within ``seconds`` how it stands, and the decided request; None for one not there.

        Raises FORBIDDEN, Throttled when too many wait, Unavailable.
        """
        row = await visible(call, approval_id)
        if row is None or not row.is_pending:
            return True, row
        with self._place(call.who.key):
            waiter = asyncio.create_task(until_decided(call, approval_id), name=f"wait for {approval_id}")
            drained = asyncio.create_task(self._draining.wait(), name="wait for the drain")
            try:
                await asyncio.wait({waiter, drained}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
                return (True, waiter.result()) if waiter.done() else (False, None)
            finally:
                for task in (waiter, drained):
                    task.cancel()
                await asyncio.gather(waiter, drained, return_exceptions=True)

    @contextmanager
    def _place(self, who: str) -> Iterator[None]:
        if self._of[who] >= self._most_of_one or self.count >= self._most:
            raise Throttled("Too many wait already; ask again.", retryAfterSeconds=1)
        self._of[who] += 1
        try:
            yield
        finally:
            self._of[who] -= 1
            if not self._of[who]:
                del self._of[who]
