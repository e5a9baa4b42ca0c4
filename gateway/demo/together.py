"""This module is where several use cases share one transaction, so that a tenant's demo data is there whole or not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from resolvers.call import Call, Services
from resolvers.principal import Principal
from resolvers.unit_of_work import UnitOfWork


@dataclass(slots=True, kw_only=True)
class SharingCall(Call):
    """A call whose use cases all work in ``shared``; nothing is committed before that ends."""

    shared: UnitOfWork

    def work(self, tenant_id: UUID | None = None) -> AbstractAsyncContextManager[UnitOfWork]:
        """The shared unit of work, flushed at the end of each use case."""
        if tenant_id not in (None, self.shared.tenant_id):
            raise ValueError("one transaction is one tenant's")
        return _flushed(self.shared)


@asynccontextmanager
async def _flushed(work: UnitOfWork) -> AsyncIterator[UnitOfWork]:
    yield work
    await work.session.flush()


@asynccontextmanager
async def together(services: Services, who: Principal) -> AsyncIterator[SharingCall]:
    """Use cases called with this are one transaction, committed when the block ends well."""
    async with Call(services=services, principal=who).work() as work:
        yield SharingCall(services=services, principal=who, request_id="demo", shared=work)
