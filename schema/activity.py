"""This module is where anything is found by id, and where the tenant's log is read."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated, Any

import strawberry
from strawberry import ID

import models
from dataloaders.activity import LogPage
from dataloaders.base import by_id
from dataloaders.pages import Window
from models import EventTopic, EventView, Scope
from models.errors import BadRequest
from models.ids import NIL, InvalidId, decode
from resolvers.activity import Named, read_activity, sees, view_of
from resolvers.call import Call
from schema.common import JSON, PAGE_ARGUMENTS, EventCursor, Node, PageInfo
from schema.credentials import ApiKey
from schema.declare import Argument, Nodes, column, computed, describe, node, part, root_fields
from schema.inputs import form, given, optional
from schema.registry import Workspace
from schema.users import User
from subscriptions.cursor import Cursor

MAX_NODES = 100


async def find(call: Call, typeid: str) -> Any:
    """The row with this id; None for a malformed, a foreign and an unknown one alike. Raises FORBIDDEN."""
    prefix, row_id = _named(typeid)
    kind = Nodes.by_prefix.get(prefix)
    if kind is None:
        return None
    if kind.own is None:
        call.require(kind.scope)
    row = await call.load(kind.batch, row_id)
    if row is not None and await kind.visible(row, call):
        return row
    # Of what is not there as of what is another's: whoever lacks the scope does not learn which it was.
    call.require(kind.scope)
    return None


def _named(typeid: str) -> Named:
    """What an id names; nothing is named so for one that is malformed."""
    try:
        return decode(typeid)
    except InvalidId:
        return "", NIL


async def _nodes(_: Any, call: Call, ids: list[str]) -> list[Any]:
    if len(ids) > MAX_NODES:
        raise BadRequest(f"Ask for at most {MAX_NODES} ids at once.")
    # An error stands in its own place: one refusal must not empty the others.
    return await asyncio.gather(*(find(call, one) for one in ids), return_exceptions=True)


async def _event_cursor(_: Any, call: Call) -> str | None:
    return await call.event_cursor()


describe(
    EventTopic,
    "Which part of the house an event is about.",
    TENANCY="Tenants and their people.",
    REGISTRY="Agents and workspaces: made, changed, beating or silent.",
    STRUCTURE="Who stands below whom, and which agent works where.",
    CONVERSATIONS="Conversations, messages and contacts.",
    APPROVALS="Requests for approval and their decisions.",
    GOVERNANCE="Policies, topics and rules.",
    ALERTS="Alerts and the rules that route them.",
    KNOWLEDGE="Collections and documents.",
    INTEGRATIONS="Connectors and what they fetched.",
    RESEARCH="Research and its findings.",
    ONBOARDING="Steps of getting started.",
    SECURITY="Sign-ins, keys and access.",
    CANVAS="Canvases and what lies on them.",
)

ACTORS = {
    "user": by_id(models.User, even_deleted=True),
    "key": by_id(models.ApiKey),
    "workspace": by_id(models.Workspace),
}
"""How whoever acted is found by TypeID prefix; people also when they are gone, so that history stays readable."""

Actor = Annotated[User | ApiKey | Workspace, strawberry.union("Actor", description="Who can change things.")]


async def _entity(event: models.Event, call: Call) -> Any:
    kind = Nodes.by_prefix.get(event.entity_type)
    if kind is None or (kind.own is None and not call.allows(kind.scope)):
        return None
    row = await call.load(kind.batch, event.entity_id)
    return row if row is not None and await kind.visible(row, call) else None


async def actor_of(event: Any, call: Call) -> Any:
    """Who did it: the row, None for the gateway itself and for whom the caller may not see."""
    batch = ACTORS.get(event.actor_type or "")
    if batch is None or event.actor_id is None:
        return None
    row = await call.load(batch, event.actor_id)
    return row if row is not None and await Nodes.by_prefix[event.actor_type or ""].visible(row, call) else None


async def _cursor(event: models.Event, call: Call) -> str:
    return Cursor(await call.services.tails.epoch(), event.seq).encode()


@node(
    models.Event,
    "One committed change, in the order in which the tenant's changes committed. entity is the thing as it is now, "
    "null when it is gone or not for the caller; kind reads noun.verb, e.g. approval.decided; no actor means the "
    "gateway itself.",
    scope=Scope.ACTIVITY_READ,
    rule=lambda row, call: sees(call.who, row),
)
class ActivityEvent(Node):
    """GraphQL type of models.Event."""

    cursor: EventCursor = computed(_cursor, "Where it stands in the log; streams resume after it.", cost=0, shared=True)
    topic: EventTopic = column("Which part of the house it is about.")
    kind: str = column("What happened, noun.verb.")
    entity: Node | None = computed(
        _entity, "What changed, as it is now; null when gone or not for the caller.", shared=True
    )
    entity_id: ID = column("Whose change it is, also when it is gone.", "entity_typeid")
    actor: Actor | None = computed(
        actor_of, "Who did it; null for the gateway itself, and for whom the caller may not see.", shared=True
    )
    payload: JSON = column("Ids, enum values, numbers and names of changed fields.")
    occurred_at: datetime = column("When it was committed.")


@part("One event with its place in the list.")
class ActivityEdge:
    """Edge of ActivityConnection."""

    cursor: str = column("The event's place in this list; opaque, and not an EventCursor.")
    node: ActivityEvent = column("The event.")


@part("No totalCount: the log is not counted.")
class ActivityConnection:
    """One page of the log."""

    edges: list[ActivityEdge] = column("The page's events with their cursors.")
    nodes: list[ActivityEvent] = column("The page's events.", "rows")
    page_info: PageInfo = column("Where the page stands in the log.", "info")


@form("Which events; fields combine with and, lists mean any of.")
class ActivityFilter:
    """Filter of the log and of its stream."""

    topics: list[EventTopic] | None = optional("About one of these parts of the house.")
    kinds: list[str] | None = optional("One of these kinds, each matched whole; at most 100.")
    entity_id: ID | None = optional("Of this thing.")
    actor_id: ID | None = optional("Done by this user, key or workspace.")


def view_for(call: Call, filter: ActivityFilter | None) -> EventView:
    """What the caller sees of what ``filter`` asks for; one reading for the list and the stream. Raises BAD_REQUEST."""
    said = given(filter) if filter else {}
    for name in ("entity", "actor"):
        if f"{name}_id" in said:
            said[name] = _named(said.pop(f"{name}_id"))
    return view_of(call.who, **said)


async def _activity(_: Any, call: Call, filter: ActivityFilter | None = None, **page: Any) -> LogPage:
    return await read_activity(call, view_for(call, filter), Window(**page))


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
    activity: ActivityConnection | None = computed(
        _activity,
        "The event log, newest first; the same rows that activityFeed streams. Page with edge cursors, resume streams "
        "with event cursors. A filter looks at 20,000 events a page: a page may be short and still have a next one.",
        [*PAGE_ARGUMENTS, Argument("filter", ActivityFilter | None, "Only what matches.")],
        scope=Scope.ACTIVITY_READ,
        cost=2,
    )
