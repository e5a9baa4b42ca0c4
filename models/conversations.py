"""This module is where conversations live: with whom they are, what was said in them, and who has read how far."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Final
from uuid import UUID

from sqlalchemy import CheckConstraint, Computed, Index, text
from sqlalchemy.dialects.postgresql import JSONB, TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from models.activity import EventTopic
from models.base import (
    Base,
    ImportedRow,
    TextEnum,
    belongs_to,
    never_null,
    one_of,
    tenant_key,
    utcnow,
)
from models.errors import Refusal, RefusalCode
from models.ids import encode
from models.scopes import Scope
from models.search import search_vector

CONTENT_LIMIT_BYTES: Final = 131_072
"""Of one message, and of a reply that is being written."""

MOST_MESSAGES: Final = 100_000
"""Of one conversation."""


class ConversationKind(StrEnum):
    """What a conversation is about, and with whom."""

    CHAT = "chat"
    ALERT_CHAT = "alert_chat"
    CONTACT = "contact"


class ConversationStatus(StrEnum):
    """Where a conversation stands: active → archived → deleted."""

    ACTIVE = "active"
    ARCHIVED = "archived"
    DELETED = "deleted"


class MessageRole(StrEnum):
    """Who speaks."""

    USER = "user"
    ASSISTANT = "assistant"
    SYSTEM = "system"
    TOOL = "tool"


class MessageContentType(StrEnum):
    """What a message's content is."""

    TEXT = "text"
    IMAGE = "image"
    FILE = "file"
    TOOL_CALL = "tool_call"


class MessageState(StrEnum):
    """Whether a message is still being written."""

    WRITING = "writing"
    FINAL = "final"


class Contact(ImportedRow):
    """Somebody outside who talks with an agent, known by what another system calls them."""

    __tablename__ = "contacts"
    __typeid__ = "contact"
    __topic__ = EventTopic.CONVERSATIONS
    __read_scope__ = Scope.CONTACTS_READ
    __untold__: ClassVar[frozenset[str]] = frozenset({"external_id", "name", "meta"})

    external_id: Mapped[str | None]
    name: Mapped[str]
    meta: Mapped[dict[str, Any]] = mapped_column(default=dict)
    search: Mapped[str] = mapped_column(
        TSVECTOR, Computed(search_vector("name", "external_id"), persisted=True), deferred=True
    )

    @classmethod
    def constraints(cls) -> tuple[Any, ...]:
        return (
            *super().constraints(),
            tenant_key(),
            Index("uq_contacts_external_id", "tenant_id", "external_id", unique=True),
            Index("ix_contacts_newest", "tenant_id", text("created_at DESC"), text("id DESC")),
            Index("ix_contacts_search", "search", postgresql_using="gin"),
        )

    def facets(self) -> dict[str, Any]:
        """What an event's envelope may hold of a person outside: the id."""
        return {"id": str(self.id)}


