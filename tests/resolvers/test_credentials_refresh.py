"""This module is where refresh tokens are specified: used once, retried for ten seconds, deadly when stolen."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import select

from models import RefreshToken, Tenant, User
from models.errors import Refusal, RefusalCode, Unauthenticated
from models.ids import uuid7
from resolvers.bearers import hash_of, new_refresh_token
from resolvers.credentials import Accounts, Signed
from tests.resolvers.people import House

SECOND = timedelta(seconds=1)


async def refresh(house: House, accounts: Accounts, token: str) -> Signed:
    return await accounts.refresh_session(house.call(), refresh_token=token)


async def refused(house: House, accounts: Accounts, token: str) -> None:
    with pytest.raises(Refusal) as refusal:
        await refresh(house, accounts, token)
    assert (refusal.value.code, refusal.value.field) == (RefusalCode.INVALID_CREDENTIALS, ("input", "refreshToken"))


async def tokens_of(house: House, tenant: Tenant) -> list[RefreshToken]:
    async with house.database.session(tenant.id) as session:
        return list(await session.scalars(select(RefreshToken).order_by(RefreshToken.created_at)))


async def test_a_refresh_token_is_exchanged_for_the_next_pair(
    house: House, accounts: Accounts, acme: Tenant, ada: User
) -> None:
    signed = await house.signed_in(accounts, acme, ada)
    house.clock.advance(timedelta(minutes=9))
    again = await refresh(house, accounts, signed.refresh_token)
    assert again.refresh_token != signed.refresh_token
    assert again.principal.session_id == signed.principal.session_id
    assert again.access_token_expires_at == house.clock.now + timedelta(minutes=10)
    assert await accounts.authenticate(f"Bearer {again.access_token}") == again.principal


async def test_only_hashes_are_stored(house: House, accounts: Accounts, acme: Tenant, ada: User) -> None:
    signed = await house.signed_in(accounts, acme, ada)
    (row,) = await tokens_of(house, acme)
    assert row.token_hash == hash_of(signed.refresh_token)


async def test_a_retry_within_ten_seconds_gets_the_same_successor(
    house: House, accounts: Accounts, acme: Tenant, ada: User
) -> None:
    signed = await house.signed_in(accounts, acme, ada)
    first = await refresh(house, accounts, signed.refresh_token)
    house.clock.advance(10 * SECOND)
    elsewhere = house.accounts()
    second = await refresh(house, elsewhere, signed.refresh_token)
    assert second.refresh_token == first.refresh_token
    assert len(await tokens_of(house, acme)) == 2
    await elsewhere.close()


async def test_two_at_the_same_time_get_the_same_successor(
    house: House, accounts: Accounts, acme: Tenant, ada: User
) -> None:
    signed = await house.signed_in(accounts, acme, ada)
    answers = await asyncio.gather(*(refresh(house, accounts, signed.refresh_token) for _ in range(5)))
    assert len({one.refresh_token for one in answers}) == 1


@pytest.mark.parametrize("late_seconds", [11, 0])
async def test_any_other_reuse_ends_the_family(
    house: House, accounts: Accounts, acme: Tenant, ada: User, late_seconds: int
) -> None:
    signed = await house.signed_in(accounts, acme, ada)
    newest = await refresh(house, accounts, signed.refresh_token)
    if late_seconds == 0:
        # In time, but the successor is in use already: two parties hold this family.
        newest = await refresh(house, accounts, newest.refresh_token)
    house.clock.advance(late_seconds * SECOND)
    await refused(house, accounts, signed.refresh_token)
    await refused(house, accounts, newest.refresh_token)
    with pytest.raises(Unauthenticated):
        await accounts.authenticate(f"Bearer {newest.access_token}")
    revoked = (await house.events(acme.id))[-1]
    assert (revoked.kind, revoked.entity_id) == ("session.revoked", signed.principal.session_id)
    assert revoked.payload["reason"] == "token_reused"
    assert all(one.revoked_at is not None for one in await tokens_of(house, acme))
    await refused(house, accounts, signed.refresh_token)
    assert (await house.kinds(acme.id)).count("session.revoked") == 1


async def test_a_reuse_ends_no_other_session_of_the_person(
    house: House, accounts: Accounts, acme: Tenant, ada: User
) -> None:
    stolen, other = [await house.signed_in(accounts, acme, ada) for _ in range(2)]
    await refresh(house, accounts, stolen.refresh_token)
    house.clock.advance(11 * SECOND)
    await refused(house, accounts, stolen.refresh_token)
    await refresh(house, accounts, other.refresh_token)


async def test_a_guess_in_a_known_family_ends_nothing(
    house: House, accounts: Accounts, acme: Tenant, ada: User
) -> None:
    # The family's id is no secret; whoever knows it must not be able to sign the person out.
    signed = await house.signed_in(accounts, acme, ada)
    family = signed.principal.session_id
    assert family is not None
    await refused(house, accounts, new_refresh_token(acme.id, family))
    await refresh(house, accounts, signed.refresh_token)


async def test_a_session_ends_after_14_idle_days(house: House, accounts: Accounts, acme: Tenant, ada: User) -> None:
    signed = await house.signed_in(accounts, acme, ada)
    house.clock.advance(timedelta(days=14) - SECOND)
    signed = await refresh(house, accounts, signed.refresh_token)
    house.clock.advance(timedelta(days=14))
    await refused(house, accounts, signed.refresh_token)


async def test_a_session_ends_after_30_days_however_busy(
    house: House, accounts: Accounts, acme: Tenant, ada: User
) -> None:
    signed = await house.signed_in(accounts, acme, ada)
    for _ in range(29):
        house.clock.advance(timedelta(days=1))
        signed = await refresh(house, accounts, signed.refresh_token)
    house.clock.advance(timedelta(days=1))
    await refused(house, accounts, signed.refresh_token)


async def test_a_token_under_another_tenants_name_is_refused(
    house: House, accounts: Accounts, acme: Tenant, ada: User
) -> None:
    signed = await house.signed_in(accounts, acme, ada)
    other = await house.tenant()
    stolen = signed.refresh_token.split("_")
    mine = new_refresh_token(other.id, uuid7()).split("_")
    await refused(house, accounts, "_".join([stolen[0], mine[1], *stolen[2:]]))


@pytest.mark.parametrize(
    "token", ["", "sbr_", "sbr_x_y_z", "x" * 100_000, "sbr_" + "z" * 26 + "_" + "0" * 26, "\ud800"]
)
async def test_what_is_no_token_is_refused_like_a_wrong_one(house: House, accounts: Accounts, token: str) -> None:
    await refused(house, accounts, token)
    with pytest.raises(Refusal) as refusal:
        await accounts.logout(house.call(), refresh_token=token)
    assert refusal.value.code is RefusalCode.INVALID_CREDENTIALS


async def test_even_a_used_token_signs_out(house: House, accounts: Accounts, acme: Tenant, ada: User) -> None:
    signed = await house.signed_in(accounts, acme, ada)
    newest = await refresh(house, accounts, signed.refresh_token)
    await accounts.logout(house.call(), refresh_token=signed.refresh_token)
    await refused(house, accounts, newest.refresh_token)
