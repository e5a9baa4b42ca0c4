"""This module is where managing tenants is specified: what is the platform's to say and what a tenant's own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import select

from models import PLATFORM_TENANT_ID, Role, StreamFloor, Tenant, TenantPlan, TenantStatus, TenantStream, User
from models.errors import Forbidden, Refusal, RefusalCode, Unauthenticated
from models.ids import NIL, uuid7
from models.scopes import Scope, scopes_of
from resolvers.call import Call
from resolvers.credentials import Accounts
from resolvers.idempotency import Claim
from resolvers.principal import Principal
from resolvers.tenants import create_tenant, update_tenant
from resolvers.users import create_user
from tests.resolvers.people import House


@pytest.fixture
async def chief(house: House) -> Principal:
    user = await house.person(PLATFORM_TENANT_ID, Role.ADMIN, platform_admin=True)
    scopes = scopes_of([Role.ADMIN]) | {Scope.PLATFORM_ADMIN}
    return Principal(tenant_id=PLATFORM_TENANT_ID, user_id=user.id, scopes=scopes, is_platform_admin=True)


def admin_of(house: House, tenant: Tenant, accounts: Accounts | None = None) -> Call:
    roles = frozenset({Role.ADMIN})
    who = Principal(tenant_id=tenant.id, user_id=uuid7(), scopes=scopes_of([Role.ADMIN]), roles=roles)
    return house.call(who, accounts)


def new_slug() -> str:
    return f"s-{uuid7().hex}"


async def stored(house: House, tenant_id: Any) -> Tenant:
    async with house.database.session(tenant_id) as session:
        return (await session.scalars(select(Tenant))).one()


async def refused(code: RefusalCode, field: str, attempt: Any) -> str:
    with pytest.raises(Refusal) as refusal:
        await attempt
    assert (refusal.value.code, refusal.value.field) == (code, ("input", field))
    return refusal.value.message


async def test_a_new_tenant_has_its_row_its_counter_and_its_floor(house: House, chief: Principal) -> None:
    slug = new_slug()
    tenant = await create_tenant(
        house.call(chief), name=" Acme ", slug=slug, contact_email="ops@example.org", settings={"colour": "red"}
    )
    row = await stored(house, tenant.id)
    assert (row.name, row.slug, row.plan, row.status) == ("Acme", slug, TenantPlan.FREE, TenantStatus.ACTIVE)
    assert (row.settings, row.limits) == ({"colour": "red"}, {})
    async with house.database.session(tenant.id) as session:
        assert (await session.scalars(select(TenantStream.seq))).one() == 0
        assert (await session.scalars(select(StreamFloor.low_water))).one() == 0


async def test_the_first_user_of_a_new_tenant_signs_in(house: House, accounts: Accounts, chief: Principal) -> None:
    tenant = await create_tenant(house.call(chief), name="Acme", slug=new_slug())
    named = Principal(tenant_id=tenant.id, user_id=chief.user_id, scopes=chief.scopes, is_platform_admin=True)
    user = await create_user(
        house.call(named), email="first@example.org", password="correct horse battery", roles=[Role.ADMIN]
    )
    signed = await house.signed_in(accounts, tenant, user)
    assert signed.principal.tenant_id == tenant.id
    assert await house.kinds(tenant.id) == ["user.created", "session.started"]


async def test_the_platforms_log_tells_of_a_new_tenant_and_never_whom_to_write_to(
    house: House, chief: Principal
) -> None:
    canary = f"canary{uuid7().hex}"
    tenant = await create_tenant(
        house.call(chief), name="Acme", slug=new_slug(), contact_email=f"{canary}@example.org", settings={"x": canary}
    )
    event = next(one for one in await house.events(PLATFORM_TENANT_ID) if one.entity_id == tenant.id)
    assert (event.kind, event.actor_id, event.required_scope) == ("tenant.created", chief.user_id, "platform:admin")
    assert event.after == {"id": str(tenant.id), "status": "active", "plan": "free"}
    assert canary not in await house.log_text(PLATFORM_TENANT_ID)


async def test_a_slug_is_taken_once_and_a_refused_try_leaves_nothing(house: House, chief: Principal) -> None:
    slug = new_slug()
    await create_tenant(house.call(chief), name="First", slug=slug)
    before = await house.kinds(PLATFORM_TENANT_ID)
    taken = RefusalCode.ALREADY_EXISTS
    await refused(taken, "slug", create_tenant(house.call(chief), name="Second", slug=slug))
    await refused(taken, "slug", create_tenant(house.call(chief), name="Third", slug="platform"))
    assert await house.kinds(PLATFORM_TENANT_ID) == before


@pytest.mark.parametrize("slug", ["", "A", "a_b", "-a", "a-", "a--b", "a" * 64, "a\n", "a\x00", "é", "a b"])
async def test_what_is_no_slug_is_invalid(house: House, chief: Principal, slug: str) -> None:
    await refused(RefusalCode.INVALID, "slug", create_tenant(house.call(chief), name="Acme", slug=slug))


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("name", {"name": " "}),
        ("contactEmail", {"contact_email": "nobody"}),
        ("settings", {"settings": ["a", "list"]}),
        ("settings", {"settings": {"nul": "\x00"}}),
        ("limits", {"limits": {"x": "y" * 70_000}}),
    ],
)
async def test_what_a_tenant_cannot_be_is_invalid(
    house: House, chief: Principal, field: str, given: dict[str, Any]
) -> None:
    attempt = create_tenant(house.call(chief), slug=new_slug(), **{"name": "Acme", **given})
    await refused(RefusalCode.INVALID, field, attempt)


async def test_only_platform_administrators_create_tenants(house: House, acme: Tenant) -> None:
    with pytest.raises(Forbidden):
        await create_tenant(admin_of(house, acme), name="Acme", slug=new_slug())


async def test_a_repeated_creation_answers_with_the_first_tenant(house: House, chief: Principal) -> None:
    slug = new_slug()

    def claimed() -> Call:
        call = house.call(chief)
        call.claim = Claim.of(chief.key, "create_tenant", slug, {"slug": slug})
        return call

    both = await asyncio.gather(*(create_tenant(claimed(), name="Acme", slug=slug) for _ in range(2)))
    again = await create_tenant(claimed(), name="Acme", slug=slug)
    assert {one.id for one in both} == {again.id}
    assert again.slug == slug


async def test_an_admin_changes_the_own_tenants_name_contact_and_settings(house: House, acme: Tenant) -> None:
    call = admin_of(house, acme)
    await update_tenant(call, id=acme.id, name="Acme Ltd", contact_email="a@example.org", settings={"a": 1})
    await update_tenant(call, id=acme.id, contact_email=None)
    row = await stored(house, acme.id)
    assert (row.name, row.contact_email, row.settings) == ("Acme Ltd", None, {"a": 1})
    first, second = await house.events(acme.id)
    assert first.payload == {"changed": ["contact_email", "name", "settings"]}
    assert second.payload == {"changed": ["contact_email"]}


@pytest.mark.parametrize(
    "changes", [{"plan": TenantPlan.ENTERPRISE}, {"status": TenantStatus.CANCELLED}, {"limits": {"agents": 10**6}}]
)
async def test_plan_status_and_limits_are_the_platforms_to_say(
    house: House, chief: Principal, acme: Tenant, changes: dict[str, Any]
) -> None:
    with pytest.raises(Forbidden):
        await update_tenant(admin_of(house, acme), id=acme.id, **changes)
    changed = await update_tenant(house.call(chief), id=acme.id, **changes)
    assert getattr(changed, next(iter(changes))) == next(iter(changes.values()))


async def test_another_tenant_reads_like_one_that_never_was(house: House, chief: Principal, acme: Tenant) -> None:
    other = await house.tenant()
    messages = {
        await refused(RefusalCode.NOT_FOUND, "id", update_tenant(call, id=one, name="x"))
        for call, ids in (
            (admin_of(house, acme), (other.id, uuid7(), NIL, PLATFORM_TENANT_ID)),
            (house.call(chief), (uuid7(), NIL)),
        )
        for one in ids
    }
    assert len(messages) == 1


async def test_a_suspended_tenants_callers_are_out_at_once(
    house: House, accounts: Accounts, chief: Principal, acme: Tenant, ada: User
) -> None:
    signed = await house.signed_in(accounts, acme, ada)
    assert await accounts.authenticate(f"Bearer {signed.access_token}")
    await update_tenant(house.call(chief, accounts), id=acme.id, status=TenantStatus.SUSPENDED)
    with pytest.raises(Unauthenticated):
        await accounts.authenticate(f"Bearer {signed.access_token}")
    event = (await house.events(acme.id))[-1]
    assert event.before is not None
    assert event.after == event.before | {"status": "suspended"}


@pytest.mark.parametrize(
    "changes", [{"status": TenantStatus.SUSPENDED}, {"plan": TenantPlan.FREE}, {"limits": {"a": 1}}]
)
async def test_nobody_suspends_the_platform(house: House, chief: Principal, changes: dict[str, Any]) -> None:
    attempt = update_tenant(house.call(chief), id=PLATFORM_TENANT_ID, **changes)
    await refused(RefusalCode.IMMUTABLE, "id", attempt)
