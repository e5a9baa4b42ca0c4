"""This module is where one operation's means stand together: who calls, what serves it, what it has loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from dataloaders.base import Asked, Batch, LoaderScope
from models import Scope, utcnow
from models.database import Database
from models.errors import Forbidden, Unauthenticated
from resolvers.audit import Origin, origin_of
from resolvers.credentials import Accounts
from resolvers.heartbeats import HeartbeatIntake
from resolvers.idempotency import Claim
from resolvers.issuer_keys import IssuerKeys
from resolvers.keyring import Keyring
from resolvers.post import Post
from resolvers.principal import Principal, require
from resolvers.rule_sets import RuleSets
from resolvers.unit_of_work import Announces, UnitOfWork, unit_of_work
from resolvers.webhook_work import Webhooks
from subscriptions.approvals import ApprovalWatch
from subscriptions.bus import Bus
from subscriptions.cursor import Cursor
from subscriptions.fanout import Fanout
from subscriptions.heartbeats import HeartbeatBoard
from subscriptions.reply_board import ReplyBoard
from subscriptions.shared_reads import SharedReads
from subscriptions.tail import Tails


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What one process has to serve with."""

    database: Database
    announcer: Announces
    bus: Bus
    tails: Tails
    fanout: Fanout
    live_reads: SharedReads[Asked, Sequence[Any]]
    """Reads that answers to one event share, whatever their questions."""
    heartbeats: HeartbeatIntake
    board: HeartbeatBoard
    reply_board: ReplyBoard
    accounts: Accounts
    issuer_keys: IssuerKeys
    keyring: Keyring
    post: Post | None = None
    """What sends mails; None where there is nothing to send them with."""
    webhooks: Webhooks | None = None
    """What tells endpoints of events; None where nobody is to be told."""
    clock: Callable[[], datetime] = utcnow
    rule_sets: RuleSets = field(default_factory=RuleSets)
    """Each tenant's policies, made ready."""
    approval_watch: ApprovalWatch = field(default_factory=ApprovalWatch)
    """Who waits for a decision in this process."""


@dataclass(slots=True, kw_only=True)
class Call:
    """One operation of one caller; an event delivered to a subscriber is an operation of its own."""

    services: Services
    principal: Principal | None
    request_id: str = ""
    address: str | None = None
    user_agent: str | None = None
    claim: Claim | None = None
    done_once: set[str] = field(default_factory=set)
    _cursor: str | None = None
    _loaders: LoaderScope | None = field(default=None, repr=False)

    @property
    def who(self) -> Principal:
        """The caller. Raises UNAUTHENTICATED."""
        if self.principal is None:
            raise Unauthenticated
        return self.principal

    @property
    def tenant_id(self) -> UUID:
        """The caller's tenant. Raises UNAUTHENTICATED."""
        return self.who.tenant_id

    @property
    def loaders(self) -> LoaderScope:
        """The operation's loaders, bound to the caller's tenant."""
        if self._loaders is None:
            self._loaders = LoaderScope(self.services.database, self.tenant_id)
        return self._loaders

    def load(self, batch: Batch[UUID, Any], key: UUID) -> Any:
        """A future of one value."""
        return self.loaders.of(batch).load(key)

    def allows(self, scope: Scope) -> bool:
        """Whether the caller holds ``scope``."""
        return scope is Scope.PUBLIC or (self.principal is not None and self.principal.allows(scope))

    def require(self, scope: Scope) -> None:
        """Raises UNAUTHENTICATED or FORBIDDEN unless the caller holds ``scope``."""
        require(self.principal, scope)

    def require_workspace(self, workspace_id: UUID) -> None:
        """A workspace's machine token speaks for its own workspace only. Raises FORBIDDEN."""
        if self.who.workspace_id is not None and self.who.workspace_id != workspace_id:
            raise Forbidden("This token belongs to another workspace.")

    @property
    def password_tried(self) -> bool:
        """Whether this operation, whatever its number of fields, has had its one password evaluation."""
        return "password" in self.done_once

    @password_tried.setter
    def password_tried(self, tried: bool) -> None:
        (self.done_once.add if tried else self.done_once.discard)("password")

    async def event_cursor(self) -> str | None:
        """Where the tenant's log stands, read once an operation; None without a tenant. Raises Unavailable."""
        if self._cursor is None and self.principal is not None:
            tails = self.services.tails
            epoch, (_, head) = await tails.epoch(), await tails.bounds(self.tenant_id)
            self._cursor = Cursor(epoch, head).encode()
        return self._cursor

    def fresh(self) -> Call:
        """The same caller with nothing loaded yet."""
        return replace(self, _loaders=None, claim=None)

    def live(self) -> Call:
        """As ``fresh``, for one answer to an event; rows that other answers ask for meanwhile are read once for all."""
        loaders = LoaderScope(self.services.database, self.tenant_id, self.services.live_reads.get)
        return replace(self, _loaders=loaders, claim=None)

    def work(self, tenant_id: UUID | None = None) -> AbstractAsyncContextManager[UnitOfWork]:
        """A unit of work in the caller's tenant, under the operation's idempotency key if it has one."""
        services, who = self.services, self.principal
        tenant = tenant_id or self.tenant_id
        return unit_of_work(
            services.database,
            services.announcer,
            services.clock,
            tenant,
            who.actor if who else None,
            self.claim,
            self.origin(tenant),
        )

    def origin(self, tenant_id: UUID) -> Origin:
        """Where the operation comes from, as ``tenant_id`` may keep it."""
        who = self.principal
        at_home = who is None or who.home_tenant_id == tenant_id
        return origin_of(self.address, self.user_agent, self.request_id, at_home=at_home)
