"""This module is where events of governance and security are looked at, and where it is kept who did."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from dataloaders.audit import locked_audit_event
from models import AuditEvent
from models.errors import not_found
from resolvers.call import Call
from resolvers.validation import prose

NOTE_LIMIT: Final = 2_000


async def review_audit_event(call: Call, *, id: UUID, note: str | None = None) -> AuditEvent:
    """Say that somebody has looked at an event. Raises INVALID, NOT_FOUND, ALREADY_DECIDED, ILLEGAL_TRANSITION.

    Commits. Nothing else of an event is ever changed, nor its review.
    """
    said = prose(note, NOTE_LIMIT, "note") if note is not None else None
    async with call.work() as work:
        event = await locked_audit_event(work.session, id)
        if event is None:
            raise not_found("audit event", "input", "id")
        before = event.facets()
        event.review(work.actor, said, work.now)
        work.tell(event, "audit_event.reviewed", before, {"severity": event.severity.value})
    return event
