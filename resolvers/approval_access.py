"""This module is where it is decided who sees and handles a request for approval, and noted who read another's.

Security boundary: with approvals:read one sees that a request is there and how it stands; what was asked and answered
is shown to whoever asked, and with approval_texts:read. A workspace's token has the requests of its own agents.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any
from uuid import UUID

from dataloaders.agents import place_of
from models import ApprovalRequest, DataCategory, Scope, User
from models.errors import Forbidden, not_found
from resolvers.call import Call
from resolvers.conversation_access import is_own_agent, is_owner, looks_at_others, note_reading
from resolvers.unit_of_work import UnitOfWork


def is_own(call: Call, row: ApprovalRequest) -> bool | Awaitable[bool]:
    """Whether it is the caller's request, or one of an agent that works in the caller's workspace."""
    who = call.principal
    if who is None:
        return False
    return is_owner(who, row.user_id) or row.requester == who.key or is_own_agent(call, row.agent_id)


async def reads_texts(call: Call, row: ApprovalRequest) -> bool:
    """Whether the caller may read what was asked and answered. That a person reads another's is noted first."""
    own = is_own(call, row)
    if own if isinstance(own, bool) else await own:
        return True
    if not call.allows(Scope.APPROVAL_TEXTS_READ):
        return False
    if row.user_id is not None and looks_at_others(call.who, row.user_id):
        await note_reading(call, (User.__typeid__, row.user_id), DataCategory.APPROVALS)
    return True


async def text_of(call: Call, row: ApprovalRequest, name: str) -> Any:
    """One of its texts; None for what is not the caller's to read."""
    value = getattr(row, name)
    return value if not value or await reads_texts(call, row) else None


async def query_of(call: Call, row: ApprovalRequest) -> str:
    """What was asked; empty for whoever may not read it, because it is never null."""
    return await text_of(call, row, "original_query") or ""


async def locked(call: Call, work: UnitOfWork, approval_id: UUID) -> ApprovalRequest:
    """The request, locked until COMMIT, if the caller may handle it. Raises NOT_FOUND.

    Those who may decide handle all; everybody else what is theirs.
    """
    row = await work.locked(ApprovalRequest, approval_id)
    if call.allows(Scope.APPROVALS_DECIDE) or is_owner(call.who, row.user_id) or row.requester == call.who.key:
        return row
    mine = call.who.workspace_id
    if mine is not None and row.agent_id is not None and await place_of(work.session, row.agent_id) == mine:
        return row
    if call.allows(Scope.APPROVALS_READ):
        raise Forbidden(f"Another's request needs the scope {Scope.APPROVALS_DECIDE.value}.")
    raise not_found("approval", "input", "id")
