"""This module is where it is specified which subscribers of what is only now share an answer, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gateway.shared_answers import MOST_SHARED, SHARED_SECONDS, SharedAnswers


def answering(*said: bytes) -> Callable[[], Awaitable[bytes]]:
    """Executes to one after the other."""
    left = list(said)

    async def execute() -> bytes:
        await asyncio.sleep(0)
        return left.pop(0)

    return execute


async def test_who_asks_the_same_at_once_is_given_one_answer_and_its_framing() -> None:
    shared, execute = SharedAnswers(), answering(b"one", b"two")
    first = await shared.of(("question", 1), execute)
    assert await shared.of(("question", 1), execute) is first
    assert (first.payloads, shared.executions) == ([b"one"], 1)


@pytest.mark.parametrize("other", [("question", 2), ("another", 1)], ids=["event", "question"])
async def test_another_event_and_another_question_are_answered_by_themselves(other: tuple[str, int]) -> None:
    shared, execute = SharedAnswers(), answering(b"one", b"two")
    await shared.of(("question", 1), execute)
    assert (await shared.of(other, execute)).payloads == [b"two"]


async def test_whoever_comes_later_is_answered_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    shared, execute = SharedAnswers(), answering(b"old", b"new")
    await shared.of("question", execute)
    loop = asyncio.get_running_loop()
    later = loop.time() + SHARED_SECONDS
    monkeypatch.setattr(loop, "time", lambda: later)
    assert (await shared.of("question", execute)).payloads == [b"new"]


async def test_what_failed_is_not_kept() -> None:
    async def fail() -> bytes:
        raise LookupError

    shared = SharedAnswers()
    with pytest.raises(LookupError):
        await shared.of("question", fail)
    assert (await shared.of("question", answering(b"one"))).payloads == [b"one"]


async def test_memory_is_bounded() -> None:
    shared = SharedAnswers()
    for number in range(MOST_SHARED + 1):
        await shared.of(number, answering(b"one"))
    await shared.of(MOST_SHARED, answering())
    assert (await shared.of(0, answering(b"again"))).payloads == [b"again"]
