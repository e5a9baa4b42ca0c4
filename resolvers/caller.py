"""This module is where credential use cases say what they need of an operation.

A protocol, because the operation's services hold the accounts: importing the operation here would close a circle.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol
from uuid import UUID

from models import Scope
from resolvers.audit import Origin
from resolvers.principal import Principal
from resolvers.unit_of_work import UnitOfWork


class Caller(Protocol):
    """One operation of one caller."""

    password_tried: bool
    """Whether this operation has had its one password evaluation."""

    @property
    def who(self) -> Principal:
        """The caller. Raises UNAUTHENTICATED."""
        ...

    @property
    def address(self) -> str | None:
        """Where the request came from."""
        ...

    @property
    def user_agent(self) -> str | None:
        """What sent it, in its own words."""
        ...

    def require(self, scope: Scope) -> None:
        """Raises UNAUTHENTICATED or FORBIDDEN unless the caller holds ``scope``."""
        ...

    def origin(self, tenant_id: UUID) -> Origin:
        """Where the operation comes from, as ``tenant_id`` may keep it."""
        ...

    def work(self, tenant_id: UUID | None = None) -> AbstractAsyncContextManager[UnitOfWork]:
        """A unit of work, in the caller's tenant when none is named."""
        ...
