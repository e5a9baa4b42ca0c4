"""This module is where uvicorn is told to hand its transport to the application, and how to treat our sockets.

ASGI has no word for "drop this connection now": closing politely waits for a reader that does not read.
"""

from __future__ import annotations

from asyncio import Transport
from typing import Any

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from gateway.transports.options import TransportOptions

EXTENSION = "signalbox.transport"


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with the transport among the scope's extensions."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {EXTENSION: {"transport": self.transport}}


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's sans-IO WebSocket protocol, with the transport among the scope's extensions."""

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        # The application's task starts on a later turn of the loop, so it sees what is added here.
        if hasattr(self, "scope"):
            extensions: dict[str, Any] = self.scope["extensions"]
            extensions[EXTENSION] = {"transport": self.transport}


def server_options(options: TransportOptions) -> dict[str, Any]:
    """Arguments for ``uvicorn.Config`` without which the limits of the transports do not hold."""
    return {
        "http": HttpProtocol,
        "ws": WebSocketProtocol,
        "ws_max_size": options.message_limit,
        # Our pings are protocol messages, and deflate costs memory per socket.
        "ws_ping_interval": None,
        "ws_ping_timeout": None,
        "ws_per_message_deflate": False,
    }


def abort(scope: Scope) -> bool:
    """Drops the connection at once; False under a server that does not hand out its transport."""
    # Not isinstance: uvloop's transports are no subclass of asyncio's.
    transport: Transport | None = scope.get("extensions", {}).get(EXTENSION, {}).get("transport")
    if transport is None:
        return False
    transport.abort()
    return True
