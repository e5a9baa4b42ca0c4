"""This module is where an agent's process writes a reply piece by piece, over one kept connection.

``python -m tests.faults.speaks URL KEY CONVERSATION MESSAGE PIECES PER_SECOND AT_ONCE`` adds the pieces ``1 ``, ``2 ``
and so on to a reply that has begun with ``0 ``, ``AT_ONCE`` of them a request. It prints ``half`` when half of them are
answered and the pieces a second at the end.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Sequence
from typing import Any, Final, Self
from urllib.parse import urlsplit

import orjson

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


def document(pieces: int) -> str:
    """A mutation of so many pieces, which are taken one after the other."""
    given = ", ".join(f"$p{number}: PublishMessageChunkInput!" for number in range(pieces))
    fields = " ".join(
        f"p{number}: publishMessageChunk(input: $p{number}) {{ messageId userErrors {{ code field }} }}"
        for number in range(pieces)
    )
    return f"mutation({given}) {{ {fields} }}"


def say(connection: KeptConnection, conversation: str, message: str | None, first: int, *texts: str, end: int) -> str:
    """Pieces in one request, the last one being the one before ``end``; the id of their message."""
    said = {
        f"p{number}": {
            "conversationId": conversation,
            "messageId": message,
            "index": first + number,
            "text": text,
            "isFinal": first + number == end - 1,
        }
        for number, text in enumerate(texts)
    }
    told = list(connection.post(document(len(texts)), said).values())
    assert [one["userErrors"] for one in told] == [[]] * len(texts), told
    return str(told[0]["messageId"])


def write(
    connection: KeptConnection, conversation: str, message: str, end: int, per_second: float, at_once: int
) -> float:
    """Every piece at its time, each when the one before was answered; the pieces a second that were reached."""
    begun = time.monotonic()
    for first in range(1, end, at_once):
        indexes = range(first, min(first + at_once, end))
        time.sleep(max(0.0, begun + indexes[-1] / per_second - time.monotonic()))
        say(connection, conversation, message, first, *(f"{index} " for index in indexes), end=end)
        if end // 2 in indexes:
            sys.stdout.write("half\n")
            sys.stdout.flush()
    return (end - 1) / (time.monotonic() - begun)


def main(arguments: Sequence[str]) -> None:
    """Write the reply."""
    url, key, conversation, message, pieces, per_second, at_once = arguments
    with KeptConnection(url, key) as connection:
        rate = write(connection, conversation, message, int(pieces), float(per_second), int(at_once))
    sys.stdout.write(f"{rate}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
