"""This module is where erasure is specified from the database's side: no table knows the person any more."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from uuid import UUID

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from models import MailKind, OneTimeToken, OutgoingMail, Role, SignInFailure, Tenant, User
from models.errors import Refusal
from models.scopes import ROLE_SCOPES
from models.users import email_key
from resolvers.credentials import Accounts
from resolvers.lockout import account_of
from resolvers.networks import network_of
from resolvers.principal import Principal
from resolvers.privacy import erase_user
from resolvers.recovery import invite_user, request_password_reset, reset_password
from resolvers.users import update_user
from tests.conftest import counted
from tests.report import record
from tests.resolvers.chains import Chain
from tests.resolvers.people import House, email_of

PASSWORD = "eves correct horse"

# Partitions are read through their table; views hold nothing of their own.
TABLES = """SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY c.relname"""


@dataclass(frozen=True, slots=True)
class Traces:
    """What stands nowhere else in the world, by what it is."""

    by_name: dict[str, str]

    async def found(self, owner: AsyncEngine) -> dict[str, set[str]]:
        """Which of them stand in which tables: in any column, as they are or as bytes."""
        found: dict[str, set[str]] = {name: set() for name in self.by_name}
        async with owner.connect() as connection:
            tables = list((await connection.execute(text(TABLES))).scalars())
            assert {"users", "sessions", "audit_logs", "sign_in_failures", "events"} <= set(tables)
            for table in tables:
                for name, trace in self.by_name.items():
                    # A row as text shows every column: text and JSON plainly, bytes in hexadecimal.
                    where = "strpos(lower(t::text), :plain) > 0 OR strpos(t::text, :bytes) > 0"
                    said = {"plain": trace.lower(), "bytes": trace.encode().hex()}
                    if (
                        await connection.execute(text(f'SELECT 1 FROM "{table}" t WHERE {where} LIMIT 1'), said)
                    ).first():
                        found[name].add(table)
        return found


def traces_of(house: House, user: User, mark: str, address: str) -> Traces:
    """What there is to find of Eve."""
    email = email_of(user)
    return Traces(
        {
            "mark": mark,
            "address hash": hashlib.sha256(email_key(email).encode()).hexdigest(),
            "account hash": account_of(house.refresh_key, user.tenant_id, email).hex(),
            "client address": address,
            "network": network_of(address),
        }
    )


@pytest.fixture
async def chief(house: House, acme: Tenant) -> Principal:
    user = await house.person(acme.id, Role.ADMIN)
    return Principal(tenant_id=acme.id, user_id=user.id, scopes=ROLE_SCOPES[Role.ADMIN], roles=frozenset({Role.ADMIN}))


async def fail(house: House, accounts: Accounts, slug: str, email: str, address: str) -> None:
    with pytest.raises(Refusal):
        await accounts.login(house.call(address=address), tenant_slug=slug, email=email, password="wrong password")


async def settled(house: House, accounts: Accounts, acme: Tenant, chief: Principal, mark: str, address: str) -> User:
    """Eve, who was invited, works, mistypes her password, and has mails on their way when she goes."""
    eve = await invite_user(
        house.call(chief, accounts),
        email=f"Eve.{mark}@Personal.Example",
        roles=[Role.MEMBER],
        username=f"evie{mark}",
        display_name=f"Evelyn {mark}",
        department=f"Dept {mark}",
    )
    letter = await house.mailed(MailKind.INVITATION, eve.email)
    assert letter.token is not None
    await reset_password(house.call(accounts=accounts, address=address), token=letter.token, new_password=PASSWORD)
    call = house.call(address=address)
    call.user_agent = f"EvesBrowser/{mark}"
    await accounts.login(call, tenant_slug=acme.slug, email=email_of(eve), password=PASSWORD)
    picture = f"https://pictures.example/{mark}.png"
    await update_user(house.call(chief, accounts), id=eve.id, avatar_url=picture)
    for _ in range(3):
        await fail(house, accounts, acme.slug, email_of(eve), address)
    await request_password_reset(house.call(address=address), tenant_slug=acme.slug, email=email_of(eve))
    return eve


async def rows_left(house: House, eve: User) -> tuple[int, int]:
    """How many one-time tokens and mails name her."""
    async with house.database.session(eve.tenant_id) as session:
        tokens = (await session.scalars(select(OneTimeToken).where(OneTimeToken.user_id == eve.id))).all()
        mails = (await session.scalars(select(OutgoingMail).where(OutgoingMail.user_id == eve.id))).all()
        return len(tokens), len(mails)


async def failures(house: House, tenant_id: UUID) -> list[bytes]:
    async with house.database.session(tenant_id) as session:
        return list(await session.scalars(select(SignInFailure.account).where(SignInFailure.tenant_id == tenant_id)))


async def test_after_erasure_no_table_holds_an_address_or_a_hash_of_the_person(
    house: House, accounts: Accounts, acme: Tenant, chief: Principal, owner: AsyncEngine
) -> None:
    mark = f"zq{secrets.token_hex(8)}"
    address = f"2001:db8:{secrets.token_hex(2)}:{secrets.token_hex(1)}00::7"
    eve = await settled(house, accounts, acme, chief, mark, address)
    traces = traces_of(house, eve, mark, address)
    before = await traces.found(owner)
    # They were there: or looking would prove nothing.
    assert before == {
        "mark": {"users", "sessions"},
        "address hash": {"users", "one_time_tokens"},
        "account hash": {"sign_in_failures"},
        "client address": {"sessions"},
        "network": {"sessions", "sign_in_failures"},
    }
    assert await rows_left(house, eve) == (1, 1)
    await erase_user(house.call(chief, accounts), id=eve.id)
    after = await traces.found(owner)
    assert after == {name: set() for name in traces.by_name}
    assert await rows_left(house, eve) == (0, 0)
    event = (await house.events(acme.id))[-1]
    assert event.payload["deleted"]["sign_in_failures"] == 3
    assert (await Chain(house.database, acme.id).verdict()).fault is None
    async with owner.connect() as connection:
        count = len((await connection.execute(text(TABLES))).all())
    figure = f"{len(traces.by_name)} traces in {len(set().union(*before.values()))} tables before, in none after"
    record(4, "erasure leaves neither address nor hash in any table", count, figure)


async def test_erasure_leaves_what_was_counted_for_others(
    house: House, accounts: Accounts, acme: Tenant, ada: User, chief: Principal
) -> None:
    other = await house.tenant()
    twin = await house.person(other.id, Role.MEMBER)
    bob = await house.person(acme.id, Role.MEMBER)
    await house.set_user(twin, email=ada.email, email_key=ada.email_key)
    for slug, email in ((acme.slug, email_of(ada)), (acme.slug, email_of(bob)), (other.slug, email_of(ada))):
        await fail(house, accounts, slug, email, "192.0.2.7")
    await erase_user(house.call(chief, accounts), id=ada.id)
    assert await failures(house, acme.id) == [account_of(house.refresh_key, acme.id, email_of(bob))]
    assert await failures(house, other.id) == [account_of(house.refresh_key, other.id, email_of(ada))]


async def test_erasing_again_finds_nothing_and_costs_no_more(
    house: House, accounts: Accounts, acme: Tenant, ada: User, chief: Principal
) -> None:
    for _ in range(3):
        await fail(house, accounts, acme.slug, email_of(ada), "192.0.2.7")
    with counted(house.database) as first:
        await erase_user(house.call(chief, accounts), id=ada.id)
    with counted(house.database) as again:
        await erase_user(house.call(chief, accounts), id=ada.id)
    assert (await house.events(acme.id))[-1].payload["deleted"] == {}
    assert len(again) <= len(first)
