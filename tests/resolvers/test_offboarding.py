"""This module is where a tenant's leaving is specified: what it takes along, when it is deleted, and what stays."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from dataloaders.tenant_rows import KEPT, NOT_EXPORTED, exported_columns, exported_tables, tables_of_tenants
from models import PLATFORM_TENANT_ID, Role, Scope, Tenant, TenantStatus
from models.errors import BadRequest, Forbidden, Refusal, RefusalCode
from models.ids import uuid7
from models.roles import APP
from models.scopes import ROLE_SCOPES, scopes_of
from resolvers.administration import write_export
from resolvers.call import Call
from resolvers.consents import grant_consent
from resolvers.credentials import Accounts
from resolvers.offboarding import GRACE, Offboarding
from resolvers.principal import Principal
from resolvers.registry import create_workspace
from resolvers.tenant_export import ExportPage, export_tenant
from resolvers.tenants import update_tenant
from tests.resolvers.people import House, email_of
from tests.world import Fleet

PLACES: Final = 40


async def always() -> bool:
    """Whoever asks may go on."""
    return True


def acting(house: House, tenant: Tenant, role: Role = Role.ADMIN) -> Call:
    roles = frozenset({role})
    who = Principal(tenant_id=tenant.id, user_id=uuid7(), scopes=scopes_of([role]), roles=roles)
    return house.call(who)


async def settled(house: House, accounts: Accounts, tenant: Tenant) -> str:
    """A tenant with something of everything that there is to do today; an address that stands in its rows."""
    user = await house.person(tenant.id, Role.ADMIN)
    signed = await house.signed_in(accounts, tenant, user)
    call = house.call(signed.principal, accounts)
    await accounts.create_api_key(call.fresh(), name="fleet", scopes=["agents:read"])
    await grant_consent(call.fresh(), consent_type="data_processing")
    root = await create_workspace(call.fresh(), name="root")
    await create_workspace(call.fresh(), name="child", parent_id=root.id)
    await Fleet(house.database, tenant.id).grow(PLACES)
    return email_of(user)


async def exported(house: House, tenant: Tenant, first: int) -> list[dict[str, Any]]:
    """Every line, page by page."""
    lines: list[dict[str, Any]] = []
    after: str | None = None
    while True:
        page: ExportPage = await export_tenant(acting(house, tenant), after=after, lines=first)
        assert len(page.lines) <= first
        lines += page.lines
        after = page.next_cursor
        if after is None:
            return lines


async def rows(owner: AsyncEngine, tenant: Tenant) -> dict[str, int]:
    """How many rows the tenant has in each table that has some."""
    counts = {}
    async with owner.connect() as connection:
        for table in tables_of_tenants():
            statement = text(f"SELECT count(*) FROM {table.name} WHERE tenant_id = :tenant")
            counts[table.name] = (await connection.execute(statement, {"tenant": tenant.id})).scalar_one()
    return {name: count for name, count in counts.items() if count}


async def cancelled(house: House, tenant: Tenant) -> None:
    """The platform cancels it."""
    scopes = ROLE_SCOPES[Role.ADMIN] | {Scope.PLATFORM_ADMIN}
    chief = Principal(tenant_id=PLATFORM_TENANT_ID, user_id=uuid7(), scopes=scopes, is_platform_admin=True)
    await update_tenant(house.call(chief), id=tenant.id, status=TenantStatus.CANCELLED)


async def test_an_export_holds_every_row_once_and_no_secret(
    house: House, accounts: Accounts, acme: Tenant, owner: AsyncEngine
) -> None:
    email = await settled(house, accounts, acme)
    await settled(house, accounts, await house.tenant())
    counts = await rows(owner, acme)
    lines = await exported(house, acme, 7)
    found: dict[str, int] = {}
    for line in lines:
        found[line["table"]] = found.get(line["table"], 0) + 1
        assert line["row"].get("tenant_id", str(acme.id)) == str(acme.id)
    # That it was exported was written down after the first page.
    grown = {name: counts.get(name, 0) + 1 for name in ("events", "audit_logs", "data_access_logs")}
    expected = {name: count for name, count in counts.items() if name not in NOT_EXPORTED}
    assert found == {"tenants": 1, **expected, **grown}
    text_of = orjson.dumps(lines).decode()
    assert email in text_of
    assert "argon2" not in text_of
    for line in lines:
        assert not [name for name in line["row"] if "hash" in name or "password" in name]


async def test_pages_of_any_size_make_the_same_export(house: House, accounts: Accounts, acme: Tenant) -> None:
    await settled(house, accounts, acme)
    logs = {"audit_logs", "data_access_logs", "events"}  # each export adds to them
    whole, pieces = [
        [one for one in await exported(house, acme, first) if one["table"] not in logs] for first in (1000, 1)
    ]
    assert len(whole) > PLACES
    assert pieces == whole


async def test_only_an_admin_in_person_exports_and_a_forged_cursor_is_refused(house: House, acme: Tenant) -> None:
    key = Principal(tenant_id=acme.id, api_key_id=uuid7(), scopes=scopes_of([Role.ADMIN]))
    for call in (house.call(key), acting(house, acme, Role.OPERATOR), acting(house, acme, Role.AUDITOR)):
        with pytest.raises(Forbidden):
            await export_tenant(call)
    for cursor in ("", "nonsense", "WyJub3RoaW5nIl0", "WyJ1c2VycyIsNV0", "WyJldmVudHMiLCJ4Il0", "x" * 3000):
        with pytest.raises(BadRequest):
            await export_tenant(acting(house, acme), after=cursor)
    for lines in (0, -1, 1001):
        with pytest.raises(BadRequest):
            await export_tenant(acting(house, acme), lines=lines)


def test_every_column_of_every_table_is_exported_or_named_with_a_reason() -> None:
    names = {table.name for table in tables_of_tenants()}
    assert set(NOT_EXPORTED) <= names
    assert {table.name for table in exported_tables()} == names - set(NOT_EXPORTED) | {"tenants"}
    for table in exported_tables():
        suspicious = [one.name for one in exported_columns(table) if "secret" in one.name or "hash" in one.name]
        # Which secret it is, and since when, says nothing of it.
        assert [name for name in suspicious if not name.endswith(("_id", "_at"))] == []


async def test_what_the_serving_role_may_not_delete_is_named_with_a_reason(owner: AsyncEngine) -> None:
    names = [table.name for table in tables_of_tenants()]
    async with owner.connect() as connection:
        statement = text(
            "SELECT n FROM unnest(CAST(:names AS text[])) n WHERE NOT has_table_privilege(:app, n, 'DELETE')"
        )
        fixed = set((await connection.execute(statement, {"names": names, "app": APP})).scalars())
    assert fixed <= set(KEPT) <= set(names)


async def test_a_cancelled_tenant_is_deleted_after_its_time_and_nothing_of_another(
    house: House, accounts: Accounts, acme: Tenant, owner: AsyncEngine
) -> None:
    other = await house.tenant()
    email = await settled(house, accounts, acme)
    await settled(house, accounts, other)
    await cancelled(house, acme)
    before = await rows(owner, other)
    offboarding = Offboarding(house.database, house.announced, house.clock)
    house.clock.advance(GRACE - timedelta(seconds=1))
    await offboarding.run(always)
    assert (await rows(owner, acme))["users"] == 1
    house.clock.advance(timedelta(seconds=1))
    deleted = await offboarding.run(always)
    assert deleted >= 2 * PLACES
    left = await rows(owner, acme)
    assert set(left) <= set(KEPT)
    assert await rows(owner, other) == before
    async with owner.connect() as connection:
        row = (await connection.execute(text("SELECT * FROM tenants WHERE id = :id"), {"id": acme.id})).one()
    assert (row.name, row.contact_email, row.settings) == ("deleted", None, {})
    assert row.purged_at == row.deleted_at == house.clock.now
    for table in left:
        async with owner.connect() as connection:
            statement = text(f"SELECT t::text FROM {table} t WHERE tenant_id = :id")
            texts = (await connection.execute(statement, {"id": acme.id})).scalars()
            assert not [one for one in texts if email in one]
    assert "tenant.deleted" in await house.kinds(PLATFORM_TENANT_ID)
    assert await offboarding.run(always) == 0


async def test_a_tenant_that_was_brought_back_stays(
    house: House, accounts: Accounts, acme: Tenant, owner: AsyncEngine
) -> None:
    await settled(house, accounts, acme)
    await cancelled(house, acme)
    scopes = ROLE_SCOPES[Role.ADMIN] | {Scope.PLATFORM_ADMIN}
    chief = Principal(tenant_id=PLATFORM_TENANT_ID, user_id=uuid7(), scopes=scopes, is_platform_admin=True)
    back = await update_tenant(house.call(chief), id=acme.id, status=TenantStatus.ACTIVE)
    assert back.cancelled_at is None
    house.clock.advance(GRACE * 2)
    await Offboarding(house.database, house.announced, house.clock).run(always)
    assert (await rows(owner, acme))["users"] == 1


async def test_a_deletion_that_was_cut_off_is_finished_and_a_deleted_tenant_does_not_come_back(
    house: House, accounts: Accounts, acme: Tenant, owner: AsyncEngine
) -> None:
    await settled(house, accounts, acme)
    await cancelled(house, acme)
    house.clock.advance(GRACE)
    asked = 0

    async def for_a_while() -> bool:
        nonlocal asked
        asked += 1
        return asked < 8

    offboarding = Offboarding(house.database, house.announced, house.clock)
    await offboarding.run(for_a_while)
    assert set(await rows(owner, acme)) - set(KEPT)
    scopes = ROLE_SCOPES[Role.ADMIN] | {Scope.PLATFORM_ADMIN}
    chief = Principal(tenant_id=PLATFORM_TENANT_ID, user_id=uuid7(), scopes=scopes, is_platform_admin=True)
    with pytest.raises(Refusal) as refusal:
        await update_tenant(house.call(chief), id=acme.id, status=TenantStatus.ACTIVE)
    assert refusal.value.code is RefusalCode.NOT_FOUND
    await offboarding.run(always)
    assert set(await rows(owner, acme)) <= set(KEPT)


async def test_the_operators_export_is_a_new_file_for_its_owner_alone(
    house: House, accounts: Accounts, acme: Tenant, tmp_path: Path
) -> None:
    email = await settled(house, accounts, acme)
    await house.set_tenant_status(acme.id, TenantStatus.SUSPENDED)
    path = tmp_path / "acme.jsonl"
    services = house.call().services
    count = await write_export(services, acme.slug, path)
    lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    assert (len(lines), lines[0]["table"], path.stat().st_mode & 0o777) == (count, "tenants", 0o600)
    assert email in path.read_text()
    with pytest.raises(FileExistsError):
        await write_export(services, acme.slug, path)
    with pytest.raises(Refusal):
        await write_export(services, "nobody", tmp_path / "nobody.jsonl")
    assert os.listdir(tmp_path) == [path.name]
