"""This module is where it is specified what a change of data keys leaves behind, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from gateway.key_providers import LocalKeys
from gateway.servers import in_database
from models import Event, Secret, TenantKey, TenantKeyState, utcnow
from models.database import Database, DatabaseUrls, PoolOptions, role_url
from models.envelope import Unreadable
from models.migrate import ensure_roles, migrate
from models.roles import OWNER
from models.sealing import AuditKeys
from resolvers.call import Services
from resolvers.key_rotation import BATCH, Rotation, rotate_keys
from resolvers.keyring import KeyNotAtHand, Keyring
from resolvers.secrets import set_secret, use_secret
from tests.world import call_of, make_tenant, principal, running

OLD, NEW = b"o" * 32, b"n" * 32


@pytest.fixture(scope="module")
async def vault(postgres: object, migrated: str) -> AsyncIterator[Database]:
    """A database of these tests' own: a rotation goes through every tenant there is."""
    server = create_async_engine(migrated, isolation_level="AUTOCOMMIT")
    async with server.connect() as connection:
        await connection.exec_driver_sql("CREATE DATABASE vault")
    await server.dispose()
    url = in_database(migrated).replace("/signalbox", "/vault")
    superuser, owner = create_async_engine(url), create_async_engine(role_url(url, OWNER))
    await ensure_roles(superuser, "vault")
    await migrate(owner)
    await superuser.dispose()
    await owner.dispose()
    made = Database(DatabaseUrls.for_roles(url), PoolOptions(size=10), AuditKeys([bytes(32)]))
    yield made
    await made.close()


@asynccontextmanager
async def wrapped_by(vault: Database, *keys: bytes) -> AsyncIterator[Services]:
    """A process whose settings name these keys; it remembers nothing yet."""
    async with running(vault, keyring=Keyring(LocalKeys(list(keys)))) as services:
        yield services


async def filled(services: Services, count: int) -> tuple[UUID, dict[UUID, str]]:
    """A new tenant with secrets: id → value."""
    tenant_id = await make_tenant(services.database)
    call = call_of(services, principal(tenant_id))
    made = [await set_secret(call, key=f"K{number}", value=f"value {number}") for number in range(count)]
    return tenant_id, {one.id: f"value {number}" for number, one in enumerate(made)}


async def rotated(services: Services, **said: object) -> Rotation:
    return [one async for one in rotate_keys(services, **said)][-1]  # type: ignore[arg-type]


async def keys_of(vault: Database, tenant_id: UUID) -> list[tuple[int, TenantKeyState]]:
    async with vault.session(tenant_id) as session:
        rows = await session.scalars(select(TenantKey).order_by(TenantKey.version))
        return [(row.version, row.state) for row in rows]


async def test_after_a_rotation_the_new_key_alone_opens_everything(vault: Database) -> None:
    async with wrapped_by(vault, OLD) as services:
        tenant_id, values = await filled(services, BATCH - 1)
        other_id, theirs = await filled(services, 3)
    async with wrapped_by(vault, NEW, OLD) as services:
        done = await rotated(services)
        assert done.rows >= len(values) + len(theirs)
        assert done.unreadable == []
    async with wrapped_by(vault, NEW) as services:
        for tenant, secrets in ((tenant_id, values), (other_id, theirs)):
            call = call_of(services, principal(tenant))
            assert {one: await use_secret(call, one, "a test") for one in secrets} == secrets
            assert await keys_of(vault, tenant) == [(2, TenantKeyState.ACTIVE)]
    async with wrapped_by(vault, OLD) as services:
        with pytest.raises(KeyNotAtHand):
            await use_secret(call_of(services, principal(tenant_id)), next(iter(values)), "a test")
    async with vault.session(tenant_id) as session:
        told = list(await session.scalars(select(Event).where(Event.kind == "secrets.rotated")))
    assert [(one.payload["keyVersion"], one.payload["sealedAnew"]) for one in told] == [(1, len(values))]


async def test_a_rotation_with_nothing_to_do_does_nothing(vault: Database) -> None:
    async with wrapped_by(vault, NEW, OLD) as services:
        await filled(services, 2)
        await rotated(services)
        assert (await rotated(services)).keys == 0
        assert (await rotated(services, made_before=utcnow() - timedelta(days=1))).keys == 0


async def test_keys_made_before_a_time_are_replaced_whatever_wraps_them(vault: Database) -> None:
    async with wrapped_by(vault, NEW, OLD) as services:
        tenant_id, values = await filled(services, 2)
        begun = utcnow()
        assert (await rotated(services, made_before=begun)).keys >= 1
        assert (await rotated(services, made_before=begun)).keys == 0
        assert await keys_of(vault, tenant_id) == [(2, TenantKeyState.ACTIVE)]
        call = call_of(services, principal(tenant_id))
        assert {one: await use_secret(call, one, "a test") for one in values} == values


