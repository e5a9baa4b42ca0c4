"""This module is where ending sessions and unlocking accounts are specified."""

from __future__ import annotations

from datetime import timedelta

import pytest

from models import Role, Session, Tenant, User
from models.errors import Forbidden, Refusal, RefusalCode, Unauthenticated
from models.ids import NIL, uuid7
from models.scopes import ROLE_SCOPES
from resolvers.credentials import Accounts, Signed
from resolvers.principal import Principal
from resolvers.session_control import revoke_other_sessions, revoke_session, unlock_user
from tests.resolvers.chains import Chain
from tests.resolvers.people import PASSWORD, House, email_of


@pytest.fixture
async def chief(house: House, acme: Tenant) -> Principal:
    user = await house.person(acme.id, Role.ADMIN)
    return Principal(tenant_id=acme.id, user_id=user.id, scopes=ROLE_SCOPES[Role.ADMIN], roles=frozenset({Role.ADMIN}))


async def lives(house: House, accounts: Accounts, signed: Signed) -> bool:
    try:
        await accounts.authenticate(f"Bearer {signed.access_token}")
        await accounts.refresh_session(house.call(), refresh_token=signed.refresh_token)
    except (Unauthenticated, Refusal):
        return False
    return True


async def test_a_person_ends_a_session_of_their_own_and_nothing_else(
    house: House, accounts: Accounts, acme: Tenant, ada: User
) -> None:
    here, there = [await house.signed_in(accounts, acme, ada) for _ in range(2)]
    assert there.principal.session_id is not None
    ended = await revoke_session(house.call(here.principal, accounts), id=there.principal.session_id)
    assert (ended.id, ended.revoked_at) == (there.principal.session_id, house.clock.now)
    assert not await lives(house, accounts, there)
    assert await lives(house, accounts, here)
    event = (await house.events(acme.id))[-1]
    assert (event.kind, event.entity_id, event.payload["reason"]) == ("session.revoked", ended.id, "by_owner")


async def test_the_log_says_who_signed_out_and_from_where_though_only_a_refresh_token_was_shown(
    house: House, accounts: Accounts, acme: Tenant, ada: User
) -> None:
    signed = await house.signed_in(accounts, acme, ada)
    await accounts.logout(house.call(address="203.0.113.9"), refresh_token=signed.refresh_token)
    chain = Chain(house.database, acme.id)
    entry = (await chain.rows())[-1]
    assert (entry.action, entry.resource_id) == ("session.ended", signed.principal.session_id)
    assert (entry.actor_type, entry.actor_id, entry.subject_id) == ("user", ada.id, ada.id)
    assert (await chain.origin(entry))["address"] == "203.0.113.9"
    event = (await house.events(acme.id))[-1]
    assert (event.kind, event.actor_type, event.actor_id) == ("session.ended", "user", ada.id)
    assert (await chain.verdict()).fault is None


async def test_ending_it_again_changes_nothing(house: House, accounts: Accounts, acme: Tenant, ada: User) -> None:
    signed = await house.signed_in(accounts, acme, ada)
    session_id = signed.principal.session_id
    assert session_id is not None
    first = await revoke_session(house.call(signed.principal, accounts), id=session_id)
    house.clock.advance(timedelta(minutes=1))
    again = await revoke_session(house.call(signed.principal, accounts), id=session_id)
    assert again.revoked_at == first.revoked_at
    assert (await house.kinds(acme.id)).count("session.revoked") == 1


async def test_another_persons_session_does_not_exist_but_for_admins(
    house: House, accounts: Accounts, acme: Tenant, ada: User, chief: Principal
) -> None:
    eve = await house.signed_in(accounts, acme, await house.person(acme.id, Role.OPERATOR))
    signed = await house.signed_in(accounts, acme, ada)
    session_id = signed.principal.session_id
    assert session_id is not None
    told = set()
    for one in (session_id, uuid7(), NIL):
        with pytest.raises(Refusal) as refusal:
            await revoke_session(house.call(eve.principal, accounts), id=one)
        told.add((refusal.value.code, refusal.value.message, refusal.value.field, refusal.value.current))
    assert told == {(RefusalCode.NOT_FOUND, "There is no such session.", ("input", "id"), None)}
    assert await lives(house, accounts, signed)
    await revoke_session(house.call(chief, accounts), id=session_id)
    assert not await lives(house, accounts, signed)
    assert (await house.events(acme.id))[-1].payload["reason"] == "by_admin"


