"""This module is where keys that take another's place are specified: two are good for a while."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from models import ApiKey, Role, Scope, Tenant, Workspace, WorkspaceStatus
from models.errors import Forbidden, Refusal, RefusalCode, Unauthenticated
from models.ids import NIL, uuid7
from models.scopes import scopes_of
from resolvers.credentials import Accounts
from resolvers.principal import Principal
from tests.resolvers.people import House

READ = [Scope.AGENTS_READ.value]
DAY = timedelta(days=1)


@pytest.fixture
async def chief(house: House, acme: Tenant) -> Principal:
    user = await house.person(acme.id, Role.ADMIN)
    roles = frozenset({Role.ADMIN})
    return Principal(tenant_id=acme.id, user_id=user.id, scopes=scopes_of([Role.ADMIN]), roles=roles)


async def good(accounts: Accounts, secret: str) -> bool:
    try:
        return await accounts.authenticate(f"Bearer {secret}") is not None
    except Unauthenticated:
        return False


async def make(
    house: House, accounts: Accounts, who: Principal, expires_at: datetime | None = None
) -> tuple[ApiKey, str]:
    return await accounts.create_api_key(house.call(who), name="ingest", scopes=READ, expires_at=expires_at)


async def test_both_are_good_until_the_overlap_is_over(house: House, accounts: Accounts, chief: Principal) -> None:
    old, old_secret = await make(house, accounts, chief)
    new, new_secret = await accounts.rotate_api_key(house.call(chief), id=old.id)
    assert new.id != old.id
    assert (new.name, new.scopes, new.workspace_id, new.expires_at) == ("ingest", READ, None, None)
    house.clock.advance(DAY - timedelta(seconds=1))
    assert [await good(accounts, one) for one in (old_secret, new_secret)] == [True, True]
    house.clock.advance(timedelta(seconds=1))
    assert [await good(accounts, one) for one in (old_secret, new_secret)] == [False, True]
    assert await house.kinds(chief.tenant_id) == ["key.created", "key.created", "key.rotated"]


async def test_without_an_overlap_the_old_one_ends_at_once(house: House, accounts: Accounts, chief: Principal) -> None:
    old, old_secret = await make(house, accounts, chief)
    assert await good(accounts, old_secret)
    _, new_secret = await accounts.rotate_api_key(house.call(chief), id=old.id, overlap_seconds=0)
    assert [await good(accounts, one) for one in (old_secret, new_secret)] == [False, True]
    assert (await house.kinds(chief.tenant_id))[-1] == "key.revoked"


async def test_the_successor_lives_as_long_as_the_old_one_was_made_to_or_as_is_said(
    house: House, accounts: Accounts, chief: Principal
) -> None:
    old, _ = await make(house, accounts, chief, house.clock.now + 90 * DAY)
    async with house.database.session(chief.tenant_id) as session:
        row = (await session.scalars(select(ApiKey).where(ApiKey.id == old.id))).one()
        row.created_at = house.clock.now
        await session.commit()
    house.clock.advance(89 * DAY)
    new, _ = await accounts.rotate_api_key(house.call(chief), id=old.id)
    assert new.expires_at == house.clock.now + 90 * DAY
    said, _ = await accounts.rotate_api_key(house.call(chief), id=new.id, expires_at=house.clock.now + DAY)
    assert said.expires_at == house.clock.now + DAY


async def test_an_overlap_does_not_lengthen_a_life(house: House, accounts: Accounts, chief: Principal) -> None:
    old, old_secret = await make(house, accounts, chief, house.clock.now + timedelta(hours=1))
    await accounts.rotate_api_key(house.call(chief), id=old.id, expires_at=house.clock.now + DAY)
    house.clock.advance(timedelta(hours=1))
    assert not await good(accounts, old_secret)


async def test_a_machine_tokens_successor_speaks_for_the_same_workspace(
    house: House, accounts: Accounts, chief: Principal
) -> None:
    workspace = Workspace(tenant_id=chief.tenant_id, id=uuid7(), name="Night shift", status=WorkspaceStatus.ONLINE)
    async with house.database.session(chief.tenant_id) as session:
        session.add(workspace)
        await session.commit()
    old, _ = await accounts.create_api_key(house.call(chief), name="m", scopes=READ, workspace_id=workspace.id)
    new, secret = await accounts.rotate_api_key(house.call(chief), id=old.id)
    assert new.workspace_id == workspace.id
    principal = await accounts.authenticate(f"Bearer {secret}")
    assert principal is not None
    assert principal.workspace_id == workspace.id


async def test_a_key_that_has_ended_gets_no_successor(house: House, accounts: Accounts, chief: Principal) -> None:
    revoked, _ = await make(house, accounts, chief)
    await accounts.revoke_api_key(house.call(chief), id=revoked.id)
    expired, _ = await make(house, accounts, chief, house.clock.now + DAY)
    house.clock.advance(DAY)
    for one in (revoked, expired):
        with pytest.raises(Refusal) as refusal:
            await accounts.rotate_api_key(house.call(chief), id=one.id)
        assert refusal.value.code is RefusalCode.ILLEGAL_TRANSITION
        assert isinstance(refusal.value.current, ApiKey)


async def test_nobody_gets_more_by_rotating_than_they_hold(house: House, accounts: Accounts, chief: Principal) -> None:
    old, _ = await make(house, accounts, chief)
    clerk = Principal(tenant_id=chief.tenant_id, user_id=chief.user_id, scopes=frozenset({Scope.KEYS_WRITE}))
    with pytest.raises(Refusal) as refusal:
        await accounts.rotate_api_key(house.call(clerk), id=old.id)
    assert (refusal.value.code, refusal.value.field) == (RefusalCode.INVALID, ("input", "id"))
    with pytest.raises(Forbidden):
        nobody = Principal(tenant_id=chief.tenant_id, user_id=chief.user_id, scopes=frozenset())
        await accounts.rotate_api_key(house.call(nobody), id=old.id)


async def test_foreign_unknown_and_malformed_keys_are_the_same(
    house: House, accounts: Accounts, chief: Principal
) -> None:
    other = await house.tenant()
    boss = await house.person(other.id, Role.ADMIN)
    theirs, secret = await make(
        house, accounts, Principal(tenant_id=other.id, user_id=boss.id, scopes=scopes_of([Role.ADMIN]))
    )
    told = set()
    for one in (theirs.id, uuid7(), NIL):
        with pytest.raises(Refusal) as refusal:
            await accounts.rotate_api_key(house.call(chief), id=one)
        told.add((refusal.value.code, refusal.value.message))
    assert told == {(RefusalCode.NOT_FOUND, "There is no such API key.")}
    assert await good(accounts, secret)


@pytest.mark.parametrize("overlap", [-1, 30 * 86_400 + 1])
async def test_an_overlap_has_0_to_30_days(house: House, accounts: Accounts, chief: Principal, overlap: int) -> None:
    old, _ = await make(house, accounts, chief)
    with pytest.raises(Refusal) as refusal:
        await accounts.rotate_api_key(house.call(chief), id=old.id, overlap_seconds=overlap)
    assert (refusal.value.code, refusal.value.field) == (RefusalCode.INVALID, ("input", "overlapSeconds"))
