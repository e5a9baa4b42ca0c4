"""This module is where it is decided who sees and writes a conversation, and where it is noted who read another's.

Security boundary: everybody has their own; with conversations:read one sees all, with conversations:write one speaks in
all. A workspace's token has those of the agents that work in it. What is another's is answered like what never was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from dataloaders.agents import place_of
from dataloaders.base import by_id
from models import (
    AccessType,
    Agent,
    Contact,
    Conversation,
    ConversationStatus,
    DataCategory,
    Event,
    Message,
    Scope,
    User,
)
from models.database import TenantSession
from models.errors import not_found
from models.sealing import AuditKeys
from resolvers.audit import Actor, Origin
from resolvers.call import Call
from resolvers.data_access import Access, write_accesses
from resolvers.principal import Principal
from resolvers.unit_of_work import UnitOfWork

Subject = tuple[str, UUID]
"""TypeID prefix and id of whose messages they are."""


def is_owner(who: Principal | None, user_id: UUID | None) -> bool:
    """Whether what belongs to ``user_id`` is the caller's."""
    return who is not None and user_id is not None and user_id == who.member_id


async def is_own(call: Call, conversation: Conversation) -> bool:
    """Whether the conversation is the caller's, or of an agent that works in the caller's workspace."""
    who = call.principal
    if is_owner(who, conversation.user_id):
        return True
    return await is_own_agent(call, conversation.agent_id)


async def is_own_agent(call: Call, agent_id: UUID | None) -> bool:
    """Whether the agent works in the workspace whose token this is."""
    who = call.principal
    if who is None or who.workspace_id is None or agent_id is None:
        return False
    agent: Agent | None = await call.load(by_id(Agent), agent_id)
    return agent is not None and agent.workspace_id == who.workspace_id


async def is_own_by_id(call: Call, conversation_id: UUID | None) -> bool:
    """Whether what stands in this conversation is the caller's."""
    if conversation_id is None or call.principal is None:
        return False
    conversation: Conversation | None = await call.load(by_id(Conversation), conversation_id)
    return conversation is not None and await is_own(call, conversation)


async def readable(call: Call, conversation_id: UUID) -> Conversation | None:
    """The conversation if the caller may read it; None for what is gone, another's or never was."""
    row: Conversation | None = await call.load(by_id(Conversation), conversation_id)
    if row is None or row.status is ConversationStatus.DELETED:
        return None
    return row if call.allows(Scope.CONVERSATIONS_READ) or await is_own(call, row) else None


async def writable(call: Call, conversation_id: UUID, *field: str) -> Conversation:
    """The conversation if the caller may speak in it. Raises NOT_FOUND."""
    row: Conversation | None = await call.load(by_id(Conversation), conversation_id)
    is_there = row is not None and row.status is not ConversationStatus.DELETED
    if row is not None and is_there and (call.allows(Scope.CONVERSATIONS_WRITE) or await is_own(call, row)):
        return row
    raise not_found("conversation", *field)


async def locked(call: Call, work: UnitOfWork, conversation_id: UUID, *field: str) -> Conversation:
    """The conversation, locked until COMMIT, if the caller may speak in it. Raises NOT_FOUND."""
    row = await work.locked(Conversation, conversation_id, *field)
    if row.status is not ConversationStatus.DELETED:
        if call.allows(Scope.CONVERSATIONS_WRITE) or is_owner(call.who, row.user_id):
            return row
        if call.who.workspace_id is not None and await workspace_of(work, row.agent_id) == call.who.workspace_id:
            return row
    raise not_found("conversation", *(field or ("input", "id")))


async def workspace_of(work: UnitOfWork, agent_id: UUID | None) -> UUID | None:
    """Where the agent works now."""
    return await place_of(work.session, agent_id) if agent_id is not None else None


def watches(call: Call) -> Callable[[Event], bool]:
    """Whether an event of a conversation is for the caller; its envelope alone says so."""
    who = call.who
    sees_all = {scope.value for scope in Scope if call.allows(scope)}

    def is_visible(event: Event) -> bool:
        return (
            event.required_scope in sees_all
            or is_owner(who, event.owner_user_id)
            or (who.workspace_id is not None and event.workspace_id == who.workspace_id)
        )

    return is_visible


def looks_at_others(who: Principal, user_id: UUID | None) -> bool:
    """Whether it has to be noted: a person who reads what is not theirs. Machines read in order to answer."""
    return who.user_id is not None and not is_owner(who, user_id)


async def subject_of(call: Call, message: Message) -> Subject | None:
    """Whose message it is: a person's, a contact's, or nobody's."""
    if message.user_id is not None:
        return User.__typeid__, message.user_id
    conversation: Conversation | None = await call.load(by_id(Conversation), message.conversation_id)
    return subject_of_conversation(conversation) if conversation is not None else None


def subject_of_conversation(conversation: Conversation) -> Subject | None:
    """Whose conversation it is: a person's, a contact's, or nobody's."""
    if conversation.user_id is not None:
        return User.__typeid__, conversation.user_id
    return (Contact.__typeid__, conversation.contact_id) if conversation.contact_id is not None else None


@dataclass(frozen=True, slots=True)
class _Noted:
    """The batch that notes whose data is read: one row a subject, one statement an operation. Commits."""

    category: DataCategory
    actor: Actor
    origin: Origin
    keys: AuditKeys | None = field(hash=False, compare=False)
    now: datetime = field(hash=False, compare=False)

    async def __call__(self, session: TenantSession, subjects: Sequence[Subject]) -> list[None]:
        accesses = [
            Access(subject=one, category=self.category, kind=AccessType.READ, purpose=f"reading of {self.category}")
            for one in subjects
        ]
        await write_accesses(session, self.keys, accesses, self.actor, self.origin, self.now)
        await session.commit()
        return [None] * len(subjects)


async def note_reading(call: Call, subject: Subject | None, category: DataCategory = DataCategory.MESSAGES) -> None:
    """Write down, once an operation, that the caller reads what is of ``subject``; nothing is shown before."""
    if subject is None:
        return
    mark = f"{category} of {subject[0]} {subject[1]}"
    if mark in call.done_once:
        return
    services, tenant = call.services, call.tenant_id
    noted = _Noted(category, call.who.actor, call.origin(tenant), services.database.audit, services.clock())
    await call.loaders.of(noted).load(subject)
    call.done_once.add(mark)
