"""This module is where signing in, staying in and being recognised are specified."""

from __future__ import annotations

from datetime import timedelta

import bcrypt
import pytest

from models import PLATFORM_TENANT_ID, Role, Scope, Tenant, TenantStatus, User, UserStatus
from models.errors import LimitExceeded, Refusal, RefusalCode, Unauthenticated
from models.scopes import ROLE_SCOPES
from resolvers.credentials import Accounts
from resolvers.tokens import TokenExpired
from tests.resolvers.people import PASSWORD, House, email_of

SECOND = timedelta(seconds=1)


async def refused_login(house: House, accounts: Accounts, slug: str | None, email: str | None, password: str) -> str:
    with pytest.raises(Refusal) as refusal:
        await accounts.login(house.call(), tenant_slug=slug, email=email or "", password=password)
    assert refusal.value.code is RefusalCode.INVALID_CREDENTIALS
    return refusal.value.message


async def test_no_credentials_make_no_principal(accounts: Accounts) -> None:
    assert await accounts.authenticate(None) is None
    assert await accounts.authenticate("") is None


@pytest.mark.parametrize("authorization", ["Bearer", "Bearer ", "Basic QWxhZGRpbg==", "Bearer x", "Bearer sbx_x"])
async def test_anything_but_a_good_bearer_token_is_refused(accounts: Accounts, authorization: str) -> None:
    with pytest.raises(Unauthenticated):
        await accounts.authenticate(authorization)


async def test_a_person_signs_in_and_is_recognised(house: House, accounts: Accounts, acme: Tenant, ada: User) -> None:
    signed = await accounts.login(
        house.call(), tenant_slug=acme.slug, email=f"  {email_of(ada).upper()} ", password=PASSWORD
    )
    principal = await accounts.authenticate(f"bearer {signed.access_token}")
    assert principal == signed.principal
    assert principal is not None
    assert (principal.tenant_id, principal.user_id) == (acme.id, ada.id)
    assert principal.scopes == ROLE_SCOPES[Role.OPERATOR]
    assert principal.expires_at == house.clock.now + timedelta(minutes=10)
    assert await house.kinds(acme.id) == ["session.started"]


async def test_everything_that_is_wrong_with_a_sign_in_reads_the_same(
    house: House, accounts: Accounts, acme: Tenant, ada: User
) -> None:
    other = await house.tenant()
    suspended = await house.person(acme.id)
    await house.set_user(suspended, status=UserStatus.SUSPENDED)
    closed = await house.tenant()
    person_of_closed = await house.person(closed.id, Role.ADMIN)
    await house.set_tenant_status(closed.id, TenantStatus.SUSPENDED)
    answers = {
        await refused_login(house, accounts, acme.slug, ada.email, "wrong password"),
        await refused_login(house, accounts, acme.slug, "nobody@example.org", PASSWORD),
        await refused_login(house, accounts, acme.slug, "nul\x00@example.org", PASSWORD),
        await refused_login(house, accounts, "no-such-tenant", ada.email, PASSWORD),
        await refused_login(house, accounts, "Not a slug\x00", ada.email, PASSWORD),
        await refused_login(house, accounts, other.slug, ada.email, PASSWORD),
        await refused_login(house, accounts, None, ada.email, PASSWORD),
        await refused_login(house, accounts, acme.slug, suspended.email, PASSWORD),
        await refused_login(house, accounts, closed.slug, person_of_closed.email, PASSWORD),
    }
    assert len(answers) == 1


async def test_one_operation_tries_one_password(house: House, accounts: Accounts, acme: Tenant, ada: User) -> None:
    call = house.call()
    with pytest.raises(Refusal):
        await accounts.login(call, tenant_slug=acme.slug, email=email_of(ada), password="wrong password")
    with pytest.raises(LimitExceeded):
        await accounts.login(call, tenant_slug=acme.slug, email=email_of(ada), password=PASSWORD)