async def test_another_tenants_session_does_not_exist(
    house: House, accounts: Accounts, acme: Tenant, chief: Principal
) -> None:
    other = await house.tenant()
    theirs = await house.signed_in(accounts, other, await house.person(other.id, Role.ADMIN))
    assert theirs.principal.session_id is not None
    with pytest.raises(Refusal) as refusal:
        await revoke_session(house.call(chief, accounts), id=theirs.principal.session_id)
    assert refusal.value.code is RefusalCode.NOT_FOUND
    assert await lives(house, accounts, theirs)


async def test_all_the_others_end_and_this_one_stays(house: House, accounts: Accounts, acme: Tenant, ada: User) -> None:
    here, *others = [await house.signed_in(accounts, acme, ada) for _ in range(4)]
    assert await revoke_other_sessions(house.call(here.principal, accounts)) == 3
    assert [await lives(house, accounts, one) for one in (here, *others)] == [True, False, False, False]
    event = (await house.events(acme.id))[-1]
    assert (event.kind, event.entity_id, event.payload["sessionsEnded"]) == ("user.sessions_revoked", ada.id, 3)
    assert await revoke_other_sessions(house.call(here.principal, accounts)) == 0
    assert (await house.kinds(acme.id)).count("user.sessions_revoked") == 1


async def test_an_admin_ends_all_of_somebody_elses(
    house: House, accounts: Accounts, acme: Tenant, ada: User, chief: Principal
) -> None:
    signed = await house.signed_in(accounts, acme, ada)
    assert await revoke_other_sessions(house.call(chief, accounts), user_id=ada.id) == 1
    assert not await lives(house, accounts, signed)
    with pytest.raises(Refusal) as refusal:
        await revoke_other_sessions(house.call(chief, accounts), user_id=uuid7())
    assert (refusal.value.code, refusal.value.field) == (RefusalCode.NOT_FOUND, ("input", "userId"))


async def test_nobody_else_ends_all_of_somebody_elses_and_machines_have_none(
    house: House, accounts: Accounts, acme: Tenant, ada: User, chief: Principal
) -> None:
    signed = await house.signed_in(accounts, acme, ada)
    for whose in (chief.user_id, uuid7()):
        with pytest.raises(Forbidden):
            await revoke_other_sessions(house.call(signed.principal, accounts), user_id=whose)
    machine = Principal(tenant_id=acme.id, api_key_id=uuid7(), scopes=ROLE_SCOPES[Role.ADMIN])
    with pytest.raises(Forbidden):
        await revoke_other_sessions(house.call(machine, accounts))


async def test_an_admin_lifts_every_lock_of_an_account(
    house: House, accounts: Accounts, acme: Tenant, ada: User, chief: Principal
) -> None:
    async def signs_in(address: str) -> bool:
        try:
            await accounts.login(
                house.call(address=address), tenant_slug=acme.slug, email=email_of(ada), password=PASSWORD
            )
        except Refusal:
            return False
        return True

    for number in range(20):
        with pytest.raises(Refusal):
            await accounts.login(
                house.call(address=f"198.18.{number % 15}.1"),
                tenant_slug=acme.slug,
                email=email_of(ada),
                password="wrong password",
            )
    assert not await signs_in("203.0.113.1")
    unlocked = await unlock_user(house.call(chief, accounts), id=ada.id)
    assert unlocked.locked_until is None
    assert await signs_in("203.0.113.1")
    assert "user.unlocked" in await house.kinds(acme.id)
    await unlock_user(house.call(chief, accounts), id=ada.id)
    assert (await house.kinds(acme.id)).count("user.unlocked") == 1


async def test_nobody_unlocks_themselves(house: House, accounts: Accounts, acme: Tenant, ada: User) -> None:
    signed = await house.signed_in(accounts, acme, ada)
    with pytest.raises(Forbidden):
        await unlock_user(house.call(signed.principal, accounts), id=ada.id)


def test_a_session_expires_after_14_idle_days_and_after_30_in_any_case(house: House) -> None:
    session = Session(started_at=house.clock.now, last_seen_at=house.clock.now)
    assert session.expires_at == house.clock.now + timedelta(days=14)
    session.last_seen_at += timedelta(days=20)
    assert session.expires_at == house.clock.now + timedelta(days=30)
