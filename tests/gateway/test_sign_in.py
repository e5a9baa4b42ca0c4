"""This module is where signing in is specified as clients and operators meet it: over HTTP, on two gateways at once.

The second gateway signs with a newer key, still accepts the older one, and stands behind a proxy that it trusts.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import jwt
import pytest
from sqlalchemy import select, update

from gateway.embedded import EmbeddedValkey
from models import RefreshToken, Role, Session, Tenant, User
from models.database import Database
from models.ids import decode
from tests.gateway.production_gateway import Deployment, gateway_processes
from tests.gateway.test_revocation import PASSWORD, WITHIN_SECONDS, House, refused, socket
from tests.patience import DEADLINE, promised
from tests.report import record
from tests.world import running

PARALLEL: Final = 20
LOGIN: Final = """mutation($input: LoginInput!) { login(input: $input) {
  accessToken refreshToken viewer { user { email } } userErrors { code message } } }"""
REFRESH: Final = """mutation($input: RefreshSessionInput!) { refreshSession(input: $input) {
  accessToken refreshToken userErrors { code } } }"""


@dataclass(frozen=True, slots=True)
class NewerDeployment(Deployment):
    """The same deployment half way through a rotation of its signing key, behind a proxy."""

    newer_seed: str = ""

    def environment(self, data_dir: Path) -> dict[str, str]:
        """What a process of it is started with."""
        return Deployment.environment(self, data_dir) | {
            "SIGNALBOX_TOKEN_KEYS": f"{self.newer_seed},{self.token_seed}",
            "SIGNALBOX_TRUSTED_PROXIES": "127.0.0.0/8",
        }


@pytest.fixture(scope="module")
async def house(
    database: Database, app_url: str, valkey: EmbeddedValkey, tmp_path_factory: Any
) -> AsyncIterator[House]:
    """``watching`` is the older gateway, ``idle`` the newer one."""
    older = Deployment(app_url, valkey.url)
    newer = NewerDeployment(
        *(app_url, valkey.url, older.token_seed, older.refresh_key, older.secrets_key), newer_seed=secrets.token_hex(32)
    )
    folders: list[Path] = [tmp_path_factory.mktemp(name) for name in ("older", "newer")]
    async with AsyncExitStack() as stack:
        services = await stack.enter_async_context(running(database, valkey.url))
        accounts = older.accounts(database, services)
        stack.push_async_callback(accounts.close)
        (first,) = await stack.enter_async_context(gateway_processes(older, folders[0], 1))
        (second,) = await stack.enter_async_context(gateway_processes(newer, folders[1], 1))
        yield House(first, second, replace(services, accounts=accounts))


async def _posted(url: str, query: str, said: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=url, timeout=DEADLINE, trust_env=False) as client:
        answer = await client.post("/graphql", json={"query": query, "variables": {"input": said}}, headers=headers)
    body: dict[str, Any] = answer.json()
    return body


async def ask(url: str, query: str, said: dict[str, Any], **headers: str) -> dict[str, Any]:
    """The answer of the document's one mutation."""
    body = await _posted(url, query, said, headers)
    assert "errors" not in body, body["errors"]
    (payload,) = body["data"].values()
    assert isinstance(payload, dict)
    return payload


async def ask_again(url: str, query: str, said: dict[str, Any]) -> dict[str, Any]:
    """The answer, asked for again while the gateway says that it cannot answer now: many wait for one row."""
    async with asyncio.timeout(DEADLINE):
        while True:
            body = await _posted(url, query, said, {})
            if "errors" not in body:
                (payload,) = body["data"].values()
                assert isinstance(payload, dict)
                return payload
            assert [one["extensions"]["code"] for one in body["errors"]] == ["UNAVAILABLE"]


def account(tenant: Tenant, user: User, password: str = PASSWORD) -> dict[str, str]:
    assert user.email is not None
    return {"tenantSlug": tenant.slug, "email": user.email, "password": password}


async def sessions(house: House, tenant: Tenant) -> list[Session]:
    async with house.services.database.session(tenant.id) as session:
        return list(await session.scalars(select(Session).where(Session.tenant_id == tenant.id)))


async def age_uses(house: House, tenant: Tenant, by: timedelta) -> int:
    """Lets time pass since tokens were used; how many there are."""
    async with house.services.database.session(tenant.id) as session:
        await session.execute(update(RefreshToken).values(used_at=RefreshToken.used_at - by))
        await session.commit()
        return len((await session.scalars(select(RefreshToken.id))).all())


