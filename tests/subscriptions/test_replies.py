"""This module is where growing replies are specified: kept at their place, joined for the slow, whole for the late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from uuid import UUID

import pytest

from models.conversations import CONTENT_LIMIT_BYTES
from models.ids import uuid7
from subscriptions.backend import HashScript
from subscriptions.bus import MAX_MESSAGE_BYTES
from subscriptions.channels import replies_channel
from subscriptions.replies import (
    HEAD_BYTES,
    MOST_OPEN,
    PIECE_LIMIT_BYTES,
    Ended,
    Kept,
    Piece,
    Place,
    Replies,
    Told,
    Typing,
    decode,
    encode_piece,
)
from subscriptions.reply_board import ReplyBoard, Shown
from subscriptions.typing_signs import TypingViewer
from tests.patience import DEADLINE
from tests.subscriptions.brokers import Broker, Buses

ME = "user:me"


def place() -> Place:
    """A conversation."""
    return Place(uuid7(), uuid7())


def piece(message_id: UUID, index: int, text: str = "so ", *, is_final: bool = False) -> Piece:
    """A piece of a reply."""
    return Piece(message_id, index, text, is_final)


async def following(shown: AsyncIterator[Shown]) -> Shown:
    """The next that is shown."""
    async with asyncio.timeout(DEADLINE):
        return await anext(shown)


async def until_final(shown: AsyncIterator[Shown]) -> str:
    """All that one viewer ends with of one reply."""
    text = ""
    while True:
        one = await following(shown)
        text = one.text if one.is_snapshot else text + one.text
        if one.is_final:
            return text


async def test_pieces_are_taken_at_their_place_and_nowhere_else(broker: Broker, buses: Buses) -> None:
    replies, here, message = Replies(await buses.start(broker.backend())), place(), uuid7()
    assert await replies.append(here, piece(message, 1), ME) == (Told.GONE, 0)
    assert await replies.begin(here, piece(message, 0, "The "), ME) is Told.TAKEN
    assert await replies.append(here, piece(message, 2), ME) == (Told.OUT_OF_ORDER, 0)
    assert await replies.append(here, piece(message, 0), ME) == (Told.OUT_OF_ORDER, 0)
    assert await replies.append(here, piece(message, 1, "light "), ME) == (Told.TAKEN, 0)
    # Whoever did not hear the answer asks again, and says nothing twice.
    assert await replies.append(here, piece(message, 1, "light "), ME) == (Told.TAKEN, 0)
    assert await replies.append(here, piece(message, 1, "lamp "), ME) == (Told.OUT_OF_ORDER, 1)
    assert await replies.append(here, piece(message, 2, "x"), "user:somebody else") == (Told.GONE, 0)
    assert await replies.append(here, piece(message, 2, "works é.", is_final=True), ME) == (Told.TAKEN, 0)
    assert await replies.append(here, piece(message, 2, "works é.", is_final=True), ME) == (Told.TAKEN, 0)
    assert await replies.append(here, piece(message, 3), ME) == (Told.OVER, 0)
    assert await replies.read(here) == [Kept(message, 2, "The light works é.", True)]
    assert await replies.read(place()) == []
    await replies.end(here, message)
    assert await replies.read(here) == []
    assert await replies.append(here, piece(message, 3), ME) == (Told.GONE, 0)


async def test_a_reply_is_no_longer_than_a_message_and_a_conversation_has_few_at_once(
    broker: Broker, buses: Buses
) -> None:
    replies, here, message = Replies(await buses.start(broker.backend())), place(), uuid7()
    assert await replies.begin(here, piece(message, 0, ""), ME) is Told.TAKEN
    count = CONTENT_LIMIT_BYTES // PIECE_LIMIT_BYTES
    for index in range(1, count + 1):
        assert await replies.append(here, piece(message, index, "x" * PIECE_LIMIT_BYTES), ME) == (Told.TAKEN, 0)
    assert await replies.append(here, piece(message, count + 1, "x"), ME) == (Told.TOO_LONG, 0)
    for _ in range(MOST_OPEN - 1):
        assert await replies.begin(here, piece(uuid7(), 0), ME) is Told.TAKEN
    assert await replies.begin(here, piece(uuid7(), 0), ME) is Told.TOO_MANY
    assert await replies.begin(place(), piece(uuid7(), 0), ME) is Told.TAKEN


async def test_what_was_given_up_makes_room_and_is_not_shown(broker: Broker, buses: Buses) -> None:
    now = [1_000_000.0]
    replies, here = Replies(await buses.start(broker.backend()), lambda: now[0]), place()
    for _ in range(MOST_OPEN):
        assert await replies.begin(here, piece(uuid7(), 0), ME) is Told.TAKEN
    now[0] += 601
    assert await replies.read(here) == []
    fresh = uuid7()
    assert await replies.begin(here, piece(fresh, 0), ME) is Told.TAKEN
    assert [one.message_id for one in await replies.read(here) or ()] == [fresh]


async def test_without_a_broker_nothing_is_taken(broker: Broker, buses: Buses) -> None:
    replies, here = Replies(await buses.start(broker.backend())), place()
    broker.kill()
    assert await replies.begin(here, piece(uuid7(), 0), ME) is Told.AWAY
    assert await replies.read(here) is None
    assert await replies.tell_typing(here, Typing(uuid7(), True)) is False
    broker.restart()


def test_what_travels_is_read_as_it_was_written_and_fits_the_bus() -> None:
    here, message = place(), uuid7()
    longest = piece(message, 999_999, "\N{GRINNING FACE}" * (PIECE_LIMIT_BYTES // 4), is_final=True)
    assert encode_piece(here, longest).startswith(here.head)
    assert len(here.head) == HEAD_BYTES
    assert decode(encode_piece(here, longest)) == longest
    assert len(encode_piece(here, longest)) <= MAX_MESSAGE_BYTES
    assert decode(here.head + b"e" + message.hex.encode()) == Ended(message)
    assert decode(here.head + b"t" + message.hex.encode() + b"1") == Typing(message, True)


@pytest.mark.parametrize("forged", [b"", b"x" * 100, b"0" * 64 + b"p", b"0" * 64 + b"p" + b"0" * 32 + b"1:2:x"])
def test_what_nobody_wrote_is_ignored(forged: bytes) -> None:
    assert decode(forged) is None


def test_text_that_is_none_is_ignored() -> None:
    assert decode(encode_piece(place(), piece(uuid7(), 0, "x"))[:-1] + b"\xff") is None


async def test_a_viewer_sees_a_reply_grow_and_end(broker: Broker, buses: Buses) -> None:
    board, here, message = ReplyBoard(await buses.start(broker.backend())), place(), uuid7()
    async with board.watch(here) as shown:
        await board.replies.begin(here, piece(message, 0, "one "), ME)
        assert await following(shown) == Shown(message, 0, "one ", False, False)
        await board.replies.append(here, piece(message, 1, "two"), ME)
        assert await following(shown) == Shown(message, 1, "two", False, False)
        await board.replies.append(here, piece(message, 2, "", is_final=True), ME)
        assert await following(shown) == Shown(message, 2, "", False, True)


async def test_who_comes_late_is_shown_all_of_it_first(broker: Broker, buses: Buses) -> None:
    here, message = place(), uuid7()
    writing = Replies(await buses.start(broker.backend()))
    await writing.begin(here, piece(message, 0, "one "), ME)
    await writing.append(here, piece(message, 1, "two "), ME)
    board = ReplyBoard(await buses.start(broker.backend()))
    async with board.watch(here) as early:
        assert await following(early) == Shown(message, 1, "one two ", True, False)
        await writing.append(here, piece(message, 2, "three"), ME)
        assert await following(early) == Shown(message, 2, "three", False, False)
        async with board.watch(here) as late:
            assert await following(late) == Shown(message, 2, "one two three", True, False)


async def test_a_slow_viewer_is_shown_everything_since_joined(broker: Broker, buses: Buses) -> None:
    board, here, message = ReplyBoard(await buses.start(broker.backend())), place(), uuid7()
    async with board.watch(here) as slow, board.watch(here) as quick:
        await board.replies.begin(here, piece(message, 0, "0 "), ME)
        for index in range(1, 50):
            await board.replies.append(here, piece(message, index, f"{index} ", is_final=index == 49), ME)
        whole = "".join(f"{index} " for index in range(50))
        assert await until_final(quick) == whole
        assert await following(slow) == Shown(message, 49, whole, False, True)


async def test_a_reply_that_becomes_a_message_without_a_last_piece_ends_too(broker: Broker, buses: Buses) -> None:
    board, here, message = ReplyBoard(await buses.start(broker.backend())), place(), uuid7()
    async with board.watch(here) as shown:
        await board.replies.begin(here, piece(message, 0, "one"), ME)
        assert (await following(shown)).is_final is False
        await board.replies.end(here, message)
        assert await following(shown) == Shown(message, 0, "", False, True)
    async with board.watch(here) as shown:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await anext(shown)


async def test_other_conversations_and_tenants_show_nothing(broker: Broker, buses: Buses) -> None:
    board, here = ReplyBoard(await buses.start(broker.backend())), place()
    elsewhere = (Place(here.tenant_id, uuid7()), Place(uuid7(), here.conversation_id))
    async with board.watch(here) as shown:
        for one in elsewhere:
            await board.replies.begin(one, piece(uuid7(), 0, "not yours"), ME)
        mine = uuid7()
        await board.replies.begin(here, piece(mine, 0, "yours"), ME)
        assert await following(shown) == Shown(mine, 0, "yours", False, False)


async def test_pieces_that_were_lost_on_the_way_are_read_where_they_are_kept(broker: Broker, buses: Buses) -> None:
    bus = await buses.start(broker.backend())
    board, here, message = ReplyBoard(bus), place(), uuid7()
    async with board.watch(here) as shown:
        await board.replies.begin(here, piece(message, 0, "0 "), ME)
        assert (await following(shown)).text == "0 "
        tell, lost = bus.tell_on_hash, []

        async def lose(
            script: HashScript, key: str, *arguments: bytes, channel: str, data: bytes
        ) -> list[bytes] | None:
            lost.append(channel)
            assert decode(data) is not None
            return await bus.run_on_hash(script, key, *arguments)

        bus.tell_on_hash = lose  # type: ignore[method-assign]
        for index in range(1, 10):
            await board.replies.append(here, piece(message, index, f"{index} "), ME)
        bus.tell_on_hash = tell  # type: ignore[method-assign]
        assert lost == [replies_channel(here.tenant_id)] * 9
        await board.replies.append(here, piece(message, 10, "10", is_final=True), ME)
        assert "0 " + await until_final(shown) == "".join(f"{index} " for index in range(10)) + "10"


async def test_after_a_lost_connection_every_viewer_still_ends_with_the_exact_text(
    broker: Broker, buses: Buses
) -> None:
    bus = await buses.start(broker.backend())
    board, here, message = ReplyBoard(bus), place(), uuid7()
    async with board.watch(here) as shown:
        await board.replies.begin(here, piece(message, 0, "0 "), ME)
        reading = asyncio.create_task(until_final(shown), name="viewer")
        for index in range(1, 100):
            if index in {30, 60}:
                broker.sever()
            told = (Told.AWAY, 0)
            while told[0] is Told.AWAY:
                told = await board.replies.append(here, piece(message, index, f"{index} ", is_final=index == 99), ME)
            assert told[0] in {Told.TAKEN, Told.OUT_OF_ORDER, Told.OVER}
        assert await reading == "".join(f"{index} " for index in range(100))


async def test_nothing_is_left_running_when_the_last_viewer_leaves(broker: Broker, buses: Buses) -> None:
    board, here = ReplyBoard(await buses.start(broker.backend())), place()
    async with AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(board.watch(here))
        await stack.enter_async_context(board.watch_typing(here))
        assert len(board._channels) == 1
    assert not board._channels
    names = {task.get_name() for task in asyncio.all_tasks()}
    assert not any(name.startswith(("reads ", "replies read")) for name in names)


async def test_signs_of_typing_are_told_once_and_end(broker: Broker, buses: Buses) -> None:
    board, here, ada = ReplyBoard(await buses.start(broker.backend())), place(), uuid7()
    async with board.watch_typing(here) as signs, asyncio.timeout(DEADLINE):
        for is_typing in (True, True, False):
            assert await board.replies.tell_typing(here, Typing(ada, is_typing))
        # What was not read in time is not told at all: only how it stands.
        told = [await anext(signs)]
        while told[-1].is_typing:
            told.append(await anext(signs))
        assert told in ([Typing(ada, False)], [Typing(ada, True), Typing(ada, False)])
        await board.replies.tell_typing(here, Typing(ada, True))
        assert await anext(signs) == Typing(ada, True)


async def test_who_is_silent_has_stopped_typing() -> None:
    viewer, ada = TypingViewer(0.05), uuid7()
    viewer.take(Typing(ada, True))
    async with asyncio.timeout(DEADLINE):
        assert [await anext(viewer), await anext(viewer)] == [Typing(ada, True), Typing(ada, False)]