async def test_an_imported_bcrypt_hash_lets_in_once_and_is_replaced(
    house: House, accounts: Accounts, acme: Tenant
) -> None:
    password = "p" * 100
    old = bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(4)).decode()
    user = await house.person(acme.id, password_hash=old)
    await accounts.login(house.call(), tenant_slug=acme.slug, email=email_of(user), password=password)
    assert ((await house.row(user)).password_hash or "").startswith("$argon2id$")
    await accounts.login(house.call(), tenant_slug=acme.slug, email=email_of(user), password=password)


async def test_signing_in_changes_nothing_that_others_see_of_a_person(
    house: House, accounts: Accounts, acme: Tenant, ada: User
) -> None:
    before = (await house.row(ada)).updated_at
    await house.signed_in(accounts, acme, ada)
    row = await house.row(ada)
    assert row.last_login_at == house.clock.now
    assert row.updated_at == before


async def test_only_platform_administrators_sign_in_without_a_tenant(house: House, accounts: Accounts) -> None:
    chief = await house.person(PLATFORM_TENANT_ID, platform_admin=True)
    plain = await house.person(PLATFORM_TENANT_ID, Role.ADMIN)
    signed = await accounts.login(house.call(), email=email_of(chief), password=PASSWORD)
    assert signed.principal.is_platform_admin
    assert Scope.PLATFORM_ADMIN in signed.principal.scopes
    await refused_login(house, accounts, None, plain.email, PASSWORD)


async def test_a_token_of_another_gateway_with_the_same_keys_is_good(
    house: House, accounts: Accounts, acme: Tenant, ada: User
) -> None:
    signed = await house.signed_in(accounts, acme, ada)
    other = house.accounts()
    assert await other.authenticate(f"Bearer {signed.access_token}") == signed.principal
    await other.close()


async def test_an_expired_token_says_that_refreshing_helps(
    house: House, accounts: Accounts, acme: Tenant, ada: User
) -> None:
    signed = await house.signed_in(accounts, acme, ada)
    house.clock.advance(timedelta(minutes=10))
    with pytest.raises(TokenExpired):
        await accounts.authenticate(f"Bearer {signed.access_token}")


async def test_a_suspended_person_is_out_within_a_second(
    house: House, accounts: Accounts, acme: Tenant, ada: User
) -> None:
    signed = await house.signed_in(accounts, acme, ada)
    await accounts.authenticate(f"Bearer {signed.access_token}")
    await house.set_user(ada, status=UserStatus.SUSPENDED)
    house.clock.advance(SECOND)
    with pytest.raises(Unauthenticated) as refusal:
        await accounts.authenticate(f"Bearer {signed.access_token}")
    assert not isinstance(refusal.value, TokenExpired)


async def test_a_suspended_tenant_is_out_within_a_second_and_comes_back(
    house: House, accounts: Accounts, acme: Tenant, ada: User
) -> None:
    signed = await house.signed_in(accounts, acme, ada)
    await house.set_tenant_status(acme.id, TenantStatus.SUSPENDED)
    with pytest.raises(Refusal):
        await accounts.refresh_session(house.call(), refresh_token=signed.refresh_token)
    house.clock.advance(SECOND)
    with pytest.raises(Unauthenticated):
        await accounts.authenticate(f"Bearer {signed.access_token}")
    await house.set_tenant_status(acme.id, TenantStatus.ACTIVE)
    house.clock.advance(timedelta(minutes=1))
    await accounts.refresh_session(house.call(), refresh_token=signed.refresh_token)


async def test_new_roles_end_the_old_token_but_not_the_session(
    house: House, accounts: Accounts, acme: Tenant, ada: User
) -> None:
    signed = await house.signed_in(accounts, acme, ada)
    await house.set_user(ada, roles=[Role.VIEWER.value], authorization_version=2)
    house.clock.advance(SECOND)
    with pytest.raises(TokenExpired):
        await accounts.authenticate(f"Bearer {signed.access_token}")
    again = await accounts.refresh_session(house.call(), refresh_token=signed.refresh_token)
    assert again.principal.scopes == ROLE_SCOPES[Role.VIEWER]
    assert await accounts.authenticate(f"Bearer {again.access_token}") == again.principal