class Conversation(ImportedRow):
    """A thread of messages. Its row's lock numbers them, so its counters are exact.

    ``user_id`` is whose conversation it is: it never changes, and all that was said ends with that person.
    """

    __tablename__ = "conversations"
    __typeid__ = "conversation"
    __topic__ = EventTopic.CONVERSATIONS
    __read_scope__ = Scope.CONVERSATIONS_READ
    __owner__ = "user_id"
    __untold__: ClassVar[frozenset[str]] = frozenset({"title", "summary", "metadata_"})

    kind: Mapped[ConversationKind] = mapped_column(TextEnum(ConversationKind))
    user_id: Mapped[UUID | None]
    contact_id: Mapped[UUID | None]
    agent_id: Mapped[UUID | None]
    alert_id: Mapped[UUID | None]
    llm_provider_id: Mapped[UUID | None]
    title: Mapped[str | None]
    profile: Mapped[str | None]
    department: Mapped[str | None]
    summary: Mapped[str | None]
    status: Mapped[ConversationStatus] = mapped_column(TextEnum(ConversationStatus), default=ConversationStatus.ACTIVE)
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", key="metadata_", default=dict)
    message_count: Mapped[int] = mapped_column(default=0)
    token_count: Mapped[int] = mapped_column(default=0)
    last_message_at: Mapped[datetime | None]
    archived_at: Mapped[datetime | None]
    search: Mapped[str] = mapped_column(
        TSVECTOR, Computed(search_vector("title", "summary"), persisted=True), deferred=True
    )

    @classmethod
    def constraints(cls) -> tuple[Any, ...]:
        return (
            *super().constraints(),
            tenant_key(),
            belongs_to("user_id", "users", ondelete="CASCADE"),
            belongs_to("contact_id", "contacts", ondelete="CASCADE"),
            belongs_to("agent_id", "agents", ondelete="SET NULL"),
            belongs_to("alert_id", "alerts", ondelete="SET NULL"),
            belongs_to("llm_provider_id", "llm_providers", ondelete="SET NULL"),
            one_of("kind", ConversationKind),
            one_of("status", ConversationStatus),
            CheckConstraint("message_count >= 0 AND token_count >= 0", name="counts"),
            Index("ix_conversations_newest", "tenant_id", text("created_at DESC"), text("id DESC")),
            Index(
                "ix_conversations_last_message",
                "tenant_id",
                text(f"{never_null('last_message_at', '-infinity')} DESC"),
                text("id DESC"),
            ),
            Index(
                "ix_conversations_last_message_oldest",
                "tenant_id",
                text(never_null("last_message_at", "infinity")),
                "id",
            ),
            Index("ix_conversations_user", "tenant_id", "user_id", text("created_at DESC"), text("id DESC")),
            Index("ix_conversations_contact", "tenant_id", "contact_id", text("created_at DESC"), text("id DESC")),
            Index("ix_conversations_agent", "tenant_id", "agent_id", text("created_at DESC"), text("id DESC")),
            Index("ix_conversations_alert", "tenant_id", "alert_id", text("created_at DESC"), text("id DESC")),
            Index("ix_conversations_updated", "tenant_id", "updated_at"),
            Index("ix_conversations_llm_provider", "tenant_id", "llm_provider_id"),
            Index("ix_conversations_status", "tenant_id", "status"),
            Index("ix_conversations_search", "search", postgresql_using="gin"),
        )

    @property
    def alert_typeid(self) -> str | None:
        """The alert it is about, as the outside sees it."""
        return encode("alert", self.alert_id) if self.alert_id is not None else None

    @property
    def llm_provider_typeid(self) -> str | None:
        """The model provider that answers in it, as the outside sees it."""
        return encode("provider", self.llm_provider_id) if self.llm_provider_id is not None else None

    def facets(self) -> dict[str, Any]:
        """What filters and visibility may look at in an event's envelope: no word that anybody wrote."""
        return {
            "id": str(self.id),
            "kind": self.kind.value,
            "status": self.status.value,
            "user_id": str(self.user_id) if self.user_id else None,
            "contact_id": str(self.contact_id) if self.contact_id else None,
            "agent_id": str(self.agent_id) if self.agent_id else None,
            "alert_id": str(self.alert_id) if self.alert_id else None,
        }

    def require_active(self, *field: str, show: bool = True) -> None:
        """Raises ILLEGAL_TRANSITION unless it goes on; with this row where the answer has a place to ``show`` it."""
        if self.status is not ConversationStatus.ACTIVE:
            raise Refusal(
                RefusalCode.ILLEGAL_TRANSITION,
                f"A conversation that is {self.status.value.upper()} does not go on.",
                field=("input", *(field or ("id",))),
                current=self if show else None,
            )

    def next_seq(self, now: datetime) -> int:
        """The number of the next message, which is counted with it. Raises LIMIT_EXCEEDED. Needs the row's lock."""
        if self.message_count >= MOST_MESSAGES:
            raise Refusal(
                RefusalCode.LIMIT_EXCEEDED,
                f"A conversation holds at most {MOST_MESSAGES:,} messages; start another.",
                field=("input", "conversationId"),
            )
        self.message_count += 1
        self.last_message_at = now
        return self.message_count

    def archive(self, now: datetime) -> None:
        """Nothing is added from now on. Raises ILLEGAL_TRANSITION unless it is active."""
        self.require_active()
        self.status = ConversationStatus.ARCHIVED
        self.archived_at = now

    def delete(self) -> None:
        """What is left is that it was: every word in it goes."""
        self.status = ConversationStatus.DELETED
        self.title = self.summary = None
        self.metadata_ = {}
        self.message_count = self.token_count = 0


