"""This module is where managing people is specified: who may change whom, and what a change ends."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest

from models import PLATFORM_TENANT_ID, Role, Tenant, User, UserStatus
from models.errors import Forbidden, Refusal, RefusalCode, Unauthenticated
from models.ids import NIL, uuid7
from models.scopes import Scope, scopes_of
from resolvers.call import Call
from resolvers.credentials import Accounts
from resolvers.principal import Principal
from resolvers.tokens import TokenExpired
from resolvers.users import create_user, delete_user, update_user
from tests.resolvers.people import PASSWORD, House, email_of


def acting(house: House, user: User, *roles: Role, accounts: Accounts | None = None) -> Call:
    """An operation of ``user`` holding ``roles``."""
    who = Principal(tenant_id=user.tenant_id, user_id=user.id, scopes=scopes_of(list(roles)), roles=frozenset(roles))
    return house.call(who, accounts)


@pytest.fixture
async def eve(house: House, acme: Tenant) -> User:
    """Acme's one admin."""
    return await house.person(acme.id, Role.ADMIN)


@pytest.fixture
def admin(house: House, eve: User) -> Call:
    return acting(house, eve, Role.ADMIN)


def new_email() -> str:
    return f"Grace.{uuid7().hex}@Example.org"


async def refused(code: RefusalCode, field: str, attempt: Any) -> Refusal:
    with pytest.raises(Refusal) as refusal:
        await attempt
    assert (refusal.value.code, refusal.value.field) == (code, ("input", field))
    return refusal.value


async def test_a_new_user_with_a_password_signs_in_at_once(
    house: House, accounts: Accounts, acme: Tenant, admin: Call
) -> None:
    email = new_email()
    user = await create_user(admin, email=f" {email} ", password=PASSWORD, roles=[Role.MEMBER, Role.VIEWER])
    assert (user.email, user.email_key, user.status) == (email, email.lower(), UserStatus.ACTIVE)
    assert user.email_hash == hashlib.sha256(email.lower().encode()).hexdigest()
    assert user.roles == ["member", "viewer"]
    signed = await accounts.login(house.call(), tenant_slug=acme.slug, email=email.upper(), password=PASSWORD)
    assert signed.principal.user_id == user.id


async def test_a_new_user_without_a_password_waits(house: House, accounts: Accounts, acme: Tenant, admin: Call) -> None:
    user = await create_user(admin, email=new_email(), roles=[])
    assert user.status is UserStatus.PENDING
    with pytest.raises(Refusal):
        await house.signed_in(accounts, acme, user)


async def test_an_address_in_any_spelling_and_a_name_are_taken_once_a_tenant(house: House, admin: Call) -> None:
    email = new_email()
    await create_user(admin, email=email, username="grace", roles=[])
    taken = RefusalCode.ALREADY_EXISTS
    await refused(taken, "email", create_user(admin, email=email.swapcase(), roles=[]))
    await refused(taken, "username", create_user(admin, email=new_email(), username="grace", roles=[]))
    elsewhere = await house.person((await house.tenant()).id, Role.ADMIN)
    await create_user(acting(house, elsewhere, Role.ADMIN), email=email, username="grace", roles=[])


async def test_of_two_who_take_an_address_at_once_one_is_told_that_it_is_taken(admin: Call) -> None:
    email = new_email()
    both = (create_user(admin, email=email, roles=[]) for _ in range(2))
    answers = await asyncio.gather(*both, return_exceptions=True)
    assert sorted(type(one).__name__ for one in answers) == ["Refusal", "User"]


@pytest.mark.parametrize(
    "email",
    [
        *["", "@", "a@", "@b.org", "a b@c.org", "a@b", "a@b..org", "a@-b.org", "a@b.org\x00", "a@b.org\nBcc: c@d.org"],
        *["a@b@c.org", '"a"@b.org', "a@[127.0.0.1]", f"{'a' * 65}@b.org", f"a@{'b' * 250}.org", "<a@b.org>"],
    ],
)
async def test_what_is_no_address_is_invalid(admin: Call, email: str) -> None:
    await refused(RefusalCode.INVALID, "email", create_user(admin, email=email, roles=[]))


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("username", {"username": "a"}),
        ("username", {"username": "ada@example.org"}),
        ("username", {"username": "a\x00b"}),
        ("displayName", {"display_name": ""}),
        ("displayName", {"display_name": "a\nb"}),
        ("department", {"department": "x" * 101}),
        ("password", {"password": "short"}),
    ],
)
async def test_what_a_user_cannot_be_is_invalid(admin: Call, field: str, given: dict[str, Any]) -> None:
    await refused(RefusalCode.INVALID, field, create_user(admin, email=new_email(), roles=[], **given))


