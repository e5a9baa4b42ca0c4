"""This module is where the corpus gets a gateway in production's profile, and somebody who is signed in to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.embedded import EmbeddedValkey
from models import Role, Tenant, User, UserStatus
from models.database import Database
from models.ids import uuid7
from models.users import email_key
from tests.gateway.production_gateway import Deployment, GatewayProcess, running_gateways
from tests.world import Fleet, call_of, make_tenant, running

PASSWORD = "correct horse battery"
ORDINARY = "{ viewer { scopes } workspaces(first: 5) { totalCount nodes { name parent { name } } } }"


@dataclass(slots=True)
class Target:
    """The gateway, and a client of somebody who may read it."""

    process: GatewayProcess
    deployment: Deployment
    token: str
    http: httpx.AsyncClient

    async def ask(self, query: str, *, signed_in: bool = True, **said: Any) -> httpx.Response:
        """The answer to one operation."""
        headers = {"authorization": f"Bearer {self.token}"} if signed_in else {}
        return await self.http.post("/graphql", json={"query": query, **said}, headers=headers)


async def signed_in(database: Database, deployment: Deployment, redis_url: str) -> str:
    """The access token of a new tenant's admin; the tenant has some workspaces."""
    async with AsyncExitStack() as stack:
        services = await stack.enter_async_context(running(database, redis_url))
        accounts = deployment.accounts(database, services)
        stack.push_async_callback(accounts.close)
        tenant_id, row_id = await make_tenant(database), uuid7()
        email = f"ada.{row_id.hex}@example.org"
        async with database.session(tenant_id) as session:
            tenant = await session.get_one(Tenant, tenant_id)
            session.add(
                User(
                    tenant_id=tenant_id,
                    id=row_id,
                    email=email,
                    email_key=email_key(email),
                    password_hash=await accounts.hash_password(PASSWORD),
                    roles=[Role.ADMIN.value],
                    status=UserStatus.ACTIVE,
                )
            )
            await session.commit()
        await Fleet(database, tenant_id).grow(7)
        call = call_of(services, None)
        signed = await accounts.login(call, tenant_slug=tenant.slug, email=email, password=PASSWORD)
        return signed.access_token


@pytest.fixture(scope="package")
async def target(
    database: Database, app_url: str, valkey: EmbeddedValkey, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Target]:
    """One gateway for the whole corpus."""
    deployment = Deployment(app_url, valkey.url)
    folder: Path = tmp_path_factory.mktemp("corpus")
    token = await signed_in(database, deployment, valkey.url)
    async with (
        running_gateways(deployment, folder, 1) as (process,),
        httpx.AsyncClient(base_url=process.url, timeout=30, trust_env=False) as http,
    ):
        yield Target(process, deployment, token, http)
