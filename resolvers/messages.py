"""This module is where messages are said, numbered under their conversation's lock, and marked as read."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from dataloaders.conversations import move_marker, read_seqs_of
from dataloaders.messages import is_said_in
from models import Conversation, Message, MessageContentType, MessageRole, MessageState, Scope
from models.conversations import CONTENT_LIMIT_BYTES
from models.errors import Forbidden, Refusal, RefusalCode, invalid, not_found
from models.ids import uuid7
from resolvers.call import Call
from resolvers.conversation_access import (
    locked,
    looks_at_others,
    note_reading,
    readable,
    subject_of,
    workspace_of,
)
from resolvers.unit_of_work import UnitOfWork
from resolvers.validation import anything, document, line, speech, within
from subscriptions.replies import Place

TOOL_CALLS_LIMIT_BYTES: Final = 131_072
METADATA_LIMIT_BYTES: Final = 65_536
MOST_TOKENS: Final = 100_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a message is made of, checked."""

    role: MessageRole
    content: str
    content_type: MessageContentType
    sanitized_content: str | None
    tokens: int | None
    model_used: str | None
    tool_calls: Any
    metadata: dict[str, Any]
    parent_id: UUID | None


async def append_message(
    call: Call,
    *,
    conversation_id: UUID,
    role: MessageRole,
    content: str,
    message_id: UUID | None = None,
    content_type: MessageContentType = MessageContentType.TEXT,
    sanitized_content: str | None = None,
    tokens: int | None = None,
    model_used: str | None = None,
    tool_calls: Any = None,
    metadata: Any = None,
    parent_id: UUID | None = None,
) -> Message:
    """The next message of a conversation, or with ``message_id`` the finished one of a reply. Commits.

    Raises FORBIDDEN for what only agents say, INVALID, NOT_FOUND, ILLEGAL_TRANSITION, LIMIT_EXCEEDED.
    """
    if role is not MessageRole.USER or message_id is not None or sanitized_content is not None:
        require_agent(call)
    said = Said(
        role=role,
        content=_content(content, tool_calls),
        content_type=content_type,
        sanitized_content=_sanitized(sanitized_content),
        tokens=within(tokens, 0, MOST_TOKENS, "tokens") if tokens is not None else None,
        model_used=line(model_used, 255, "modelUsed") if model_used is not None else None,
        tool_calls=anything(tool_calls, TOOL_CALLS_LIMIT_BYTES, "toolCalls") if tool_calls is not None else None,
        metadata=document(metadata, METADATA_LIMIT_BYTES, "metadata") if metadata is not None else {},
        parent_id=parent_id,
    )
    async with call.work() as work:
        conversation = await locked(call, work, conversation_id, "input", "conversationId")
        conversation.require_active("conversationId", show=False)
        if parent_id is not None and not await is_said_in(work.session, parent_id, conversation.id):
            raise not_found("message", "input", "parentId")
        message = await _said(work, conversation, said, message_id)
        reader = call.who.member_id
        if reader is not None:
            # Whoever answers has read what came before.
            await work.session.flush()
            await move_marker(work.session, conversation.id, reader, conversation.message_count, work.now)
    if message_id is not None:
        # After COMMIT: who is shown that the reply has ended finds the message.
        await call.services.reply_board.replies.end(Place(message.tenant_id, message.conversation_id), message.id)
    return message


def require_agent(call: Call) -> None:
    """Refuse whoever is no agent: without the scope, and every person. Raises FORBIDDEN.

    Security boundary: administrators hold the scope to hand it on to keys, and put no words into an agent's mouth.
    """
    call.require(Scope.MESSAGES_WRITE_AS_AGENT)
    if call.who.user_id is not None:
        raise Forbidden("People say USER messages; an agent speaks with a key of its own.")


async def begin_message(call: Call, conversation_id: UUID, message_id: UUID) -> Message:
    """The place of a reply that is being written: numbered now, said later. Commits."""
    async with call.work() as work:
        conversation = await locked(call, work, conversation_id, "input", "conversationId")
        conversation.require_active("conversationId", show=False)
        message = Message(
            id=message_id,
            conversation_id=conversation.id,
            user_id=conversation.user_id,
            seq=conversation.next_seq(work.now),
            role=MessageRole.ASSISTANT,
            content="",
            state=MessageState.WRITING,
        )
        work.add(message)
        await work.session.flush()
        await _tell(work, conversation, message, "message.begun", None)
    return message


