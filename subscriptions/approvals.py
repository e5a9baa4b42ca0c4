"""This module is where events of requests for approval meet a filter, and whoever waits for one of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import structlog

from models import ApprovalRequest
from models.errors import Unavailable
from subscriptions.filters import Facets, Test, any_of, equals, matcher, words
from subscriptions.tail import LogReplaced, Tails

_log = structlog.get_logger(__name__)


def _assigned(facets: Facets, wanted: Any) -> bool:
    # ``wanted`` is dataloaders.approvals.Assigned, which this layer does not know.
    holder, me = facets.get("assigned_to"), str(wanted.me) if wanted.me is not None else None
    if holder is None:
        return "unassigned" in wanted.to
    return ("mine" if holder == me else "others") in wanted.to


def _since(facets: Facets, moment: datetime) -> bool:
    return datetime.fromisoformat(facets["created_at"]) >= moment


def _until(facets: Facets, moment: datetime) -> bool:
    return datetime.fromisoformat(facets["created_at"]) < moment


_TESTS: Final[Mapping[str, Test]] = {
    "status": any_of("status"),
    "hitl_mode": any_of("hitl_mode"),
    "priority": any_of("priority"),
    "kind": any_of("kind"),
    "agent_id": equals("agent_id"),
    "user_id": equals("user_id"),
    "department": equals("department"),
    "assigned_department": equals("assigned_department"),
    "assignment": _assigned,
    "sla_state": any_of("sla_state"),
    "created_after": _since,
    "created_before": _until,
    "search": words,
}


def approval_matcher(given: Mapping[str, Any]) -> Callable[[Facets | None], bool]:
    """The twin of ``dataloaders.approvals.approvals``: the same filter over facets.

    But for ``search``: no event holds a word of what was asked, so it looks at names alone.
    """
    return matcher(_TESTS, given, None)


class Waiter:
    """Somebody who waits until something happens to one request."""

    def __init__(self) -> None:
        self._happened = asyncio.Event()
        self._is_lost = False

    def forget(self) -> None:
        """What happened until now is seen."""
        self._happened.clear()

    def tell(self) -> None:
        """Something happened."""
        self._happened.set()

    def lose(self) -> None:
        """Whether something happens cannot be told any more."""
        self._is_lost = True
        self._happened.set()

    async def wait(self) -> None:
        """Until something happened since it was forgotten. Raises Unavailable when that cannot be told."""
        await self._happened.wait()
        if self._is_lost:
            raise Unavailable


class ApprovalWatch:
    """Wakes whoever waits for a request: one follower of a tenant's log for all of them, however many they are."""

    def __init__(self) -> None:
        self._tenants: dict[UUID, _TenantWatch] = {}

    @contextlib.asynccontextmanager
    async def waiting(self, tails: Tails, tenant_id: UUID, approval_id: UUID) -> AsyncIterator[Waiter]:
        """Once entered, all that is committed about the request from now on wakes the waiter. Raises Unavailable."""
        watch = self._tenants.get(tenant_id)
        if watch is None or watch.is_over:
            watch = self._tenants[tenant_id] = _TenantWatch(tails, tenant_id)
        waiter = Waiter()
        watch.waiters.setdefault(approval_id, set()).add(waiter)
        try:
            await watch.until_standing()
            yield waiter
        finally:
            if watch.remove(approval_id, waiter):
                # Before the wait: whoever comes now must open a watch of its own.
                if self._tenants.get(tenant_id) is watch:
                    del self._tenants[tenant_id]
                await watch.close()


class _TenantWatch:
    """One tenant's log, read by one task for all who wait in it."""

    def __init__(self, tails: Tails, tenant_id: UUID) -> None:
        self.waiters: dict[UUID, set[Waiter]] = {}
        self.is_over = False
        self._standing = asyncio.Event()
        self._task = asyncio.create_task(self._read(tails, tenant_id), name=f"approval-watch {tenant_id}")

    async def until_standing(self) -> None:
        """Its place in the log is known. Raises Unavailable when there is none."""
        await self._standing.wait()
        if self.is_over:
            raise Unavailable

    def remove(self, approval_id: UUID, waiter: Waiter) -> bool:
        """True when nobody is left."""
        waiting = self.waiters[approval_id]
        waiting.discard(waiter)
        if not waiting:
            del self.waiters[approval_id]
        return not self.waiters

    async def close(self) -> None:
        """End the task."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _read(self, tails: Tails, tenant_id: UUID) -> None:
        try:
            async with tails.follow(tenant_id) as tail:
                seq = tail.head
                self._standing.set()
                while True:
                    for event in await tail.after(seq):
                        seq = event.seq
                        if event.entity_type == ApprovalRequest.__typeid__:
                            for waiter in self.waiters.get(event.entity_id, ()):
                                waiter.tell()
        except (Unavailable, LogReplaced):
            _log.warning("approvals.watch_lost", tenant_id=str(tenant_id))
        except Exception:
            _log.exception("approvals.watch_broke", tenant_id=str(tenant_id))
        finally:
            self.is_over = True
            self._standing.set()
            for waiting in self.waiters.values():
                for waiter in waiting:
                    waiter.lose()
