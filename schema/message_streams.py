"""This module is where conversations are watched live: messages that are never lost, replies as they are written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import strawberry
from strawberry import ID

import models
from dataloaders.base import by_id
from models import Scope
from models.ids import parse
from resolvers.call import Call
from resolvers.conversation_access import watches
from resolvers.message_chunks import ReplyShown, TypingShown, note_watching, watch_replies, watch_typing
from schema.common import EventCursor
from schema.declare import Argument, column, part, root_fields, to_one
from schema.messages import Message
from schema.streams import AFTER, Change, DurableSource, StreamCheckpoint, StreamItem, StreamReady, stream
from schema.users import User
from subscriptions.streams import Interest

CONVERSATION = Argument("conversation_id", ID, "Which conversation; of another's nothing comes.")


@part("One message that was said or begun, in the order in which they were committed.")
class MessageItem(StreamItem):
    """One event of a message."""

    previous_cursor: EventCursor = column("Cursor of the item sent before this one on this subscription.")
    occurred_at: datetime = column("When it was committed.")
    kind: str = column("message.begun for a reply that is being written, message.appended for all that is said.")
    entity_id: ID = column("Which message.")
    message: Message | None = column("The message as it is now; null when it is gone.", "entity", scope=Scope.SIGNED_IN)

    @classmethod
    def is_type_of(cls, value: object, _: object) -> bool:
        """An event of a message."""
        return isinstance(value, Change) and value.event.entity_type == models.Message.__typeid__


MessageStream = Annotated[
    StreamReady | StreamCheckpoint | MessageItem,
    strawberry.union("MessageStream", description="What conversationMessages and agentMessages send."),
]


@part(
    "A piece of a reply that is still being written, under the id that the finished message will have. isSnapshot: "
    "text is all that was said so far, replace; otherwise append. Pieces for a slow reader are joined, never dropped; "
    "index is that of the last one in it. isFinal: nothing follows, a message may."
)
class MessageChunk:
    """What messageChunks sends."""

    conversation_id: ID = column("Where it is said.")
    message_id: ID = column("The id that the finished message will have.")
    index: int = column("Number of the last piece in it, counted from 0.")
    text: str = column("What is added, or all that was said.")
    is_snapshot: bool = column("Whether text is all that was said so far.")
    is_final: bool = column("Whether nothing follows.")

    @classmethod
    def is_type_of(cls, value: object, _: object) -> bool:
        """A piece as one viewer is shown it."""
        return isinstance(value, ReplyShown)


@part("Somebody who types in a conversation, or has stopped.")
class Typing:
    """What typing sends."""

    conversation_id: ID = column("Where.")
    user: User | None = to_one(models.User, "Who.", "user_id")
    is_typing: bool = column("Whether they type; who is silent for six seconds has stopped.")

    @classmethod
    def is_type_of(cls, value: object, _: object) -> bool:
        """A sign of typing."""
        return isinstance(value, TypingShown)


def _facet(name: str, wanted: UUID) -> Any:
    def matches(facets: Mapping[str, Any] | None) -> bool:
        return facets is not None and facets.get(name) == str(wanted)

    return matches


def _messages(call: Call, after: str | None, name: str, wanted: UUID, *, noted: bool) -> DurableSource:
    interest = Interest(visible=watches(call), entity_type=models.Message.__typeid__, matches=_facet(name, wanted))
    # Who holds the scope sees all; everybody else sees what is their own, and gets a stream of their own.
    personal = not call.allows(Scope.CONVERSATIONS_READ)
    return DurableSource(after, interest, by_id(models.Message), personal=personal, noted=noted)


async def _conversation_messages(_: Any, call: Call, conversation_id: str, after: str | None = None) -> DurableSource:
    wanted = parse(conversation_id, models.Conversation.__typeid__)
    await note_watching(call, wanted)
    return _messages(call, after, "conversation_id", wanted, noted=True)


def _agent_messages(_: Any, call: Call, agent_id: str, after: str | None = None) -> DurableSource:
    return _messages(call, after, "agent_id", parse(agent_id, models.Agent.__typeid__), noted=False)


def _message_chunks(_: Any, call: Call, conversation_id: str) -> AsyncIterator[ReplyShown]:
    return watch_replies(call, parse(conversation_id, models.Conversation.__typeid__))


def _typing(_: Any, call: Call, conversation_id: str) -> AsyncIterator[TypingShown]:
    return watch_typing(call, parse(conversation_id, models.Conversation.__typeid__))


@root_fields
class MessageSubscriptions:
    """Live fields over conversations."""

    conversation_messages: MessageStream = stream(
        _conversation_messages,
        "Every message of one conversation, once and in order.",
        [CONVERSATION, AFTER],
        scope=Scope.SIGNED_IN,
    )
    agent_messages: MessageStream = stream(
        _agent_messages,
        "The messages of all conversations of one agent: what a machine answers.",
        [
            Argument("agent_id", ID, "Which agent; of conversations that are not the caller's to see nothing comes."),
            AFTER,
        ],
        scope=Scope.SIGNED_IN,
    )
    message_chunks: MessageChunk = stream(
        _message_chunks,
        "Starts with a snapshot of every reply that is being written.",
        [CONVERSATION],
        scope=Scope.SIGNED_IN,
    )
    typing: Typing = stream(
        _typing,
        "Who types in a conversation; it is kept nowhere.",
        [CONVERSATION],
        scope=Scope.SIGNED_IN,
    )
