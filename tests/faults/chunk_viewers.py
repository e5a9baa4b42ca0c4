"""This module is where a reply that is being written is watched over real sockets, over good lines and narrow ones."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from tests.faults.transports import Operation, opened

CHUNKS: Final = """subscription($id: ID!) { messageChunks(conversationId: $id) {
  conversationId messageId index text isSnapshot isFinal } }"""
REST_SECONDS: Final = 0.4
NARROW_BYTES: Final = 16 * 1024
"""A narrow line's receive buffer: the reader decides how much of a reply is on its way to it."""


@dataclass(slots=True)
class Viewer:
    """Somebody who watches one reply of a conversation; a slow one has a narrow line and rests after each item."""

    url: str
    key: str
    conversation: str
    message: str
    is_slow: bool = False
    items: int = 0
    text: str = ""
    seen: asyncio.Event = field(default_factory=asyncio.Event)
    """Set with the first item, whatever it is."""

    async def watch(self) -> str:
        """The whole text, once the reply has ended."""
        narrow: dict[str, Any] = {"sock": _narrow(self.url), "max_queue": 1} if self.is_slow else {}
        client = await opened(self.url, self.key, **narrow)
        try:
            asked = Operation(CHUNKS, {"id": self.conversation})
            await client.send(orjson.dumps({"id": "1", "type": "subscribe", "payload": asked.body()}), text=True)
            while True:
                message = orjson.loads(await client.recv(False))
                if message["type"] == "ping":
                    await client.send('{"type":"pong"}')
                    continue
                assert message["type"] == "next", message
                item = message["payload"]["data"]["messageChunks"]
                self.seen.set()
                if self._take(item):
                    return self.text
                if self.is_slow:
                    await asyncio.sleep(REST_SECONDS)
        finally:
            client.transport.abort()

    def _take(self, item: dict[str, Any]) -> bool:
        """Whether the reply has ended with this item."""
        if item["messageId"] != self.message:
            return False
        self.items += 1
        self.text = item["text"] if item["isSnapshot"] else self.text + item["text"]
        return bool(item["isFinal"])


def _narrow(url: str) -> socket.socket:
    address = urlsplit(url)
    line = socket.socket()
    # Before connecting: it decides the window that the server may fill.
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW_BYTES)
    line.connect((address.hostname, address.port))
    line.setblocking(False)
    return line
