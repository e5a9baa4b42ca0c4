"""This module is where people outside are known: made, found again by what another system calls them, and forgotten.

Security boundary: erasure cannot be taken back; it needs privacy:write, and stands in the access log.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final, cast
from uuid import UUID

from sqlalchemy import Table, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from dataloaders.messages import being_answered
from models import AccessType, Contact, Conversation, DataCategory, LegalBasis, Message, Scope
from models.errors import Refusal, RefusalCode
from models.ids import uuid7
from resolvers.call import Call
from resolvers.conversation_access import workspace_of
from resolvers.conversations import empty_conversations, end_replies
from resolvers.data_access import Access
from resolvers.uniqueness import flush_unique
from resolvers.unit_of_work import UnitOfWork
from resolvers.validation import document, line

NAME_LIMIT: Final = 255
META_LIMIT_BYTES: Final = 65_536
_AT_ONCE: Final = 500

_TAKEN: Final = {"uq_contacts_external_id": ("externalId", "Another contact has this externalId already.")}


async def upsert_contact(
    call: Call, *, name: str, id: UUID | None = None, external_id: str | None = None, meta: Any = None
) -> Contact:
    """The contact with this id, or with this externalId, changed; a new one where there is none. Commits.

    What is not said stays. Raises INVALID, NOT_FOUND for an id, ALREADY_EXISTS for an externalId that is another's.
    """
    said: dict[str, Any] = {"name": line(name, NAME_LIMIT, "name")}
    if external_id is not None:
        said["external_id"] = line(external_id, NAME_LIMIT, "externalId")
    if meta is not None:
        said["meta"] = document(meta, META_LIMIT_BYTES, "meta")
    async with call.work() as work:
        contact, is_new = await _found(work, id, said)
        before = None if is_new else contact.facets()
        changed = (
            sorted(said) if is_new else sorted(one for one, value in said.items() if getattr(contact, one) != value)
        )
        for one in changed:
            setattr(contact, one, said[one])
        await flush_unique(work, _TAKEN)
        if changed:
            kind = "contact.updated" if before is not None else "contact.created"
            work.tell(contact, kind, before, {"changed": changed})
    return contact


async def delete_contact(call: Call, *, id: UUID) -> str:
    """Forget somebody outside for good, with every conversation that was theirs; their TypeID. Commits.

    Nothing of it can be taken back. Raises FORBIDDEN, NOT_FOUND.
    """
    call.require(Scope.PRIVACY_WRITE)
    async with call.work() as work:
        contact = await work.locked(Contact, id)
        before = contact.facets()
        answered: list[UUID] = []
        deleted = await _delete_talk(work, contact.id, answered)
        await work.session.delete(contact)
        await work.session.flush()
        work.note_access(
            Access(
                subject=(Contact.__typeid__, contact.id),
                category=DataCategory.MESSAGES,
                kind=AccessType.ERASURE,
                purpose="erasure of personal data",
                legal_basis=LegalBasis.LEGAL_OBLIGATION,
            )
        )
        work.tell(contact, "contact.erased", before, {"deleted": deleted}, gone=True)
    await end_replies(call, answered)
    return contact.typeid


async def _delete_talk(work: UnitOfWork, contact_id: UUID, answered: list[UUID]) -> dict[str, int]:
    """Delete a contact's conversations with all that they hold, each with its event; how many rows of which tables.

    Those in which a reply is being written are added to ``answered``.
    """
    deleted: Counter[str] = Counter()
    while True:
        found = await work.session.scalars(
            select(Conversation)
            .where(Conversation.tenant_id == work.tenant_id, Conversation.contact_id == contact_id)
            .order_by(Conversation.id)
            .limit(_AT_ONCE)
            .with_for_update(key_share=True)
        )
        rows = list(found)
        if not rows:
            return dict(+deleted)
        ids = [one.id for one in rows]
        answered += await being_answered(work.session, Message.conversation_id == func.any(ids))
        deleted.update(await empty_conversations(work, ids))
        places = {agent: await workspace_of(work, agent) for agent in {one.agent_id for one in rows}}
        for one in rows:
            place = places[one.agent_id]
            work.tell(one, "conversation.deleted", one.facets(), gone=True, workspace_id=place)
        table = cast(Table, Conversation.__table__)
        await work.session.execute(delete(table).where(table.c.tenant_id == work.tenant_id, table.c.id.in_(ids)))
        deleted[Conversation.__tablename__] += len(rows)


async def _found(work: UnitOfWork, id: UUID | None, said: dict[str, Any]) -> tuple[Contact, bool]:
    if id is not None:
        return await work.locked(Contact, id), False
    new_id = uuid7()
    # Two that bring the same contact at once find one row: the second waits here for the first.
    made = await work.session.scalar(
        insert(Contact)
        .values(tenant_id=work.tenant_id, id=new_id, **({"meta": {}} | said))
        .on_conflict_do_nothing(index_elements=["tenant_id", "external_id"])
        .returning(Contact.id)
    )
    if made is not None:
        return await work.locked(Contact, made), True
    contact = await work.session.scalar(
        select(Contact)
        .where(Contact.tenant_id == work.tenant_id, Contact.external_id == said["external_id"])
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    if contact is None:
        raise Refusal(RefusalCode.CONFLICT, "It was just changed; try again.", field=("input", "externalId"))
    return contact, False
