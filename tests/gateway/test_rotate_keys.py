"""This module is where signalbox rotate-keys is specified, killed at any moment included."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import undefer

from gateway.key_providers import LocalKeys
from gateway.servers import in_database
from models import Secret, SecretOwner, TenantKey
from models.database import Database, DatabaseUrls, PoolOptions, role_url
from models.ids import uuid7
from models.migrate import ensure_roles, migrate
from models.roles import APP, OWNER
from resolvers.keyring import Keyring
from tests.report import record
from tests.world import make_tenant

ROOT = Path(__file__).parents[2]
TENANTS = 4
SECRETS_EACH = 500
SHOW = "rotation killed 20 times at random ends with every secret readable under the new key"


class Vault:
    """A database of secrets, and the commands an operator gives beside it."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.keys = [secrets.token_hex(32)]
        self.database = Database(DatabaseUrls.for_roles(url), PoolOptions(size=4))
        self.values: dict[UUID, dict[UUID, str]] = {}

    def environment(self) -> dict[str, str]:
        """What the command is started with."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SIGNALBOX_")}
        return kept | {
            "SIGNALBOX_DATABASE_URL": role_url(self.url, APP),
            "SIGNALBOX_REDIS_URL": "memory://",
            "SIGNALBOX_TOKEN_KEYS": "00" * 32,
            "SIGNALBOX_REFRESH_KEY": "00" * 32,
            "SIGNALBOX_AUDIT_KEYS": "00" * 32,
            "SIGNALBOX_SECRETS_KEYS": ",".join(self.keys),
            "SIGNALBOX_DATA_DIR": str(self.folder),
        }

    def rotate(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the command."""
        return subprocess.Popen(
            [sys.executable, "-m", "gateway", "rotate-keys", *arguments],
            cwd=ROOT,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, *arguments: str) -> tuple[int, str, str]:
        """Run the command to its end."""
        process = self.rotate(*arguments)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def keyring(self, *keys: str) -> Keyring:
        """A process that holds only these keys."""
        return Keyring(LocalKeys([bytes.fromhex(one) for one in keys]))

    async def fill(self) -> None:
        """Secrets of several tenants."""
        ring = self.keyring(*self.keys)
        for _ in range(TENANTS):
            tenant_id = await make_tenant(self.database)
            values = {uuid7(): f"value {number} of {tenant_id}" for number in range(SECRETS_EACH)}
            async with self.database.session(tenant_id) as session:
                key = await ring.current(session)
                for number, (secret_id, value) in enumerate(values.items()):
                    row = Secret(
                        tenant_id=tenant_id,
                        id=secret_id,
                        owner_type=SecretOwner.AGENT,
                        owner_id=uuid7(),
                        key=f"K{number}",
                    )
                    row.seal(value.encode(), key)
                    session.add(row)
                await session.commit()
            self.values[tenant_id] = values

    async def opened(self, *keys: str) -> dict[UUID, dict[UUID, str]]:
        """Every secret there is, read with these keys alone."""
        ring, found = self.keyring(*keys), {}
        for tenant_id in self.values:
            async with self.database.session(tenant_id) as session:
                rows = await session.scalars(select(Secret).options(undefer(Secret.sealed)))
                found[tenant_id] = {
                    row.id: row.unseal(await ring.of(session, row.key_id)).decode() for row in rows.all()
                }
        return found

    async def done(self) -> int:
        """How many secrets the present first key protects."""
        name = self.keyring(self.keys[0]).provider.name
        counted = 0
        for tenant_id in self.values:
            async with self.database.session(tenant_id) as session:
                counted += (
                    await session.scalar(
                        text(
                            "SELECT count(*) FROM secrets s JOIN tenant_keys k "
                            "ON (k.tenant_id, k.id) = (s.tenant_id, s.key_id) WHERE k.key_encryption_key = :name"
                        ),
                        {"name": name},
                    )
                    or 0
                )
        return counted


