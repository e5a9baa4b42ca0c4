"""This module is where many watch a reply that is written fast: the slow and the late end with every letter of it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from redis.asyncio.connection import AbstractConnection

from gateway.embedded import EmbeddedValkey
from models.database import Database
from tests.conftest import counted
from tests.patience import DEADLINE
from tests.report import record
from tests.schema.conftest import Gateway, QueueSink
from tests.schema.talk import APPEND, CHUNK, Talk
from tests.schema.test_message_streams import CHUNKS
from tests.world import Tenants, running

PIECES = 20


@dataclass(frozen=True, slots=True)
class Size:
    """How much is said how fast, and to how many."""

    viewers: int
    slow: int
    late: int
    pieces: int
    pieces_per_second: int


# The full number is watched over real sockets of two processes: tests/faults/test_message_chunks.py.
A_TENTH = Size(viewers=10, slow=1, late=1, pieces=150, pieces_per_second=50)


@pytest.fixture
async def two(database: Database, valkey: EmbeddedValkey, tenants: Tenants) -> AsyncIterator[tuple[Talk, Gateway]]:
    """The gateway that is written to, and another that is watched too."""
    # As a gateway does at its start: a quarter of a second spent on what all tests have left would be no gateway's.
    gc.collect()
    gc.freeze()
    async with running(database, valkey.url) as here, running(database, valkey.url) as there:
        yield await Talk.begin(Gateway(here), tenants.mine), Gateway(there)
    gc.unfreeze()


async def watched(
    gateway: Gateway, talk: Talk, conversation: str, ready: asyncio.Event, pause: float, items_of_all: list[int]
) -> str:
    """What one viewer ends with; a slow one rests after each item."""
    # Nothing waits for a slow one but what it was handed last: what it is shown next is joined.
    items = await gateway.watch(talk.member, CHUNKS, sink=QueueSink(1 if pause else 1000), id=conversation)
    text = ""
    try:
        async for answer in items:
            item = answer["data"]["messageChunks"]
            items_of_all.append(int(item["index"]))
            text = str(item["text"]) if item["isSnapshot"] else f"{text}{item['text']}"
            ready.set()
            if item["isFinal"]:
                return text
            await asyncio.sleep(pause)
    finally:
        await items.aclose()
    raise AssertionError("the stream ended before the reply did")


async def told(talk: Talk, said: dict[str, Any]) -> None:
    """Publish a piece, as clients do: once more when the broker was too slow to answer."""
    while True:
        answer = await talk.gateway.answer(talk.key, CHUNK, input=said)
        codes = {one["extensions"]["code"] for one in answer.get("errors", ())}
        assert codes <= {"UNAVAILABLE"}, answer
        if not codes:
            assert answer["data"]["publishMessageChunk"]["userErrors"] == []
            return


async def written(talk: Talk, conversation: str, reply: str, size: Size, half: asyncio.Event) -> float:
    """Every further piece at its time; the pieces a second that were reached."""
    now = asyncio.get_running_loop().time
    begun = now()
    for index in range(1, size.pieces):
        await asyncio.sleep(max(0.0, begun + index / size.pieces_per_second - now()))
        said = {"conversationId": conversation, "messageId": reply, "index": index, "text": f"{index} "}
        await told(talk, said | {"isFinal": index == size.pieces - 1})
        if index == size.pieces // 2:
            half.set()
    return size.pieces / (now() - begun)


async def test_a_further_piece_costs_no_statement_and_one_trip_to_the_broker(
    two: tuple[Talk, Gateway], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk, _ = two
    conversation = await talk.start()
    reply = await talk.done(talk.key, CHUNK, conversationId=conversation, index=0, text="0 ")
    trips = _trips_for_replies(monkeypatch)
    said = {"conversationId": conversation, "messageId": reply}
    with counted(database) as statements:
        for index in range(1, PIECES):
            await talk.done(talk.key, CHUNK, **said, index=index, text=f"{index} ")
    assert (len(statements), len(trips)) == (0, PIECES - 1)
    record(5, "a further piece of a reply", PIECES - 1, "no statement, one round trip to the broker")


def _trips_for_replies(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What goes to the broker for replies from now on, by what is sent at once."""
    sent: list[bytes] = []
    send = AbstractConnection.send_packed_command

    async def note(connection: AbstractConnection, command: Any, check_health: bool = True) -> None:
        data = command if isinstance(command, bytes) else b"".join(command)
        if b"signalbox:replies:" in data:
            sent.append(data)
        await send(connection, command, check_health)

    monkeypatch.setattr(AbstractConnection, "send_packed_command", note)
    return sent


async def test_every_viewer_ends_with_the_exact_text(two: tuple[Talk, Gateway]) -> None:
    size = A_TENTH
    talk, other = two
    conversation = await talk.start()
    reply = await talk.done(talk.key, CHUNK, conversationId=conversation, index=0, text="0 ")
    gateways = (talk.gateway, other)
    half = asyncio.Event()
    shown: list[int] = []

    def viewer(number: int, pause: float) -> tuple[asyncio.Task[str], asyncio.Event]:
        ready = asyncio.Event()
        work = watched(gateways[number % 2], talk, conversation, ready, pause, shown)
        return asyncio.create_task(work, name=f"viewer {number}"), ready

    early = [viewer(number, 0.5 if number < size.slow else 0.0) for number in range(size.viewers - size.late)]
    async with asyncio.timeout(DEADLINE):
        for _, ready in early:
            await ready.wait()
        writing = asyncio.create_task(written(talk, conversation, reply, size, half), name="writer")
        halfway = asyncio.create_task(half.wait(), name="halfway")
        await asyncio.wait({writing, halfway}, return_when=asyncio.FIRST_COMPLETED)
        if writing.done():
            writing.result()
        late = [viewer(number, 0.0) for number in range(size.late)]
        rate = await writing
        texts = await asyncio.gather(*(task for task, _ in early + late))
    whole = "".join(f"{index} " for index in range(size.pieces))
    assert set(texts) == {whole}
    asked = {"conversationId": conversation, "messageId": reply, "role": "ASSISTANT", "content": whole}
    assert (await talk.done(talk.key, APPEND, **asked))["content"] == whole
    executions = sum(one.operations.shared.executions for one in gateways)
    # Those in step are answered together; the slow, the late and who was shown one piece less have their own.
    assert executions < len(shown) / 2
    record(
        5,
        "chunks to viewers, some slow and some late, over two gateways: every viewer ends with the exact text",
        size.viewers,
        f"{size.pieces} pieces, {rate:.0f} a second, {size.slow} slow, {size.late} late; "
        f"{len(shown):,} items of {executions:,} executions",
    )
