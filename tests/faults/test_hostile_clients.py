"""This module is where clients do what no client should, beside others who must not notice.

Close codes: RFC 6455, section 7.4.1, and the graphql-transport-ws protocol.
"""

from __future__ import annotations

import asyncio
import base64
import struct
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final

import orjson
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.typing import Subprotocol

from gateway.transports.options import TransportOptions
from subscriptions.cursor import Cursor
from tests.faults.checker import Audience, check
from tests.faults.journal import Follower, all_stopped
from tests.faults.stage import Guest, Stage
from tests.faults.transports import TRANSPORTS, Ended, Operation, opened
from tests.faults.writers import ApiWriter, Pace, writing
from tests.patience import DEADLINE
from tests.report import record

ALL = Audience(frozenset({"workspaces:read"}))
SUBSCRIBE: Final = """
subscription Hostile($after: EventCursor, $filter: WorkspaceFilter) {
  workspaceStatus(after: $after, filter: $filter) {
    __typename
    ... on StreamReady { cursor recovered }
    ... on WorkspaceItem { cursor entityId }
  }
}
"""
SHOW: Final = "Hostile clients get the table's close code or error; the others notice nothing"


def _place(epoch: bytes, seq: int) -> str:
    return base64.urlsafe_b64encode(struct.pack(">8sQ", epoch, seq % 2**64)).rstrip(b"=").decode()


def _subscribe(operation_id: str = "1") -> bytes:
    return orjson.dumps({"id": operation_id, "type": "subscribe", "payload": {"query": SUBSCRIBE}})


def _frames(*frames: tuple[Opcode, bytes, bool]) -> bytes:
    return b"".join(Frame(opcode, data, fin).serialize(mask=True) for opcode, data, fin in frames)


RAW: Final = {
    "binary": (_frames((Opcode.BINARY, b"\x00\xff" * 40, True)), 4400),
    "invalid UTF-8": (_frames((Opcode.TEXT, b'{"type":"ping","\xff\xfe":1}', True)), 1007),
    "invalid UTF-8 in pieces": (_frames((Opcode.TEXT, b"\xe2", False), (Opcode.CONT, b"\x28\xa1", True)), 1007),
    "a continuation of nothing": (_frames((Opcode.CONT, b"more", True)), 1002),
    "a message within a message": (_frames((Opcode.TEXT, b"{", False), (Opcode.TEXT, b"}", True)), 1002),
    "an unmasked frame": (Frame(Opcode.TEXT, b'{"type":"ping"}').serialize(mask=False), 1002),
    "a ping above 125 bytes": (b"\x89\xfe\x00\x80" + bytes(4 + 128), 1002),
    "reserved bits": (b"\xf1\x80" + bytes(4), 1002),
    "an oversized frame": (_frames((Opcode.TEXT, b" " * 2_000_000, True)), 1009),
    "an oversized message in pieces": (
        _frames((Opcode.TEXT, b" " * 60_000, False), *[(Opcode.CONT, b" " * 60_000, False)] * 40),
        1009,
    ),
    "no JSON": (_frames((Opcode.TEXT, b"hello", True)), 4400),
    "deep JSON": (_frames((Opcode.TEXT, b"[" * 30_000, True)), 4400),
    "an operation id twice": (_frames((Opcode.TEXT, _subscribe(), True), (Opcode.TEXT, _subscribe(), True)), 4409),
    "another init": (_frames((Opcode.TEXT, b'{"type":"connection_init"}', True)), 4429),
}


async def _closed(client: ClientConnection) -> int:
    """The code that the socket is closed with; what comes before it is read and forgotten."""
    async with asyncio.timeout(DEADLINE):
        try:
            while True:
                await client.recv()
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else 1006


@asynccontextmanager
async def _unharmed(stage: Stage, guest: Guest) -> AsyncIterator[None]:
    """Well-behaved subscribers by every transport, a writer, and the proof that nothing happened to them."""
    gateway = stage.gateways[0]
    followers = [Follower(name, [gateway.url], guest.key, one).start() for name, one in TRANSPORTS.items()]
    for one in followers:
        await one.until(lambda journal: bool(journal.items), DEADLINE)
    async with writing(ApiWriter(guest, [gateway.url], Pace(20.0), seed="hostile")):
        yield
    head = await stage.head(guest.tenant_id)
    for one in followers:
        await one.until_seq(head, DEADLINE)
    await all_stopped(followers)
    log = await stage.log(guest.tenant_id)
    for one in followers:
        verdict = check(one.journal, log, ALL, head)
        assert not verdict.faults
        assert len(one.journal.connections) == 1


