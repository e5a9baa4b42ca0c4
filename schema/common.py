"""This module is where the types that every domain shares stand: nodes, pages, errors, scalars."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, NewType, TypeVar, cast
from uuid import UUID

import strawberry
from graphql import GraphQLError
from strawberry import ID

from dataloaders.base import by_id
from dataloaders.nested_pages import Nested, NestedCounts, NestedPage, NestedPages
from dataloaders.pages import Direction, Listing, Page, Window, read_page
from models import Scope
from models.errors import RefusalCode
from models.ids import NIL, parse
from resolvers.call import Call
from schema.declare import Argument, Nodes, column, computed, describe, part
from schema.inputs import given

EventCursor = NewType("EventCursor", str)
JSON = strawberry.scalars.JSON


def _in_utc(value: datetime) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _parse_text(value: object) -> str:
    if not isinstance(value, str):
        raise GraphQLError("A string is expected.")
    return value


def _parse_time(value: object) -> datetime:
    try:
        time = datetime.fromisoformat(_parse_text(value))
    except ValueError:
        raise GraphQLError("A time is written as in ISO 8601, e.g. 2026-01-31T12:00:00Z.") from None
    if time.tzinfo is None:
        raise GraphQLError("A time names its offset, e.g. 2026-01-31T12:00:00Z.")
    return time.astimezone(UTC)


SCALARS: dict[object, Any] = {
    datetime: strawberry.scalar(
        name="DateTime",
        description="RFC 3339 timestamp in UTC.",
        serialize=_in_utc,
        parse_value=_parse_time,
    ),
    EventCursor: strawberry.scalar(
        name="EventCursor",
        description="Opaque position in one tenant's event log. Carries no authority: the tenant always comes from the "
        "credentials.",
        serialize=str,
        parse_value=_parse_text,
    ),
}


@strawberry.interface(description="Something with a global id.")
class Node:
    """Every type whose rows can be found by id."""

    id: ID = column("TypeID: type prefix and Crockford base32 of a UUIDv7.", "typeid")


Nodes.scopes[Node] = Scope.PUBLIC

describe(
    RefusalCode,
    "Why a request was refused.",
    name="UserErrorCode",
    INVALID="A value is not acceptable.",
    NOT_FOUND="What an id names does not exist for the caller.",
    ALREADY_EXISTS="There is one with this name already.",
    CONFLICT="It changed in the meantime, or its place is taken.",
    ALREADY_DECIDED="Somebody decided it before.",
    EXPIRED="Its time is over.",
    SELF_APPROVAL="Nobody decides their own request.",
    ILLEGAL_TRANSITION="Its present status does not allow this.",
    CYCLE="It would end up below itself.",
    IMMUTABLE="It can never be changed.",
    LIMIT_EXCEEDED="A limit of the plan or of the system is reached.",
    IDEMPOTENCY_MISMATCH="The idempotency key was used for another request.",
    INVALID_CREDENTIALS="Unknown account, wrong secret, or locked; which one is not told.",
    THROTTLED="Too many tries; wait.",
    FENCED="The lease was lost: it ran out, or somebody else holds it.",
)


@part("A refusal the caller can act on. Programming and infrastructure failures are GraphQL errors instead.")
class UserError:
    """What stands in ``userErrors``."""

    code: RefusalCode = column("What kind of refusal it is.")
    message: str = column("A sentence for people.")
    field: list[str] | None = column('Path into the input, e.g. ["input", "email"].')


@part("Where a page stands in its list.")
class PageInfo:
    """Relay's page info."""

    has_next_page: bool = column("Whether more follow.", "has_next")
    has_previous_page: bool = column("Whether some came before.", "has_previous")
    start_cursor: str | None = column("Cursor of the first item of the page.")
    end_cursor: str | None = column("Cursor of the last item of the page.")


Item = TypeVar("Item")


@part("One item of a list with its place in it.")
class Edge(Generic[Item]):
    """Relay's edge."""

    cursor: str = column("The item's place in this list and order; opaque.")
    node: Item = column("The item.")


async def _count(page: Page | NestedPage, call: Call) -> int:
    return await page.total_count()


