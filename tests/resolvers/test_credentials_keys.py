"""This module is where API keys and workspace tokens are specified."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import select

from models import ApiKey, Role, Scope, Tenant, User, Workspace, WorkspaceStatus
from models.errors import Forbidden, Refusal, RefusalCode, Unauthenticated
from models.ids import NIL, suffix, uuid7
from models.scopes import WORKSPACE_TOKEN_SCOPES, scopes_of
from resolvers.bearers import hash_of, new_api_key
from resolvers.credentials import Accounts
from resolvers.principal import Principal
from tests.conftest import counted
from tests.resolvers.people import House

READ = [Scope.AGENTS_READ.value]
SECOND = timedelta(seconds=1)


@pytest.fixture
async def chief(house: House, acme: Tenant) -> Principal:
    user = await house.person(acme.id, Role.ADMIN)
    roles = frozenset({Role.ADMIN})
    return Principal(tenant_id=acme.id, user_id=user.id, scopes=scopes_of([Role.ADMIN]), roles=roles)


async def make(
    house: House,
    accounts: Accounts,
    who: Principal,
    *,
    name: str = "ingest",
    scopes: list[str] = READ,
    workspace_id: UUID | None = None,
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    return await accounts.create_api_key(
        house.call(who), name=name, scopes=scopes, workspace_id=workspace_id, expires_at=expires_at
    )


async def known(accounts: Accounts, secret: str) -> Principal:
    principal = await accounts.authenticate(f"Bearer {secret}")
    assert principal is not None
    return principal


async def unknown(accounts: Accounts, secret: str) -> None:
    with pytest.raises(Unauthenticated):
        await accounts.authenticate(f"Bearer {secret}")


async def place(house: House, tenant_id: UUID, status: WorkspaceStatus = WorkspaceStatus.ONLINE) -> Workspace:
    workspace = Workspace(tenant_id=tenant_id, id=uuid7(), name="Night shift", status=status)
    async with house.database.session(tenant_id) as session:
        session.add(workspace)
        await session.commit()
    return workspace


async def row_of(house: House, key: ApiKey) -> ApiKey:
    async with house.database.session(key.tenant_id) as session:
        return (await session.scalars(select(ApiKey).where(ApiKey.id == key.id))).one()


async def test_a_key_is_recognised_with_its_own_scopes(house: House, accounts: Accounts, chief: Principal) -> None:
    key, secret = await make(house, accounts, chief)
    principal = await known(accounts, secret)
    assert (principal.tenant_id, principal.api_key_id, principal.user_id) == (chief.tenant_id, key.id, None)
    assert principal.scopes == {Scope.AGENTS_READ}
    assert principal.roles == {Role.API_CLIENT}


async def test_a_key_names_environment_tenant_and_row_and_only_its_hash_is_stored(
    house: House, accounts: Accounts, chief: Principal
) -> None:
    key, secret = await make(house, accounts, chief)
    parts = secret.split("_")
    assert parts[:4] == ["sbx", "test", suffix(chief.tenant_id), suffix(key.id)]
    assert (len(parts), len(parts[4]), len(parts[5])) == (6, 43, 6)
    row = await row_of(house, key)
    assert row.secret_hash == hash_of(secret)
    assert secret.startswith(row.prefix)
    assert parts[4] not in row.prefix
    log = await house.log_text(chief.tenant_id)
    assert "key.created" in log
    assert parts[4] not in log


async def test_every_part_of_a_key_counts(house: House, accounts: Accounts, chief: Principal, acme: Tenant) -> None:
    key, secret = await make(house, accounts, chief)
    other = await house.tenant()
    await unknown(accounts, secret[:-1] + ("0" if secret[-1] != "0" else "1"))
    await unknown(accounts, secret.replace("sbx_test_", "sbx_live_"))
    await unknown(accounts, new_api_key("test", acme.id, key.id))
    await unknown(accounts, new_api_key("test", other.id, key.id))
    await unknown(accounts, new_api_key("test", NIL, NIL))
    await known(accounts, secret)


async def test_a_typo_costs_no_look_up(house: House, chief: Principal) -> None:
    class Unreachable:
        def session(self, _: UUID) -> None:
            raise AssertionError("asked the database")

    secret = new_api_key("test", chief.tenant_id, uuid7())
    typo = secret[:-8] + ("0" if secret[-8] != "0" else "1") + secret[-7:]
    accounts = House(Unreachable(), clock=house.clock).accounts()  # type: ignore[arg-type]
    await unknown(accounts, typo)
    with pytest.raises(AssertionError):
        await accounts.authenticate(f"Bearer {secret}")
    await accounts.close()


async def test_nobody_grants_more_than_they_hold(house: House, accounts: Accounts, chief: Principal) -> None:
    _, secret = await make(house, accounts, chief, scopes=[Scope.KEYS_WRITE.value, *READ])
    lesser = await known(accounts, secret)
    await make(house, accounts, lesser, scopes=READ)
    with pytest.raises(Refusal) as refusal:
        await make(house, accounts, lesser, scopes=[Scope.AGENTS_WRITE.value])
    assert (refusal.value.code, refusal.value.field) == (RefusalCode.INVALID, ("input", "scopes"))


@pytest.mark.parametrize("scopes", [[], ["no:such"], [Scope.PLATFORM_ADMIN.value], [Scope.SIGNED_IN.value]])
async def test_scopes_that_no_key_holds_are_invalid(
    house: House, accounts: Accounts, chief: Principal, scopes: list[str]
) -> None:
    with pytest.raises(Refusal) as refusal:
        await make(house, accounts, chief, scopes=scopes)
    assert refusal.value.code is RefusalCode.INVALID


async def test_only_whoever_manages_keys_makes_and_ends_them(
    house: House, accounts: Accounts, chief: Principal, ada: User
) -> None:
    key, _ = await make(house, accounts, chief)
    operator = Principal(tenant_id=ada.tenant_id, user_id=ada.id, scopes=scopes_of([Role.OPERATOR]))
    with pytest.raises(Forbidden):
        await make(house, accounts, operator)
    with pytest.raises(Forbidden):
        await accounts.revoke_api_key(house.call(operator), id=key.id)


async def test_a_scope_that_the_column_should_not_hold_grants_nothing(
    house: House, accounts: Accounts, chief: Principal
) -> None:
    secret = new_api_key("test", chief.tenant_id, key_id := uuid7())
    scopes = ["platform:admin", "no:such", *READ]
    row = ApiKey(tenant_id=chief.tenant_id, id=key_id, name="n", prefix="p", secret_hash=hash_of(secret), scopes=scopes)
    async with house.database.session(chief.tenant_id) as session:
        session.add(row)
        await session.commit()
    assert (await known(accounts, secret)).scopes == {Scope.AGENTS_READ}


async def test_a_key_ends_when_it_expires(house: House, accounts: Accounts, chief: Principal) -> None:
    with pytest.raises(Refusal):
        await make(house, accounts, chief, expires_at=house.clock.now)
    _, secret = await make(house, accounts, chief, expires_at=house.clock.now + timedelta(hours=1))
    assert (await known(accounts, secret)).expires_at == house.clock.now + timedelta(hours=1)
    house.clock.advance(timedelta(hours=1))
    await unknown(accounts, secret)


async def test_a_key_makes_none_that_outlives_it(house: House, accounts: Accounts, chief: Principal) -> None:
    ends_at = house.clock.now + timedelta(hours=1)
    scopes = [Scope.KEYS_WRITE.value, *READ]
    _, secret = await make(house, accounts, chief, scopes=scopes, expires_at=ends_at)
    parent = await known(accounts, secret)
    await make(house, accounts, parent, expires_at=ends_at)
    for later in (None, ends_at + SECOND):
        with pytest.raises(Refusal):
            await make(house, accounts, parent, expires_at=later)


async def test_a_revoked_key_ends_here_at_once_and_elsewhere_within_a_second(
    house: House, accounts: Accounts, chief: Principal
) -> None:
    key, secret = await make(house, accounts, chief)
    elsewhere = house.accounts()
    await known(accounts, secret)
    await known(elsewhere, secret)
    revoked = await accounts.revoke_api_key(house.call(chief), id=key.id)
    assert revoked.revoked_at == house.clock.now
    await unknown(accounts, secret)
    house.clock.advance(SECOND)
    await unknown(elsewhere, secret)
    again = await accounts.revoke_api_key(house.call(chief), id=key.id)
    assert again.revoked_at == revoked.revoked_at
    assert await house.kinds(chief.tenant_id) == ["key.created", "key.revoked"]
    await elsewhere.close()


async def test_another_tenants_key_is_not_there_to_revoke(house: House, accounts: Accounts, chief: Principal) -> None:
    key, secret = await make(house, accounts, chief)
    other = await house.tenant()
    stranger = Principal(tenant_id=other.id, user_id=uuid7(), scopes=scopes_of([Role.ADMIN]))
    messages = set()
    for one in (key.id, uuid7(), NIL):
        with pytest.raises(Refusal) as refusal:
            await accounts.revoke_api_key(house.call(stranger), id=one)
        assert refusal.value.code is RefusalCode.NOT_FOUND
        messages.add(refusal.value.message)
    assert len(messages) == 1
    await known(accounts, secret)


async def test_a_bound_key_needs_a_workspace_that_lives_in_the_tenant(
    house: House, accounts: Accounts, chief: Principal
) -> None:
    other = await house.tenant()
    foreign = await place(house, other.id)
    removed = await place(house, chief.tenant_id, WorkspaceStatus.REMOVED)
    for one, code in (
        (foreign.id, RefusalCode.NOT_FOUND),
        (NIL, RefusalCode.NOT_FOUND),
        (removed.id, RefusalCode.ILLEGAL_TRANSITION),
    ):
        with pytest.raises(Refusal) as refusal:
            await make(house, accounts, chief, workspace_id=one)
        assert (refusal.value.code, refusal.value.field) == (code, ("input", "workspaceId"))


async def test_a_bound_key_makes_none_beyond_its_workspace(house: House, accounts: Accounts, chief: Principal) -> None:
    here, there = await place(house, chief.tenant_id), await place(house, chief.tenant_id)
    scopes = [Scope.KEYS_WRITE.value, *READ]
    _, secret = await make(house, accounts, chief, scopes=scopes, workspace_id=here.id)
    bound = await known(accounts, secret)
    assert bound.workspace_id == here.id
    for one in (None, there.id):
        with pytest.raises(Forbidden):
            await make(house, accounts, bound, workspace_id=one)
    await make(house, accounts, bound, workspace_id=here.id)


async def test_a_workspaces_new_token_ends_its_old_ones(house: House, accounts: Accounts, chief: Principal) -> None:
    workspace, neighbour = await place(house, chief.tenant_id), await place(house, chief.tenant_id)
    _, untouched = await make(house, accounts, chief, workspace_id=neighbour.id)
    secrets = []
    for _ in range(2):
        async with house.work(chief.tenant_id, chief) as work:
            key, secret = await accounts.issue_workspace_token(work, workspace, chief)
        secrets.append(secret)
        assert key.created_by == chief.user_id
    house.clock.advance(SECOND)
    await unknown(accounts, secrets[0])
    principal = await known(accounts, secrets[1])
    assert (principal.scopes, principal.workspace_id) == (WORKSPACE_TOKEN_SCOPES, workspace.id)
    await known(accounts, untouched)
    assert (await house.kinds(chief.tenant_id))[1:] == ["key.created", "key.revoked", "key.created"]


async def test_the_last_use_is_noted_once_a_minute(house: House, chief: Principal) -> None:
    accounts = house.accounts()
    key, secret = await make(house, accounts, chief)
    first = house.clock.now
    for _ in range(3):
        await known(accounts, secret)
        house.clock.advance(SECOND)
    await accounts.close()
    row = await row_of(house, key)
    noted = row.last_used_at
    assert noted is not None
    assert first <= noted <= house.clock.now
    assert row.updated_at == key.updated_at
    house.clock.advance(timedelta(seconds=50))
    with counted(house.database) as statements:
        await known(accounts, secret)
        await accounts.close()
    assert not any(statement.startswith("UPDATE") for statement in statements)
    elsewhere = house.accounts()
    await known(elsewhere, secret)
    await elsewhere.close()
    assert (await row_of(house, key)).last_used_at == noted
    house.clock.advance(timedelta(minutes=1))
    await known(accounts, secret)
    await accounts.close()
    assert (await row_of(house, key)).last_used_at == house.clock.now


async def test_a_fleets_uses_are_noted_in_one_statement(house: House, chief: Principal) -> None:
    accounts = house.accounts()
    secrets = [(await make(house, accounts, chief))[1] for _ in range(20)]
    with counted(house.database) as statements:
        for secret in secrets:
            await known(accounts, secret)
        await accounts.close()
    assert sum(statement.startswith("UPDATE") for statement in statements) == 1
