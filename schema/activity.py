"""This module is where anything is found by id, and where the tenant's log can be pointed at."""

from __future__ import annotations

import asyncio
from typing import Any

from strawberry import ID

from models import Scope
from models.errors import BadRequest
from models.ids import NIL, InvalidId, decode
from resolvers.call import Call
from schema.common import EventCursor, Node
from schema.declare import Argument, Nodes, computed, root_fields

MAX_NODES = 100


async def find(call: Call, typeid: str) -> Any:
    """The row with this id; None for a malformed, a foreign and an unknown one alike. Raises FORBIDDEN."""
    try:
        prefix, row_id = decode(typeid)
    except InvalidId:
        prefix, row_id = "", NIL
    kind = Nodes.by_prefix.get(prefix)
    if kind is None:
        return None
    if kind.own is None:
        call.require(kind.scope)
    row = await call.load(kind.batch, row_id)
    if row is not None and not kind.visible(row, call):
        call.require(kind.scope)
    return row


async def _nodes(_: Any, call: Call, ids: list[str]) -> list[Any]:
    if len(ids) > MAX_NODES:
        raise BadRequest(f"Ask for at most {MAX_NODES} ids at once.")
    return list(await asyncio.gather(*(find(call, one) for one in ids)))


async def _event_cursor(_: Any, call: Call) -> str | None:
    return await call.event_cursor()


@root_fields
class ActivityQueries:
    """Root fields over everything."""

    node: Node | None = computed(
        lambda _, call, id: find(call, id),
        "Anything by its id.",
        [Argument("id", ID, "Its TypeID.")],
        scope=Scope.SIGNED_IN,
    )
    nodes: list[Node | None] = computed(
        _nodes,
        "Several by their ids, in their order.",
        [Argument("ids", list[ID], "At most 100 TypeIDs.")],
        scope=Scope.SIGNED_IN,
        cost=10,
    )
    event_cursor: EventCursor | None = computed(
        _event_cursor,
        "Where the tenant's event log stands. Resolved before every other field of the operation: read it together "
        "with the state, then subscribe after it. Null without a tenant.",
        scope=Scope.PUBLIC,
    )
