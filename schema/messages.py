"""This module is where messages are seen from outside: said, read, searched, and begun piece by piece."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import strawberry
from strawberry import ID

import models
from dataloaders.conversations import messages
from dataloaders.pages import Direction
from models import MessageContentType, MessageRole, MessageState, Scope
from resolvers import message_chunks
from resolvers import messages as use_cases
from resolvers.call import Call
from resolvers.conversation_access import is_own_by_id, is_owner
from schema.commands import UserError, command, payload, user_errors
from schema.common import JSON, Connection, Node, connection, own_without
from schema.declare import column, computed, describe, node, root_fields, to_one
from schema.inputs import form, optional, required

if TYPE_CHECKING:
    from schema.conversations import Conversation

describe(
    MessageRole,
    "Who speaks.",
    USER="A person, or a contact.",
    ASSISTANT="An agent.",
    SYSTEM="Whoever runs the agent.",
    TOOL="A tool, with what it found.",
)
describe(
    MessageContentType,
    "What a message's content is.",
    TEXT="Text.",
    IMAGE="An image's address or description.",
    FILE="A file's address or description.",
    TOOL_CALL="Calls of tools.",
)
describe(
    MessageState,
    "Whether a message is still being written.",
    WRITING="It is; messageChunks shows what was said so far.",
    FINAL="It is as it stays.",
)


class MessageOrderField(StrEnum):
    """What messages can be sorted by."""

    CREATED_AT = "created_at"


describe(MessageOrderField, "What messages can be sorted by.", CREATED_AT="When it was said, or begun.")


def _own(row: models.Message, call: Call) -> Any:
    return is_owner(call.principal, row.user_id) or is_own_by_id(call, row.conversation_id)


def _content(row: models.Message, call: Call) -> Any:
    return use_cases.content_of(call, row)


@node(models.Message, "One thing that was said.", scope=Scope.CONVERSATIONS_READ, own=_own)
class Message(Node):
    """GraphQL type of models.Message."""

    conversation: Annotated[Conversation, strawberry.lazy("schema.conversations")] = to_one(
        models.Conversation, "Where it was said.", "conversation_id"
    )
    seq: int = column("Its number in the conversation, counted from 1 without gaps.")
    role: MessageRole = column("Who speaks.")
    content: str = computed(
        _content,
        "What was said; empty while it is being written. That a person read another's is written down.",
        cost=0,
        shared=True,
        noted=True,
    )
    sanitized_content: str | None = column(
        "What was said, without what is personal; for analysis.", scope=Scope.SANITIZED_MESSAGES_READ
    )
    content_type: MessageContentType = column("What the content is.")
    state: MessageState = column("Whether it is still being written.")
    tokens: int | None = column("How many tokens it took.")
    model_used: str | None = column("The language model that wrote it.")
    tool_calls: JSON | None = column("The tools it calls, as the model said it.")
    metadata: JSON = column("What its writer keeps beside it: intent, risk, latency.", "metadata_")
    parent: Annotated[Message, strawberry.lazy("schema.messages")] | None = to_one(
        models.Message, "The message it answers.", "parent_id"
    )
    created_at: datetime = column("When it was said, or begun.")
    updated_at: datetime = column("When it was finished.")


@form("Which messages; fields combine with and.")
class MessageFilter:
    """Filter of messages."""

    search: str | None = optional("Words of the content that start so; case does not matter.")
    conversation_id: ID | None = optional("Of this conversation.", of="conversation")


@form("How messages are sorted; ties are broken by id.")
class MessageOrder:
    """Order of messages."""

    field: MessageOrderField = required("What to sort by.")
    direction: Direction = required("Which end comes first.")


@form("Something to say.")
class AppendMessageInput:
    """Input of appendMessage."""

    conversation_id: ID = required("Where.", of="conversation")
    message_id: ID | None = optional("The id under which the reply was published in chunks.", of="message")
    role: MessageRole = required("Who speaks; people say USER, all else needs a key with messages:write_as_agent.")
    content: str = required("At most 131,072 bytes; empty only with toolCalls.")
    sanitized_content: str | None = optional("The same without what is personal; needs messages:write_as_agent.")
    content_type: MessageContentType | None = optional("TEXT when absent.")
    tokens: int | None = optional("How many tokens it took; counted in the conversation.")
    model_used: str | None = optional("The language model that wrote it, one line of at most 255 characters.")
    tool_calls: JSON | None = optional("The tools it calls, at most 131,072 bytes.")
    metadata: JSON | None = optional("What to keep beside it, a JSON object of at most 65,536 bytes.")
    parent_id: ID | None = optional("The message of the same conversation that it answers.", of="message")
    idempotency_key: str | None = optional("Makes a retry safe for 24 hours; at most 255 characters.")


@form("A piece of a reply.")
class PublishMessageChunkInput:
    """Input of publishMessageChunk."""

    conversation_id: ID = required("Where.", of="conversation")
    message_id: ID | None = optional("What the first call answered; absent for the first piece.", of="message")
    index: int = required("Counts the reply's pieces from 0, without gaps.")
    text: str = required("What is added, at most 8,192 bytes.")
    is_final: bool | None = optional("Nothing follows; false when absent.")


@form("How far the caller has read.")
class MarkReadInput:
    """Input of markRead."""

    conversation_id: ID = required("Which conversation.", of="conversation")
    seq: int | None = optional("The last message that was read; all when absent.")


@form("Whether the caller types.")
class SetTypingInput:
    """Input of setTyping."""

    conversation_id: ID = required("Which conversation.", of="conversation")
    is_typing: bool = required("True when they begin and every few seconds; false when they stop.")


@payload("A message that was said.")
class MessagePayload:
    """Payload of appendMessage."""

    message: Message | None = column("The message as it is now.")
    user_errors: list[UserError] = user_errors()


@payload("A piece that was taken.")
class PublishMessageChunkPayload:
    """Payload of publishMessageChunk."""

    message_id: ID | None = column("The id that the finished message will have.")
    user_errors: list[UserError] = user_errors()


@payload("A sign of typing that was passed on.")
class SetTypingPayload:
    """Payload of setTyping."""

    is_typing: bool | None = column("What was said.")
    user_errors: list[UserError] = user_errors()


@root_fields
class MessageQueries:
    """Root fields over messages."""

    search_messages: Connection[Message] | None = connection(
        messages,
        "Messages of all conversations; without conversations:read those of one's own. A search looks at 10,000 that "
        "match.",
        filter=MessageFilter,
        order=MessageOrder,
        scope=Scope.SIGNED_IN,
        narrow=own_without(Scope.CONVERSATIONS_READ),
    )


@root_fields
class MessageMutations:
    """What can be said."""

    append_message: MessagePayload | None = command(
        use_cases.append_message,
        "People append USER messages only; role ASSISTANT, SYSTEM and TOOL need messages:write_as_agent.",
        input=AppendMessageInput,
        payload=MessagePayload,
        scope=Scope.MESSAGES_WRITE,
    )
    publish_message_chunk: PublishMessageChunkPayload | None = command(
        message_chunks.publish_message_chunk,
        "A piece of a reply being written; the first call, without messageId, makes the id that the finished message "
        "will have.",
        input=PublishMessageChunkInput,
        payload=PublishMessageChunkPayload,
        scope=Scope.MESSAGES_WRITE_AS_AGENT,
    )
    set_typing: SetTypingPayload | None = command(
        message_chunks.set_typing,
        "Tells whoever watches that the caller types; forgotten after six seconds.",
        input=SetTypingInput,
        payload=SetTypingPayload,
        scope=Scope.MESSAGES_WRITE,
    )