async def append_reply(
    work: UnitOfWork, conversation_id: UUID, content: str, metadata: dict[str, Any], *field: str
) -> Message:
    """The next message of a conversation, said by its agent. Does not commit.

    Raises NOT_FOUND, ILLEGAL_TRANSITION unless the conversation goes on, LIMIT_EXCEEDED. Whoever calls decides whose
    conversation may be spoken in.
    """
    conversation = await work.locked(Conversation, conversation_id, *field)
    conversation.require_active(*field[1:], show=False)
    said = Said(
        role=MessageRole.ASSISTANT,
        content=content,
        content_type=MessageContentType.TEXT,
        sanitized_content=None,
        tokens=None,
        model_used=None,
        tool_calls=None,
        metadata=metadata,
        parent_id=None,
    )
    return await _said(work, conversation, said, None)


async def mark_read(call: Call, *, conversation_id: UUID, seq: int | None = None) -> Conversation:
    """Note how far the caller has read; all of it when ``seq`` is None. A marker never moves back. Commits.

    Raises FORBIDDEN for machines, INVALID, NOT_FOUND.
    """
    reader = call.who.member_id
    if reader is None:
        raise Forbidden("Only people of the tenant read.")
    conversation = await readable(call, conversation_id)
    if conversation is None:
        raise not_found("conversation", "input", "conversationId")
    if seq is not None and seq < 0:
        raise invalid("This is the number of a message, or 0.", "input", "seq")
    upto = conversation.message_count if seq is None else min(seq, conversation.message_count)
    async with call.work() as work:
        await move_marker(work.session, conversation.id, reader, upto, work.now)
    return conversation


async def unread_count(call: Call, conversation: Conversation) -> int:
    """How many messages the caller has not read; 0 for machines, which read in other ways."""
    reader = call.who.member_id
    if reader is None:
        return 0
    read_seq: int = await call.load(read_seqs_of(reader), conversation.id)
    return max(0, conversation.message_count - read_seq)


def content_of(call: Call, message: Message) -> str | Awaitable[str]:
    """What was said. Where a person reads another's, that is written down first."""
    if not looks_at_others(call.who, message.user_id):
        return message.content
    return _noted(call, message)


async def _noted(call: Call, message: Message) -> str:
    await note_reading(call, await subject_of(call, message))
    return message.content


async def _said(work: UnitOfWork, conversation: Conversation, said: Said, message_id: UUID | None) -> Message:
    before: dict[str, Any] | None = None
    if message_id is None:
        message = Message(
            id=uuid7(),
            conversation_id=conversation.id,
            user_id=conversation.user_id,
            seq=conversation.next_seq(work.now),
        )
        _fill(message, said)
        work.add(message)
    else:
        message = await _being_written(work, conversation, message_id)
        before = message.facets(conversation.agent_id)
        _fill(message, said)
        message.state = MessageState.FINAL
        conversation.last_message_at = work.now
    conversation.token_count += said.tokens or 0
    await work.session.flush()
    await _tell(work, conversation, message, "message.appended", before)
    return message


def _fill(message: Message, said: Said) -> None:
    message.role = said.role
    message.content = said.content
    message.content_type = said.content_type
    message.sanitized_content = said.sanitized_content
    message.tokens = said.tokens
    message.model_used = said.model_used
    message.tool_calls = said.tool_calls
    message.metadata_ = said.metadata
    message.parent_id = said.parent_id


async def _being_written(work: UnitOfWork, conversation: Conversation, message_id: UUID) -> Message:
    message = await work.locked(Message, message_id, "input", "messageId")
    if message.conversation_id != conversation.id:
        raise not_found("message", "input", "messageId")
    if message.state is not MessageState.WRITING:
        raise Refusal(
            RefusalCode.ILLEGAL_TRANSITION,
            "This message is finished.",
            field=("input", "messageId"),
            current=message,
        )
    return message


def _content(content: str, tool_calls: Any) -> str:
    checked = speech(content, CONTENT_LIMIT_BYTES, "content")
    if not checked and tool_calls is None:
        raise invalid("A message says something, or calls tools.", "input", "content")
    return checked


def _sanitized(content: str | None) -> str | None:
    return speech(content, CONTENT_LIMIT_BYTES, "sanitizedContent") if content is not None else None


async def _tell(
    work: UnitOfWork, conversation: Conversation, message: Message, kind: str, before: dict[str, Any] | None
) -> None:
    work.tell(
        message,
        kind,
        before,
        {"conversation": conversation.typeid, "seq": message.seq, "role": message.role.value},
        after=message.facets(conversation.agent_id),
        workspace_id=await workspace_of(work, conversation.agent_id),
    )
