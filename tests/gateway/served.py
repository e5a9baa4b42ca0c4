"""This module is where tests get the transports behind a real server on loopback, and clients to talk to them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import orjson
import uvicorn
from starlette.applications import Starlette
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin, Subprotocol

from gateway.transports.endpoint import GraphQLEndpoint
from gateway.transports.options import TransportOptions
from gateway.transports.server_protocols import server_options
from tests.gateway.toy import ToyOperations
from tests.patience import DEADLINE


class Peer:
    """A WebSocket client that speaks JSON and never waits longer than the deadline."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def send(self, **message: Any) -> None:
        await self.socket.send(orjson.dumps(message).decode())

    async def receive(self) -> dict[str, Any]:
        async with asyncio.timeout(DEADLINE):
            message: dict[str, Any] = orjson.loads(await self.socket.recv())
            return message

    async def subscribe(self, operation_id: str, query: str, **parameters: Any) -> None:
        await self.send(id=operation_id, type="subscribe", payload={"query": query, **parameters})

    async def init(self, token: str = "ada") -> dict[str, Any]:
        await self.send(type="connection_init", payload={"authorization": f"Bearer {token}"})
        return await self.receive()

    async def closed(self) -> tuple[int, str]:
        """The code and reason of the close frame, whatever came before it; 1006 when there was none."""
        try:
            async with asyncio.timeout(DEADLINE):
                while True:
                    await self.socket.recv()
        except ConnectionClosed as end:
            return (end.rcvd.code, end.rcvd.reason) if end.rcvd else (1006, "")


@dataclass(slots=True)
class Served:
    """A running server over the toy schema."""

    port: int
    operations: ToyOperations
    endpoint: GraphQLEndpoint
    http: httpx.AsyncClient

    async def query(self, query: str, *, token: str | None = None, **headers: str) -> httpx.Response:
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        return await self.http.post("/graphql", json={"query": query}, headers=named(headers))

    @asynccontextmanager
    async def peer(
        self,
        *,
        host: str | None = None,
        origin: str | None = None,
        subprotocols: tuple[str, ...] = ("graphql-transport-ws",),
    ) -> AsyncIterator[Peer]:
        """A connected socket; ``host`` is what it claims to connect to."""
        async with connect(
            f"ws://{host or f'127.0.0.1:{self.port}'}/graphql",
            host="127.0.0.1",
            port=self.port,
            subprotocols=[Subprotocol(name) for name in subprotocols] or None,
            origin=Origin(origin) if origin else None,
            open_timeout=DEADLINE,
            close_timeout=DEADLINE,
            ping_interval=None,
        ) as socket:
            yield Peer(socket)

    @asynccontextmanager
    async def ready_peer(self, token: str = "ada") -> AsyncIterator[Peer]:
        async with self.peer() as peer:
            ack = await peer.init(token)
            assert ack["type"] == "connection_ack"
            yield peer

    async def all_closed(self) -> None:
        """Waits until every subscription of the toy schema has cleaned up after itself."""
        async with asyncio.timeout(DEADLINE):
            await self.operations.stage.all_closed.wait()


@asynccontextmanager
async def serving(operations: ToyOperations | None = None, **options: Any) -> AsyncIterator[Served]:
    """The transports with these options, on a free port; the socket listens before the server accepts."""
    operations = operations or ToyOperations()
    chosen = TransportOptions(**options)
    endpoint = GraphQLEndpoint(operations, chosen)
    listener = socket.create_server(("127.0.0.1", 0))
    port: int = listener.getsockname()[1]
    config = uvicorn.Config(
        Starlette(routes=endpoint.routes()), log_level="warning", lifespan="off", **server_options(chosen)
    )
    server = uvicorn.Server(config)
    # Signals belong to the test run.
    running = asyncio.create_task(server._serve([listener]), name="server under test")
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=DEADLINE) as http:
            yield Served(port, operations, endpoint, http)
    finally:
        server.should_exit = True
        await asyncio.wait_for(running, DEADLINE)
        listener.close()


def named(headers: dict[str, str]) -> dict[str, str]:
    """Header names from keyword arguments."""
    return {name.replace("_", "-"): value for name, value in headers.items()}
