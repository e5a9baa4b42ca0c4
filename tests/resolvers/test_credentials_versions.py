"""This module is where it is specified which changes make gateways look at a tenant's credentials anew."""

from __future__ import annotations

from typing import Final
from uuid import UUID

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from models import CredentialVersion, Role, Scope, Tenant, User
from models.database import Database
from models.scopes import scopes_of
from resolvers.credentials import Accounts
from resolvers.principal import Principal
from tests.conftest import counted
from tests.resolvers.people import House

TENANTS: Final = 20

WORTH: Final = [
    "UPDATE sessions SET revoked_at = now() WHERE tenant_id = :tenant",
    "UPDATE users SET roles = '{viewer}' WHERE tenant_id = :tenant",
    "UPDATE users SET status = 'suspended' WHERE tenant_id = :tenant",
    "UPDATE users SET authorization_version = authorization_version + 1 WHERE tenant_id = :tenant",
    "UPDATE users SET deleted_at = now() WHERE tenant_id = :tenant",
    "UPDATE api_keys SET revoked_at = now() WHERE tenant_id = :tenant",
    "UPDATE api_keys SET scopes = '{}' WHERE tenant_id = :tenant",
    "UPDATE api_keys SET expires_at = now() WHERE tenant_id = :tenant",
    "UPDATE tenants SET status = 'suspended' WHERE id = :tenant",
    "UPDATE tenants SET deleted_at = now() WHERE id = :tenant",
    "DELETE FROM sessions WHERE tenant_id = :tenant",
    "DELETE FROM api_keys WHERE tenant_id = :tenant",
    "DELETE FROM users WHERE tenant_id = :tenant",
]
WORTHLESS: Final = [
    "UPDATE sessions SET last_seen_at = now() WHERE tenant_id = :tenant",
    "UPDATE users SET last_login_at = now() WHERE tenant_id = :tenant",
    "UPDATE users SET roles = roles WHERE tenant_id = :tenant",
    "UPDATE api_keys SET last_used_at = now() WHERE tenant_id = :tenant",
    "UPDATE tenants SET name = 'Acme' WHERE id = :tenant",
]


async def new_key(house: House, accounts: Accounts, tenant_id: UUID) -> str:
    who = Principal(tenant_id=tenant_id, scopes=scopes_of([Role.ADMIN]), roles=frozenset({Role.ADMIN}))
    _, secret = await accounts.create_api_key(
        house.call(who), name="ingest", scopes=[Scope.AGENTS_READ.value], workspace_id=None, expires_at=None
    )
    return secret


@pytest.fixture
async def worth(house: House, accounts: Accounts, acme: Tenant, ada: User) -> None:
    """A session and a key of acme."""
    await house.signed_in(accounts, acme, ada)
    await new_key(house, accounts, acme.id)


async def version(owner: AsyncEngine, tenant_id: UUID) -> int:
    async with owner.connect() as connection:
        found = await connection.scalar(
            select(CredentialVersion.version).where(CredentialVersion.tenant_id == tenant_id)
        )
    assert found is not None
    return found


async def change(owner: AsyncEngine, tenant_id: UUID, statement: str) -> None:
    async with owner.begin() as connection:
        result = await connection.execute(text(statement), {"tenant": tenant_id})
        assert result.rowcount > 0


@pytest.mark.usefixtures("worth")
@pytest.mark.parametrize("statement", WORTH)
async def test_a_change_of_worth_by_whoever_writes_it_renews_the_version(
    owner: AsyncEngine, acme: Tenant, statement: str
) -> None:
    before = await version(owner, acme.id)
    await change(owner, acme.id, statement)
    assert await version(owner, acme.id) != before


@pytest.mark.usefixtures("worth")
@pytest.mark.parametrize("statement", WORTHLESS)
async def test_a_change_of_anything_else_does_not(owner: AsyncEngine, acme: Tenant, statement: str) -> None:
    before = await version(owner, acme.id)
    await change(owner, acme.id, statement)
    assert await version(owner, acme.id) == before


async def test_one_tenants_change_leaves_the_others_versions_alone(
    owner: AsyncEngine, house: House, acme: Tenant
) -> None:
    other = await house.tenant()
    await house.person(other.id, Role.VIEWER)
    before = await version(owner, acme.id)
    await change(owner, other.id, "UPDATE users SET status = 'suspended' WHERE tenant_id = :tenant")
    assert await version(owner, acme.id) == before


async def test_knowing_callers_of_many_tenants_costs_one_statement_a_second(
    house: House, accounts: Accounts, database: Database
) -> None:
    secrets = [await new_key(house, accounts, (await house.tenant()).id) for _ in range(TENANTS)]
    counts = []
    for _ in range(5):
        with counted(database, database.tail) as statements:
            for secret in secrets:
                assert await accounts.authenticate(f"Bearer {secret}") is not None
        counts.append(len(statements))
        house.clock.seconds += 1.0
    # Each key has to be met once, and each tenant.
    assert counts == [TENANTS, TENANTS, 1, 1, 1]
