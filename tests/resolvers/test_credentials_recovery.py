"""This module is where getting in without a password is specified: resets, invitations, proofs of an address."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import select

from models import (
    PLATFORM_TENANT_ID,
    MailKind,
    OneTimeToken,
    OutgoingMail,
    Role,
    Scope,
    Tenant,
    TenantStatus,
    User,
    UserStatus,
)
from models.errors import Forbidden, LimitExceeded, Refusal, RefusalCode, Unauthenticated, Unavailable
from models.ids import uuid7
from models.scopes import ROLE_SCOPES
from resolvers.bearers import hash_of
from resolvers.credentials import Accounts
from resolvers.post import Letter
from resolvers.principal import Principal
from resolvers.recovery import (
    invite_user,
    request_email_verification,
    request_password_reset,
    resend_invitation,
    reset_password,
    verify_email,
)
from tests.conftest import counted
from tests.resolvers.people import PASSWORD, House, email_of

NEW = "another password"
MINUTE = timedelta(minutes=1)


@pytest.fixture
async def chief(house: House, acme: Tenant) -> Principal:
    user = await house.person(acme.id, Role.ADMIN)
    return Principal(tenant_id=acme.id, user_id=user.id, scopes=ROLE_SCOPES[Role.ADMIN], roles=frozenset({Role.ADMIN}))


async def forgot(house: House, slug: str | None, email: str) -> None:
    await request_password_reset(house.call(), tenant_slug=slug, email=email)


async def token_of(house: House, acme: Tenant, ada: User) -> str:
    await forgot(house, acme.slug, email_of(ada))
    letter = await house.mailed(MailKind.PASSWORD_RESET, ada.email)
    assert letter.token is not None
    return letter.token


async def refused(house: House, token: str, code: RefusalCode, password: str = NEW) -> None:
    with pytest.raises(Refusal) as refusal:
        await reset_password(house.call(), token=token, new_password=password)
    assert refusal.value.code is code


async def signs_in(house: House, accounts: Accounts, acme: Tenant, email: str, password: str) -> bool:
    try:
        await accounts.login(house.call(), tenant_slug=acme.slug, email=email, password=password)
    except Refusal:
        return False
    return True


async def mails(house: House, tenant: Tenant) -> list[OutgoingMail]:
    async with house.database.session(tenant.id) as session:
        return list(await session.scalars(select(OutgoingMail).where(OutgoingMail.tenant_id == tenant.id)))


async def test_a_forgotten_password_is_replaced_by_the_token_of_a_mail(
    house: House, accounts: Accounts, acme: Tenant, ada: User
) -> None:
    signed = await house.signed_in(accounts, acme, ada)
    await forgot(house, acme.slug, f" {email_of(ada).upper()} ")
    letter = await house.mailed(MailKind.PASSWORD_RESET, ada.email)
    assert (letter.to, letter.tenant) == (ada.email, acme.name)
    assert letter.token is not None
    await reset_password(house.call(accounts=accounts), token=letter.token, new_password=NEW)
    assert not await signs_in(house, accounts, acme, email_of(ada), PASSWORD)
    assert await signs_in(house, accounts, acme, email_of(ada), NEW)
    with pytest.raises(Unauthenticated):
        await accounts.authenticate(f"Bearer {signed.access_token}")
    assert (await house.row(ada)).email_verified
    assert (await house.kinds(acme.id))[1:3] == ["user.password_reset_sent", "user.password_reset"]
    assert (await house.mailed(MailKind.PASSWORD_CHANGED, ada.email)).token is None
    assert await mails(house, acme) == []


async def test_a_token_works_once_and_for_an_hour(house: House, accounts: Accounts, acme: Tenant, ada: User) -> None:
    token = await token_of(house, acme, ada)
    house.clock.advance(59 * MINUTE)
    other = await token_of(house, acme, ada)
    await reset_password(house.call(), token=token, new_password=NEW)
    # A new password makes every token that was out void.
    for one in (token, other):
        await refused(house, one, RefusalCode.EXPIRED)
    late = await token_of(house, acme, ada)
    house.clock.advance(60 * MINUTE)
    await refused(house, late, RefusalCode.EXPIRED)


async def test_of_many_who_use_a_token_at_once_one_does(house: House, acme: Tenant, ada: User) -> None:
    token = await token_of(house, acme, ada)
    answers = await asyncio.gather(
        *(reset_password(house.call(), token=token, new_password=NEW) for _ in range(5)), return_exceptions=True
    )
    assert answers.count(None) == 1
    assert {one.code for one in answers if isinstance(one, Refusal)} == {RefusalCode.EXPIRED}


async def test_only_a_hash_of_the_token_is_stored_and_nothing_of_it_told(house: House, acme: Tenant, ada: User) -> None:
    token = await token_of(house, acme, ada)
    async with house.database.session(acme.id) as session:
        (row,) = await session.scalars(select(OneTimeToken).where(OneTimeToken.tenant_id == acme.id))
    assert row.token_hash == hash_of(token)
    assert token.rpartition("_")[2] not in await house.log_text(acme.id)
    assert email_of(ada) not in await house.log_text(acme.id)


async def test_asking_is_the_same_whoever_it_is_for(house: House, acme: Tenant, ada: User) -> None:
    suspended, pending = [await house.person(acme.id) for _ in range(2)]
    await house.set_user(suspended, status=UserStatus.SUSPENDED)
    await house.set_user(pending, status=UserStatus.PENDING)
    closed = await house.tenant()
    theirs = await house.person(closed.id)
    await house.set_tenant_status(closed.id, TenantStatus.SUSPENDED)
    asked = []
    for slug, email in (
        (acme.slug, email_of(ada)),
        (acme.slug, "nobody@example.org"),
        (acme.slug, email_of(suspended)),
        (acme.slug, email_of(pending)),
        (closed.slug, email_of(theirs)),
        (f"no-such-{acme.slug}", email_of(ada)),
        (None, email_of(ada)),
        (acme.slug, "nul\x00@example.org"),
    ):
        with counted(house.database) as statements:
            await forgot(house, slug, email)
        asked.append(list(statements))
    # A NUL cannot be asked for, so that one question less is not about anybody.
    assert all(one == asked[0] for one in asked[:-1])
    await house.post().deliver_due()
    meant = {ada.email, suspended.email, pending.email, theirs.email, "nobody@example.org"}
    assert [letter.to for letter in house.letters if letter.to in meant] == [ada.email]
    async with house.database.session(PLATFORM_TENANT_ID) as session:
        left = await session.scalars(select(OutgoingMail).where(OutgoingMail.asked_at == house.clock.now))
        assert list(left) == []


async def test_no_answer_comes_sooner_than_another(house: House, acme: Tenant, ada: User) -> None:
    slow = House(house.database, refused_after_seconds=0.3)
    for email in (email_of(ada), "nobody@example.org"):
        began = asyncio.get_running_loop().time()
        await forgot(slow, acme.slug, email)
        assert asyncio.get_running_loop().time() - began >= 0.3


async def test_one_operation_asks_for_one_mail(house: House, acme: Tenant, ada: User) -> None:
    call = house.call()
    await request_password_reset(call, tenant_slug=acme.slug, email=email_of(ada))
    with pytest.raises(LimitExceeded):
        await request_password_reset(call, tenant_slug=acme.slug, email=email_of(ada))


async def test_nobodys_mailbox_is_filled(house: House, acme: Tenant, ada: User) -> None:
    async def letters(count: int) -> int:
        for _ in range(count):
            await forgot(house, acme.slug, email_of(ada))
        await house.post().deliver_due()
        return [letter.to for letter in house.letters].count(email_of(ada))

    assert await letters(5) == 3
    house.clock.advance(61 * MINUTE)
    assert await letters(1) == 4


async def test_a_new_password_lifts_the_locks(house: House, accounts: Accounts, acme: Tenant, ada: User) -> None:
    for _ in range(5):
        await signs_in(house, accounts, acme, email_of(ada), "wrong password")
    await reset_password(house.call(), token=await token_of(house, acme, ada), new_password=NEW)
    assert await signs_in(house, accounts, acme, email_of(ada), NEW)


@pytest.mark.parametrize("status", [UserStatus.SUSPENDED, UserStatus.DELETED, UserStatus.PENDING])
async def test_whoever_was_stopped_meanwhile_gets_in_by_no_token(
    house: House, acme: Tenant, ada: User, status: UserStatus
) -> None:
    token = await token_of(house, acme, ada)
    await house.set_user(ada, status=status)
    await refused(house, token, RefusalCode.INVALID_CREDENTIALS)
    assert (await house.row(ada)).password_hash == ada.password_hash


async def test_a_closed_tenants_tokens_open_nothing(house: House, acme: Tenant, ada: User) -> None:
    token = await token_of(house, acme, ada)
    await house.set_tenant_status(acme.id, TenantStatus.SUSPENDED)
    await refused(house, token, RefusalCode.INVALID_CREDENTIALS)


async def test_a_token_proves_nothing_of_another_address(house: House, acme: Tenant, ada: User) -> None:
    token = await token_of(house, acme, ada)
    await house.set_user(ada, email="new@example.org", email_key=f"new.{ada.id}@example.org")
    await refused(house, token, RefusalCode.INVALID_CREDENTIALS)


async def test_what_is_no_token_of_ours_is_refused(house: House, acme: Tenant, ada: User) -> None:
    token = await token_of(house, acme, ada)
    other = await house.tenant()
    mine, theirs = token.split("_"), (await token_of(house, acme, ada)).split("_")
    await house.post().deliver_due()
    moved = "_".join([mine[0], str(other.id.hex)[:26], *mine[2:]])
    for bad in ("", "sbo_x_y_z", token[:-1], "x" * 100_000, moved, "_".join([*mine[:3], theirs[3]])):
        await refused(house, bad, RefusalCode.INVALID_CREDENTIALS)
    with pytest.raises(Refusal) as refusal:
        await verify_email(house.call(), token=token)
    assert refusal.value.code is RefusalCode.INVALID_CREDENTIALS
    await refused(house, token, RefusalCode.INVALID, "short")
    await reset_password(house.call(), token=token, new_password=NEW)


async def test_an_invited_person_is_pending_until_they_set_a_password(
    house: House, accounts: Accounts, acme: Tenant, chief: Principal
) -> None:
    email = f"new.{uuid7()}@example.org"
    user = await invite_user(house.call(chief), email=email, roles=[Role.OPERATOR], display_name="Nia")
    assert user.status is UserStatus.PENDING
    assert not await signs_in(house, accounts, acme, email, NEW)
    letter = await house.mailed(MailKind.INVITATION, email)
    assert (letter.to, letter.name, letter.expires_at) == (email, "Nia", house.clock.now + timedelta(days=7))
    assert letter.token is not None
    await reset_password(house.call(), token=letter.token, new_password=NEW)
    row = await house.row(user)
    assert (row.status, row.email_verified) == (UserStatus.ACTIVE, True)
    assert await signs_in(house, accounts, acme, email, NEW)
    assert "user.invitation_accepted" in await house.kinds(acme.id)
    await refused(house, letter.token, RefusalCode.EXPIRED)


async def test_an_invitation_is_sent_again_only_while_it_is_pending(
    house: House, acme: Tenant, ada: User, chief: Principal
) -> None:
    user = await invite_user(house.call(chief), email=f"new.{uuid7()}@example.org", roles=[])
    first = await house.mailed(MailKind.INVITATION, user.email)
    house.clock.advance(timedelta(days=1))
    await resend_invitation(house.call(chief), id=user.id)
    second = await house.mailed(MailKind.INVITATION, user.email)
    assert first.token != second.token
    assert second.token is not None
    await reset_password(house.call(), token=second.token, new_password=NEW)
    for one in (user.id, ada.id):
        with pytest.raises(Refusal) as refusal:
            await resend_invitation(house.call(chief), id=one)
        assert refusal.value.code is RefusalCode.ILLEGAL_TRANSITION
        assert isinstance(refusal.value.current, User)


async def test_an_invitation_that_is_refused_sends_nothing(
    house: House, acme: Tenant, ada: User, chief: Principal
) -> None:
    with pytest.raises(Refusal) as refusal:
        await invite_user(house.call(chief), email=email_of(ada), roles=[])
    assert refusal.value.code is RefusalCode.ALREADY_EXISTS
    clerk = Principal(tenant_id=acme.id, user_id=ada.id, scopes=frozenset({Scope.USERS_READ}))
    for use_case in (
        invite_user(house.call(clerk), email="x@example.org", roles=[]),
        resend_invitation(house.call(clerk), id=ada.id),
        request_email_verification(house.call(clerk), user_id=chief.user_id),
    ):
        with pytest.raises(Forbidden):
            await use_case
    assert await mails(house, acme) == []


async def test_an_address_is_proven_by_the_token_of_a_mail_to_it(
    house: House, accounts: Accounts, acme: Tenant, ada: User
) -> None:
    signed = await house.signed_in(accounts, acme, ada)
    await request_email_verification(house.call(signed.principal))
    letter = await house.mailed(MailKind.EMAIL_VERIFICATION, ada.email)
    assert letter.token is not None
    await refused(house, letter.token, RefusalCode.INVALID_CREDENTIALS)
    await verify_email(house.call(), token=letter.token)
    assert (await house.row(ada)).email_verified
    with pytest.raises(Refusal) as refusal:
        await request_email_verification(house.call(signed.principal))
    assert refusal.value.code is RefusalCode.ILLEGAL_TRANSITION
    with pytest.raises(Refusal) as refusal:
        await verify_email(house.call(), token=letter.token)
    assert refusal.value.code is RefusalCode.EXPIRED


async def test_without_a_mail_server_it_is_said_to_everybody(
    house: House, acme: Tenant, ada: User, chief: Principal
) -> None:
    for email in (email_of(ada), "nobody@example.org"):
        call = house.call()
        object.__setattr__(call.services, "post", None)
        with pytest.raises(Unavailable):
            await request_password_reset(call, tenant_slug=acme.slug, email=email)
    call = house.call(chief)
    object.__setattr__(call.services, "post", None)
    with pytest.raises(Unavailable):
        await invite_user(call, email="x@example.org", roles=[])
    assert await mails(house, acme) == []


async def test_a_changed_password_makes_the_tokens_void_and_is_told_by_mail(
    house: House, accounts: Accounts, acme: Tenant, ada: User
) -> None:
    token = await token_of(house, acme, ada)
    signed = await house.signed_in(accounts, acme, ada)
    await accounts.change_password(house.call(signed.principal), current_password=PASSWORD, new_password=NEW)
    await refused(house, token, RefusalCode.EXPIRED)
    letter: Letter = await house.mailed(MailKind.PASSWORD_CHANGED, ada.email)
    assert (letter.to, letter.token) == (ada.email, None)