class Message(ImportedRow):
    """One thing that was said. ``seq`` counts from 1 in its conversation, without gaps.

    ``user_id`` is whose conversation it stands in: by it messages are shown, handed over and erased.
    """

    __tablename__ = "messages"
    __typeid__ = "message"
    __topic__ = EventTopic.CONVERSATIONS
    __read_scope__ = Scope.CONVERSATIONS_READ
    __owner__ = "user_id"
    __untold__: ClassVar[frozenset[str]] = frozenset({"content", "sanitized_content", "tool_calls", "metadata_"})

    conversation_id: Mapped[UUID]
    user_id: Mapped[UUID | None]
    seq: Mapped[int]
    role: Mapped[MessageRole] = mapped_column(TextEnum(MessageRole))
    content: Mapped[str]
    sanitized_content: Mapped[str | None]
    content_type: Mapped[MessageContentType] = mapped_column(
        TextEnum(MessageContentType), default=MessageContentType.TEXT
    )
    tokens: Mapped[int | None]
    model_used: Mapped[str | None]
    tool_calls: Mapped[Any] = mapped_column(JSONB(none_as_null=True), nullable=True)
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", key="metadata_", default=dict)
    parent_id: Mapped[UUID | None]
    state: Mapped[MessageState] = mapped_column(TextEnum(MessageState), default=MessageState.FINAL)
    search: Mapped[str] = mapped_column(TSVECTOR, Computed(search_vector("content"), persisted=True), deferred=True)

    @classmethod
    def constraints(cls) -> tuple[Any, ...]:
        return (
            *super().constraints(),
            belongs_to("conversation_id", "conversations", ondelete="CASCADE"),
            belongs_to("user_id", "users", ondelete="CASCADE"),
            belongs_to("parent_id", "messages", ondelete="SET NULL"),
            one_of("role", MessageRole),
            one_of("content_type", MessageContentType),
            one_of("state", MessageState),
            CheckConstraint("seq > 0", name="seq"),
            CheckConstraint("tokens >= 0", name="tokens"),
            Index("uq_messages_seq", "tenant_id", "conversation_id", "seq", unique=True),
            Index("ix_messages_newest", "tenant_id", text("created_at DESC"), text("id DESC")),
            Index("ix_messages_user", "tenant_id", "user_id", text("created_at DESC"), text("id DESC")),
            Index("ix_messages_parent", "tenant_id", "parent_id"),
            Index("ix_messages_search", "search", postgresql_using="gin"),
        )

    def facets(self, agent_id: UUID | None = None) -> dict[str, Any]:
        """What streams look at: where it was said, by which part, and never what."""
        return {
            "id": str(self.id),
            "conversation_id": str(self.conversation_id),
            "agent_id": str(agent_id) if agent_id else None,
            "role": self.role.value,
            "content_type": self.content_type.value,
            "state": self.state.value,
            "seq": self.seq,
        }


class ReadMarker(Base):
    """How far one person has read one conversation."""

    __tablename__ = "read_markers"
    __table_args__ = (
        belongs_to("conversation_id", "conversations", ondelete="CASCADE"),
        belongs_to("user_id", "users", ondelete="CASCADE"),
        CheckConstraint("read_seq >= 0", name="read_seq"),
        Index("ix_read_markers_user", "tenant_id", "user_id"),
    )

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    conversation_id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    read_seq: Mapped[int]
    read_at: Mapped[datetime] = mapped_column(default=utcnow)
