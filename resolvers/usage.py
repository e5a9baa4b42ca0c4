"""This module is where it is read what people asked and were answered, and noted who read it.

Security boundary: everybody has their own; with query_events:read one sees all, and that one read another's is kept.
"""

from __future__ import annotations

from collections.abc import Awaitable

from models import QueryEvent, User
from resolvers.call import Call
from resolvers.conversation_access import looks_at_others, note_reading


def query_text_of(call: Call, event: QueryEvent) -> str | Awaitable[str]:
    """What was asked. Where a person reads another's, that is written down first."""
    if event.user_id is None or not looks_at_others(call.who, event.user_id):
        return event.query_text
    return _noted(call, event)


async def response_text_of(call: Call, event: QueryEvent) -> str | None:
    """What was answered; noted as for what was asked."""
    if event.user_id is not None and looks_at_others(call.who, event.user_id):
        await _noted(call, event)
    return event.response_text


async def _noted(call: Call, event: QueryEvent) -> str:
    assert event.user_id is not None
    await note_reading(call, (User.__typeid__, event.user_id))
    return event.query_text
