"""This module is where the demo's tenants get their people, with passwords that anybody can guess."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from dataloaders.users import user_by_email
from gateway.demo.file import DemoUser
from gateway.demo.samples import PersonSample, TenantSample
from gateway.demo.together import SharingCall, together
from models import PLATFORM_TENANT_ID, Role, Scope, User, UserStatus
from models.scopes import ROLE_SCOPES
from resolvers.administration import create_platform_admin
from resolvers.call import Services
from resolvers.consents import grant_consent, revoke_consent
from resolvers.principal import Principal
from resolvers.users import create_user, update_user

PLATFORM_ADMIN = DemoUser("admin@platform.example", "admin-platform-demo", [Role.ADMIN.value])


async def platform_admin(services: Services) -> Principal:
    """The platform's administrator, made where there is none of this address."""
    async with services.database.session(PLATFORM_TENANT_ID) as session:
        found = await user_by_email(session, PLATFORM_ADMIN.email)
    user = found or await create_platform_admin(services, PLATFORM_ADMIN.email, PLATFORM_ADMIN.password)
    return Principal(
        tenant_id=PLATFORM_TENANT_ID,
        user_id=user.id,
        roles=frozenset({Role.ADMIN}),
        scopes=frozenset(Scope),
        is_platform_admin=True,
    )


def logins(sample: TenantSample) -> list[DemoUser]:
    """Who of the tenant can sign in."""
    return [
        DemoUser(address(sample, one), password(sample, one), [one.role.value])
        for one in sample.people
        if one.status is UserStatus.ACTIVE
    ]


def address(sample: TenantSample, person: PersonSample) -> str:
    """E.g. operator@acme.example."""
    return f"{person.key}@{sample.domain}"


def password(sample: TenantSample, person: PersonSample) -> str:
    """E.g. operator-acme-demo."""
    return f"{person.key}-{sample.slug}-demo"


async def settle(services: Services, platform: Principal, tenant_id: UUID, sample: TenantSample) -> Principal:
    """The tenant's admin; everybody is made, in one transaction, where that admin is missing."""
    first = sample.people[0]
    admin = await _admin_of(services, tenant_id, address(sample, first))
    if admin is None:
        visiting = Principal(
            tenant_id=tenant_id,
            user_id=platform.user_id,
            roles=platform.roles,
            scopes=platform.scopes,
            is_platform_admin=True,
        )
        async with together(services, visiting) as call:
            for person in sample.people:
                await _employ(call, sample, person)
        admin = await _admin_of(services, tenant_id, address(sample, first))
    assert admin is not None
    return Principal(tenant_id=tenant_id, user_id=admin, roles=frozenset({Role.ADMIN}), scopes=ROLE_SCOPES[Role.ADMIN])


async def _admin_of(services: Services, tenant_id: UUID, email: str) -> UUID | None:
    async with services.database.session(tenant_id) as session:
        user = await user_by_email(session, email)
    return user.id if user is not None else None


async def _employ(call: SharingCall, sample: TenantSample, person: PersonSample) -> None:
    user = await create_user(
        call,
        email=address(sample, person),
        roles=[person.role],
        # Without a password an account is pending.
        password=None if person.status is UserStatus.PENDING else password(sample, person),
        username=person.key,
        display_name=person.name,
        department=person.department,
    )
    if person.status in {UserStatus.SUSPENDED, UserStatus.DELETED}:
        await update_user(call, id=user.id, status=person.status)
    if person.role is Role.MEMBER and person.status is UserStatus.ACTIVE:
        await update_user(
            call,
            id=user.id,
            preferences={"theme": "dark", "language": "en-US", "notifications": {"email": True, "push": False}},
        )
        await _consent(call, user)


async def _consent(call: SharingCall, user: User) -> None:
    """One consent that stands and one that was withdrawn."""
    who = Principal(tenant_id=user.tenant_id, user_id=user.id, scopes=ROLE_SCOPES[Role.MEMBER])
    mine = replace(call, principal=who)
    await grant_consent(mine, consent_type="data_processing")
    await grant_consent(mine, consent_type="marketing_mail")
    await revoke_consent(mine, consent_type="marketing_mail")