@pytest.fixture
async def vault(migrated: str, tmp_path: Path) -> AsyncIterator[Vault]:
    name = f"vault_{uuid7().hex}"
    server = create_async_engine(migrated, isolation_level="AUTOCOMMIT")
    async with server.connect() as connection:
        await connection.exec_driver_sql(f"CREATE DATABASE {name}")
    url = in_database(migrated).replace("/signalbox", f"/{name}")
    superuser, owner = create_async_engine(url), create_async_engine(role_url(url, OWNER))
    await ensure_roles(superuser, name)
    await migrate(owner)
    await superuser.dispose()
    await owner.dispose()
    vault = Vault(url, tmp_path)
    await vault.fill()
    yield vault
    await vault.database.close()
    async with server.connect() as connection:
        await connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    await server.dispose()


async def killed_while_rotating(vault: Vault, kills: int, dice: random.Random) -> tuple[int, int]:
    """Rotate to new keys, killing each run at random; how many keys it took, and how many kills hit the middle."""
    rotations, in_the_middle, total = 0, 0, TENANTS * SECRETS_EACH
    for _ in range(kills):
        if await vault.done() == total:
            vault.keys.insert(0, secrets.token_hex(32))
            rotations += 1
        before = await vault.done()
        process = vault.rotate()
        # Until it has begun; then any moment of what one run takes.
        async with asyncio.timeout(60):
            while process.poll() is None and await vault.done() == before:  # noqa: ASYNC110 - only rows tell
                await asyncio.sleep(0.01)
        await asyncio.sleep(dice.random() * 0.25)
        process.kill()
        process.communicate()
        in_the_middle += before < await vault.done() < total
        assert await vault.opened(*vault.keys) == vault.values
    code, out, err = vault.finish()
    assert (code, "secrets sealed anew" in out) == (0, True), err
    return rotations, in_the_middle


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.faults)])
async def test_a_rotation_killed_at_any_moment_loses_nothing_and_goes_on(vault: Vault, kills: int) -> None:
    seed = secrets.randbits(32)
    rotations, in_the_middle = await killed_while_rotating(vault, kills, random.Random(seed))
    assert await vault.opened(vault.keys[0]) == vault.values
    for tenant_id in vault.values:
        async with vault.database.session(tenant_id) as session:
            assert await session.scalar(text("SELECT count(*) FROM tenant_keys")) == 1
            assert await session.scalar(text("SELECT state FROM tenant_keys")) == "active"
    record(
        4,
        SHOW,
        n=kills,
        figure=f"{TENANTS * SECRETS_EACH} secrets, {rotations} new keys, {in_the_middle} kills half way, seed {seed}: "
        "all readable under the last key alone, after every kill under the keys at hand",
    )


async def test_everything_is_replaced_when_asked_and_gone_on_with_from_the_time_that_it_says(vault: Vault) -> None:
    code, out, err = await asyncio.to_thread(vault.finish, "--all")
    assert (code, out) == (0, "4 keys of 5 tenants replaced, 2,000 secrets sealed anew\n"), err
    resume = err.split("go on with ")[1].splitlines()[0].split()
    code, out, _ = await asyncio.to_thread(vault.finish, *resume)
    assert (code, out) == (0, "0 keys of 5 tenants replaced, 0 secrets sealed anew\n")
    assert await vault.opened(vault.keys[0]) == vault.values
    code, _, err = await asyncio.to_thread(vault.finish, "--all", "--made-before", "2026-01-01")
    assert code == 2
    assert "not both" in err


async def test_a_rotation_without_the_old_key_says_so_in_one_line_and_changes_nothing(vault: Vault) -> None:
    old, vault.keys = vault.keys, [secrets.token_hex(32)]
    code, _, err = await asyncio.to_thread(vault.finish)
    assert (code, err.strip().splitlines()[-1][:10]) == (1, "signalbox:")
    assert "Traceback" not in err
    assert await vault.opened(*old, *vault.keys) == vault.values


def test_a_data_keys_row_shows_nothing_of_the_key() -> None:
    assert "wrapped" not in repr(TenantKey(wrapped=b"x"))
