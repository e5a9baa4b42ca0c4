"""This module is where conversations are fetched: as lists, by what they are about, and how far somebody has read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.dialects.postgresql import insert

from dataloaders.base import Batch
from dataloaders.pages import Listing, Order, any_of, equals, words
from models import Contact, Conversation, ConversationStatus, Message, ReadMarker
from models.database import TenantSession


def _present(given: Mapping[str, Any]) -> list[ColumnElement[bool]]:
    # A deleted conversation stays as an empty row; a list shows it only to whoever asks for that status.
    return [] if "status" in given else [Conversation.status != ConversationStatus.DELETED]


conversations: Final = Listing(
    Conversation,
    filters={
        "status": any_of(Conversation.status),
        "kind": any_of(Conversation.kind),
        "agent_id": equals(Conversation.agent_id),
        "user_id": equals(Conversation.user_id),
        "contact_id": equals(Conversation.contact_id),
        "alert_id": equals(Conversation.alert_id),
        "search": words(Conversation),
    },
    orders={
        "created_at": Order(Conversation.created_at),
        "last_message_at": Order(Conversation.last_message_at, nullable=True),
    },
    always=_present,
)

contacts: Final = Listing(
    Contact,
    filters={"external_id": equals(Contact.external_id), "search": words(Contact)},
    orders={"created_at": Order(Contact.created_at)},
)

messages: Final = Listing(
    Message,
    filters={
        "conversation_id": equals(Message.conversation_id),
        "user_id": equals(Message.user_id),
        "search": words(Message),
    },
    orders={"created_at": Order(Message.created_at)},
)


@lru_cache(maxsize=4096)
def read_seqs_of(user_id: UUID) -> Batch[UUID, int]:
    """The batch "how far this person has read each conversation": the last seq that they saw, 0 for none."""

    async def read_seqs(session: TenantSession, ids: Sequence[UUID]) -> list[int]:
        statement = select(ReadMarker.conversation_id, ReadMarker.read_seq).where(
            ReadMarker.tenant_id == session.tenant_id,
            ReadMarker.user_id == user_id,
            ReadMarker.conversation_id == func.any(list(ids)),
        )
        found = {row.conversation_id: row.read_seq for row in await session.execute(statement)}
        return [found.get(one, 0) for one in ids]

    return read_seqs


async def move_marker(session: TenantSession, conversation_id: UUID, user_id: UUID, seq: int, now: datetime) -> None:
    """Note that a person has read up to ``seq``; a marker never moves back. Does not commit."""
    fresh = insert(ReadMarker).values(
        tenant_id=session.tenant_id, conversation_id=conversation_id, user_id=user_id, read_seq=seq, read_at=now
    )
    await session.execute(
        fresh.on_conflict_do_update(
            index_elements=["tenant_id", "conversation_id", "user_id"],
            set_={"read_seq": fresh.excluded.read_seq, "read_at": fresh.excluded.read_at},
            where=ReadMarker.read_seq < fresh.excluded.read_seq,
        )
    )
