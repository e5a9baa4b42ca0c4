"""This module is where a reply is published piece by piece while it is being written, and watched as it grows.

The first piece gives the reply its place among the messages; all others go past the database. Security boundary: a
reply is continued by the credential that began it, and shown to those who may read its conversation.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

from dataloaders.base import by_id
from models import Conversation, Message, MessageState
from models.errors import Forbidden, Refusal, RefusalCode, Unavailable, invalid, not_found
from models.ids import encode, uuid7
from resolvers.call import Call
from resolvers.conversation_access import (
    looks_at_others,
    note_reading,
    readable,
    subject_of_conversation,
    writable,
)
from resolvers.messages import begin_message, require_agent
from resolvers.validation import speech, within
from subscriptions.replies import MOST_OPEN, MOST_PIECES, PIECE_LIMIT_BYTES, Piece, Place, Told, Typing


@dataclass(frozen=True, slots=True)
class ReplyShown:
    """A piece of a reply as one viewer is shown it."""

    conversation_id: str
    message_id: str
    index: int
    text: str
    is_snapshot: bool
    is_final: bool


@dataclass(frozen=True, slots=True)
class TypingShown:
    """Somebody who types in a conversation, or has stopped."""

    conversation_id: str
    user_id: UUID
    is_typing: bool


async def publish_message_chunk(
    call: Call,
    *,
    conversation_id: UUID,
    index: int,
    text: str,
    message_id: UUID | None = None,
    is_final: bool = False,
) -> str:
    """Add a piece to a reply, which begins without ``message_id``; the TypeID of its message. The first commits.

    Raises FORBIDDEN for people, INVALID, NOT_FOUND, CONFLICT out of order, EXPIRED, ILLEGAL_TRANSITION after the end,
    LIMIT_EXCEEDED.
    """
    require_agent(call)
    checked = speech(text, PIECE_LIMIT_BYTES, "text")
    within(index, 0, MOST_PIECES, "index")
    if message_id is None:
        return await _begin(call, conversation_id, index, checked, is_final)
    place = Place(call.tenant_id, conversation_id)
    piece = Piece(message_id, index, checked, is_final)
    told, last = await call.services.reply_board.replies.append(place, piece, call.who.key)
    if told is Told.TAKEN:
        return encode(Message.__typeid__, message_id)
    if told is Told.GONE:
        raise await _why_gone(call, conversation_id, message_id)
    raise _refused(told, last)


async def set_typing(call: Call, *, conversation_id: UUID, is_typing: bool) -> bool:
    """Say that the caller types, or has stopped; it is forgotten after six seconds. Nothing is kept.

    Raises FORBIDDEN for machines, NOT_FOUND, ILLEGAL_TRANSITION, UNAVAILABLE.
    """
    typist = call.who.member_id
    if typist is None:
        raise Forbidden("Only people of the tenant type.")
    conversation = await writable(call, conversation_id, "input", "conversationId")
    conversation.require_active("conversationId", show=False)
    place = Place(call.tenant_id, conversation_id)
    if not await call.services.reply_board.replies.tell_typing(place, Typing(typist, is_typing)):
        raise Unavailable
    return is_typing


async def watch_replies(call: Call, conversation_id: UUID) -> AsyncIterator[ReplyShown]:
    """Replies that are being written: each as a snapshot first, then what is added. Ends at once for a stranger."""
    conversation = await note_watching(call, conversation_id)
    if conversation is None:
        return
    where, last, name = conversation.typeid, None, ""
    async with call.services.reply_board.watch(Place(call.tenant_id, conversation_id)) as shown:
        async for one in shown:
            if one.message_id != last:
                # Not for each item of each viewer: writing the same ids again would be half of what one costs.
                last, name = one.message_id, encode(Message.__typeid__, one.message_id)
            yield ReplyShown(where, name, one.index, one.text, one.is_snapshot, one.is_final)


async def watch_typing(call: Call, conversation_id: UUID) -> AsyncIterator[TypingShown]:
    """Who begins to type and who stops. Ends at once for a stranger."""
    conversation = await readable(call, conversation_id)
    if conversation is None:
        return
    async with call.services.reply_board.watch_typing(Place(call.tenant_id, conversation_id)) as signs:
        async for one in signs:
            yield TypingShown(conversation.typeid, one.user_id, one.is_typing)


async def note_watching(call: Call, conversation_id: UUID) -> Conversation | None:
    """Write down that a person watches what is not theirs; the conversation, None for a stranger. Commits."""
    conversation = await readable(call, conversation_id)
    if conversation is not None and looks_at_others(call.who, conversation.user_id):
        await note_reading(call, subject_of_conversation(conversation))
    return conversation


async def _begin(call: Call, conversation_id: UUID, index: int, text: str, is_final: bool) -> str:
    conversation = await writable(call, conversation_id, "input", "conversationId")
    conversation.require_active("conversationId", show=False)
    if index != 0:
        raise invalid("The first piece has index 0; later ones name their messageId.", "input", "index")
    replies, place = call.services.reply_board.replies, Place(call.tenant_id, conversation_id)
    piece = Piece(uuid7(), 0, text, is_final)
    # Before the transaction: what cannot be shown is not begun, and no transaction waits for the broker.
    told = await replies.begin(place, piece, call.who.key)
    if told is not Told.TAKEN:
        raise _refused(told, 0)
    try:
        message = await begin_message(call, conversation_id, piece.message_id)
    except BaseException:
        await replies.end(place, piece.message_id)
        raise
    return message.typeid


async def _why_gone(call: Call, conversation_id: UUID, message_id: UUID) -> Refusal | Unavailable:
    message: Message | None = await call.load(by_id(Message), message_id)
    if message is None or message.conversation_id != conversation_id:
        return not_found("message", "input", "messageId")
    conversation = await writable(call, conversation_id, "input", "messageId")
    if message.state is MessageState.FINAL:
        return _refused(Told.OVER, 0)
    conversation.require_active("conversationId", show=False)
    return Refusal(
        RefusalCode.EXPIRED,
        "What was said of this reply so far is gone, or another began it; finish it with appendMessage.",
        field=("input", "messageId"),
    )


def _refused(told: Told, last: int) -> Refusal | Unavailable:
    match told:
        case Told.OVER:
            return Refusal(RefusalCode.ILLEGAL_TRANSITION, "This reply has ended.", field=("input", "messageId"))
        case Told.OUT_OF_ORDER:
            return Refusal(RefusalCode.CONFLICT, f"The next piece has index {last + 1}.", field=("input", "index"))
        case Told.TOO_LONG:
            return Refusal(RefusalCode.LIMIT_EXCEEDED, "A reply is no longer than a message.", field=("input", "text"))
        case Told.TOO_MANY:
            return Refusal(
                RefusalCode.LIMIT_EXCEEDED,
                f"A conversation has at most {MOST_OPEN} replies at once.",
                field=("input", "conversationId"),
            )
        case _:
            return Unavailable()
