"""This module is where a WebSocket handshake is accepted or refused."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from gateway.transports.allow_lists import host_allowed, is_welcome
from gateway.transports.close_codes import CloseCode
from gateway.transports.connection import Connection
from gateway.transports.messages import SUBPROTOCOL
from gateway.transports.open_connections import OpenConnections
from gateway.transports.operations import Operations
from gateway.transports.options import TransportOptions
from gateway.transports.request_ids import HEADER, request_id_from
from gateway.transports.seats import Seats


class WebSocketEndpoint:
    """The WebSocket side of ``/graphql``, as an ASGI application."""

    def __init__(
        self, operations: Operations, options: TransportOptions, connections: OpenConnections, seats: Seats
    ) -> None:
        self._operations = operations
        self._options = options
        self._connections = connections
        self._seats = seats

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        headers = Headers(scope=scope)
        if not self._welcome(headers):
            # Before the handshake is accepted this becomes a plain 403.
            await send({"type": "websocket.close"})
            return
        request_id = request_id_from(headers.get(HEADER))
        if SUBPROTOCOL not in scope.get("subprotocols", ()):
            await self._turn_away(send, CloseCode.SUBPROTOCOL_NOT_ACCEPTABLE, "Subprotocol not acceptable")
            return
        if self._connections.draining:
            await self._turn_away(send, CloseCode.SERVICE_RESTART, "Service restart", SUBPROTOCOL)
            return
        await send(
            {
                "type": "websocket.accept",
                "subprotocol": SUBPROTOCOL,
                "headers": [(HEADER.encode(), request_id.encode())],
            }
        )
        self._connections.counters.sockets_opened += 1
        await Connection(
            scope,
            receive,
            send,
            operations=self._operations,
            options=self._options,
            connections=self._connections,
            seats=self._seats,
            request_id=request_id,
        ).run()

    def _welcome(self, headers: Headers) -> bool:
        host, options = headers.get("host"), self._options
        return host_allowed(host, options.allowed_hosts) and is_welcome(
            headers.get("origin"), host, options.allowed_origins, options.allowed_hosts
        )

    async def _turn_away(self, send: Send, code: CloseCode, reason: str, subprotocol: str | None = None) -> None:
        self._connections.counters.closes[int(code)] += 1
        # Accepted first: browsers show a script no more of a refused handshake than that it failed.
        await send({"type": "websocket.accept", "subprotocol": subprotocol})
        await send({"type": "websocket.close", "code": int(code), "reason": reason})