@pytest.mark.timed
async def test_parallel_uses_give_one_successor_and_a_later_reuse_ends_the_family_and_its_streams(
    house: House,
) -> None:
    tenant = await house.tenant()
    _, signed = await house.person(tenant, Role.OPERATOR)
    _, neighbour = await house.person(tenant, Role.OPERATOR)
    async with socket(house.watching, signed.access_token) as peer, socket(house.idle, neighbour.access_token) as other:
        answers = await asyncio.gather(
            *(
                ask_again((house.watching, house.idle)[number % 2], REFRESH, {"refreshToken": signed.refresh_token})
                for number in range(PARALLEL)
            )
        )
        successors = {one["refreshToken"] for one in answers}
        assert [one["userErrors"] for one in answers] == [[]] * PARALLEL
        assert len(successors) == 1
        # Two families of two people: one that was used, its successor, and the neighbour's first.
        assert await age_uses(house, tenant, timedelta(seconds=11)) == 3
        again = await ask(house.idle, REFRESH, {"refreshToken": signed.refresh_token})
        assert [one["code"] for one in again["userErrors"]] == ["INVALID_CREDENTIALS"]
        began = time.monotonic()
        async with asyncio.timeout(promised(WITHIN_SECONDS)):
            assert await peer.end() == 4401
        seconds = time.monotonic() - began
        dead = await ask(house.watching, REFRESH, {"refreshToken": successors.pop()})
        assert dead["refreshToken"] is None
        assert await refused(house.watching, answers[0]["accessToken"]) == "UNAUTHENTICATED"
        await other.send(type="ping")
        async with asyncio.timeout(DEADLINE):
            assert (await other.next())["type"] == "pong"
    record(
        4,
        "parallel uses of a refresh token give one successor, its later reuse ends the family and streams",
        PARALLEL,
        f"1 successor over two gateways; the stream ended {seconds:.2f} s after the reuse",
    )


async def test_two_signing_keys_are_good_at_once_and_the_first_signs(house: House) -> None:
    tenant = await house.tenant()
    user, signed = await house.person(tenant, Role.OPERATOR)
    newer = await ask(house.idle, LOGIN, account(tenant, user))
    kids = [jwt.get_unverified_header(one)["kid"] for one in (signed.access_token, newer["accessToken"])]
    assert kids[0] != kids[1]
    query = "mutation($input: RevokeOtherSessionsInput!) { revokeOtherSessions(input: $input) { revokedSessions } }"
    old = await ask(house.idle, query, {}, authorization=f"Bearer {signed.access_token}")
    assert old == {"revokedSessions": 1}
    # Whoever has not been given the new key yet asks for credentials, and refreshing gives ones it knows.
    fresh = await ask(house.idle, LOGIN, account(tenant, user))
    assert await refused(house.watching, fresh["accessToken"]) == "UNAUTHENTICATED"
    again = await ask(house.watching, REFRESH, {"refreshToken": fresh["refreshToken"]})
    assert jwt.get_unverified_header(again["accessToken"])["kid"] == kids[0]


async def test_only_a_trusted_proxy_is_believed_where_a_client_comes_from(house: House) -> None:
    tenant = await house.tenant()
    user, _ = await house.person(tenant, Role.OPERATOR)
    forwarded = {"x-forwarded-for": "203.0.113.66, 198.51.100.7"}
    found = []
    for url in (house.watching, house.idle):
        signed = await ask(url, LOGIN, account(tenant, user), **forwarded)
        claims = jwt.decode(signed["accessToken"], options={"verify_signature": False})
        _, session_id = decode(claims["sid"])
        found += [(one.address, one.network) for one in await sessions(house, tenant) if one.id == session_id]
    # The last hop that is not trusted itself; what stands before it anybody could have written.
    assert found == [("127.0.0.1", "127.0.0.0/24"), ("198.51.100.7", "198.51.100.0/24")]


async def test_a_wrong_password_and_an_unknown_person_take_as_long_and_read_the_same(house: House) -> None:
    tenant = await house.tenant()
    user, _ = await house.person(tenant, Role.OPERATOR)
    seconds: dict[str, list[float]] = {}
    told = set()
    for number in range(4):
        for name, said in {
            "wrong password": account(tenant, user, "wrong password"),
            "unknown person": account(tenant, user) | {"email": f"nobody{number}@example.org"},
            "unknown tenant": account(tenant, user) | {"tenantSlug": "no-such-tenant"},
        }.items():
            began = time.monotonic()
            answer = await ask(house.idle, LOGIN, said, **{"x-forwarded-for": f"198.51.{number}.7"})
            seconds.setdefault(name, []).append(time.monotonic() - began)
            told.add((answer["accessToken"], str(answer["userErrors"])))
    assert len(told) == 1
    quickest, medians = min(min(one) for one in seconds.values()), {k: sorted(v)[1] for k, v in seconds.items()}
    assert quickest >= 0.5
    # Nothing but the floor is left of what each of them cost: they differ by the noise of a busy machine.
    assert max(medians.values()) - min(medians.values()) < 0.25, medians
    spread = (max(medians.values()) - min(medians.values())) * 1000
    record(4, "equal timing for unknown users", 12, f"medians of three kinds of refusal differ by {spread:.0f} ms")
