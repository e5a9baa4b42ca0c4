"""This module is where it stands how lists of conversations are filtered and sorted, wherever they are shown."""

from __future__ import annotations

from enum import StrEnum

from strawberry import ID

from dataloaders.pages import Direction
from models import ConversationKind, ConversationStatus
from schema.declare import describe
from schema.inputs import form, optional, required

describe(
    ConversationKind,
    "What a conversation is about, and with whom.",
    CHAT="A person talks with an agent.",
    ALERT_CHAT="A person talks with an agent about an alert.",
    CONTACT="Somebody outside talks with an agent.",
)
describe(
    ConversationStatus,
    "Where a conversation stands.",
    ACTIVE="It goes on.",
    ARCHIVED="It can be read; nothing is added.",
    DELETED="All that was said in it is gone.",
)


class ConversationOrderField(StrEnum):
    """What conversations can be sorted by."""

    CREATED_AT = "created_at"
    LAST_MESSAGE_AT = "last_message_at"


describe(
    ConversationOrderField,
    "What conversations can be sorted by.",
    CREATED_AT="When it began.",
    LAST_MESSAGE_AT="When something was last said; never comes last.",
)


@form("Which conversations; fields combine with and, lists mean any of. Without status, deleted ones are left out.")
class ConversationFilter:
    """Filter of conversations."""

    status: list[ConversationStatus] | None = optional("One of these statuses.")
    kind: list[ConversationKind] | None = optional("One of these kinds.")
    agent_id: ID | None = optional("With this agent.", of="agent")
    user_id: ID | None = optional("Of this person.", of="user")
    contact_id: ID | None = optional("With this contact.", of="contact")
    alert_id: ID | None = optional("About this alert.", of="alert")
    search: str | None = optional("Words of title and summary that start so; case does not matter.")


@form("How conversations are sorted; ties are broken by id.")
class ConversationOrder:
    """Order of conversations."""

    field: ConversationOrderField = required("What to sort by.")
    direction: Direction = required("Which end comes first.")
