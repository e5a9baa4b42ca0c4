"""This module is where conversations and contacts are seen from outside."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import strawberry
from strawberry import ID

import models
from dataloaders.conversations import contacts, conversations
from dataloaders.messages import MessagePage, message_pages
from dataloaders.pages import Window
from dataloaders.runs import runs_by_conversation, tools_by_conversation
from models import ConversationKind, ConversationStatus, Scope
from resolvers import contacts as contact_cases
from resolvers import conversations as use_cases
from resolvers.call import Call
from resolvers.conversation_access import is_own
from resolvers.messages import mark_read, unread_count
from schema.agents import Agent
from schema.alert_analysis import AlertContext
from schema.alerts import Alert
from schema.commands import DeletePayload, UserError, command, payload, user_errors
from schema.common import JSON, PAGE_ARGUMENTS, Connection, Node, connection, found, own_without
from schema.conversation_filters import ConversationFilter, ConversationOrder
from schema.declare import column, computed, node, related, root_fields, to_one
from schema.inputs import form, optional, required
from schema.llm_providers import LlmProvider
from schema.messages import MarkReadInput, Message
from schema.runs import AgentRun, ToolExecution
from schema.users import User


@node(
    models.Contact,
    "Somebody outside who talks with an agent.",
    scope=Scope.CONTACTS_READ,
)
class Contact(Node):
    """GraphQL type of models.Contact."""

    external_id: str | None = column("What another system calls them, e.g. 5511999990001@s.whatsapp.net.")
    name: str = column("What people call them.")
    meta: JSON = column("What is known of them: channel, language.")
    conversations: Connection[Annotated[Conversation, strawberry.lazy("schema.conversations")]] | None = connection(
        conversations,
        "Their conversations; without conversations:read one's own.",
        filter=ConversationFilter,
        order=ConversationOrder,
        scope=Scope.SIGNED_IN,
        narrow=own_without(Scope.CONVERSATIONS_READ),
        of="contact_id",
    )
    created_at: datetime = column("When they were first heard of.")
    updated_at: datetime = column("When something about them last changed.")


async def _messages(row: models.Conversation, call: Call, **arguments: Any) -> MessagePage:
    window = Window(*(arguments.get(name) for name in ("first", "after", "last", "before")))
    page: MessagePage = await call.load(message_pages(window), row.id)
    page.count = row.message_count
    return page


def _unread(row: models.Conversation, call: Call) -> Any:
    return unread_count(call, row)


def _own(row: models.Conversation, call: Call) -> Any:
    return is_own(call, row)


@node(models.Conversation, "A thread of messages.", scope=Scope.CONVERSATIONS_READ, own=_own)
class Conversation(Node):
    """GraphQL type of models.Conversation."""

    kind: ConversationKind = column("What it is about, and with whom.")
    title: str | None = column("What it is called.")
    profile: str | None = column("How the agent is to think, e.g. main, reasoning, coding, research, local.")
    department: str | None = column("The part of the organisation it belongs to.")
    summary: str | None = column("What was said in it, in short.")
    status: ConversationStatus = column("Where it stands.")
    metadata: JSON = column("What its client keeps beside it.", "metadata_")
    message_count: int = column("How many messages it has.")
    token_count: int = column("How many tokens its messages took.")
    unread_count: int = computed(_unread, "How many of its messages the caller has not read.", cost=1)
    last_message_at: datetime | None = column("When something was last said.")
    archived_at: datetime | None = column("When it was archived.")
    user: User | None = to_one(models.User, "Whose conversation it is.", "user_id")
    contact: Contact | None = to_one(
        models.Contact,
        "Who outside talks in it; whoever sees it sees with whom it is.",
        "contact_id",
        scope=Scope.SIGNED_IN,
    )
    agent: Agent | None = to_one(models.Agent, "Who answers in it.", "agent_id")
    alert: Alert | None = to_one(models.Alert, "The alert it is about.", "alert_id")
    alert_context: AlertContext | None = to_one(
        models.Alert,
        "What whoever answers has to know of that alert; whoever sees the conversation sees it.",
        "alert_id",
        scope=Scope.SIGNED_IN,
    )
    alert_id: ID | None = column("The id of the alert it is about.", "alert_typeid")
    llm_provider_id: ID | None = column("The model provider that answers in it.", "llm_provider_typeid")
    llm_provider: LlmProvider | None = to_one(
        models.LlmProvider, "The model provider that answers in it; the agent's when null.", "llm_provider_id"
    )
    messages: Connection[Message] = computed(
        _messages,
        "Oldest first, by seq; a chat view asks for last and before.",
        PAGE_ARGUMENTS,
        scope=Scope.SIGNED_IN,
        cost=2,
        shared=True,
    )
    runs: list[AgentRun] | None = related(
        runs_by_conversation, "What agents worked on in it, newest first, at most 50.", cost=2
    )
    tool_executions: list[ToolExecution] | None = related(
        tools_by_conversation, "The tools that were used in it, newest first, at most 200.", cost=2
    )
    created_at: datetime = column("When it began.")
    updated_at: datetime = column("When it last changed, messages included.")


@form("Which contacts; fields combine with and.")
class ContactFilter:
    """Filter of contacts."""

    external_id: str | None = optional("Exactly this externalId.")
    search: str | None = optional("Words of name and externalId that start so; case does not matter.")


@form("A conversation that begins.")
class StartConversationInput:
    """Input of startConversation."""

    kind: ConversationKind = required("What it is about, and with whom.")
    title: str | None = optional("One line of at most 255 characters.")
    agent_id: ID | None = optional("Who answers in it.", of="agent")
    contact_id: ID | None = optional("Who outside talks in it; with CONTACT, and only then.", of="contact")
    alert_id: ID | None = optional("The alert it is about; with ALERT_CHAT.", of="alert")
    llm_provider_id: ID | None = optional("The model provider that answers; the agent's when absent.", of="provider")
    profile: str | None = optional("How the agent is to think, one line of at most 100 characters.")
    department: str | None = optional("The part of the organisation it belongs to.")
    metadata: JSON | None = optional("What to keep beside it, a JSON object of at most 65,536 bytes.")
    idempotency_key: str | None = optional("Makes a retry safe for 24 hours; at most 255 characters.")


@form("Changes of a conversation; absent stays, null clears.")
class UpdateConversationInput:
    """Input of updateConversation."""

    id: ID = required("Which one.", of="conversation")
    title: str | None = optional("One line of at most 255 characters.")
    summary: str | None = optional("At most 16,384 bytes.")
    agent_id: ID | None = optional("Who answers from now on.", of="agent")
    llm_provider_id: ID | None = optional("The model provider that answers from now on.", of="provider")
    metadata: JSON | None = optional("A JSON object of at most 65,536 bytes, in the place of the one before.")


@form("Which conversation is archived.")
class ArchiveConversationInput:
    """Input of archiveConversation."""

    id: ID = required("Which one.", of="conversation")


@form("Which conversation is deleted.")
class DeleteConversationInput:
    """Input of deleteConversation."""

    id: ID = required("Which one.", of="conversation")


@form("Somebody outside; what is not said stays.")
class UpsertContactInput:
    """Input of upsertContact."""

    id: ID | None = optional("Which one; the one with the externalId, or a new one, when absent.", of="contact")
    external_id: str | None = optional("What another system calls them; unique in the tenant.")
    name: str = required("One line of at most 255 characters.")
    meta: JSON | None = optional("A JSON object of at most 65,536 bytes, in the place of the one before.")


@form("Who outside is forgotten.")
class DeleteContactInput:
    """Input of deleteContact."""

    id: ID = required("Whom.", of="contact")


@payload("A conversation after a change.")
class ConversationPayload:
    """Payload of mutations of conversations."""

    conversation: Conversation | None = column("The conversation as it is now.")
    user_errors: list[UserError] = user_errors()


@payload("A contact after a change.")
class ContactPayload:
    """Payload of upsertContact."""

    contact: Contact | None = column("The contact as it is now.")
    user_errors: list[UserError] = user_errors()


@root_fields
class ConversationQueries:
    """Root fields over conversations and contacts."""

    conversations: Connection[Conversation] | None = connection(
        conversations,
        "The tenant's conversations; without conversations:read one's own.",
        filter=ConversationFilter,
        order=ConversationOrder,
        scope=Scope.SIGNED_IN,
        narrow=own_without(Scope.CONVERSATIONS_READ),
    )
    conversation: Conversation | None = found(models.Conversation, "One conversation.")
    contacts: Connection[Contact] | None = connection(contacts, "The people outside.", filter=ContactFilter)


@root_fields
class ConversationMutations:
    """What can be done with conversations and contacts."""

    start_conversation: ConversationPayload | None = command(
        use_cases.start_conversation,
        "Begins a conversation of the caller's own; a contact's needs conversations:write.",
        input=StartConversationInput,
        payload=ConversationPayload,
        scope=Scope.MESSAGES_WRITE,
    )
    update_conversation: ConversationPayload | None = command(
        use_cases.update_conversation,
        "Changes an active conversation.",
        input=UpdateConversationInput,
        payload=ConversationPayload,
        scope=Scope.MESSAGES_WRITE,
        keep_null=True,
    )
    archive_conversation: ConversationPayload | None = command(
        use_cases.archive_conversation,
        "Puts a conversation away: it can be read, and nothing is added.",
        input=ArchiveConversationInput,
        payload=ConversationPayload,
        scope=Scope.MESSAGES_WRITE,
    )
    delete_conversation: DeletePayload | None = command(
        use_cases.delete_conversation,
        "Deletes all that was said in a conversation, for good.",
        input=DeleteConversationInput,
        payload=DeletePayload,
        scope=Scope.MESSAGES_WRITE,
    )
    mark_read: ConversationPayload | None = command(
        mark_read,
        "Notes how far the caller has read; never less than before.",
        input=MarkReadInput,
        payload=ConversationPayload,
        scope=Scope.MESSAGES_WRITE,
    )
    upsert_contact: ContactPayload | None = command(
        contact_cases.upsert_contact,
        "Creates the contact, or updates the one with the same externalId.",
        input=UpsertContactInput,
        payload=ContactPayload,
        scope=Scope.CONTACTS_WRITE,
    )
    delete_contact: DeletePayload | None = command(
        contact_cases.delete_contact,
        "Forgets somebody outside for good, with every conversation that was theirs. Cannot be taken back.",
        input=DeleteContactInput,
        payload=DeletePayload,
        scope=Scope.PRIVACY_WRITE,
    )
