"""This module is where tests get somebody to tell: a real HTTP server, and signatures checked by nobody of ours."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC


@dataclass(frozen=True, slots=True)
class Notice:
    """One request as it arrived."""

    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """What repeats are told by."""
        return self.headers["webhook-id"]

    @property
    def said(self) -> Any:
        """The body, read."""
        return orjson.loads(self.body)

    @property
    def signatures(self) -> list[str]:
        """Each with its version before it."""
        return self.headers["webhook-signature"].split(" ")

    def is_signed_with(self, secret: str) -> bool:
        """Whether one of the signatures is this secret's."""
        signed = f"{self.id}.{self.headers['webhook-timestamp']}.".encode() + self.body
        return f"v1,{by_openssl(secret, signed)}" in self.signatures


def by_openssl(secret: str, signed: bytes) -> str:
    """Base64 of HMAC-SHA-256 under the secret, computed by OpenSSL as the specification says, and not as we do it."""
    one = HMAC(base64.b64decode(secret.removeprefix("whsec_"), validate=True), SHA256())
    one.update(signed)
    return base64.b64encode(one.finalize()).decode()


Answer = Callable[["Notice", int], Awaitable[int | bytes]]
"""From a request and its number to a status, or to the bytes that are sent in the place of an answer."""


async def _well(_: Notice, __: int) -> int:
    return 204


@dataclass(slots=True)
class Receiver:
    """Who is told, at ``url``; ``answer`` says how it takes it."""

    host: str = "127.0.0.1"
    port: int = 0
    answer: Answer = _well
    heard: list[Notice] = field(default_factory=list)
    taken: list[Notice] = field(default_factory=list)
    """Those that were answered with a 2xx."""
    accepts: int = 0
    at_once: Counter[str] = field(default_factory=Counter)
    most_at_once: Counter[str] = field(default_factory=Counter)
    """By id, how many requests were open at the same time."""

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{self.host}:{self.port}/hook"

    @property
    def ids(self) -> Counter[str]:
        """How often each id was taken."""
        return Counter(one.id for one in self.taken)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read one request, answer it, close."""
        self.accepts += 1
        try:
            notice = await _read(reader)
            self.heard.append(notice)
            self.at_once[notice.id] += 1
            self.most_at_once[notice.id] = max(self.most_at_once[notice.id], self.at_once[notice.id])
            try:
                said = await self.answer(notice, len(self.heard))
            finally:
                self.at_once[notice.id] -= 1
            if isinstance(said, int):
                if 200 <= said < 300:
                    self.taken.append(notice)
                said = f"HTTP/1.1 {said} Said\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode()
            writer.write(said)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Notice:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    request, *lines = head.strip().split("\r\n")
    assert request == "POST /hook HTTP/1.1"
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Notice(headers, await reader.readexactly(int(headers["content-length"])))


@asynccontextmanager
async def receiving(host: str = "127.0.0.1", answer: Answer = _well, port: int = 0) -> AsyncIterator[Receiver]:
    """A receiver on a port of its own, until the block ends."""
    receiver = Receiver(host, answer=answer)
    server = await asyncio.start_server(receiver.serve, host, port)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