@part("One page of a list.")
class Connection(Generic[Item]):
    """Relay's connection, with ``nodes`` as a shortcut."""

    edges: list[Edge[Item]] = column("The page's items with their cursors.")
    nodes: list[Item] = column("The page's items.", "rows")
    page_info: PageInfo = column("Where the page stands in the list.", "info")
    total_count: int = computed(
        _count, "How many items the whole list has; counted only when asked for.", cost=10, shared=True
    )


describe(
    Direction, "Which end of an order comes first.", name="OrderDirection", ASC="Smallest first.", DESC="Largest first."
)


PAGE_ARGUMENTS = (
    Argument("first", int | None, "How many from the front, at most 100; 20 when neither end is named."),
    Argument("after", str | None, "Only what follows this cursor."),
    Argument("last", int | None, "How many from the end, at most 100."),
    Argument("before", str | None, "Only what precedes this cursor."),
)


def connection(
    listing: Listing,
    description: str,
    *,
    filter: Any = None,
    order: Any = None,
    narrow: Callable[[Any, Call], dict[str, Any]] | None = None,
    prepare: Callable[[dict[str, Any], Call], dict[str, Any]] | None = None,
    of: str | None = None,
    scope: Scope | None = None,
) -> Any:
    """A field that is a page of ``listing``; ``narrow`` derives more filters from the parent row.

    ``prepare`` makes of what the filter says what the list takes, where that depends on who asks.

    With ``of`` it is the part of the list whose column holds the parent's id, read for all parents at once; ``narrow``
    then looks at the call alone.
    """

    async def resolve(source: Any, call: Call, **arguments: Any) -> Page | NestedPage:
        window = Window(*(arguments.get(name) for name in ("first", "after", "last", "before")))
        said = arguments.get("filter")
        chosen = arguments.get("order_by")
        asked = given(said) if said else {}
        wanted = _both(prepare(asked, call) if prepare else asked, narrow(source, call) if narrow else {})
        order = (chosen.field.value, chosen.direction) if chosen else None
        if of is None:
            return await read_page(call.services.database, call.tenant_id, listing, window, wanted, order)
        return await _nested(call, Nested.asked(listing, of, window, wanted, order), source.id)

    arguments = list(PAGE_ARGUMENTS)
    if filter is not None:
        arguments.append(Argument("filter", filter | None, "Only what matches."))
    if order is not None:
        arguments.append(Argument("order_by", order | None, "How the list is sorted; newest first when absent."))
    own = narrow.scope if isinstance(narrow, OwnWithout) else None
    shared = prepare is None
    return computed(resolve, description, arguments, scope=scope, cost=2, shared=shared, own_without=own)


async def _nested(call: Call, asked: Nested, parent_id: UUID) -> NestedPage:
    page = await call.load(NestedPages(asked), parent_id)
    page.count = lambda: call.load(NestedCounts(asked), parent_id)
    return cast(NestedPage, page)


@dataclass(frozen=True, slots=True)
class OwnWithout:
    """Narrows a list to the caller's own rows, its count included, unless the caller holds ``scope``."""

    scope: Scope

    def __call__(self, _: Any, call: Call) -> dict[str, Any]:
        """What is asked for besides."""
        return {} if call.allows(self.scope) else {"user_id": call.who.member_id or NIL}


def own_without(scope: Scope) -> OwnWithout:
    """Narrows a list to the caller's own rows, its count included, unless the caller holds ``scope``."""
    return OwnWithout(scope)


def _both(said: dict[str, Any], narrowed: dict[str, Any]) -> dict[str, Any]:
    # Who may only see their own and asks for another's gets nothing, not their own.
    differing = {name: NIL for name, value in narrowed.items() if said.get(name, value) != value}
    return said | narrowed | differing


def found(model: Any, description: str, *, scope: Scope | None = None) -> Any:
    """A root field that is the row with an id; null for an id that is malformed, foreign or unknown alike."""

    def resolve(_: Any, call: Call, id: str) -> Any:
        return call.load(by_id(model), parse(id, model.__typeid__))

    return computed(resolve, description, [Argument("id", ID, "Its TypeID.")], scope=scope)
