"""This module is where every way a socket ends is specified, with the code that the client sees."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest
import uvloop

from gateway.transports.server_protocols import EXTENSION, abort
from models.errors import Unavailable
from resolvers.tokens import TokenExpired
from tests.gateway.served import Peer, serving
from tests.gateway.toy import ToyOperations, person
from tests.patience import DEADLINE


async def test_without_an_init_the_socket_closes_with_4408() -> None:
    async with serving(init_timeout=0.05) as served, served.peer() as peer:
        assert (await peer.closed())[0] == 4408


async def test_a_second_init_closes_with_4429() -> None:
    async with serving() as served, served.ready_peer() as peer:
        await peer.send(type="connection_init", payload={})
        assert (await peer.closed())[0] == 4429


async def test_a_second_init_before_the_ack_closes_with_4429() -> None:
    operations = ToyOperations()
    operations.authenticating = asyncio.Event()
    async with serving(operations) as served, served.peer() as peer:
        await peer.send(type="connection_init", payload={"authorization": "Bearer ada"})
        await peer.send(type="connection_init", payload={"authorization": "Bearer ada"})
        assert (await peer.closed())[0] == 4429


async def test_subscribing_before_the_init_closes_with_4401() -> None:
    async with serving() as served, served.peer() as peer:
        await peer.subscribe("1", "{ hello }")
        assert (await peer.closed())[0] == 4401


async def test_subscribing_before_the_ack_closes_with_4401() -> None:
    operations = ToyOperations()
    operations.authenticating = asyncio.Event()
    async with serving(operations) as served, served.peer() as peer:
        await peer.send(type="connection_init", payload={"authorization": "Bearer ada"})
        await peer.subscribe("1", "{ hello }")
        assert (await peer.closed())[0] == 4401


async def test_a_running_id_used_again_closes_with_4409() -> None:
    async with serving() as served, served.ready_peer() as peer:
        await peer.subscribe("twice", "subscription { forever }")
        await peer.subscribe("twice", "subscription { forever }")
        assert await peer.closed() == (4409, "Subscriber for 'twice' already exists")
        await served.all_closed()


@pytest.mark.parametrize(
    "frame",
    [
        "not json",
        b"{}",
        "[]",
        "{}",
        '{"type":"start","id":"1","payload":{"query":"{hello}"}}',
        '{"type":"subscribe","id":1,"payload":{"query":"{hello}"}}',
        '{"type":"subscribe","id":"","payload":{"query":"{hello}"}}',
        '{"type":"subscribe","id":"' + "x" * 129 + '","payload":{"query":"{hello}"}}',
        '{"type":"subscribe","id":"1"}',
        '{"type":"subscribe","id":"1","payload":{"query":7}}',
        '{"type":"subscribe","id":"1","payload":{"query":"{hello}","variables":[]}}',
        '{"type":"complete"}',
        '{"type":"ping","payload":"text"}',
        '{"type":"ping","payload":{"authorization":7}}',
    ],
)
async def test_a_bad_message_closes_with_4400(frame: str | bytes) -> None:
    async with serving() as served, served.ready_peer() as peer:
        await peer.socket.send(frame)
        assert (await peer.closed())[0] == 4400


async def test_a_frame_above_the_limit_is_not_read() -> None:
    async with serving() as served, served.ready_peer() as peer:
        await peer.subscribe("1", "{ hello }" + " " * 65_536)
        assert (await peer.closed())[0] == 1009


@pytest.mark.parametrize("subprotocols", [("graphql-ws",), ()])
async def test_another_subprotocol_closes_with_4406(subprotocols: tuple[str, ...]) -> None:
    async with serving() as served, served.peer(subprotocols=subprotocols) as peer:
        assert (await peer.closed())[0] == 4406


async def test_wrong_credentials_close_with_4401() -> None:
    async with serving() as served, served.peer() as peer:
        await peer.send(type="connection_init", payload={"authorization": "Bearer mallory"})
        assert (await peer.closed())[0] == 4401


async def test_an_expired_token_at_the_init_closes_with_4403_so_that_clients_come_back() -> None:
    operations = ToyOperations()
    operations.failure = TokenExpired()
    async with serving(operations) as served, served.peer() as peer:
        await peer.send(type="connection_init", payload={"authorization": "Bearer ada"})
        assert (await peer.closed())[0] == 4403


async def test_credentials_that_nobody_can_check_now_close_with_1013() -> None:
    operations = ToyOperations()
    operations.failure = Unavailable()
    async with serving(operations) as served, served.peer() as peer:
        await peer.send(type="connection_init", payload={"authorization": "Bearer ada"})
        assert (await peer.closed())[0] == 1013


async def test_a_token_that_is_not_renewed_closes_with_4403_after_the_grace() -> None:
    operations = ToyOperations()
    operations.principals["ada"] = person(expires_in=0.05)
    async with serving(operations, expiry_grace=0.05) as served, served.ready_peer() as peer:
        await peer.subscribe("1", "subscription { forever }")
        assert (await peer.closed())[0] == 4403
        await served.all_closed()


async def test_a_ping_with_a_newer_token_keeps_the_socket_and_its_streams() -> None:
    operations = ToyOperations()
    # Long enough that a busy machine renews in time, and that the server's first ping comes after the old end.
    operations.principals["ada"] = person(expires_in=3)
    operations.principals["ada later"] = person(expires_in=3600, like=operations.principals["ada"])
    async with serving(operations, expiry_grace=0.05, ping_interval=3.5) as served, served.ready_peer() as peer:
        await peer.subscribe("1", "subscription { forever }")
        await peer.receive()
        await peer.send(type="ping", payload={"authorization": "Bearer ada later"})
        pong = await peer.receive()
        assert pong["type"] == "pong"
        expires_at = datetime.fromisoformat(pong["payload"]["accessTokenExpiresAt"])
        assert expires_at == operations.principals["ada later"].expires_at
        # The server's own ping comes after the old token's end, on a socket that is still there.
        assert await peer.receive() == {"type": "ping"}
        assert operations.stage.open_streams == 1


@pytest.mark.parametrize("token", ["grace", "nobody"])
async def test_a_renewal_with_anything_else_closes_with_4403(token: str) -> None:
    async with serving() as served, served.ready_peer("ada") as peer:
        await peer.send(type="ping", payload={"authorization": f"Bearer {token}"})
        assert (await peer.closed())[0] == 4403


async def test_a_renewal_of_another_session_of_the_same_user_closes_with_4403() -> None:
    operations = ToyOperations()
    ada = operations.principals["ada"]
    operations.principals["ada elsewhere"] = person(
        like=type(ada)(tenant_id=ada.tenant_id, scopes=ada.scopes, user_id=ada.user_id)
    )
    async with serving(operations) as served, served.ready_peer("ada") as peer:
        await peer.send(type="ping", payload={"authorization": "Bearer ada elsewhere"})
        assert (await peer.closed())[0] == 4403


async def test_a_renewal_that_nobody_can_check_leaves_the_old_expiry() -> None:
    operations = ToyOperations()
    operations.principals["ada"] = person(expires_in=60)
    async with serving(operations) as served, served.ready_peer("ada") as peer:
        operations.failure = Unavailable()
        await peer.send(type="ping", payload={"authorization": "Bearer ada"})
        pong = await peer.receive()
        expires_at = datetime.fromisoformat(pong["payload"]["accessTokenExpiresAt"])
        assert expires_at == operations.principals["ada"].expires_at


@pytest.mark.parametrize("limit", [{"connections_per_user": 1}, {"connections_per_tenant": 1}])
async def test_one_socket_too_many_closes_with_1013_until_another_leaves(limit: dict[str, Any]) -> None:
    async with serving(**limit) as served:
        async with served.ready_peer("ada") as first:
            async with served.peer() as second:
                await second.send(type="connection_init", payload={"authorization": "Bearer ada"})
                assert (await second.closed())[0] == 1013
            await first.send(type="ping")
            assert (await first.receive())["type"] == "pong"
        async with asyncio.timeout(DEADLINE):
            await served.endpoint.connections.all_gone()
        async with served.ready_peer("ada"):
            pass


async def test_a_drain_closes_every_socket_with_1012_spread_over_time_and_lets_no_new_one_in() -> None:
    async with serving() as served:
        async with served.ready_peer("ada") as one, served.ready_peer("grace") as two:
            await one.subscribe("1", "subscription { forever }")
            await one.receive()
            draining = asyncio.create_task(served.endpoint.drain(spread=0.2), name="drain")
            codes = await asyncio.gather(one.closed(), two.closed())
            assert [code for code, _ in codes] == [1012, 1012]
            await draining
        async with served.peer() as late:
            assert (await late.closed())[0] == 1012
        await served.all_closed()


async def test_a_drain_waits_for_the_answer_of_a_mutation() -> None:
    async with serving() as served, served.ready_peer() as peer:
        await peer.subscribe("m", "mutation { slow }")
        async with asyncio.timeout(DEADLINE):
            await served.operations.stage.entered.wait()
        draining = asyncio.create_task(served.endpoint.drain(spread=0), name="drain")
        served.operations.stage.door.set()
        assert (await peer.receive())["payload"] == {"data": {"slow": 1}}
        assert (await peer.closed())[0] == 1012
        await draining


async def test_a_silent_client_is_cut_without_a_close_frame() -> None:
    async with serving(ping_interval=0.05, ping_patience=0.05) as served, served.ready_peer() as peer:
        await peer.subscribe("1", "subscription { forever }")
        assert (await peer.closed())[0] == 1006
        await served.all_closed()
        assert served.endpoint.connections.counters.cut_silent == 1


async def test_any_message_counts_as_a_sign_of_life() -> None:
    async with serving(ping_interval=0.05, ping_patience=0.2) as served, served.ready_peer() as peer:
        for _ in range(6):
            assert await peer.receive() == {"type": "ping"}
            await peer.send(id="unknown", type="complete")
        assert served.endpoint.connections.counters.cut_silent == 0


async def test_a_stuck_reader_is_cut_and_holds_up_nobody_else() -> None:
    async with serving(send_deadline=0.3, outbox_frames=8) as served:
        stage = served.operations.stage
        async with served.ready_peer("grace") as other, served.ready_peer("ada") as stuck:
            stuck.socket.transport.pause_reading()
            await stuck.subscribe("1", "subscription { count(to: 100000, size: 60000) }")
            await _keeps_answering(other, until=stage.all_closed, entered=stage.entered)
            # Aborted on both sides: a polite close would wait for what this client does not read.
            stuck.socket.transport.abort()
        async with asyncio.timeout(DEADLINE):
            await served.endpoint.connections.all_gone()
        assert served.endpoint.connections.counters.cut_stuck == 1


async def _keeps_answering(peer: Peer, *, until: asyncio.Event, entered: asyncio.Event) -> None:
    async with asyncio.timeout(DEADLINE):
        await entered.wait()
        while not until.is_set():
            await peer.send(type="ping")
            await peer.receive()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_transport_that_has_just_ended_is_dropped_all_the_same(run: Callable[[Any], None]) -> None:
    async def drop() -> None:
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.transport.abort()
        await writer.wait_closed()
        # The two loops refuse differently to touch the socket of what is closed.
        assert abort({"extensions": {EXTENSION: {"transport": writer.transport}}})
        server.close()
        await server.wait_closed()

    # A loop of its own needs a thread of its own.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(run, drop()).result(DEADLINE)
