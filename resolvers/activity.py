"""This module is where it is decided which events of a tenant a caller sees.

Security boundary: an event shows to whoever holds the scope it was recorded under, and to the person it is about;
the current row plays no part. What is not for the caller is left out and not told of.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from dataloaders.activity import LogPage, read_log
from dataloaders.pages import Window
from models import Event, EventTopic, EventView, Scope
from models.errors import BadRequest
from models.scopes import GRANTABLE_SCOPES
from resolvers.call import Call
from resolvers.principal import Principal
from subscriptions.activity import shown

MOST_VALUES: Final = 100

Named = tuple[str, UUID]
"""What an id names: the TypeID's prefix and uuid."""


def view_of(
    who: Principal,
    *,
    topics: Sequence[EventTopic] | None = None,
    kinds: Sequence[str] | None = None,
    entity: Named | None = None,
    actor: Named | None = None,
) -> EventView:
    """What ``who`` sees of the events that are asked for; lists mean any of. Raises BAD_REQUEST for over 100 values."""
    asked: dict[str, frozenset[Any]] = {}
    for name, values in (("topic", topics), ("kind", kinds)):
        if values is not None:
            if len(values) > MOST_VALUES:
                raise BadRequest(f"A filter holds at most {MOST_VALUES} values.")
            # The database cannot hold a NUL, so nothing equals a text with one; asking would be an error.
            asked[name] = frozenset(value for value in values if "\x00" not in value)
    for name, named in (("entity", entity), ("actor", actor)):
        if named is not None:
            asked |= {f"{name}_type": frozenset({named[0]}), f"{name}_id": frozenset({named[1]})}
    return EventView(asked, _granted(who))


def sees(who: Principal, event: Event) -> bool:
    """Whether the event is for ``who`` to see."""
    return shown(EventView({}, _granted(who)))(event)


def is_personal(view: EventView) -> bool:
    """Whether two callers with equal scopes may see different events."""
    return "owner_user_id" in view.granted


async def read_activity(call: Call, view: EventView, window: Window) -> LogPage:
    """One page of the view, newest first, in one statement. Raises BAD_REQUEST for a bad window or cursor."""
    return await read_log(call.services.database, call.tenant_id, view, window)


def _granted(who: Principal) -> dict[str, frozenset[Any]]:
    scopes = who.scopes | {Scope.PUBLIC, Scope.SIGNED_IN}
    granted: dict[str, frozenset[Any]] = {"required_scope": frozenset(scope.value for scope in scopes)}
    if who.member_id is not None and not who.scopes >= GRANTABLE_SCOPES:
        granted["owner_user_id"] = frozenset({who.member_id})
    return granted
