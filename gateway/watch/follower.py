"""This module is where a stream is followed for as long as it takes: resumed, renewed, and never asked for twice.

The steps are those of docs/streams.md: keep the last cursor, come back after it with growing pauses, show a newer
token before the old one ends, and believe the gateway when it says that coming back is of no use.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidURI
from websockets.typing import Subprotocol

from gateway.watch.credentials import RENEW_BEFORE, Credentials, Unreachable, WatchError
from gateway.watch.streams import Item, Stream

FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 30.0
ANSWER_SECONDS: Final = 15.0
RENEWAL_SECONDS: Final = 5.0
_LARGEST_MESSAGE: Final = 8 * 1024 * 1024
_OPERATION: Final = "1"
# Coming back would get the same answer: see "How connections end" in docs/clients.md.
_FINAL_CODES: Final = frozenset({4400, 4401, 4406, 4409, 4429})
_PROTOCOL: Final = Subprotocol("graphql-transport-ws")


class _Again(Exception):
    """This connection is over; the next one may go on. The message says why it ended."""


class Follower:
    """Follows one stream, each item once. ``show`` gets the items, ``say`` what happens to the connection."""

    def __init__(
        self,
        url: str,
        credentials: Credentials,
        stream: Stream,
        *,
        after: str | None,
        filter: Mapping[str, Any],
        show: Callable[[Item], None],
        say: Callable[[str], None],
    ) -> None:
        self._url = url
        self._credentials = credentials
        self._stream = stream
        self._filter = filter
        self._show = show
        self._say = say
        self.cursor = after
        self._stood = False
        self._standing = False
        self._failures = 0
        self._refused = False
        self.expires_at: datetime | None = None

    async def run(self) -> None:
        """Until cancelled. Raises WatchError when going on is of no use, or the gateway was never reached."""
        while True:
            try:
                await self._follow_once()
            except (_Again, Unreachable, ConnectionClosed, OSError, InvalidHandshake, InvalidMessage) as ended:
                if not self._stood:
                    raise WatchError(f"{self._url} cannot be followed: {_reason(ended)}") from ended
                pause = self._pause()
                self._say(f"{_reason(ended)}; again in {pause:.1f} s")
                await asyncio.sleep(pause)
            except InvalidURI as error:
                raise WatchError(f"{self._url} is no address of a gateway.") from error

    def _pause(self) -> float:
        longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(self._failures, 16))
        self._failures += 1
        # Anywhere in the span: clients that were sent away together must not come back together.
        return random.uniform(0, longest)  # noqa: S311 - not a secret

    async def _follow_once(self) -> None:
        authorization = await self._credentials.authorization(fresh=self._refused)
        self._refused = self._standing = False
        async with self._socket() as socket:
            await self._introduce(socket, authorization)
            variables = self._stream.variables(self.cursor, self._filter)
            await _send(
                socket,
                type="subscribe",
                id=_OPERATION,
                payload={"query": self._stream.document, "variables": variables},
            )
            if self._stream.is_quiet:
                # Its answer says that the gateway has heard us, which nothing else would for a long time.
                await _send(socket, type="ping")
            renewal = asyncio.create_task(self._renew(socket), name="renewal")
            try:
                await self._read(socket)
            finally:
                renewal.cancel()
                await asyncio.wait({renewal}, timeout=ANSWER_SECONDS)

    @asynccontextmanager
    async def _socket(self) -> AsyncIterator[ClientConnection]:
        address = self._url.replace("http", "ws", 1) + "/graphql"
        async with connect(
            address, subprotocols=[_PROTOCOL], open_timeout=ANSWER_SECONDS, close_timeout=1, max_size=_LARGEST_MESSAGE
        ) as socket:
            try:
                yield socket
            except ConnectionClosed as closed:
                code = closed.rcvd.code if closed.rcvd else 1006
                reason = closed.rcvd.reason if closed.rcvd else ""
                if code in _FINAL_CODES:
                    raise WatchError(f"The gateway ended this for good: {reason or code}.") from closed
                self._refused = code == 4403
                raise _Again(f"the connection ended ({code} {reason})".replace(" )", ")")) from closed

    async def _introduce(self, socket: ClientConnection, authorization: str) -> None:
        await _send(socket, type="connection_init", payload={"authorization": authorization})
        async with asyncio.timeout(ANSWER_SECONDS):
            while (message := await _receive(socket))["type"] != "connection_ack":
                pass
        self._note_expiry(message)

    def _note_expiry(self, message: Mapping[str, Any]) -> None:
        ends = (message.get("payload") or {}).get("accessTokenExpiresAt")
        self.expires_at = datetime.fromisoformat(ends) if ends else self.expires_at

    async def _renew(self, socket: ClientConnection) -> None:
        """Shows a newer token each time before the old one ends; where that fails the socket ends with its token."""
        while self.expires_at is not None and self._credentials.renewable:
            left = self.expires_at - datetime.now(UTC) - RENEW_BEFORE
            if left > timedelta():
                await asyncio.sleep(left.total_seconds())
                continue
            with contextlib.suppress(Unreachable, WatchError, ConnectionClosed):
                authorization = await self._credentials.authorization(fresh=True)
                await _send(socket, type="ping", payload={"authorization": authorization})
            # The pong says when the new one ends.
            await asyncio.sleep(RENEWAL_SECONDS)

    async def _read(self, socket: ClientConnection) -> None:
        while True:
            message = await _receive(socket)
            kind = message["type"]
            if kind == "ping":
                await _send(socket, type="pong")
            elif kind == "pong":
                self._note_expiry(message)
                if self._stream.is_quiet:
                    self._stand()
            elif kind == "next":
                self._take(message["payload"])
            elif kind == "error":
                self._fail(message["payload"][0])
            elif kind == "complete":
                if self._stream.is_quiet:
                    raise WatchError("The stream ended: there is nothing to follow for these credentials.")
                raise _Again("the stream ended")

    def _take(self, payload: Mapping[str, Any]) -> None:
        for error in payload.get("errors") or ():
            self._say(f"in one item: {error['message']}")
        answer = (payload.get("data") or {}).get("stream")
        if answer is None:
            return
        self._stand()
        for item in self._stream.items(answer):
            self._note(item)

    def _stand(self) -> None:
        if not self._standing:
            self._say(f"following {self._stream.name} at {self._url}")
        self._stood, self._standing, self._failures = True, True, 0

    def _note(self, item: Item) -> None:
        kind = item.get("__typename")
        if kind == "StreamReady" and not item["recovered"] and self.cursor is not None:
            self._say("what came after the last cursor is not to be had any more; going on from now")
        self.cursor = item.get("cursor", self.cursor)
        if kind not in ("StreamReady", "StreamCheckpoint"):
            self._show(item)

    def _fail(self, error: Mapping[str, Any]) -> None:
        extensions = error.get("extensions", {})
        if not extensions.get("retryable") and extensions.get("code") not in ("UNAVAILABLE", "THROTTLED", "INTERNAL"):
            raise WatchError(f"The gateway refused: {error['message']}")
        self.cursor = self.cursor or extensions.get("cursor")
        raise _Again(error["message"])


async def _send(socket: ClientConnection, **message: Any) -> None:
    await socket.send(orjson.dumps(message).decode())


async def _receive(socket: ClientConnection) -> dict[str, Any]:
    message: dict[str, Any] = orjson.loads(await socket.recv())
    return message


def _reason(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