async def test_only_whoever_writes_users_creates_them_and_only_an_admin_gives_roles(
    house: House, ada: User, acme: Tenant
) -> None:
    with pytest.raises(Forbidden):
        await create_user(acting(house, ada, Role.OPERATOR), email=new_email(), roles=[])
    key = Principal(
        tenant_id=acme.id, api_key_id=uuid7(), scopes=frozenset({Scope.USERS_WRITE}), roles=frozenset({Role.API_CLIENT})
    )
    await create_user(house.call(key), email=new_email(), roles=[])
    with pytest.raises(Forbidden):
        await create_user(house.call(key), email=new_email(), roles=[Role.VIEWER])
    with pytest.raises(Forbidden):
        await update_user(house.call(key), id=ada.id, roles=[Role.ADMIN])


async def test_people_edit_their_own_profile_and_nothing_else(house: House, ada: User, eve: User) -> None:
    mine = acting(house, ada, Role.VIEWER)
    changed = await update_user(
        mine, id=ada.id, display_name="Ada L.", avatar_url="https://example.org/a.png", preferences={"theme": "dark"}
    )
    assert (changed.display_name, changed.preferences) == ("Ada L.", {"theme": "dark"})
    for changes in ({"username": "ada"}, {"department": "Law"}, {"roles": [Role.ADMIN]}, {"status": UserStatus.ACTIVE}):
        with pytest.raises(Forbidden):
            await update_user(mine, id=ada.id, display_name="x", **changes)
    for other in (eve.id, uuid7(), NIL):
        with pytest.raises(Forbidden):
            await update_user(mine, id=other, display_name="x")
    assert (await house.row(ada)).display_name == "Ada L."


async def test_an_absent_field_stays_and_null_clears(house: House, admin: Call, ada: User) -> None:
    await update_user(admin, id=ada.id, display_name="Ada", department="Law", username="ada")
    await update_user(admin, id=ada.id, display_name=None, preferences=None)
    row = await house.row(ada)
    assert (row.display_name, row.department, row.username, row.preferences) == (None, "Law", "ada", {})
    for field in ("roles", "status"):
        attempt = update_user(admin, id=ada.id, **{field: None})  # type: ignore[arg-type]
        await refused(RefusalCode.INVALID, field, attempt)


async def test_an_update_that_changes_nothing_tells_nothing(house: House, admin: Call, ada: User) -> None:
    await update_user(admin, id=ada.id, display_name="Ada", roles=[Role.OPERATOR])
    before = await house.row(ada)
    await update_user(admin, id=ada.id, display_name="Ada", roles=[Role.OPERATOR])
    assert (await house.row(ada)).authorization_version == before.authorization_version == 1
    assert await house.kinds(ada.tenant_id) == ["user.updated"]


async def test_a_foreign_id_reads_like_one_that_never_was(house: House, admin: Call) -> None:
    foreign = await house.person((await house.tenant()).id)
    messages = set()
    for one in (foreign.id, uuid7(), NIL):
        for changes in ({"display_name": "x"}, {"roles": [Role.VIEWER]}):
            refusal = await refused(RefusalCode.NOT_FOUND, "id", update_user(admin, id=one, **changes))
            messages.add(refusal.message)
    assert len(messages) == 1


async def test_new_roles_end_the_access_tokens_at_once(
    house: House, accounts: Accounts, acme: Tenant, ada: User, eve: User
) -> None:
    signed = await house.signed_in(accounts, acme, ada)
    assert await accounts.authenticate(f"Bearer {signed.access_token}")
    await update_user(acting(house, eve, Role.ADMIN, accounts=accounts), id=ada.id, roles=[Role.VIEWER])
    with pytest.raises(TokenExpired):
        await accounts.authenticate(f"Bearer {signed.access_token}")
    again = await accounts.refresh_session(house.call(), refresh_token=signed.refresh_token)
    assert again.principal.roles == {Role.VIEWER}


@pytest.mark.parametrize("status", [UserStatus.SUSPENDED, UserStatus.DELETED])
async def test_suspension_and_deletion_end_the_sessions(
    house: House, accounts: Accounts, acme: Tenant, ada: User, eve: User, status: UserStatus
) -> None:
    signed = await house.signed_in(accounts, acme, ada)
    await update_user(acting(house, eve, Role.ADMIN, accounts=accounts), id=ada.id, status=status)
    with pytest.raises(Unauthenticated):
        await accounts.authenticate(f"Bearer {signed.access_token}")
    with pytest.raises(Refusal):
        await accounts.refresh_session(house.call(), refresh_token=signed.refresh_token)
    with pytest.raises(Refusal):
        await house.signed_in(accounts, acme, ada)


async def test_a_suspended_user_comes_back_but_not_their_old_session(
    house: House, accounts: Accounts, acme: Tenant, ada: User, admin: Call
) -> None:
    signed = await house.signed_in(accounts, acme, ada)
    await update_user(admin, id=ada.id, status=UserStatus.SUSPENDED)
    await update_user(admin, id=ada.id, status=UserStatus.ACTIVE)
    with pytest.raises(Refusal):
        await accounts.refresh_session(house.call(), refresh_token=signed.refresh_token)
    await house.signed_in(accounts, acme, ada)


