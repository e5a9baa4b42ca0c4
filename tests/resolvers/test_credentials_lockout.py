"""This module is where wrong passwords are counted."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Final
from uuid import UUID

import pytest
from sqlalchemy import select

from models import PLATFORM_TENANT_ID, Role, SignInFailure, Tenant, TenantStatus, User, UserStatus
from models.errors import Refusal
from resolvers.credentials import Accounts
from resolvers.networks import network_of
from tests.conftest import counted
from tests.resolvers.people import PASSWORD, House, email_of

HOME: Final = "192.0.2.7"
MINUTE: Final = timedelta(minutes=1)


async def try_password(
    house: House, accounts: Accounts, acme: Tenant, ada: User, password: str, address: str | None = HOME
) -> str:
    """The refusal's message, or nothing when it let in."""
    try:
        await accounts.login(house.call(address=address), tenant_slug=acme.slug, email=email_of(ada), password=password)
    except Refusal as refusal:
        return refusal.message
    return ""


async def fail(
    house: House, accounts: Accounts, acme: Tenant, ada: User, times: int, address: str | None = HOME
) -> set[str]:
    return {await try_password(house, accounts, acme, ada, "wrong password", address) for _ in range(times)}


async def besiege(house: House, accounts: Accounts, acme: Tenant, ada: User, times: int, first: int = 0) -> None:
    """Wrong passwords, each from a network of its own."""
    for number in range(first, first + times):
        await fail(house, accounts, acme, ada, 1, f"198.18.{number}.1")


async def failures(house: House, tenant_id: UUID) -> list[SignInFailure]:
    async with house.database.session(tenant_id) as session:
        found = select(SignInFailure).where(SignInFailure.tenant_id == tenant_id).order_by(SignInFailure.failed_at)
        return list(await session.scalars(found))


async def test_five_wrong_passwords_lock_for_30_minutes_and_read_like_a_wrong_one(
    house: House, accounts: Accounts, acme: Tenant, ada: User
) -> None:
    wrong = await fail(house, accounts, acme, ada, 5)
    assert {await try_password(house, accounts, acme, ada, PASSWORD)} == wrong
    house.clock.advance(timedelta(minutes=30) - timedelta(seconds=1))
    assert {await try_password(house, accounts, acme, ada, PASSWORD)} == wrong
    house.clock.advance(timedelta(seconds=1))
    assert await try_password(house, accounts, acme, ada, PASSWORD) == ""
    assert (await house.kinds(acme.id)) == ["user.locked", "session.started"]


async def test_four_do_not_lock_and_a_right_one_starts_the_count_anew(
    house: House, accounts: Accounts, acme: Tenant, ada: User
) -> None:
    for _ in range(2):
        await fail(house, accounts, acme, ada, 4)
        assert await try_password(house, accounts, acme, ada, PASSWORD) == ""
    assert await failures(house, acme.id) == []


async def test_trying_on_does_not_lock_for_longer(house: House, accounts: Accounts, acme: Tenant, ada: User) -> None:
    await fail(house, accounts, acme, ada, 5)
    house.clock.advance(29 * MINUTE)
    await fail(house, accounts, acme, ada, 5)
    assert len(await failures(house, acme.id)) == 5
    house.clock.advance(MINUTE)
    assert await try_password(house, accounts, acme, ada, PASSWORD) == ""


async def test_after_the_lock_there_are_five_tries_again(
    house: House, accounts: Accounts, acme: Tenant, ada: User
) -> None:
    await fail(house, accounts, acme, ada, 5)
    house.clock.advance(timedelta(minutes=30))
    await fail(house, accounts, acme, ada, 4)
    assert await try_password(house, accounts, acme, ada, PASSWORD) == ""


async def test_wrong_passwords_at_the_same_time_are_all_counted(
    house: House, accounts: Accounts, acme: Tenant, ada: User
) -> None:
    await asyncio.gather(*(fail(house, accounts, acme, ada, 1) for _ in range(5)))
    assert [one.network_locked_until for one in await failures(house, acme.id)].count(
        house.clock.now + timedelta(minutes=30)
    ) == 1
    assert await try_password(house, accounts, acme, ada, PASSWORD) != ""


