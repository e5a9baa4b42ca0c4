"""This module is where a gateway with a KMS is run whole: secrets set, restarted, read, and moved to another key."""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from gateway import settings as configuration
from gateway.embedded import EmbeddedPostgres, EmbeddedValkey
from gateway.keys import key_provider
from models.database import Database, DatabaseUrls, PoolOptions, role_url
from models.errors import Refusal, RefusalCode
from models.ids import parse
from models.roles import APP
from resolvers.administration import operator_call
from resolvers.call import Services
from resolvers.key_rotation import rotate_keys
from resolvers.keyring import KeyNotAtHand, Keyring
from resolvers.secrets import set_secret, use_secret
from tests.corpus.conftest import signed_in
from tests.gateway.demo_house import new_database
from tests.gateway.kms_server import Kms, kms_server
from tests.gateway.production_gateway import ROOT, Deployment, gateway_processes
from tests.patience import DEADLINE
from tests.report import record
from tests.world import AUDIT, make_tenant, running

SET = """mutation($input: SetSecretInput!) { setSecret(input: $input) {
  secret { id key version } userErrors { code message } } }"""
WHOSE = "{ viewer { tenant { id } } }"


@dataclass(slots=True)
class Tenant:
    """Somebody's tenant, and the secrets that it was given."""

    id: UUID
    token: str = ""
    secrets: dict[UUID, str] = field(default_factory=dict)

    async def give(self, url: str, key: str) -> None:
        """Set a secret through the API, or set it anew."""
        value = f"sk-{secrets.token_hex(16)}"
        found = (await ask(url, self.token, SET, input={"key": key, "value": value}))["setSecret"]
        assert found["userErrors"] == []
        self.secrets[parse(found["secret"]["id"], "secret")] = value


async def ask(url: str, token: str, query: str, **variables: Any) -> dict[str, Any]:
    async with httpx.AsyncClient(trust_env=False, timeout=DEADLINE) as client:
        answer = await client.post(
            f"{url}/graphql",
            json={"query": query, "variables": variables},
            headers={"authorization": f"Bearer {token}"},
        )
    payload: dict[str, Any] = answer.json()
    assert "errors" not in payload, payload
    data: dict[str, Any] = payload["data"]
    return data


@dataclass(frozen=True, slots=True)
class Operator:
    """Who starts processes of a deployment of the test's own, each time with the wrapping keys that it names."""

    url: str
    database: Database
    deployment: Deployment
    folder: Path
    logs: list[bytes] = field(default_factory=list)

    @asynccontextmanager
    async def gateway(self, keys: dict[str, str]) -> AsyncIterator[str]:
        """The address of a gateway; its log is kept when it has ended."""
        async with gateway_processes(self.deployment, self.folder, 1, **keys) as (address,):
            yield address
        self.logs.append((self.folder / "gateway-0.log").read_bytes())

    async def move_in(self, address: str) -> Tenant:
        """A new tenant's administrator, signed in there."""
        token = await signed_in(self.database, self.deployment, self.deployment.redis_url)
        found = await ask(address, token, WHOSE)
        return Tenant(parse(found["viewer"]["tenant"]["id"], "tenant"), token)

    async def rotate(self, keys: dict[str, str]) -> str:
        """What rotate-keys says of its work."""
        code, said = await self.run(keys, "rotate-keys")
        assert code == 0, self.logs[-1].decode()
        return said

    async def run(self, keys: dict[str, str], *arguments: str) -> tuple[int, str]:
        """A command to its end: its code and what it said."""
        settings = {f"SIGNALBOX_{name}".upper(): value for name, value in keys.items()}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", *arguments),
            cwd=ROOT,
            env=self.deployment.environment(self.folder) | settings,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        said, log = await asyncio.wait_for(process.communicate(), DEADLINE)
        self.logs.append(log)
        return process.returncode or 0, said.decode()

    @asynccontextmanager
    async def services(self, keys: dict[str, str]) -> AsyncIterator[Services]:
        """A gateway's parts in this process, which remember no key."""
        settings = configuration.load(profile="production", data_dir=self.folder, **keys)
        async with running(self.database, keyring=Keyring(key_provider(settings))) as services:
            yield services

    async def assert_all_open(self, keys: dict[str, str], tenants: list[Tenant]) -> None:
        """Each tenant reads its own secrets with these keys, and nobody else's."""
        async with self.services(keys) as services:
            for one in tenants:
                call = operator_call(services, one.id)
                assert {secret: await use_secret(call, secret, "a test") for secret in one.secrets} == one.secrets
                for foreign in {secret for other in tenants for secret in other.secrets} - one.secrets.keys():
                    with pytest.raises(Refusal) as refused:
                        await use_secret(call, foreign, "a test")
                    assert refused.value.code is RefusalCode.NOT_FOUND


def only(key_id: str) -> dict[str, str]:
    """The settings of a gateway that has this key of the KMS and no other."""
    return {"kms_key_id": key_id, "secrets_keys": ""}


