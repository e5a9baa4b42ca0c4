"""This module is where fault tests speak the three transports of subscriptions, as their clients do."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Final

import httpx
import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

OPEN_SECONDS: Final = 10.0
SILENCE_SECONDS: Final = 60.0
"""Longer than pings and keep-alives take; a stream that is silent for so long is dead."""
NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Made once: httpx would load every certificate there is for each client, which takes longer than the test's work."""
_PONG: Final = '{"type":"pong"}'
_BOUNDARY: Final = b"\r\n--graphql"

Answers = AsyncGenerator[dict[str, Any], None]


class Ended(Exception):
    """The stream ended for the reason that its message names: an error's code or a socket's close code."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What a client asks."""

    query: str
    variables: dict[str, Any]

    def body(self) -> dict[str, Any]:
        """As JSON."""
        return {"query": self.query, "variables": self.variables}


async def opened(url: str, key: str, sock: socket.socket | None = None, **options: Any) -> ClientConnection:
    """A socket that has its ack."""
    where: dict[str, Any] = {"sock": sock} if sock is not None else {}
    client = await connect(
        f"{url.replace('http', 'ws', 1)}/graphql",
        subprotocols=[Subprotocol("graphql-transport-ws")],
        open_timeout=OPEN_SECONDS,
        close_timeout=0.2,
        ping_interval=None,
        compression=None,
        proxy=None,
        max_size=None,
        **where,
        **options,
    )
    try:
        await client.send(
            orjson.dumps({"type": "connection_init", "payload": {"authorization": f"Bearer {key}"}}), text=True
        )
        async with asyncio.timeout(OPEN_SECONDS):
            ack = orjson.loads(await client.recv())
    except ConnectionClosed as closed:
        raise Ended(_code_of(closed)) from closed
    except BaseException:
        client.transport.abort()
        raise
    assert ack["type"] == "connection_ack", ack
    return client


async def websocket(url: str, key: str, operation: Operation) -> Answers:
    """graphql-transport-ws."""
    client = await opened(url, key)
    try:
        await client.send(orjson.dumps({"id": "1", "type": "subscribe", "payload": operation.body()}), text=True)
        while True:
            async with asyncio.timeout(SILENCE_SECONDS):
                message = orjson.loads(await client.recv(False))
            match message["type"]:
                case "next":
                    yield message["payload"]
                case "ping":
                    await client.send(_PONG)
                case "error":
                    raise Ended(message["payload"][0]["extensions"]["code"])
                case "complete":
                    return
    except ConnectionClosed as closed:
        raise Ended(_code_of(closed)) from closed
    finally:
        client.transport.abort()


async def event_stream(url: str, key: str, operation: Operation) -> Answers:
    """graphql-sse, distinct connections."""
    async for block in _parts(url, key, operation, "text/event-stream", b"\n\n"):
        name, _, data = block.partition(b"\n")
        if name == b"event: next":
            yield orjson.loads(data.removeprefix(b"data: "))
        elif name == b"event: complete":
            return


async def multipart(url: str, key: str, operation: Operation) -> Answers:
    """Apollo's multipart subscriptions."""
    accept = "multipart/mixed;boundary=graphql;subscriptionSpec=1.0"
    async for part in _parts(url, key, operation, accept, _BOUNDARY):
        content = part.partition(b"\r\n\r\n")[2]
        if not content:
            continue
        answer = orjson.loads(content)
        if answer.get("payload"):
            yield answer["payload"]
        elif answer.get("errors"):
            raise Ended(answer["errors"][0]["extensions"]["code"])


TRANSPORTS: Final = {"websocket": websocket, "sse": event_stream, "multipart": multipart}


async def _parts(url: str, key: str, operation: Operation, accept: str, mark: bytes) -> AsyncGenerator[bytes, None]:
    """What stands between the marks of a streamed body. Raises Ended for a refusal."""
    headers = {"accept": accept, "authorization": f"Bearer {key}"}
    timeout = httpx.Timeout(OPEN_SECONDS, read=SILENCE_SECONDS)
    async with (
        httpx.AsyncClient(timeout=timeout, trust_env=False, verify=NO_TLS) as client,
        client.stream("POST", f"{url}/graphql", json=operation.body(), headers=headers) as response,
    ):
        if not response.headers["content-type"].startswith(accept.partition(";")[0]):
            refusal = orjson.loads(await response.aread())
            raise Ended(refusal["errors"][0]["extensions"]["code"])
        rest = b""
        async for data in response.aiter_raw():
            *parts, rest = (rest + data).split(mark)
            for part in parts:
                yield part


def _code_of(closed: ConnectionClosed) -> str:
    return str(closed.rcvd.code) if closed.rcvd else "1006"
