"""This module is where revocation is specified: within two seconds, on every process and every transport."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import httpx
import orjson
import pytest
from sqlalchemy import update
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from gateway.embedded import EmbeddedValkey
from models import ApiKey, Role, Scope, Tenant, TenantStatus, User, UserStatus
from models.database import Database
from models.ids import uuid7
from models.users import email_key
from resolvers.call import Call, Services
from resolvers.credentials import Signed
from resolvers.tenants import update_tenant
from resolvers.users import update_user
from tests.gateway.production_gateway import Deployment, gateway_processes
from tests.patience import DEADLINE, promised
from tests.report import record
from tests.world import call_of, make_tenant, principal, running

pytestmark = pytest.mark.timed

SHOW: Final = "revocation reaches every process"
WITHIN_SECONDS: Final = 2.0
PASSWORD: Final = "correct horse battery"
FEED: Final = """subscription($after: EventCursor) { activityFeed(after: $after) {
  __typename ... on StreamItem { cursor } ... on StreamReady { recovered } ... on ActivityItem { event { kind } } } }"""
EVENTS: Final = "text/event-stream"
MULTIPART: Final = 'multipart/mixed;boundary="graphql";subscriptionSpec=1.0,application/json'


@dataclass(slots=True)
class House:
    """Two gateways: only the first ever has a subscription. Changes are made by a third process, the test's own."""

    watching: str
    idle: str
    services: Services

    async def tenant(self) -> Tenant:
        """A tenant of the test's own."""
        tenant_id = await make_tenant(self.services.database)
        async with self.services.database.session(tenant_id) as session:
            tenant: Tenant = await session.get_one(Tenant, tenant_id)
        return tenant

    async def person(self, tenant: Tenant, role: Role) -> tuple[User, Signed]:
        """Somebody who is signed in."""
        row_id = uuid7()
        email = f"ada.{row_id.hex}@example.org"
        user = User(
            tenant_id=tenant.id,
            id=row_id,
            email=email,
            email_key=email_key(email),
            password_hash=await self.services.accounts.hash_password(PASSWORD),
            roles=[role.value],
            status=UserStatus.ACTIVE,
        )
        async with self.services.database.session(tenant.id) as session:
            session.add(user)
            await session.commit()
        call = call_of(self.services, None)
        return user, await self.services.accounts.login(call, tenant_slug=tenant.slug, email=email, password=PASSWORD)

    def admin(self, tenant: Tenant) -> Call:
        """An operation of somebody who may do anything in the tenant."""
        return call_of(self.services, principal(tenant.id, Role.ADMIN, api_key_id=uuid7()))

    def platform(self, tenant: Tenant) -> Call:
        """An operation of the platform in the tenant."""
        scopes = frozenset({Scope.TENANTS_WRITE, Scope.PLATFORM_ADMIN})
        return call_of(self.services, principal(tenant.id, scopes=scopes, user_id=uuid7(), is_platform_admin=True))


@pytest.fixture(scope="module")
async def house(
    database: Database, app_url: str, valkey: EmbeddedValkey, tmp_path_factory: Any
) -> AsyncIterator[House]:
    deployment = Deployment(app_url, valkey.url)
    folder: Path = tmp_path_factory.mktemp("revocation")
    async with AsyncExitStack() as stack:
        services = await stack.enter_async_context(running(database, valkey.url))
        accounts = deployment.accounts(database, services)
        stack.push_async_callback(accounts.close)
        watching, idle = await stack.enter_async_context(gateway_processes(deployment, folder, 2))
        yield House(watching, idle, replace(services, accounts=accounts))