async def rows_of(superuser_url: str) -> str:
    """Every row of keys and of secrets, as text."""
    engine = create_async_engine(superuser_url)
    async with engine.connect() as connection:
        found = [
            str((await connection.execute(text(f"SELECT t::text FROM {table} t"))).scalars().all())
            for table in ("tenant_keys", "secrets")
        ]
    await engine.dispose()
    return "\n".join(found)


def contexts(tenants: list[Tenant], version: int) -> list[dict[str, str]]:
    """What a policy of the KMS, or its log, tells tenants apart by."""
    return [{"signalbox": "data key", "tenant": str(one.id), "version": str(version)} for one in tenants]


@pytest.fixture
def kms(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kms]:
    """A KMS that the processes of this test find as AWS's tools find theirs."""
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    with kms_server() as running:
        for name, value in running.environment().items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
async def operator(postgres: EmbeddedPostgres, valkey: EmbeddedValkey, tmp_path: Path) -> AsyncIterator[Operator]:
    """Of a deployment with a database of its own, since a rotation goes through all tenants."""
    url = await new_database(postgres.url, f"kms_{secrets.token_hex(4)}")
    database = Database(DatabaseUrls.for_roles(url), PoolOptions(size=2), AUDIT)
    yield Operator(url, database, Deployment(role_url(url, APP), valkey.url), tmp_path)
    await database.close()


async def test_secrets_outlive_restarts_and_the_kms_keys_that_wrapped_their_keys(operator: Operator, kms: Kms) -> None:
    old, new = kms.create(), kms.create()
    async with operator.gateway(only(old)) as gateway:
        tenants = [await operator.move_in(gateway) for _ in range(2)]
        for one in tenants:
            await one.give(gateway, "FIRST")
    assert kms.asked("GenerateDataKey") == [(old, context) for context in contexts(tenants, 1)]
    await operator.assert_all_open(only(old), tenants)

    # Started again it remembers no data key, and asks for those that there are.
    kms.journal.clear()
    async with operator.gateway(only(old)) as gateway:
        for one in tenants:
            await one.give(gateway, "SECOND")
        assert kms.asked("Decrypt") == [(old, context) for context in contexts(tenants, 1)]
        assert kms.asked("GenerateDataKey") == []
        # To another key while it runs, and remembers what was.
        assert "2 keys of" in await operator.rotate(only(new))
        assert kms.asked("GenerateDataKey") == [(new, context) for context in contexts(tenants, 2)]
        for one in tenants:
            await one.give(gateway, "SECOND")
            await one.give(gateway, "THIRD")

    kms.disabled.add(old)
    await operator.assert_all_open(only(new), tenants)

    rows = await rows_of(operator.url)
    assert new in rows
    assert old not in rows
    assert [place for place in (rows.encode(), *operator.logs) for key in kms.handed_out if _holds(place, key)] == []
    count = sum(len(one.secrets) for one in tenants)
    record(
        4,
        "a gateway whose keys are in a KMS: set, restarted, moved to another key, read",
        count,
        f"{count} secrets of {len(tenants)} tenants, {len(kms.handed_out)} data keys, none of them in a row or a log",
    )


async def test_secrets_move_from_settings_to_a_kms_and_back_and_need_the_kms_no_more(
    operator: Operator, kms: Kms
) -> None:
    local, key_id = operator.deployment.secrets_key, kms.create()
    tenant = Tenant(await make_tenant(operator.database))
    async with operator.services({"secrets_keys": local}) as services:
        made = await set_secret(operator_call(services, tenant.id), key="FIRST", value="swordfish")
    tenant.secrets[made.id] = "swordfish"
    for wrapping, afterwards in (
        ({"secrets_keys": local, "kms_key_id": key_id}, only(key_id)),
        ({"secrets_keys": f"{local},kms:{key_id}"}, {"secrets_keys": local}),
    ):
        async with operator.services(wrapping) as services:
            assert [done.keys async for done in rotate_keys(services)][-1] == 1
        await operator.assert_all_open(afterwards, [tenant])
    kms.disabled.add(key_id)
    await operator.assert_all_open({"secrets_keys": local}, [tenant])


async def test_a_kms_that_refuses_makes_secrets_unavailable_and_stops_a_command_with_one_line(
    operator: Operator, kms: Kms
) -> None:
    key_id, tenant_id = kms.create(), await make_tenant(operator.database)
    async with operator.services(only(key_id)) as services:
        made = await set_secret(operator_call(services, tenant_id), key="FIRST", value="swordfish")
    kms.disabled.add(key_id)
    async with operator.services(only(key_id)) as services:
        with pytest.raises(KeyNotAtHand):
            await use_secret(operator_call(services, tenant_id), made.id, "a test")
    del kms.keys[key_id]
    code, _ = await operator.run(only(key_id), "rotate-keys")
    said = operator.logs[-1].decode()
    assert code == 1
    assert said.strip().splitlines()[-1].startswith("signalbox: SIGNALBOX_KMS_KEY_ID: ")
    assert "Traceback" not in said


def _holds(place: bytes, key: bytes) -> bool:
    return key in place or key.hex().encode() in place or repr(key).encode() in place