async def test_signing_out_ends_the_session_here_at_once_and_elsewhere_within_a_second(
    house: House, accounts: Accounts, acme: Tenant, ada: User
) -> None:
    signed = await house.signed_in(accounts, acme, ada)
    elsewhere = house.accounts()
    for each in (accounts, elsewhere):
        assert await each.authenticate(f"Bearer {signed.access_token}")
    await accounts.logout(house.call(), refresh_token=signed.refresh_token)
    await accounts.logout(house.call(), refresh_token=signed.refresh_token)
    with pytest.raises(Unauthenticated):
        await accounts.authenticate(f"Bearer {signed.access_token}")
    house.clock.advance(SECOND)
    with pytest.raises(Unauthenticated):
        await elsewhere.authenticate(f"Bearer {signed.access_token}")
    with pytest.raises(Refusal):
        await accounts.refresh_session(house.call(), refresh_token=signed.refresh_token)
    assert await house.kinds(acme.id) == ["session.started", "session.ended"]
    await elsewhere.close()


async def test_a_new_password_ends_every_other_session(
    house: House, accounts: Accounts, acme: Tenant, ada: User
) -> None:
    here, there = [await house.signed_in(accounts, acme, ada) for _ in range(2)]
    await accounts.change_password(
        house.call(here.principal), current_password=PASSWORD, new_password="another password"
    )
    assert await accounts.authenticate(f"Bearer {here.access_token}")
    with pytest.raises(Unauthenticated):
        await accounts.authenticate(f"Bearer {there.access_token}")
    with pytest.raises(Refusal):
        await accounts.refresh_session(house.call(), refresh_token=there.refresh_token)
    await accounts.refresh_session(house.call(), refresh_token=here.refresh_token)
    await refused_login(house, accounts, acme.slug, ada.email, PASSWORD)
    await accounts.login(house.call(), tenant_slug=acme.slug, email=email_of(ada), password="another password")


@pytest.mark.parametrize("new", ["seven77", "x" * 129])
async def test_a_new_password_has_8_to_128_characters(
    house: House, accounts: Accounts, acme: Tenant, ada: User, new: str
) -> None:
    signed = await house.signed_in(accounts, acme, ada)
    with pytest.raises(Refusal) as refusal:
        await accounts.change_password(house.call(signed.principal), current_password=PASSWORD, new_password=new)
    assert (refusal.value.code, refusal.value.field) == (RefusalCode.INVALID, ("input", "newPassword"))


async def test_who_has_proven_themselves_elsewhere_gets_a_session_without_a_password(
    house: House, accounts: Accounts, acme: Tenant, ada: User
) -> None:
    await house.set_user(ada, password_hash=None)
    signed = await accounts.open_session(house.call(), await house.row(ada))
    assert await accounts.authenticate(f"Bearer {signed.access_token}") == signed.principal
    await accounts.refresh_session(house.call(), refresh_token=signed.refresh_token)
    assert (await house.row(ada)).last_login_at == house.clock.now


@pytest.mark.parametrize("status", [UserStatus.PENDING, UserStatus.SUSPENDED, UserStatus.DELETED])
async def test_who_is_not_active_gets_none_however_proven(
    house: House, accounts: Accounts, acme: Tenant, ada: User, status: UserStatus
) -> None:
    await house.set_user(ada, status=status)
    with pytest.raises(Refusal) as refusal:
        await accounts.open_session(house.call(), ada)
    assert refusal.value.code is RefusalCode.INVALID_CREDENTIALS
    assert await house.kinds(acme.id) == []
