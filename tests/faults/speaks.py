"""This module is where an agent's process writes a reply piece by piece: a request each, over one kept connection.

``python -m tests.faults.speaks URL KEY CONVERSATION MESSAGE PIECES PER_SECOND`` adds the pieces ``1 ``, ``2 ``, … to a
reply that has begun with ``0 ``. It prints ``half`` when half of them are answered, and the pieces a second at the end.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Sequence
from typing import Any, Final, Self
from urllib.parse import urlsplit

import orjson

CHUNK: Final = """mutation($input: PublishMessageChunkInput!) {
  publishMessageChunk(input: $input) { messageId userErrors { code message field } } }"""
_HEAD: Final = (
    "POST /graphql HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
    "Content-Length: {length}\r\n\r\n"
)
_LENGTH: Final = b"content-length: "
_ANSWER_SECONDS: Final = 10.0
_READ_BYTES: Final = 65_536


class KeptConnection:
    """One HTTP connection, one request at a time: what a client library does, at a tenth of its cost."""

    def __init__(self, url: str, key: str) -> None:
        address = urlsplit(url)
        self._host = address.netloc
        self._key = key
        self._socket = socket.create_connection((address.hostname, address.port), _ANSWER_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def post(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """The data of the answer, which is 200 and has no errors."""
        body = orjson.dumps({"query": query, "variables": variables})
        self._socket.sendall(_HEAD.format(host=self._host, key=self._key, length=len(body)).encode() + body)
        head, separator, content = self._read().partition(b"\r\n\r\n")
        while not separator:
            head, separator, content = (head + self._read()).partition(b"\r\n\r\n")
        length = int(head.partition(_LENGTH)[2].partition(b"\r\n")[0])
        while len(content) < length:
            content += self._read()
        answer: dict[str, Any] = orjson.loads(content)
        assert head.startswith(b"HTTP/1.1 200"), answer
        assert "errors" not in answer, answer
        data: dict[str, Any] = answer["data"]
        return data

    def _read(self) -> bytes:
        data = self._socket.recv(_READ_BYTES)
        assert data, "the gateway went away"
        return data


def say(connection: KeptConnection, conversation: str, message: str | None, index: int, text: str, end: int) -> str:
    """One piece, the last one when it is the one before ``end``; the id of its message."""
    said = {"conversationId": conversation, "messageId": message, "index": index, "text": text}
    told = connection.post(CHUNK, {"input": said | {"isFinal": index == end - 1}})["publishMessageChunk"]
    assert told["userErrors"] == [], told
    return str(told["messageId"])


def write(connection: KeptConnection, conversation: str, message: str, end: int, per_second: float) -> float:
    """Every piece at its time, each when the one before was answered; the pieces a second that were reached."""
    begun = time.monotonic()
    for index in range(1, end):
        time.sleep(max(0.0, begun + index / per_second - time.monotonic()))
        say(connection, conversation, message, index, f"{index} ", end)
        if index == end // 2:
            sys.stdout.write("half\n")
            sys.stdout.flush()
    return (end - 1) / (time.monotonic() - begun)


def main(arguments: Sequence[str]) -> None:
    """Write the reply."""
    url, key, conversation, message, pieces, per_second = arguments
    with KeptConnection(url, key) as connection:
        rate = write(connection, conversation, message, int(pieces), float(per_second))
    sys.stdout.write(f"{rate}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
