"""This module is where a reply that is being written grows: its text so far, and the pieces that travel.

The text is kept by the broker for ten minutes after the last piece, so that any process can show it whole; a piece is
taken only at its place. What was said lives in the database once the reply is finished, and only there.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol
from uuid import UUID

from models.conversations import CONTENT_LIMIT_BYTES
from subscriptions.backend import HashScript
from subscriptions.channels import replies_channel

PIECE_LIMIT_BYTES: Final = 8_192
"""With its head it fits a message of the bus."""

MOST_OPEN: Final = 16
"""Replies that one conversation has at once."""

MOST_PIECES: Final = 1_000_000
KEPT_SECONDS: Final = 600

HEAD_BYTES: Final = 64
"""What a message on the bus begins with: its place."""

_HEX: Final = rb"[0-9a-f]{32}"
_MESSAGE: Final = re.compile(
    rb"%s%s(?:p(?P<message>%s)(?P<index>\d{1,7}):(?P<final>[01]):(?P<text>.*)"
    rb"|e(?P<ended>%s)|t(?P<user>%s)(?P<typing>[01]))" % ((_HEX,) * 5),
    re.DOTALL,
)


class Told(StrEnum):
    """What became of a piece."""

    TAKEN = "ok"
    GONE = "gone"
    OVER = "over"
    OUT_OF_ORDER = "order"
    TOO_LONG = "long"
    TOO_MANY = "many"
    AWAY = "away"


@dataclass(frozen=True, slots=True)
class Place:
    """One conversation."""

    tenant_id: UUID
    conversation_id: UUID

    @property
    def key(self) -> str:
        """Where the broker keeps its replies."""
        return f"signalbox:replies:{self.tenant_id.hex}:{self.conversation_id.hex}"

    @property
    def head(self) -> bytes:
        """What each of its messages on the bus begins with."""
        return f"{self.tenant_id.hex}{self.conversation_id.hex}".encode()


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece as it was published; ``index`` counts from 0."""

    message_id: UUID
    index: int
    text: str
    is_final: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """The reply is a message now, or will never be one."""

    message_id: UUID


@dataclass(frozen=True, slots=True)
class Typing:
    """Somebody types, or does no longer."""

    user_id: UUID
    is_typing: bool


@dataclass(frozen=True, slots=True)
class Kept:
    """A reply as the broker keeps it: all that was said, up to the piece ``index``."""

    message_id: UUID
    index: int
    text: str
    is_final: bool


def encode_piece(place: Place, piece: Piece) -> bytes:
    """A piece as it travels."""
    head = b"p%s%d:%d:" % (piece.message_id.hex.encode(), piece.index, piece.is_final)
    return place.head + head + piece.text.encode()


def decode(data: bytes) -> Piece | Ended | Typing | None:
    """What travelled behind its place's head, or None for anything that was not written here."""
    match = _MESSAGE.fullmatch(data)
    if match is None:
        return None
    if match["ended"] is not None:
        return Ended(_uuid(match["ended"]))
    if match["user"] is not None:
        return Typing(_uuid(match["user"]), match["typing"] == b"1")
    try:
        text = match["text"].decode()
    except UnicodeDecodeError:
        return None
    return Piece(_uuid(match["message"]), int(match["index"]), text, match["final"] == b"1")


def _uuid(text: bytes) -> UUID:
    return UUID(text.decode())


# A reply is two fields: its text, and "index final at publisher".
_BEGIN: Final = b"""
local now = tonumber(ARGV[5])
local open = 0
for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(name, -1) == 'h' then
    local at = string.match(redis.call('HGET', KEYS[1], name), '^%d+ %d (%d+)')
    if tonumber(at) + 600000 < now then
      redis.call('HDEL', KEYS[1], name, string.sub(name, 1, 32) .. 't')
    else
      open = open + 1
    end
  end
end
if open >= 16 then return {'many'} end
redis.call('HSET', KEYS[1], ARGV[1] .. 't', ARGV[3],
  ARGV[1] .. 'h', '0 ' .. ARGV[4] .. ' ' .. ARGV[5] .. ' ' .. ARGV[2])
redis.call('PEXPIRE', KEYS[1], 600000)
return {'ok'}
"""

_APPEND: Final = b"""
local head = redis.call('HGET', KEYS[1], ARGV[1] .. 'h')
if not head then return {'gone'} end
local index, final, publisher = string.match(head, '^(%d+) (%d) %d+ (.*)$')
if publisher ~= ARGV[2] then return {'gone'} end
local text = redis.call('HGET', KEYS[1], ARGV[1] .. 't')
if tonumber(ARGV[6]) == tonumber(index) and final == ARGV[4] and string.sub(text, #text - #ARGV[3] + 1) == ARGV[3] then
  return {'ok'}
end
if final == '1' then return {'over'} end
if tonumber(ARGV[6]) ~= tonumber(index) + 1 then return {'order', index} end
text = text .. ARGV[3]
if #text > 131072 then return {'long'} end
redis.call('HSET', KEYS[1], ARGV[1] .. 't', text,
  ARGV[1] .. 'h', ARGV[6] .. ' ' .. ARGV[4] .. ' ' .. ARGV[5] .. ' ' .. ARGV[2])
redis.call('PEXPIRE', KEYS[1], 600000)
return {'ok'}
"""

_END: Final = b"return {tostring(redis.call('HDEL', KEYS[1], ARGV[1] .. 't', ARGV[1] .. 'h'))}"
_READ: Final = b"return redis.call('HGETALL', KEYS[1])"