async def test_frames_that_break_the_protocol_close_their_own_socket_only(stage: Stage) -> None:
    guest = await stage.guest()
    found: dict[str, int] = {}
    async with _unharmed(stage, guest):
        for name, (data, _) in RAW.items():
            client = await opened(stage.gateways[0].url, guest.key)
            client.transport.write(data)
            found[name] = await _closed(client)
    assert found == {name: code for name, (_, code) in RAW.items()}
    record(3, SHOW, n=len(found), figure="frames that break the protocol, each with its close code")


async def test_a_thousand_subscriptions_on_one_socket_are_twenty_and_an_error_each(stage: Stage) -> None:
    guest = await stage.guest()
    async with _unharmed(stage, guest):
        client = await opened(stage.gateways[0].url, guest.key)
        for number in range(1000):
            await client.send(_subscribe(str(number)), text=True)
        answered: dict[str, str] = {}
        async with asyncio.timeout(DEADLINE):
            while len(answered) < 1000:
                message = orjson.loads(await client.recv())
                if message["type"] == "error":
                    answered[message["id"]] = message["payload"][0]["extensions"]["code"]
                elif message["type"] == "next":
                    answered.setdefault(message["id"], "running")
        running = sum(one == "running" for one in answered.values())
        assert set(answered.values()) == {"running", "LIMIT_EXCEEDED"}
        assert running == TransportOptions().operations_per_socket
        client.transport.abort()
    record(3, SHOW, n=1000, figure=f"1,000 subscriptions on one socket: {running} run, the others LIMIT_EXCEEDED")


async def test_whoever_connects_and_says_nothing_is_closed(stage: Stage) -> None:
    guest = await stage.guest()
    async with _unharmed(stage, guest):
        url = stage.gateways[0].url.replace("http", "ws", 1)
        silent = await connect(f"{url}/graphql", subprotocols=[Subprotocol("graphql-transport-ws")], proxy=None)
        assert await _closed(silent) == 4408
        early = await connect(f"{url}/graphql", subprotocols=[Subprotocol("graphql-transport-ws")], proxy=None)
        await early.send(_subscribe(), text=True)
        assert await _closed(early) == 4401


@pytest.mark.parametrize("transport", list(TRANSPORTS))
async def test_cursors_of_elsewhere_are_answered_and_give_nothing_away(stage: Stage, transport: str) -> None:
    guest, other = await stage.guest(), await stage.guest()
    epoch = await stage.services.tails.epoch()
    theirs = await stage.head(other.tenant_id)
    places: dict[str, Any] = {
        "another database": _place(b"elsewhre", 1),
        "the future": _place(epoch, 10_000),
        "minus one": _place(epoch, -1),
        "2^63": _place(epoch, 2**63),
        "2^63 - 1": _place(epoch, 2**63 - 1),
        "a word": "nonsense",
        "nothing": "",
        "zeros": "A" * 22,
        "a megabyte less": "A" * 60_000,
        "another tenant": Cursor(epoch, theirs + 1000).encode(),
    }
    async with _unharmed(stage, guest):
        for name, after in places.items():
            first = await _first(transport, stage.gateways[0].url, guest.key, {"after": after})
            assert first["__typename"] == "StreamReady", name
            assert first["recovered"] is False, name
    record(3, SHOW, n=len(places), figure=f"{transport}: cursors of elsewhere, each told recovered: false")


@pytest.mark.parametrize("transport", list(TRANSPORTS))
@pytest.mark.parametrize(
    "variables",
    [{"filter": {"colour": "red"}}, {"filter": {"status": ["NO_SUCH"]}}, {"filter": 7}, {"after": 7}, {"after": ["x"]}],
    ids=str,
)
async def test_unknown_filters_are_one_error(stage: Stage, transport: str, variables: dict[str, Any]) -> None:
    guest = await stage.guest()
    with pytest.raises(Ended, match="BAD_REQUEST"):
        await _first(transport, stage.gateways[0].url, guest.key, variables)


async def _first(transport: str, url: str, key: str, variables: dict[str, Any]) -> dict[str, Any]:
    async with (
        asyncio.timeout(DEADLINE),
        aclosing(TRANSPORTS[transport](url, key, Operation(SUBSCRIBE, variables))) as answers,
    ):
        async for answer in answers:
            if "errors" in answer:
                raise Ended(answer["errors"][0]["extensions"]["code"])
            item: dict[str, Any] = answer["data"]["workspaceStatus"]
            return item
    raise AssertionError("the stream ended without a word")
