"""This module is where what time demands is done: found across tenants by ids and times, done tenant by tenant.

However many workers look, one does it: whoever does it locks the rows and asks again whether they are due.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, Protocol, TypeVar
from uuid import UUID

import structlog

from models.errors import Unavailable

_TENANTS_AT_ONCE: Final = 4
_PATIENCE_SECONDS: Final = 8.0
_log = structlog.get_logger(__name__)


class Dated(Protocol):
    """One row that is due, as it is found across tenants."""

    @property
    def tenant_id(self) -> UUID:
        """Whose it is."""
        ...


Due = TypeVar("Due", bound=Dated)


class DueWork(Generic[Due]):
    """One kind of work. ``find`` reads the next page, of ``page`` rows, behind a row; ``attend`` does a tenant's."""

    def __init__(
        self,
        name: str,
        page: int,
        find: Callable[[Due | None], Awaitable[Sequence[Due]]],
        attend: Callable[[UUID, list[Due]], Awaitable[int]],
    ) -> None:
        self._name = name
        self._page = page
        self._find = find
        self._do = attend
        self._places = asyncio.Semaphore(_TENANTS_AT_ONCE)

    async def run(self) -> int:
        """Everything that is due in all tenants; how many this call did. Commits, one tenant and page at a time.

        A tenant that cannot be served now is logged and left to the next run. Raises Unavailable, TimeoutError.
        """
        after: Due | None = None
        count = 0
        while True:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                page = await self._find(after)
            tenants: dict[UUID, list[Due]] = {}
            for one in page:
                tenants.setdefault(one.tenant_id, []).append(one)
            count += sum(await asyncio.gather(*(self._attend(tenant, due) for tenant, due in tenants.items())))
            if len(page) < self._page:
                return count
            after = page[-1]

    async def _attend(self, tenant_id: UUID, due: list[Due]) -> int:
        async with self._places:
            try:
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    return await self._do(tenant_id, due)
            except Exception as error:
                _log.error(
                    f"{self._name}.tenant_put_off",
                    tenant_id=str(tenant_id),
                    rows=len(due),
                    exc_info=not isinstance(error, Unavailable | TimeoutError),
                )
                return 0