async def test_a_deleted_user_is_gone_and_their_address_free(house: House, admin: Call, ada: User) -> None:
    deleted = await update_user(admin, id=ada.id, status=UserStatus.DELETED)
    assert deleted.deleted_at is not None
    await refused(RefusalCode.NOT_FOUND, "id", update_user(admin, id=ada.id, display_name="x"))
    await create_user(admin, email=email_of(ada), roles=[])
    event = (await house.events(ada.tenant_id))[0]
    assert (event.kind, event.after) == ("user.deleted", None)


async def test_nobody_becomes_pending_again(admin: Call, ada: User) -> None:
    refusal = await refused(
        RefusalCode.ILLEGAL_TRANSITION, "status", update_user(admin, id=ada.id, status=UserStatus.PENDING)
    )
    assert isinstance(refusal.current, User)


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("roles", {"roles": [Role.OPERATOR]}),
        ("roles", {"roles": []}),
        ("status", {"status": UserStatus.SUSPENDED}),
        ("status", {"status": UserStatus.DELETED}),
    ],
)
async def test_the_last_active_admin_stays_one(
    house: House, admin: Call, eve: User, field: str, changes: dict[str, Any]
) -> None:
    suspended = await house.person(eve.tenant_id, Role.ADMIN)
    await house.set_user(suspended, status=UserStatus.SUSPENDED)
    await house.person((await house.tenant()).id, Role.ADMIN)
    await refused(RefusalCode.ILLEGAL_TRANSITION, field, update_user(admin, id=eve.id, **changes))
    assert (await house.row(eve)).status is UserStatus.ACTIVE
    await house.person(eve.tenant_id, Role.ADMIN)
    await update_user(admin, id=eve.id, **changes)


async def test_admins_who_demote_each_other_at_once_leave_one(house: House, acme: Tenant) -> None:
    people = [await house.person(acme.id, Role.ADMIN) for _ in range(4)]
    calls = [acting(house, one, Role.ADMIN) for one in people]
    attempts = (update_user(calls[place - 1], id=one.id, roles=[]) for place, one in enumerate(people))
    answers = await asyncio.gather(*attempts, return_exceptions=True)
    assert sum(isinstance(one, Refusal) for one in answers) == 1
    rows = [await house.row(one) for one in people]
    assert sum(Role.ADMIN.value in one.roles for one in rows) == 1


async def test_a_key_that_writes_users_does_not_suspend_an_admin(house: House, eve: User) -> None:
    await house.person(eve.tenant_id, Role.ADMIN)
    key = Principal(tenant_id=eve.tenant_id, api_key_id=uuid7(), scopes=frozenset({Scope.USERS_WRITE}))
    with pytest.raises(Forbidden):
        await update_user(house.call(key), id=eve.id, status=UserStatus.SUSPENDED)


async def test_events_carry_facets_and_never_an_address_or_a_password(house: House, admin: Call, eve: User) -> None:
    canary = f"canary{uuid7().hex}"
    user = await create_user(
        admin,
        email=f"{canary}@example.org",
        password=f"{canary}-password",
        display_name="Grace H.",
        roles=[Role.MEMBER],
    )
    await update_user(
        admin, id=user.id, department="Law", preferences={"note": canary}, avatar_url=f"https://{canary}/"
    )
    created, updated = await house.events(eve.tenant_id)
    assert (created.before, created.owner_user_id, created.actor_id) == (None, user.id, eve.id)
    # Neither names nor departments: erasure would have to find them again.
    assert created.after == {"id": str(user.id), "status": "active", "roles": ["member"]}
    assert updated.before == updated.after == created.after
    assert updated.payload == {"changed": ["avatar_url", "department", "preferences"]}
    assert canary not in await house.log_text(eve.tenant_id)


async def test_an_admin_of_the_platform_is_a_platform_administrator_and_nobody_else_is(
    house: House, accounts: Accounts, admin: Call
) -> None:
    assert not (await create_user(admin, email=new_email(), roles=[Role.ADMIN])).is_platform_admin
    chief = await house.person(PLATFORM_TENANT_ID, Role.ADMIN, platform_admin=True)
    who = Principal(
        tenant_id=PLATFORM_TENANT_ID,
        user_id=chief.id,
        scopes=scopes_of([Role.ADMIN]) | {Scope.PLATFORM_ADMIN},
        is_platform_admin=True,
    )
    colleague = await create_user(house.call(who), email=new_email(), password=PASSWORD, roles=[Role.ADMIN])
    signed = await accounts.login(house.call(), email=email_of(colleague), password=PASSWORD)
    assert signed.principal.is_platform_admin
    demoted = await update_user(house.call(who), id=colleague.id, roles=[Role.VIEWER])
    assert not demoted.is_platform_admin


async def test_who_is_deleted_is_gone_for_lists_and_their_address_is_free(
    house: House, acme: Tenant, admin: Call, ada: User
) -> None:
    assert await delete_user(admin, id=ada.id) == ada.typeid
    row = await house.row(ada)
    assert (row.status, row.deleted_at) == (UserStatus.DELETED, house.clock.now)
    assert (await house.kinds(acme.id))[-1] == "user.deleted"
    again = await create_user(admin, email=email_of(ada), roles=[])
    assert again.id != ada.id
    await refused(RefusalCode.NOT_FOUND, "id", delete_user(admin, id=ada.id))
