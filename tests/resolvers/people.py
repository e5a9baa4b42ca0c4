"""This module is where tests get tenants, people and operations of their own, on a clock they move themselves."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select, text, update

from models import Event, MailKind, Role, Tenant, TenantStatus, User, UserStatus
from models.database import Database
from models.ids import uuid7
from models.users import email_key
from resolvers.call import Call, Services
from resolvers.credentials import Accounts, Signed
from resolvers.issuer_keys import IssuerKeys
from resolvers.passwords import Passwords
from resolvers.post import Letter, Post, Send
from resolvers.principal import Principal
from resolvers.tokens import AccessTokens
from resolvers.unit_of_work import UnitOfWork, unit_of_work
from subscriptions.log import OPEN_STREAM

PASSWORD = "correct horse battery"


def email_of(user: User) -> str:
    """The person's address, which the people of these tests all have."""
    assert user.email is not None
    return user.email


class Clock:
    """A wall clock and a stopwatch that stand still until they are moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, tzinfo=UTC)
        self.seconds = 0.0

    def __call__(self) -> datetime:
        return self.now

    def timer(self) -> float:
        """The stopwatch's reading in seconds."""
        return self.seconds

    def advance(self, by: timedelta) -> None:
        """Let time pass."""
        self.now += by
        self.seconds += by.total_seconds()


class Announced:
    """Remembers which tenants' logs were announced."""

    def __init__(self) -> None:
        self.heard: list[tuple[UUID, int]] = []

    def announce(self, tenant_id: UUID, seq: int) -> None:
        """Note it."""
        self.heard.append((tenant_id, seq))


@dataclass(slots=True)
class House:
    """Accounts over a real database, with a clock of their own."""

    database: Database
    clock: Clock = field(default_factory=Clock)
    announced: Announced = field(default_factory=Announced)
    passwords: Passwords = field(default_factory=lambda: Passwords(memory_kib=8, passes=1))
    keys: list[Ed25519PrivateKey] = field(default_factory=lambda: [Ed25519PrivateKey.generate()])
    refresh_key: bytes = b"r" * 32
    refused_after_seconds: float = 0.0
    issuer_keys: IssuerKeys | None = None
    letters: list[Letter] = field(default_factory=list)

    def accounts(self) -> Accounts:
        """Another gateway's accounts: nothing shared but the keys and the database."""
        tokens = AccessTokens(self.keys, self.clock)
        return Accounts(
            self.database,
            self.announced,
            self.passwords,
            tokens,
            self.refresh_key,
            "test",
            self.clock,
            self.clock.timer,
            self.refused_after_seconds,
            sends_mail=True,
        )

    def post(self, send: Send | None = None) -> Post:
        """What sends the mails; without ``send`` they are put among the letters."""

        async def keep(letter: Letter) -> None:
            self.letters.append(letter)

        return Post(self.database, self.announced, self.clock, self.refresh_key, send or keep)

    async def mailed(self, kind: MailKind, email: str | None) -> Letter:
        """Lets the post go, which brings other tests' mails too, and takes the one letter of this kind to ``email``."""
        await self.post().deliver_due()
        (letter,) = [one for one in self.letters if (one.kind, one.to) == (kind, email)]
        self.letters.clear()
        return letter

    def call(
        self, principal: Principal | None = None, accounts: Accounts | None = None, address: str | None = "192.0.2.7"
    ) -> Call:
        """A new operation; nothing here rings a bell, so it has no bus."""
        means: dict[str, Any] = {one.name: None for one in fields(Services)}
        means |= {"database": self.database, "announcer": self.announced, "clock": self.clock}
        means["accounts"] = accounts or self.accounts()
        means["issuer_keys"] = self.issuer_keys
        means["post"] = self.post()
        return Call(
            services=Services(**means), principal=principal, address=address, user_agent="tests \x00 of signing in"
        )

    def work(self, tenant_id: UUID, principal: Principal | None = None) -> AbstractAsyncContextManager[UnitOfWork]:
        """A unit of work."""
        actor = principal.actor if principal else None
        return unit_of_work(self.database, self.announced, self.clock, tenant_id, actor)

    async def tenant(self) -> Tenant:
        """A new tenant with its event counter."""
        tenant_id = uuid7()
        tenant = Tenant(id=tenant_id, name="Tests", slug=f"t{tenant_id.hex}")
        async with self.database.session(tenant_id) as session:
            session.add(tenant)
            await session.flush()
            await session.execute(OPEN_STREAM, {"tenant": tenant_id})
            await session.commit()
        return tenant

    async def person(
        self, tenant_id: UUID, *roles: Role, password_hash: str | None = None, platform_admin: bool = False
    ) -> User:
        """A new active person who signs in with ``PASSWORD``."""
        row_id = uuid7()
        email = f"Ada.{row_id.hex}@Example.org"
        user = User(
            tenant_id=tenant_id,
            id=row_id,
            email=email,
            email_key=email_key(email),
            password_hash=password_hash or await self.passwords.hash(PASSWORD),
            roles=[role.value for role in roles],
            status=UserStatus.ACTIVE,
            is_platform_admin=platform_admin,
        )
        async with self.database.session(tenant_id) as session:
            session.add(user)
            await session.commit()
        return user

    async def signed_in(self, accounts: Accounts, tenant: Tenant, user: User) -> Signed:
        """The person's new session."""
        return await accounts.login(self.call(), tenant_slug=tenant.slug, email=email_of(user), password=PASSWORD)

    async def row(self, user: User) -> User:
        """The person's row as it stands."""
        async with self.database.session(user.tenant_id) as session:
            return (await session.scalars(select(User).where(User.id == user.id))).one()

    async def set_user(self, user: User, **values: Any) -> None:
        """Change the person's row behind everyone's back."""
        async with self.database.session(user.tenant_id) as session:
            await session.execute(update(User).where(User.id == user.id).values(**values))
            await session.commit()

    async def set_tenant_status(self, tenant_id: UUID, status: TenantStatus) -> None:
        """Change the tenant's row behind everyone's back."""
        async with self.database.session(tenant_id) as session:
            await session.execute(update(Tenant).where(Tenant.id == tenant_id).values(status=status))
            await session.commit()

    async def events(self, tenant_id: UUID) -> list[Event]:
        """The tenant's log, oldest first."""
        async with self.database.session(tenant_id) as session:
            return list(await session.scalars(select(Event).where(Event.tenant_id == tenant_id).order_by(Event.seq)))

    async def kinds(self, tenant_id: UUID) -> list[str]:
        """The kinds of the tenant's events, oldest first."""
        return [event.kind for event in await self.events(tenant_id)]

    async def log_text(self, tenant_id: UUID) -> str:
        """Everything the tenant's log says, as one text."""
        async with self.database.session(tenant_id) as session:
            rows = await session.execute(text("SELECT e::text FROM events e"))
            return "\n".join(row[0] for row in rows)
