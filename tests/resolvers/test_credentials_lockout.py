"""This module is where wrong passwords are counted."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from models import Tenant, User
from models.errors import Refusal
from resolvers.credentials import Accounts
from tests.resolvers.people import PASSWORD, House, email_of


async def try_password(house: House, accounts: Accounts, acme: Tenant, ada: User, password: str) -> str:
    """The refusal's message, or nothing when it let in."""
    try:
        await accounts.login(house.call(), tenant_slug=acme.slug, email=email_of(ada), password=password)
    except Refusal as refusal:
        return refusal.message
    return ""


async def fail(house: House, accounts: Accounts, acme: Tenant, ada: User, times: int) -> set[str]:
    return {await try_password(house, accounts, acme, ada, "wrong password") for _ in range(times)}


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
    row = await house.row(ada)
    assert (row.failed_login_attempts, row.locked_until) == (0, None)


async def test_trying_on_does_not_lock_for_longer(house: House, accounts: Accounts, acme: Tenant, ada: User) -> None:
    await fail(house, accounts, acme, ada, 5)
    locked_until = (await house.row(ada)).locked_until
    house.clock.advance(timedelta(minutes=29))
    await fail(house, accounts, acme, ada, 5)
    assert (await house.row(ada)).locked_until == locked_until


async def test_after_the_lock_there_are_five_tries_again(
    house: House, accounts: Accounts, acme: Tenant, ada: User
) -> None:
    await fail(house, accounts, acme, ada, 5)
    house.clock.advance(timedelta(minutes=30))
    await fail(house, accounts, acme, ada, 4)
    row = await house.row(ada)
    assert (row.failed_login_attempts, row.locked_until) == (4, None)
    assert await try_password(house, accounts, acme, ada, PASSWORD) == ""


async def test_wrong_passwords_at_the_same_time_are_all_counted(
    house: House, accounts: Accounts, acme: Tenant, ada: User
) -> None:
    await asyncio.gather(*(fail(house, accounts, acme, ada, 1) for _ in range(5)))
    assert (await house.row(ada)).locked_until == house.clock.now + timedelta(minutes=30)
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