async def test_versions_times_and_whoever_set_it_stay_as_they_were(vault: Database) -> None:
    async with wrapped_by(vault, OLD) as services:
        tenant_id, _ = await filled(services, 1)
    shown = select(Secret.id, Secret.sealed_version, Secret.created_at, Secret.updated_at, Secret.set_by)
    async with vault.session(tenant_id) as session:
        before = (await session.execute(shown)).all()
    async with wrapped_by(vault, NEW, OLD) as services:
        await rotated(services)
    async with vault.session(tenant_id) as session:
        assert (await session.execute(shown)).all() == before


async def test_whoever_writes_meanwhile_loses_nothing(vault: Database) -> None:
    async with wrapped_by(vault, OLD) as services:
        tenant_id, values = await filled(services, 90)
    async with wrapped_by(vault, NEW, OLD) as services, wrapped_by(vault, OLD, NEW) as gateway:
        call = call_of(gateway, principal(tenant_id))
        begun = utcnow()
        rotating = asyncio.create_task(rotated(services, made_before=begun), name="rotation")
        written = 0
        while not rotating.done() or written < 30:
            number = written % 90
            secret = await set_secret(call, key=f"K{number}", value=f"later {written}")
            values[secret.id] = f"later {written}"
            written += 1
        await rotating
        # What was sealed under a retiring key after the rotation had looked is found by the next.
        await rotated(services, made_before=begun)
    async with wrapped_by(vault, NEW) as fresh:
        call = call_of(fresh, principal(tenant_id))
        assert {one: await use_secret(call, one, "a test") for one in values} == values


async def test_two_rotations_at_once_do_the_work_of_one(vault: Database) -> None:
    async with wrapped_by(vault, OLD) as services:
        tenant_id, values = await filled(services, 60)
    async with wrapped_by(vault, NEW, OLD) as one, wrapped_by(vault, NEW, OLD) as two:
        await asyncio.gather(rotated(one), rotated(two))
        assert await keys_of(vault, tenant_id) == [(2, TenantKeyState.ACTIVE)]
        call = call_of(one, principal(tenant_id))
        assert {secret: await use_secret(call, secret, "a test") for secret in values} == values


async def test_what_no_key_opens_is_named_and_its_data_key_stays(vault: Database) -> None:
    async with wrapped_by(vault, OLD) as services:
        tenant_id, values = await filled(services, 3)
    broken = next(iter(values))
    async with vault.session(tenant_id) as session:
        await session.execute(update(Secret).where(Secret.id == broken).values(sealed=b"not an envelope"))
        await session.commit()
    async with wrapped_by(vault, NEW, OLD) as services:
        done = await rotated(services)
        assert len(done.unreadable) == 1
        assert done.unreadable[0].startswith("secrets secret_")
        assert await keys_of(vault, tenant_id) == [(1, TenantKeyState.RETIRING), (2, TenantKeyState.ACTIVE)]
        call = call_of(services, principal(tenant_id))
        for one, value in values.items():
            if one == broken:
                with pytest.raises(Unreadable):
                    await use_secret(call, one, "a test")
            else:
                assert await use_secret(call, one, "a test") == value
    async with vault.session(tenant_id) as session:
        await session.execute(text("DELETE FROM secrets WHERE id = :id"), {"id": broken})
        await session.commit()
    async with wrapped_by(vault, NEW, OLD) as services:
        await rotated(services)
    assert await keys_of(vault, tenant_id) == [(2, TenantKeyState.ACTIVE)]


async def test_an_envelope_from_before_a_rotation_does_not_open_after_it(vault: Database, owner: AsyncEngine) -> None:
    async with wrapped_by(vault, OLD) as services:
        tenant_id, values = await filled(services, 1)
    (secret_id,) = values
    async with vault.session(tenant_id) as session:
        before = await session.scalar(select(Secret.sealed))
    async with wrapped_by(vault, NEW, OLD) as services:
        await rotated(services)
        async with vault.session(tenant_id) as session:
            await session.execute(update(Secret).values(sealed=before))
            await session.commit()
        with pytest.raises(Unreadable):
            await use_secret(call_of(services, principal(tenant_id)), secret_id, "a test")
        # The last test of this tenant: it would keep every later rotation from ending its key.
        async with vault.session(tenant_id) as session:
            await session.execute(text("DELETE FROM secrets"))
            await session.commit()
