"""This module is where the life of a conversation and of a run is specified, step by step."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from models import AgentRun, Conversation, ConversationKind, ConversationStatus, RunStatus
from models.conversations import MOST_MESSAGES
from models.errors import Refusal, RefusalCode

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def conversation(status: ConversationStatus = ConversationStatus.ACTIVE, messages: int = 0) -> Conversation:
    return Conversation(
        id=uuid4(),
        kind=ConversationKind.CHAT,
        status=status,
        title="Lights",
        summary="They flicker.",
        metadata_={"intent": "repair"},
        message_count=messages,
        token_count=12,
    )


def run(status: RunStatus = RunStatus.ACTIVE) -> AgentRun:
    return AgentRun(id=uuid4(), agent_name="athena", status=status, started_at=NOW)


def test_messages_are_numbered_from_one_without_gaps() -> None:
    one = conversation()
    assert [one.next_seq(NOW) for _ in range(3)] == [1, 2, 3]
    assert (one.message_count, one.last_message_at) == (3, NOW)


def test_a_conversation_that_is_full_takes_no_more() -> None:
    full = conversation(messages=MOST_MESSAGES)
    with pytest.raises(Refusal) as refused:
        full.next_seq(NOW)
    assert refused.value.code is RefusalCode.LIMIT_EXCEEDED
    assert full.message_count == MOST_MESSAGES


def test_an_active_conversation_is_archived_once() -> None:
    one = conversation()
    one.archive(NOW)
    assert (one.status, one.archived_at) == (ConversationStatus.ARCHIVED, NOW)
    with pytest.raises(Refusal) as refused:
        one.archive(NOW)
    assert (refused.value.code, refused.value.current) == (RefusalCode.ILLEGAL_TRANSITION, one)


@pytest.mark.parametrize("status", [ConversationStatus.ARCHIVED, ConversationStatus.DELETED])
def test_nothing_goes_on_in_a_conversation_that_ended(status: ConversationStatus) -> None:
    with pytest.raises(Refusal) as refused:
        conversation(status).require_active("conversationId", show=False)
    assert (refused.value.field, refused.value.current) == (("input", "conversationId"), None)


def test_of_a_deleted_conversation_no_word_is_left() -> None:
    one = conversation(messages=3)
    one.delete()
    assert (one.title, one.summary, one.metadata_) == (None, None, {})
    assert (one.message_count, one.token_count, one.status) == (0, 0, ConversationStatus.DELETED)


def test_facets_hold_no_word_that_anybody_wrote() -> None:
    one = conversation()
    assert not {"Lights", "They flicker.", "repair"} & {str(value) for value in one.facets().values()}


@pytest.mark.parametrize("status", [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED])
def test_a_run_ends_once_and_its_duration_is_what_lies_between(status: RunStatus) -> None:
    one = run()
    one.finish(status, NOW + timedelta(milliseconds=1500))
    assert (one.status, one.duration_ms) == (status, 1500)
    with pytest.raises(Refusal) as refused:
        one.finish(RunStatus.FAILED, NOW)
    assert refused.value.code is RefusalCode.ILLEGAL_TRANSITION
    assert one.status is status


def test_a_run_does_not_end_as_active() -> None:
    with pytest.raises(Refusal) as refused:
        run().finish(RunStatus.ACTIVE, NOW)
    assert refused.value.code is RefusalCode.INVALID


def test_a_clock_that_was_set_back_gives_no_negative_duration() -> None:
    one = run()
    one.finish(RunStatus.COMPLETED, NOW - timedelta(seconds=3))
    assert (one.ended_at, one.duration_ms) == (NOW, 0)
