"""This module is where tests make tenants, people, places and the services that serve them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any, Final
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dataloaders.base import Asked, rows_of
from gateway.egress import Egress
from gateway.key_providers import LocalKeys
from models import Agent, AgentType, Role, Scope, Tenant, TenantPlan, Workspace, utcnow
from models.database import Database
from models.ids import suffix, uuid7
from models.scopes import scopes_of
from models.sealing import AuditKeys
from resolvers.call import Call, Services
from resolvers.credentials import Accounts
from resolvers.heartbeats import HeartbeatIntake
from resolvers.issuer_keys import IssuerKeys
from resolvers.keyring import Keyring
from resolvers.passwords import Passwords
from resolvers.principal import Principal
from resolvers.tokens import AccessTokens
from resolvers.webhook_rules import WebhookRules
from resolvers.webhook_work import Webhooks
from subscriptions.announcer import Announcer
from subscriptions.bus import Bus
from subscriptions.fanout import Fanout
from subscriptions.heartbeats import HeartbeatBoard
from subscriptions.log import OPEN_STREAM
from subscriptions.reply_board import ReplyBoard
from subscriptions.shared_reads import SharedReads
from subscriptions.tail import Tails

AUDIT: Final = AuditKeys([b"a" * 32])
"""One log, one key: whatever pools a test opens, they continue the same chains."""

QUICK: Final = WebhookRules(delays_seconds=(0.01,) * 7, timeout_seconds=5.0)
"""Webhooks that are tried as often as by default, without the long waits."""


@dataclass(frozen=True, slots=True)
class Tenants:
    """Two tenants; a test always tries the other one."""

    mine: UUID
    other: UUID

    @classmethod
    async def make(cls, database: Database) -> Tenants:
        """Insert both."""
        return cls(await make_tenant(database), await make_tenant(database))


async def make_tenant(database: Database) -> UUID:
    """A new tenant with its counter."""
    tenant_id = uuid7()
    async with database.session(tenant_id) as session:
        session.add(Tenant(id=tenant_id, name="Test", slug=f"t-{suffix(tenant_id)}", plan=TenantPlan.ENTERPRISE))
        await session.flush()
        await session.execute(OPEN_STREAM, {"tenant": tenant_id})
        await session.commit()
    return tenant_id


def principal(tenant_id: UUID, role: Role = Role.ADMIN, **given: Any) -> Principal:
    """Somebody with one role."""
    given.setdefault("scopes", scopes_of([role]) | {Scope.WORKSPACES_READ})
    return Principal(tenant_id=tenant_id, roles=frozenset({role}), **given)


@asynccontextmanager
async def running(
    database: Database, redis_url: str = "memory://", keyring: Keyring | None = None
) -> AsyncIterator[Services]:
    """The services of a gateway over ``database``, without its worker."""
    async with AsyncExitStack() as stack:
        bus = Bus.from_url(redis_url)
        await bus.start()
        stack.push_async_callback(bus.stop)
        announcer = Announcer(bus)
        announcer.start()
        stack.push_async_callback(announcer.stop)
        tails = Tails(database, bus)
        await tails.start()
        stack.push_async_callback(tails.stop)
        live_reads: SharedReads[Asked, Sequence[Any]] = SharedReads(rows_of(database), "rows of live answers")
        stack.push_async_callback(live_reads.stop)
        intake = HeartbeatIntake(database, bus, announcer, utcnow)
        intake.start()
        stack.push_async_callback(intake.stop)
        accounts = Accounts(
            database,
            announcer,
            Passwords(memory_kib=8, passes=1),
            AccessTokens([Ed25519PrivateKey.generate()]),
            b"r" * 32,
            "test",
            refused_after_seconds=0.0,
        )
        stack.push_async_callback(accounts.close)
        egress = Egress([ip_network("127.0.0.0/8")])
        stack.push_async_callback(egress.close)
        issuer_keys = IssuerKeys(egress)
        stack.push_async_callback(issuer_keys.close)
        keyring = keyring or Keyring(LocalKeys([b"k" * 32]))
        webhooks = Webhooks(database, announcer, utcnow, keyring, egress, tails.epoch, QUICK)
        yield Services(
            database=database,
            announcer=announcer,
            bus=bus,
            tails=tails,
            fanout=Fanout(tails),
            live_reads=live_reads,
            heartbeats=intake,
            board=HeartbeatBoard(bus),
            reply_board=ReplyBoard(bus),
            accounts=accounts,
            issuer_keys=issuer_keys,
            keyring=keyring,
            webhooks=webhooks,
        )


@dataclass(slots=True)
class Fleet:
    """Rows put straight into the database, for tests of reading."""

    database: Database
    tenant_id: UUID
    workspaces: list[UUID] = field(default_factory=list)

    async def grow(self, count: int) -> None:
        """``count`` workspaces in a tree three wide, an agent in each."""
        async with self.database.session(self.tenant_id) as session:
            for number in range(count):
                parent = self.workspaces[(len(self.workspaces) - 1) // 3] if self.workspaces else None
                one = Workspace(
                    tenant_id=self.tenant_id, id=uuid7(), name=f"place {number:03}", role="Test", parent_id=parent
                )
                session.add(one)
                await session.flush()
                self.workspaces.append(one.id)
                session.add(
                    Agent(tenant_id=self.tenant_id, name=f"agent_{number:03}", type=AgentType.LLM, workspace_id=one.id)
                )
            await session.commit()


def call_of(services: Services, who: Principal | None) -> Call:
    """One operation of ``who``."""
    return Call(services=services, principal=who, request_id="test")
