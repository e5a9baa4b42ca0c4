"""This module is where it is specified what becomes of connections that say nothing, and of clients that vanished."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from gateway.transports import server_protocols
from tests.faults.dawdlers import vanish
from tests.gateway.served import Served, serving
from tests.patience import DEADLINE

EVENTS = "text/event-stream"
MULTIPART = "multipart/mixed;boundary=graphql;subscriptionSpec=1.0"
ASKED = b"GET /graphql HTTP/1.1\r\nhost: h\r\n\r\n"


@asynccontextmanager
async def connected(served: Served) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection over which nothing was said."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


def patience_ms(client: asyncio.StreamWriter) -> int:
    """How long the gateway's end of the connection, which is in this process too, waits for acknowledgement."""
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError), socket.socket(fileno=os.dup(int(name))) as one:
            if one.getpeername() == client.get_extra_info("sockname"):
                return one.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    raise AssertionError("the gateway holds no such connection")


async def until_ended(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the server has had enough."""
    said = b""
    async with asyncio.timeout(DEADLINE):
        try:
            while piece := await reader.read(4096):
                said += piece
        except ConnectionResetError:
            pass
    return said


@pytest.mark.parametrize("said", [b"", b"POST", b"POST /graphql HTTP/1.1\r\nhost: h\r\naccept: "], ids=repr)
async def test_whoever_connects_and_does_not_say_what_it_wants_is_cut_off(
    said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_protocols, "HEAD_SECONDS", 0.1)
    async with serving() as served, connected(served) as (reader, writer):
        writer.write(said)
        assert await until_ended(reader) == b""
        monkeypatch.undo()
        assert (await served.query("{ hello }")).status_code == 200


async def test_a_second_request_has_no_longer_to_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_protocols, "HEAD_SECONDS", 0.5)
    async with serving() as served, connected(served) as (reader, writer):
        writer.write(ASKED + ASKED[:-2])
        assert (await until_ended(reader)).count(b"HTTP/1.1 ") == 1


async def test_a_stream_and_a_socket_that_stand_may_say_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_protocols, "HEAD_SECONDS", 0.5)
    async with (
        serving(keep_alive_interval=0.1) as served,
        connected(served) as (reader, writer),
        served.ready_peer("grace") as peer,
        asyncio.timeout(DEADLINE),
    ):
        writer.write(asking(EVENTS))
        for _ in range(10):
            assert await reader.readuntil(b":\n\n")
        await peer.send(type="ping")
        assert (await peer.receive())["type"] == "pong"


@pytest.mark.parametrize("accept", [EVENTS, MULTIPART])
async def test_a_client_that_vanished_leaves_its_seat_though_nothing_fills_its_buffer(
    accept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_protocols, "UNACKNOWLEDGED_SECONDS", 0.5)
    async with serving(keep_alive_interval=0.1, connections_per_user=1) as served:
        async with connected(served) as (reader, writer):
            writer.write(asking(accept))
            async with asyncio.timeout(DEADLINE):
                await reader.readuntil(b'"forever"')
            assert patience_ms(writer) == 500
            if not vanish(writer.get_extra_info("socket")):
                return
            await served.all_closed()
            async with asyncio.timeout(DEADLINE):
                await served.endpoint.connections.all_gone()
        async with served.ready_peer("ada"):
            pass


def asking(accept: str) -> bytes:
    """A subscription over plain HTTP."""
    body = b'{"query":"subscription { forever }"}'
    head = (
        "POST /graphql HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\nauthorization: Bearer ada\r\n"
        f"accept: {accept}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
