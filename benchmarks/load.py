"""This module is where thousands of subscribers are played by one process, at the least cost a client can have.

Frames are counted, not parsed: a client that decodes JSON would be the bottleneck long before the server.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

import orjson

_STAMP = re.compile(rb'"occurredAt":"([^"]+)"')
_CURSOR = re.compile(rb'"cursor":"([^"]+)"')
_NEXT = b'"type":"next"'


@dataclass(slots=True)
class Tally:
    """What all subscribers together have received. Arrivals are sampled from a fixed few of them.

    ``arrivals``: cursor, the time the item carries, and when it came; in seconds since the epoch.
    """

    received: int = 0
    ready: int = 0
    arrivals: list[tuple[bytes, float, float]] = field(default_factory=list)


class Subscriber(asyncio.Protocol):
    """One WebSocket: handshake, init, subscribe, then counting."""

    def __init__(self, tally: Tally, number: int, token: str, document: str, samples: bool) -> None:
        self._tally = tally
        self._samples = samples
        self._init = _frame({"type": "connection_init", "payload": {"authorization": token}})
        self._subscribe = _frame({"type": "subscribe", "id": f"{number:04}", "payload": {"query": document}})
        self._stage = 0
        self._transport: asyncio.Transport | None = None
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade."""
        # Not isinstance: uvloop's transports are no subclass of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        transport = self._transport
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            (
                "GET /graphql HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
            ).encode()
        )

    def data_received(self, data: bytes) -> None:
        """Count; in the first two stages answer."""
        if self._stage == 2:
            self._tally.received += data.count(_NEXT)
            if self._samples:
                now = time.time()
                for cursor, stamp in zip(_CURSOR.findall(data), _STAMP.findall(data), strict=False):
                    sent_at = datetime.fromisoformat(stamp.decode()).timestamp()
                    self._tally.arrivals.append((cursor, sent_at, now))
            return
        assert self._transport is not None
        if self._stage == 0:
            self._stage = 1
            self._transport.write(self._init)
        elif b"connection_ack" in data:
            self._stage = 2
            self._transport.write(self._subscribe)
            self._tally.ready += 1

    def connection_lost(self, exc: Exception | None) -> None:
        """A subscriber that is cut spoils the round."""
        self.lost = True


async def connect(port: int, count: int, token: str, documents: list[str], tally: Tally) -> list[Subscriber]:
    """``count`` subscribers, spread over ``documents``, all acknowledged. Raises TimeoutError."""
    loop = asyncio.get_running_loop()
    subscribers: list[Subscriber] = []
    await _listening(port)
    for number in range(count):
        one = Subscriber(tally, number, token, documents[number % len(documents)], number % 50 == 0)
        await loop.create_connection(lambda one=one: one, "127.0.0.1", port)  # type: ignore[misc]
        subscribers.append(one)
    async with asyncio.timeout(60):
        while tally.ready < count:  # noqa: ASYNC110 - an event set by each of a thousand would cost what we measure
            await asyncio.sleep(0.05)
    return subscribers


async def _listening(port: int) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.1)
            else:
                writer.close()
                return


def _frame(message: object) -> bytes:
    """A masked text frame (clients mask; the mask may be zero)."""
    payload = orjson.dumps(message)
    length = bytes((0x80 | len(payload),)) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2)
    return b"\x81" + length + b"\0\0\0\0" + payload