async def test_a_locked_try_costs_one_evaluation_like_any_other(
    house: House, accounts: Accounts, acme: Tenant, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str | None] = []
    verify = house.passwords.verify

    async def watching(stored_hash: str | None, password: str):  # type: ignore[no-untyped-def]
        seen.append(stored_hash)
        return await verify(stored_hash, password)

    monkeypatch.setattr(house.passwords, "verify", watching)
    await fail(house, accounts, acme, ada, 5)
    await try_password(house, accounts, acme, ada, PASSWORD)
    assert seen == [ada.password_hash] * 5 + [None]


async def test_the_current_password_of_a_change_counts_as_well(
    house: House, accounts: Accounts, acme: Tenant, ada: User
) -> None:
    # Or a stolen access token would be a way to guess without end.
    signed = await house.signed_in(accounts, acme, ada)
    for _ in range(5):
        with pytest.raises(Refusal):
            await accounts.change_password(
                house.call(signed.principal), current_password="wrong password", new_password="another password"
            )
    with pytest.raises(Refusal):
        await accounts.change_password(
            house.call(signed.principal), current_password=PASSWORD, new_password="another password"
        )


def test_a_network_is_24_bits_or_56() -> None:
    assert network_of("192.0.2.7") == network_of("192.0.2.200") == network_of("::ffff:192.0.2.9") == "192.0.2.0/24"
    assert network_of("192.0.3.7") == "192.0.3.0/24"
    assert network_of("2001:db8:1:22ff::1") == network_of("2001:db8:1:2200:1:2:3:4%eth0") == "2001:db8:1:2200::/56"
    assert {network_of(one) for one in (None, "", "unix:", "testclient", "1.2.3")} == {"unknown"}


async def test_a_lock_holds_for_the_network_that_earned_it(
    house: House, accounts: Accounts, acme: Tenant, ada: User
) -> None:
    await fail(house, accounts, acme, ada, 5, "198.51.100.4")
    assert await try_password(house, accounts, acme, ada, PASSWORD, "198.51.100.250") != ""
    assert await try_password(house, accounts, acme, ada, PASSWORD, "198.51.101.4") == ""
    # The right one from elsewhere forgives the guesser nothing.
    assert await try_password(house, accounts, acme, ada, PASSWORD, "198.51.100.4") != ""
    assert (await house.row(ada)).locked_until is None


async def test_twenty_within_the_hour_lock_strangers_out_for_1_then_5_then_30_minutes(
    house: House, accounts: Accounts, acme: Tenant, ada: User
) -> None:
    await besiege(house, accounts, acme, ada, 19)
    assert (await house.row(ada)).locked_until is None
    for number, minutes in enumerate((1, 5, 30, 30)):
        await besiege(house, accounts, acme, ada, 1, 100 + number)
        locked_until = (await house.row(ada)).locked_until
        if number < 3:
            assert locked_until == house.clock.now + minutes * MINUTE
        assert await try_password(house, accounts, acme, ada, PASSWORD, "203.0.113.9") != ""
        house.clock.advance(minutes * MINUTE)
    assert await try_password(house, accounts, acme, ada, PASSWORD, "203.0.113.9") == ""


async def test_no_outsider_locks_out_who_signed_in_from_there_within_30_days(
    house: House, accounts: Accounts, acme: Tenant, ada: User
) -> None:
    assert await try_password(house, accounts, acme, ada, PASSWORD) == ""
    house.clock.advance(timedelta(days=29))
    await besiege(house, accounts, acme, ada, 20)
    assert (await house.row(ada)).locked_until is not None
    assert await try_password(house, accounts, acme, ada, PASSWORD, "203.0.113.9") != ""
    assert await try_password(house, accounts, acme, ada, PASSWORD, "192.0.2.200") == ""
    # To strangers it stays locked.
    assert (await house.row(ada)).locked_until is not None
    assert await try_password(house, accounts, acme, ada, PASSWORD, "203.0.113.9") != ""


