"""This module is where platform administrators enter a tenant: by naming it, and never unseen."""

from __future__ import annotations

from datetime import timedelta

import pytest

from models import PLATFORM_TENANT_ID, Role, Scope, Tenant, TenantStatus, User
from models.errors import BadRequest, Forbidden
from models.ids import encode, uuid7
from resolvers.credentials import Accounts, Signed
from resolvers.platform_access import KIND
from tests.resolvers.people import PASSWORD, House, email_of


@pytest.fixture
async def chief(house: House, accounts: Accounts) -> Signed:
    user = await house.person(PLATFORM_TENANT_ID, platform_admin=True)
    return await accounts.login(house.call(), email=email_of(user), password=PASSWORD)


async def test_naming_a_tenant_by_slug_or_id_binds_the_caller_to_it(
    accounts: Accounts, chief: Signed, acme: Tenant
) -> None:
    for named in (acme.slug, acme.typeid):
        principal = await accounts.authenticate(f"Bearer {chief.access_token}", named)
        assert principal is not None
        assert (principal.tenant_id, principal.user_id) == (acme.id, chief.principal.user_id)
        assert principal.is_platform_admin
        assert {Scope.PLATFORM_ADMIN, Scope.USERS_WRITE} <= principal.scopes
        assert (principal.home_tenant_id, principal.member_id) == (PLATFORM_TENANT_ID, None)


async def test_without_a_name_the_caller_stays_at_home(accounts: Accounts, chief: Signed) -> None:
    for named in (None, "", "platform"):
        principal = await accounts.authenticate(f"Bearer {chief.access_token}", named)
        assert principal == chief.principal
    assert chief.principal.member_id == chief.principal.user_id


async def test_the_tenant_is_told_once_an_hour_and_session(
    house: House, accounts: Accounts, chief: Signed, acme: Tenant
) -> None:
    elsewhere = house.accounts()
    for each in (accounts, accounts, elsewhere):
        for named in (acme.slug, acme.typeid):
            await each.authenticate(f"Bearer {chief.access_token}", named)
    (event,) = await house.events(acme.id)
    assert (event.kind, event.entity_id) == (KIND, chief.principal.session_id)
    assert (event.actor_type, event.actor_id) == ("user", chief.principal.user_id)
    house.clock.advance(timedelta(hours=1))
    again = await accounts.refresh_session(house.call(), refresh_token=chief.refresh_token)
    await accounts.authenticate(f"Bearer {again.access_token}", acme.slug)
    assert await house.kinds(acme.id) == [KIND, KIND]
    await elsewhere.close()


async def test_a_suspended_tenant_can_still_be_entered(
    house: House, accounts: Accounts, chief: Signed, acme: Tenant
) -> None:
    await house.set_tenant_status(acme.id, TenantStatus.SUSPENDED)
    assert await accounts.authenticate(f"Bearer {chief.access_token}", acme.slug)


@pytest.mark.parametrize(
    "named", ["no-such-tenant", "nonsense\x00", encode("tenant", uuid7()), encode("user", uuid7())]
)
async def test_a_name_that_is_none_is_one_answer(accounts: Accounts, chief: Signed, named: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        await accounts.authenticate(f"Bearer {chief.access_token}", named)
    assert refusal.value.message == "X-Signalbox-Tenant names no tenant."


async def test_nobody_else_enters_another_tenant(house: House, accounts: Accounts, acme: Tenant, ada: User) -> None:
    other = await house.tenant()
    signed = await house.signed_in(accounts, acme, ada)
    for named in (acme.slug, acme.typeid):
        assert await accounts.authenticate(f"Bearer {signed.access_token}", named) == signed.principal
    for named in (other.slug, other.typeid, "platform", "no-such-tenant"):
        with pytest.raises(Forbidden):
            await accounts.authenticate(f"Bearer {signed.access_token}", named)
    assert await house.events(other.id) == []


async def test_an_admin_of_a_tenant_is_nobody_on_the_platform(house: House, accounts: Accounts, acme: Tenant) -> None:
    admin = await house.person(acme.id, Role.ADMIN, platform_admin=True)
    signed = await house.signed_in(accounts, acme, admin)
    assert not signed.principal.is_platform_admin
    assert Scope.PLATFORM_ADMIN not in signed.principal.scopes


async def test_a_guests_key_has_no_maker_among_the_tenants_people(
    house: House, accounts: Accounts, chief: Signed, acme: Tenant
) -> None:
    guest = await accounts.authenticate(f"Bearer {chief.access_token}", acme.slug)
    key, _ = await accounts.create_api_key(house.call(guest), name="ingest", scopes=[Scope.AGENTS_READ.value])
    assert (key.tenant_id, key.created_by) == (acme.id, None)


async def test_a_guest_changes_the_password_at_home(
    house: House, accounts: Accounts, chief: Signed, acme: Tenant
) -> None:
    guest = await accounts.authenticate(f"Bearer {chief.access_token}", acme.slug)
    row = await accounts.change_password(house.call(guest), current_password=PASSWORD, new_password="another password")
    assert row.tenant_id == PLATFORM_TENANT_ID
