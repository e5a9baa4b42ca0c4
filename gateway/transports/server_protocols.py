"""This module is where uvicorn is told to hand its transport to the application, and how to treat our sockets.

ASGI has no word for "drop this connection now": closing politely waits for a reader that does not read.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from asyncio import BaseTransport, Transport
from contextlib import suppress
from typing import Any

from starlette.types import Scope
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode
from websockets.http11 import Request

from gateway.transports.options import TransportOptions

EXTENSION = "signalbox.transport"
WRITE_BUFFER_BYTES = 64 * 1024
SEND_BUFFER_BYTES = 64 * 1024
HEAD_SECONDS = 30.0
"""Within which a connection has to have said what it wants."""
UNACKNOWLEDGED_SECONDS = 20.0
"""How long what was sent may go unanswered by the peer's kernel: with the beats of idle streams 32 s at most. A seat
is held until then, and Linux alone would go on trying for a quarter of an hour."""
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with the transport among the scope's extensions, and bounded patience for a head."""

    _no_head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {EXTENSION: {"transport": self.transport}}
        if self._no_head is None:
            self._await_head()

    def on_headers_complete(self) -> None:
        self._forget_head()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_head()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        # uvicorn has no such deadline: who connects and says nothing, or a letter a minute, would stay for ever.
        self._no_head = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _forget_head(self) -> None:
        if self._no_head is not None:
            self._no_head.cancel()
            self._no_head = None


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's sans-IO WebSocket protocol, with the transport among the scope's extensions."""

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        _narrow(self.transport)

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        # The application's task starts on a later turn of the loop, so it sees what is added here.
        if hasattr(self, "scope"):
            extensions: dict[str, Any] = self.scope["extensions"]
            extensions[EXTENSION] = {"transport": self.transport, "writable": self.writable}

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text" and not _is_utf8(b"".join(self.frames)):
            # uvicorn would log a traceback of its own, for what is a client's mistake (RFC 6455, 8.1).
            self.frames = []
            self.conn.send_close(CloseCode.INVALID_DATA)
            self.handle_parser_exception()
        else:
            super().send_receive_event_to_app()

    async def send(self, message: ASGISendEvent) -> None:
        await super().send(message)
        if message["type"] == "websocket.accept":
            # The handshake is over; what it was made of is an eighth of what an idle socket costs. The parser's own
            # frame still holds the request, so that its headers have to be taken out of it.
            self.request.headers.clear()
            self.request = self.response = None  # type: ignore[assignment]


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


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
        # Longer than load balancers keep an idle connection (60 s): who closes first loses the other's next request.
        "timeout_keep_alive": 75,
    }


def narrow(scope: Scope) -> None:
    """Small buffers for a response that lasts; one that ends soon is better off with the kernel's large ones."""
    transport: Transport | None = scope.get("extensions", {}).get(EXTENSION, {}).get("transport")
    if transport is not None:
        _narrow(transport)


def _narrow(transport: Transport) -> None:
    # So that a reader that has stopped shows soon and costs little: the kernel would take megabytes for it.
    transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
    raw = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        if raw.family in (socket.AF_INET, socket.AF_INET6):
            # A client that vanished answers nothing, and an idle stream never fills the buffer that would show it.
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(UNACKNOWLEDGED_SECONDS * 1000))


def abort(scope: Scope) -> bool:
    """Drops the connection at once; False under a server that does not hand out its transport."""
    # Not isinstance: uvloop's transports are no subclass of asyncio's.
    transport: Transport | None = scope.get("extensions", {}).get(EXTENSION, {}).get("transport")
    if transport is None:
        return False
    raw = transport.get_extra_info("socket")
    if raw is not None:
        # Reset, not closed: else the kernel keeps what was not read, for minutes, for a reader that does not read.
        # A transport that has just ended has no socket any more: uvloop calls that a bad value, asyncio a bad file.
        with suppress(OSError, ValueError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()
    return True


def text_frame_head(length: int) -> bytes:
    """The head of an unmasked, final text frame with ``length`` bytes of payload (RFC 6455, 5.2)."""
    if length < 126:
        return bytes((0x81, length))
    if length < 1 << 16:
        return b"\x81\x7e" + struct.pack("!H", length)
    return b"\x81\x7f" + struct.pack("!Q", length)


class DirectWriter:
    """A socket's transport, for frames that need no ASGI message: 1.5 to 2 times less CPU per frame.

    ``is_held``: what is handed over has to wait, for a queue that goes first or because the connection ends.
    """

    __slots__ = ("_transport", "_writable", "is_held")

    def __init__(self, transport: Transport, writable: asyncio.Event) -> None:
        self._transport = transport
        self._writable = writable
        self.is_held = False

    @classmethod
    def of(cls, scope: Scope) -> DirectWriter | None:
        """The writer of a connection; None under a server that does not hand out its transport."""
        given = scope.get("extensions", {}).get(EXTENSION, {})
        if "transport" not in given or "writable" not in given:
            return None
        return cls(given["transport"], given["writable"])

    @property
    def has_room(self) -> bool:
        """Whether the buffer is below its limit and the connection lives."""
        return self._transport.get_write_buffer_size() <= WRITE_BUFFER_BYTES and not self._transport.is_closing()

    def write_text(self, text: bytes) -> None:
        """One text message, held or not."""
        self._transport.write(text_frame_head(len(text)) + text)

    def write(self, data: bytes) -> bool:
        """Whole frames; False, with nothing written, without room."""
        # One call and few objects: a thousand sockets ask fifty times a second, and what they touch is in no cache.
        transport = self._transport
        if self.is_held or transport.get_write_buffer_size() > WRITE_BUFFER_BYTES or transport.is_closing():
            return False
        transport.write(data)
        return True

    async def room(self) -> None:
        """Wait until the buffer is below its limit; raises when the connection is going."""
        if self._transport.is_closing():
            raise ConnectionError("the connection is closing")
        await self._writable.wait()