async def test_after_30_days_a_network_is_a_stranger_again(
    house: House, accounts: Accounts, acme: Tenant, ada: User
) -> None:
    assert await try_password(house, accounts, acme, ada, PASSWORD) == ""
    house.clock.advance(timedelta(days=30))
    await besiege(house, accounts, acme, ada, 20)
    assert await try_password(house, accounts, acme, ada, PASSWORD) != ""


async def test_a_lock_that_was_imported_with_the_account_holds(
    house: House, accounts: Accounts, acme: Tenant, ada: User
) -> None:
    await house.set_user(ada, locked_until=house.clock.now + MINUTE)
    assert await try_password(house, accounts, acme, ada, PASSWORD) != ""
    house.clock.advance(MINUTE)
    assert await try_password(house, accounts, acme, ada, PASSWORD) == ""
    assert (await house.row(ada)).locked_until is None


async def test_another_tenants_account_of_the_same_address_is_another(
    house: House, accounts: Accounts, acme: Tenant, ada: User
) -> None:
    other = await house.tenant()
    twin = await house.person(other.id)
    await house.set_user(twin, email=ada.email, email_key=ada.email_key)
    await fail(house, accounts, acme, ada, 5)
    assert await try_password(house, accounts, other, ada, PASSWORD) == ""


async def test_what_does_not_exist_is_asked_written_and_locked_like_what_does(
    house: House, accounts: Accounts, acme: Tenant, ada: User
) -> None:
    closed = await house.tenant()
    await house.set_tenant_status(closed.id, TenantStatus.SUSPENDED)
    gone = await house.person(acme.id, Role.ADMIN)
    await house.set_user(gone, status=UserStatus.SUSPENDED)
    tries = [
        (acme.slug, email_of(ada)),
        (acme.slug, "nobody@example.org"),
        (acme.slug, email_of(gone)),
        (closed.slug, "nobody@example.org"),
        (f"no-such-{acme.slug}", "nobody@example.org"),
    ]
    asked: list[list[list[str]]] = []
    for slug, email in tries:
        mine: list[list[str]] = []
        for number in range(6):
            with counted(house.database) as statements, pytest.raises(Refusal):
                await accounts.login(house.call(), tenant_slug=slug, email=email, password="wrong password")
            # The fifth is told of, where there is somebody; the sixth is locked and writes nothing.
            if number != 4:
                mine.append(list(statements))
        asked.append(mine)
    assert all(one == asked[0] for one in asked[1:])
    assert "INSERT INTO sign_in_failures" in " ".join(asked[0][0])
    assert len(await failures(house, acme.id)) == 15
    platform = [one for one in await failures(house, PLATFORM_TENANT_ID) if one.failed_at == house.clock.now]
    assert len(platform) >= 5
    assert await house.kinds(acme.id) == ["user.locked"]


async def test_of_a_tried_address_only_a_keyed_hash_is_kept(
    house: House, accounts: Accounts, acme: Tenant, ada: User
) -> None:
    await fail(house, accounts, acme, ada, 1)
    (row,) = await failures(house, acme.id)
    assert len(row.account) == 32
    elsewhere = House(house.database, clock=house.clock, refresh_key=b"s" * 32)
    other = elsewhere.accounts()
    await fail(elsewhere, other, acme, ada, 1)
    assert len({one.account for one in await failures(house, acme.id)}) == 2
    await other.close()


async def test_no_refusal_comes_sooner_than_another(house: House, acme: Tenant, ada: User) -> None:
    slow = House(house.database, refused_after_seconds=0.3)
    accounts = slow.accounts()
    for email in (email_of(ada), "nobody@example.org"):
        began = time.monotonic()
        with pytest.raises(Refusal):
            await accounts.login(slow.call(), tenant_slug=acme.slug, email=email, password="wrong password")
        assert time.monotonic() - began >= 0.3
    await accounts.close()