def _begin(held: dict[bytes, bytes], arguments: Sequence[bytes]) -> list[bytes]:
    message, publisher, text, final, now = arguments
    for name in [name for name in held if name.endswith(b"h")]:
        if int(held[name].split(b" ")[2]) + KEPT_SECONDS * 1000 < int(now):
            del held[name], held[name[:32] + b"t"]
    if sum(name.endswith(b"h") for name in held) >= MOST_OPEN:
        return [b"many"]
    held[message + b"t"], held[message + b"h"] = text, b" ".join((b"0", final, now, publisher))
    return [b"ok"]


def _append(held: dict[bytes, bytes], arguments: Sequence[bytes]) -> list[bytes]:
    message, publisher, text, final, now, index = arguments
    head = held.get(message + b"h")
    if head is None:
        return [b"gone"]
    last, was_final, _, whose = head.split(b" ", 3)
    if whose != publisher:
        return [b"gone"]
    if (index, final) == (last, was_final) and held[message + b"t"].endswith(text):
        return [b"ok"]  # said again by somebody who did not hear the answer
    if was_final == b"1":
        return [b"over"]
    if int(index) != int(last) + 1:
        return [b"order", last]
    whole = held[message + b"t"] + text
    if len(whole) > CONTENT_LIMIT_BYTES:
        return [b"long"]
    held[message + b"t"], held[message + b"h"] = whole, b" ".join((index, final, now, publisher))
    return [b"ok"]


def _end(held: dict[bytes, bytes], arguments: Sequence[bytes]) -> list[bytes]:
    gone = [held.pop(arguments[0] + part, None) for part in (b"t", b"h")]
    return [b"%d" % sum(one is not None for one in gone)]


def _read(held: dict[bytes, bytes], _: Sequence[bytes]) -> list[bytes]:
    return [part for pair in held.items() for part in pair]


BEGIN: Final = HashScript(_BEGIN, _begin, KEPT_SECONDS)
APPEND: Final = HashScript(_APPEND, _append, KEPT_SECONDS)
END: Final = HashScript(_END, _end, KEPT_SECONDS)
READ: Final = HashScript(_READ, _read, KEPT_SECONDS)


class Keeps(Protocol):
    """What replies need of a bus."""

    async def publish(self, channel: str, data: bytes) -> bool:
        """False when the broker is away."""
        ...

    async def run_on_hash(self, script: HashScript, key: str, *arguments: bytes) -> list[bytes] | None:
        """None when the broker is away."""
        ...

    async def tell_on_hash(
        self, script: HashScript, key: str, *arguments: bytes, channel: str, data: bytes
    ) -> list[bytes] | None:
        """The same, and ``data`` published when the script says ``ok``."""
        ...


class Replies:
    """Replies that are being written, as every process sees them."""

    def __init__(self, bus: Keeps, clock: Callable[[], float] = time.time) -> None:
        self._bus = bus
        self._clock = clock

    async def begin(self, place: Place, piece: Piece, publisher: str) -> Told:
        """Keep the first piece of a reply and tell of it."""
        return (await self._say(BEGIN, place, piece, publisher))[0]

    async def append(self, place: Place, piece: Piece, publisher: str) -> tuple[Told, int]:
        """Keep the next piece and tell of it; the index of the last one that is kept stands beside OUT_OF_ORDER."""
        return await self._say(APPEND, place, piece, publisher, b"%d" % piece.index)

    async def end(self, place: Place, message_id: UUID) -> None:
        """Forget a reply: it is a message now. Best effort: what is forgotten too late expires."""
        message = message_id.hex.encode()
        if await self._bus.run_on_hash(END, place.key, message) != [b"0"]:
            await self._bus.publish(replies_channel(place.tenant_id), place.head + b"e" + message)

    async def tell_typing(self, place: Place, typing: Typing) -> bool:
        """Say who types; False when the broker is away."""
        said = place.head + b"t%s%d" % (typing.user_id.hex.encode(), typing.is_typing)
        return await self._bus.publish(replies_channel(place.tenant_id), said)

    async def read(self, place: Place) -> list[Kept] | None:
        """Every reply of the conversation with all that was said so far; None when the broker is away."""
        found = await self._bus.run_on_hash(READ, place.key)
        if found is None:
            return None
        fields = dict(zip(found[::2], found[1::2], strict=True))
        oldest = int(self._clock() * 1000) - KEPT_SECONDS * 1000
        kept = []
        for name, head in fields.items():
            if name.endswith(b"h"):
                index, final, at, _ = head.split(b" ", 3)
                if int(at) >= oldest:
                    text = fields[name[:32] + b"t"].decode()
                    kept.append(Kept(_uuid(name[:32]), int(index), text, final == b"1"))
        return kept

    async def _say(
        self, script: HashScript, place: Place, piece: Piece, publisher: str, *more: bytes
    ) -> tuple[Told, int]:
        # One round trip a piece. Lost on the way, it is found where the text is kept: whoever misses one reads that.
        answer = await self._bus.tell_on_hash(
            script,
            place.key,
            piece.message_id.hex.encode(),
            publisher.encode(),
            piece.text.encode(),
            b"%d" % piece.is_final,
            b"%d" % int(self._clock() * 1000),
            *more,
            channel=replies_channel(place.tenant_id),
            data=encode_piece(place, piece),
        )
        if not answer:
            return Told.AWAY, 0
        return Told(answer[0].decode()), int(answer[1]) if len(answer) > 1 else 0