class Socket:
    """One subscriber over a WebSocket."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def send(self, **message: Any) -> None:
        """One message."""
        await self.socket.send(orjson.dumps(message).decode())

    async def next(self) -> dict[str, Any]:
        """The next message that is no ping."""
        while True:
            message: dict[str, Any] = orjson.loads(await self.socket.recv())
            if message["type"] != "ping":
                return message

    async def end(self) -> Any:
        """The close code, or the error that ends the stream, whatever events come before it."""
        try:
            while (message := await self.next())["type"] == "next":
                pass
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else 1006
        return message["payload"][0]["extensions"]


@asynccontextmanager
async def socket(url: str, token: str, **variables: Any) -> AsyncIterator[Socket]:
    """A socket with a stream that stands."""
    address = url.replace("http", "ws") + "/graphql"
    async with connect(address, subprotocols=[Subprotocol("graphql-transport-ws")], proxy=None) as connection:
        peer = Socket(connection)
        await peer.send(type="connection_init", payload={"authorization": f"Bearer {token}"})
        assert (await peer.next())["type"] == "connection_ack"
        await peer.send(type="subscribe", id="1", payload={"query": FEED, "variables": variables})
        ready = (await peer.next())["payload"]["data"]["activityFeed"]
        assert ready["__typename"] == "StreamReady"
        yield peer


async def stream_end(url: str, token: str, accept: str, stands: asyncio.Event) -> Any:
    """The extensions of the error that is the last thing a stream over HTTP says."""
    headers = {"authorization": f"Bearer {token}", "accept": accept}
    said = b""
    async with (
        httpx.AsyncClient(base_url=url, timeout=DEADLINE, trust_env=False) as client,
        client.stream("POST", "/graphql", json={"query": FEED}, headers=headers) as response,
    ):
        assert response.status_code == 200
        async for piece in response.aiter_bytes():
            said += piece
            if b"StreamReady" in said:
                stands.set()
    ending = b"event: complete\ndata:\n\n" if accept == EVENTS else b"--graphql--\r\n"
    assert said.endswith(ending)
    last = said[said.rindex(b'{"payload":null,' if accept != EVENTS else b'{"errors"') :]
    return orjson.loads(last[: last.index(b"\n")].strip())["errors"][0]["extensions"]


async def refused(url: str, token: str) -> str:
    """Asks until it is refused; with which code."""
    async with httpx.AsyncClient(base_url=url, timeout=DEADLINE, trust_env=False) as client:
        while True:
            answer = await client.post(
                "/graphql",
                json={"query": "{ activity(first: 1) { nodes { id } } }"},
                headers={"authorization": f"Bearer {token}"},
            )
            for error in answer.json().get("errors", ()):
                code: str = error["extensions"]["code"]
                return code
            await asyncio.sleep(0.05)


Change = Callable[[], Awaitable[Any]]


@dataclass(slots=True)
class Ends:
    """How everything ended that was open, and how long after the change."""

    socket: Any
    stream: Any
    multipart: Any
    watching: str
    idle: str
    seconds: dict[str, float]


async def ends_of(house: House, token: str, change: Change) -> Ends:
    """Opens one stream over each transport and asks both gateways all the time; makes the change and sees all end."""
    seconds: dict[str, float] = {}
    began = asyncio.get_running_loop().create_future()
    standing = [asyncio.Event(), asyncio.Event()]

    async def timed(name: str, end: Awaitable[Any]) -> Any:
        found = await end
        seconds[name] = time.monotonic() - await began
        return found

    async with asyncio.timeout(DEADLINE), socket(house.watching, token) as peer:
        ends = [
            asyncio.create_task(timed(name, end), name=name)
            for name, end in {
                "socket": peer.end(),
                "stream": stream_end(house.watching, token, EVENTS, standing[0]),
                "multipart": stream_end(house.watching, token, MULTIPART, standing[1]),
                "watching": refused(house.watching, token),
                "idle": refused(house.idle, token),
            }.items()
        ]
        for one in standing:
            await one.wait()
        assert not any(end.done() for end in ends)
        await change()
        began.set_result(time.monotonic())
        socket_end, stream, multipart, watching, idle = await asyncio.gather(*ends)
    return Ends(socket_end, stream, multipart, watching, idle, seconds)


def told(what: str, ends: Ends) -> None:
    """Everything ended in time; the report gets the slowest."""
    slowest = max(ends.seconds, key=lambda name: ends.seconds[name])
    assert ends.seconds[slowest] <= promised(WITHIN_SECONDS), ends.seconds
    record(3, f"{SHOW}: {what}", len(ends.seconds), f"slowest after {ends.seconds[slowest]:.2f} s ({slowest})")


async def test_a_changed_role_ends_streams_so_that_clients_come_back_with_their_new_rights(house: House) -> None:
    tenant = await house.tenant()
    user, signed = await house.person(tenant, Role.ADMIN)
    await house.person(tenant, Role.ADMIN)  # a tenant keeps an admin
    admin = house.admin(tenant)

    async def change() -> None:
        await update_user(admin, id=user.id, roles=[Role.VIEWER])

    ends = await ends_of(house, signed.access_token, change)
    assert ends.socket == 4403
    for one in (ends.stream, ends.multipart):
        assert (one["code"], one["retryable"]) == ("TOKEN_EXPIRED", True)
        assert one["cursor"]
    assert (ends.watching, ends.idle) == ("UNAUTHENTICATED", "UNAUTHENTICATED")
    told("a changed role", ends)

    fresh = await house.services.accounts.refresh_session(
        call_of(house.services, None), refresh_token=signed.refresh_token
    )
    async with socket(house.idle, fresh.access_token, after=ends.stream["cursor"]) as peer:
        await update_user(admin, id=user.id, display_name="Ada")
        async with asyncio.timeout(DEADLINE):
            item = (await peer.next())["payload"]["data"]["activityFeed"]
    assert item["event"]["kind"].startswith("user.")


async def test_a_suspended_person_is_put_out_for_good(house: House) -> None:
    tenant = await house.tenant()
    user, signed = await house.person(tenant, Role.OPERATOR)
    ends = await ends_of(
        house,
        signed.access_token,
        lambda: update_user(house.admin(tenant), id=user.id, status=UserStatus.SUSPENDED),
    )
    assert ends.socket == 4401
    assert {one["code"] for one in (ends.stream, ends.multipart)} == {"UNAUTHENTICATED"}
    assert not ends.stream["retryable"]
    assert (ends.watching, ends.idle) == ("UNAUTHENTICATED", "UNAUTHENTICATED")
    told("a suspended user", ends)


async def test_a_suspended_tenant_is_served_no_more_and_another_goes_on(house: House) -> None:
    tenant, other = await house.tenant(), await house.tenant()
    _, signed = await house.person(tenant, Role.OPERATOR)
    _, neighbour = await house.person(other, Role.OPERATOR)
    async with socket(house.watching, neighbour.access_token) as peer:
        ends = await ends_of(
            house,
            signed.access_token,
            lambda: update_tenant(house.platform(tenant), id=tenant.id, status=TenantStatus.SUSPENDED),
        )
        await peer.send(type="ping")
        async with asyncio.timeout(DEADLINE):
            assert (await peer.next())["type"] == "pong"
    assert ends.socket == 4401
    assert {one["code"] for one in (ends.stream, ends.multipart)} == {"UNAUTHENTICATED"}
    assert (ends.watching, ends.idle) == ("UNAUTHENTICATED", "UNAUTHENTICATED")
    told("a suspended tenant", ends)


async def _key(house: House, tenant: Tenant) -> tuple[UUID, str]:
    row, secret = await house.services.accounts.create_api_key(
        house.admin(tenant), name="watcher", scopes=[Scope.ACTIVITY_READ.value, Scope.WORKSPACES_READ.value]
    )
    return row.id, secret


async def test_a_revoked_key_opens_nothing_and_keeps_nothing_open(house: House) -> None:
    tenant = await house.tenant()
    key_id, secret = await _key(house, tenant)
    ends = await ends_of(house, secret, lambda: house.services.accounts.revoke_api_key(house.admin(tenant), id=key_id))
    assert ends.socket == 4401
    assert {one["code"] for one in (ends.stream, ends.multipart)} == {"UNAUTHENTICATED"}
    assert (ends.watching, ends.idle) == ("UNAUTHENTICATED", "UNAUTHENTICATED")
    told("a revoked key", ends)


@pytest.mark.parametrize(
    ("left", "retryable"), [([Scope.WORKSPACES_READ], False), ([Scope.ACTIVITY_READ], True)], ids=["root", "other"]
)
async def test_a_key_that_lost_a_scope_loses_the_streams_begun_with_it_and_keeps_its_socket(
    house: House, left: list[Scope], retryable: bool
) -> None:
    tenant = await house.tenant()
    key_id, secret = await _key(house, tenant)
    async with socket(house.watching, secret) as peer:
        standing = asyncio.Event()
        stream = asyncio.create_task(stream_end(house.watching, secret, EVENTS, standing), name="stream")
        async with asyncio.timeout(DEADLINE):
            await standing.wait()
        async with house.services.database.session(tenant.id) as session:
            await session.execute(
                update(ApiKey).where(ApiKey.id == key_id).values(scopes=[scope.value for scope in left])
            )
            await session.commit()
        async with asyncio.timeout(promised(WITHIN_SECONDS)):
            ended = await peer.end()
            over_http = await stream
        for one in (ended, over_http):
            assert (one["code"], one["retryable"]) == ("FORBIDDEN", retryable)
            assert one["cursor"]
        # The socket lives, with the rights that are left.
        await peer.send(type="subscribe", id="2", payload={"query": "{ viewer { scopes } }"})
        async with asyncio.timeout(DEADLINE):
            answer = await peer.next()
        assert answer["payload"]["data"]["viewer"]["scopes"] == [scope.value for scope in left]


async def test_a_session_that_ends_elsewhere_ends_its_sockets(house: House) -> None:
    tenant = await house.tenant()
    _, signed = await house.person(tenant, Role.VIEWER)
    async with socket(house.watching, signed.access_token) as peer:
        await house.services.accounts.logout(call_of(house.services, None), refresh_token=signed.refresh_token)
        async with asyncio.timeout(promised(WITHIN_SECONDS)):
            assert await peer.end() == 4401
