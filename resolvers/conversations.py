"""This module is where conversations begin, are described, put away and deleted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypedDict, Unpack
from uuid import UUID

from sqlalchemy import Table, delete, func, select

from models import (
    Agent,
    AgentRun,
    Alert,
    Contact,
    Conversation,
    ConversationKind,
    Message,
    ReadMarker,
    Scope,
    TenantRow,
    ToolExecution,
)
from models.errors import Forbidden, invalid, not_found
from models.ids import uuid7
from resolvers.agent_links import check_provider
from resolvers.call import Call
from resolvers.changing import take_over
from resolvers.conversation_access import locked, workspace_of
from resolvers.unit_of_work import UnitOfWork
from resolvers.validation import document, line, speech
from subscriptions.replies import Place

TITLE_LIMIT: Final = 255
SUMMARY_LIMIT_BYTES: Final = 16_384
METADATA_LIMIT_BYTES: Final = 65_536
_CHUNK: Final = 1_000

_HELD: Final[tuple[Any, ...]] = (ToolExecution, AgentRun, ReadMarker, Message)
"""What goes with what is said in a conversation, children first."""


class ConversationChanges(TypedDict, total=False):
    """What an update may say; absent stays, None clears."""

    title: str | None
    summary: str | None
    agent_id: UUID | None
    llm_provider_id: UUID | None
    metadata: dict[str, Any] | None


async def start_conversation(
    call: Call,
    *,
    kind: ConversationKind,
    title: str | None = None,
    agent_id: UUID | None = None,
    contact_id: UUID | None = None,
    alert_id: UUID | None = None,
    llm_provider_id: UUID | None = None,
    profile: str | None = None,
    department: str | None = None,
    metadata: Any = None,
) -> Conversation:
    """A new conversation: the caller's own, or a contact's. Commits.

    Raises FORBIDDEN for a contact's without conversations:write and for an alert's without alerts:read, INVALID,
    NOT_FOUND.
    """
    conversation = Conversation(
        id=uuid7(),
        kind=kind,
        title=line(title, TITLE_LIMIT, "title") if title is not None else None,
        profile=line(profile, 100, "profile") if profile is not None else None,
        department=line(department, TITLE_LIMIT, "department") if department is not None else None,
        metadata_=document(metadata, METADATA_LIMIT_BYTES, "metadata") if metadata is not None else {},
        agent_id=agent_id,
        contact_id=contact_id,
        alert_id=alert_id,
        llm_provider_id=llm_provider_id,
    )
    _refuse_mismatch(call, kind, contact_id, alert_id)
    if kind is not ConversationKind.CONTACT:
        conversation.user_id = call.who.member_id
    async with call.work() as work:
        await check_provider(work, llm_provider_id)
        place = await _place_of(call, work, agent_id)
        if contact_id is not None:
            await _refuse_unknown(work, Contact, contact_id, "contactId", "contact")
        if alert_id is not None:
            await _refuse_unknown(work, Alert, alert_id, "alertId", "alert")
        work.add(conversation)
        await work.session.flush()
        work.tell(conversation, "conversation.started", None, workspace_id=place)
    return conversation


async def update_conversation(call: Call, *, id: UUID, **changes: Unpack[ConversationChanges]) -> Conversation:
    """Change what is said of it. Raises INVALID, NOT_FOUND, ILLEGAL_TRANSITION unless it is active. Commits."""
    cleaned = _cleaned(changes)
    async with call.work() as work:
        # Before the conversation is locked: whoever deletes a provider locks it first, and then where it answers.
        await check_provider(work, cleaned.get("llm_provider_id"))
        conversation = await locked(call, work, id)
        conversation.require_active()
        if cleaned.get("agent_id") is not None or call.who.workspace_id is not None:
            place = await _place_of(call, work, cleaned.get("agent_id", conversation.agent_id))
        else:
            place = await workspace_of(work, cleaned.get("agent_id", conversation.agent_id))
        before = conversation.facets()
        changed = take_over(conversation, cleaned)
        if changed:
            names = [name.rstrip("_") for name in changed]
            work.tell(conversation, "conversation.updated", before, {"changed": names}, workspace_id=place)
    return conversation


async def archive_conversation(call: Call, *, id: UUID) -> Conversation:
    """Put it away: it can be read, and nothing is added. Raises NOT_FOUND, ILLEGAL_TRANSITION. Commits."""
    async with call.work() as work:
        conversation = await locked(call, work, id)
        before = conversation.facets()
        conversation.archive(work.now)
        place = await workspace_of(work, conversation.agent_id)
        work.tell(conversation, "conversation.archived", before, workspace_id=place)
    await end_replies(call, [conversation.id])
    return conversation


async def delete_conversation(call: Call, *, id: UUID) -> str:
    """Delete all that was said in it; its TypeID. That it was stays, without a word. Raises NOT_FOUND. Commits."""
    async with call.work() as work:
        conversation = await locked(call, work, id)
        before = conversation.facets()
        place = await workspace_of(work, conversation.agent_id)
        await empty_conversations(work, [conversation.id])
        conversation.delete()
        work.tell(conversation, "conversation.deleted", before, workspace_id=place)
    await end_replies(call, [conversation.id])
    return conversation.typeid


async def end_replies(call: Call, conversation_ids: Sequence[UUID]) -> None:
    """Forget what is being written there: its viewers are told that it has ended, and no further piece is taken.

    After COMMIT: whoever begins a reply from then on finds that the conversation does not go on.
    """
    for id in conversation_ids:
        replies, place = call.services.reply_board.replies, Place(call.tenant_id, id)
        for one in await replies.read(place) or ():
            await replies.end(place, one.message_id)


async def empty_conversations(work: UnitOfWork, ids: Sequence[UUID]) -> dict[str, int]:
    """Delete what conversations that are locked hold, a thousand rows a statement; how many by table.

    Does not commit.
    """
    return {model.__tablename__: await _empty(work, model.__table__, ids) for model in _HELD}


async def _empty(work: UnitOfWork, table: Table, conversation_ids: Sequence[UUID]) -> int:
    key = [one for one in table.primary_key.columns if one.name != "tenant_id"]
    mine = table.c.tenant_id == work.tenant_id, table.c.conversation_id == func.any(list(conversation_ids))
    deleted = 0
    while True:
        some = select(*key).where(*mine).limit(_CHUNK)
        found = (await work.session.execute(some)).all()
        if not found:
            return deleted
        ids = [row[-1] for row in found]
        result: Any = await work.session.execute(delete(table).where(*mine, key[-1].in_(ids)))
        deleted += int(result.rowcount)
        if len(found) < _CHUNK:
            return deleted


def _refuse_mismatch(call: Call, kind: ConversationKind, contact_id: UUID | None, alert_id: UUID | None) -> None:
    if kind is ConversationKind.ALERT_CHAT:
        if alert_id is None:
            raise invalid("An ALERT_CHAT names its alertId.", "input", "alertId")
        call.require(Scope.ALERTS_READ)
    elif alert_id is not None:
        raise invalid("Only an ALERT_CHAT has an alertId.", "input", "alertId")
    if kind is ConversationKind.CONTACT:
        if not call.allows(Scope.CONVERSATIONS_WRITE):
            raise Forbidden(f"A contact's conversation needs the scope {Scope.CONVERSATIONS_WRITE.value}.")
        if contact_id is None:
            raise invalid("A CONTACT conversation names its contactId.", "input", "contactId")
    elif contact_id is not None:
        raise invalid("Only a CONTACT conversation has a contactId.", "input", "contactId")


async def _place_of(call: Call, work: UnitOfWork, agent_id: UUID | None) -> UUID | None:
    """Where the agent works. Raises NOT_FOUND for one that is not there, or not in the token's own workspace."""
    mine = call.who.workspace_id
    if agent_id is None:
        if mine is not None:
            raise not_found("agent", "input", "agentId")
        return None
    found = (
        await work.session.execute(
            select(Agent.workspace_id).where(
                Agent.tenant_id == work.tenant_id, Agent.id == agent_id, Agent.deleted_at.is_(None)
            )
        )
    ).one_or_none()
    if found is None or mine not in (None, found.workspace_id):
        raise not_found("agent", "input", "agentId")
    place: UUID | None = found.workspace_id
    return place


async def _refuse_unknown(work: UnitOfWork, model: type[TenantRow], row_id: UUID, name: str, what: str) -> None:
    # It stays until COMMIT: who deletes it waits.
    some = select(model.id).where(model.tenant_id == work.tenant_id, model.id == row_id)
    found = await work.session.scalar(some.with_for_update(read=True, key_share=True))
    if found is None:
        raise not_found(what, "input", name)


def _cleaned(changes: ConversationChanges) -> dict[str, Any]:
    cleaned: dict[str, Any] = dict(changes)
    if cleaned.get("title") is not None:
        cleaned["title"] = line(cleaned["title"], TITLE_LIMIT, "title")
    if cleaned.get("summary") is not None:
        cleaned["summary"] = speech(cleaned["summary"], SUMMARY_LIMIT_BYTES, "summary")
    if "metadata" in cleaned:
        said = cleaned.pop("metadata")
        cleaned["metadata_"] = document(said, METADATA_LIMIT_BYTES, "metadata") if said is not None else {}
    return cleaned
