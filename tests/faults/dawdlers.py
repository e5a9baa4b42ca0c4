"""This module is where clients live that servers suffer from: they stop reading, never answer, or vanish."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import select
import socket
import struct
import time
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from tests.faults.transports import Ended, Operation, opened

RECEIVE_BYTES: Final = 4096
STEP_SECONDS: Final = 10.0
LOOK_SECONDS: Final = 0.1
ACCEPT: Final = {
    "sse": "text/event-stream",
    "multipart": "multipart/mixed;boundary=graphql;subscriptionSpec=1.0",
}
_SO_ATTACH_FILTER: Final = 26
_DROP_ALL: Final = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0), 8)
"""Return 0: no byte gets through."""
_UPGRADE: Final = (
    "GET /graphql HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: c2lnbmFsYm94IGZhdWx0cw==\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
)
_POST: Final = (
    "POST /graphql HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\nAccept: {accept}\r\n"
    "Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
)


def vanish(raw: socket.socket) -> bool:
    """From now on this end of a connection answers nothing, as a machine that lost its network; False if forbidden.

    Hardened kernels let no ordinary user drop packets.
    """
    program = struct.pack("HxxxxxxP", 1, ctypes.addressof(_DROP_ALL))
    try:
        raw.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    except PermissionError:
        return False
    return True


class StuckClient:
    """Subscribes over a socket with a tiny receive buffer and never reads again."""

    def __init__(self, url: str, key: str, transport: str) -> None:
        self._address = urlsplit(url)
        self._key = key
        self._transport = transport
        self._socket = socket.socket()
        self._socket.setblocking(False)
        # Before connecting: it decides the window that the server may fill.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        self.stopped_at = 0.0

    async def subscribe(self, operation: Operation) -> None:
        """Returns when the subscription stands; nothing is read from then on."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(STEP_SECONDS):
            await loop.sock_connect(self._socket, (self._address.hostname, self._address.port))
            if self._transport == "websocket":
                await self._open_socket(operation)
            else:
                await self._open_stream(operation)
        self.stopped_at = time.monotonic()

    async def cut_after(self, seconds: float) -> float:
        """How long after its last read it was cut off; fails when it was not within ``seconds``."""
        poll = select.poll()
        poll.register(self._socket, select.POLLERR | select.POLLHUP)
        async with asyncio.timeout_at(asyncio.get_running_loop().time() + seconds):
            while not poll.poll(0):  # noqa: ASYNC110 - the loop does not watch for errors alone
                await asyncio.sleep(LOOK_SECONDS)
        return time.monotonic() - self.stopped_at

    def vanish(self) -> None:
        """Answer nothing any more, not even that bytes have come. Fails where the kernel forbids it."""
        assert vanish(self._socket), "this kernel lets only root drop packets"

    def close(self) -> None:
        """Go."""
        asyncio.get_running_loop().remove_reader(self._socket)
        asyncio.get_running_loop().remove_writer(self._socket)
        self._socket.close()

    async def _open_socket(self, operation: Operation) -> None:
        await self._send(_UPGRADE.format(host=self._address.netloc).encode())
        await self._read_until(b"\r\n\r\n")
        await self._send(_frame({"type": "connection_init", "payload": {"authorization": f"Bearer {self._key}"}}))
        await self._read_until(b"connection_ack")
        await self._send(_frame({"type": "subscribe", "id": "1", "payload": operation.body()}))
        await self._read_until(b'"recovered":')

    async def _open_stream(self, operation: Operation) -> None:
        body = orjson.dumps(operation.body())
        head = _POST.format(host=self._address.netloc, key=self._key, accept=ACCEPT[self._transport], length=len(body))
        await self._send(head.encode() + body)
        await self._read_until(b'"recovered":')

    async def _send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def _read_until(self, mark: bytes) -> None:
        read = b""
        while mark not in read:
            data = await asyncio.get_running_loop().sock_recv(self._socket, 512)
            assert data, read
            read += data


class SilentClient:
    """Reads all it is sent and answers no ping."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._key = key
        self.lasted_seconds = 0.0

    async def subscribe_until_cut(self, operation: Operation) -> None:
        """Returns when the server has had enough; ``lasted_seconds`` says after how long."""
        started_at = time.monotonic()
        client = await opened(self._url, self._key)
        await client.send(orjson.dumps({"id": "1", "type": "subscribe", "payload": operation.body()}), text=True)
        with contextlib.suppress(ConnectionClosed, Ended):
            async for _ in client:
                pass
        self.lasted_seconds = time.monotonic() - started_at


def _frame(message: dict[str, Any]) -> bytes:
    return Frame(Opcode.TEXT, orjson.dumps(message)).serialize(mask=True)
