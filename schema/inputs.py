"""This module is where inputs are declared and turned into what use cases take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import strawberry
from strawberry.types.base import get_object_definition

from models.ids import NIL, InvalidId, decode, parse

Reading = Callable[[str], Any]
"""Makes of an id what the use case takes, where several types of ids will do."""


def required(description: str, *, of: str | Reading | None = None, secret: bool = False) -> Any:
    """An input field that must be given; ``of`` names the TypeID prefix of an id, or reads it.

    ``secret``: no trace of it is kept, not even a hash to tell retries apart by.
    """
    return strawberry.field(description=description, metadata={"of": of, "secret": secret})


def optional(description: str, *, of: str | Reading | None = None, secret: bool = False) -> Any:
    """An input field that may be absent; ``of`` and ``secret`` as for one that must be given."""
    return strawberry.field(description=description, default=strawberry.UNSET, metadata={"of": of, "secret": secret})


def secrets_of(kind: type) -> frozenset[str]:
    """The python names of an input's fields that no trace is kept of."""
    fields = get_object_definition(kind, strict=True).fields
    return frozenset(one.python_name for one in fields if one.metadata.get("secret"))


def form(description: str) -> Callable[[type], Any]:
    """Make a class a GraphQL input."""
    return lambda cls: strawberry.input(cls, description=description)


def given(value: Any, *, keep_null: bool = False) -> dict[str, Any]:
    """What the caller said, by python name; ids as uuids (NIL for what is none), nested inputs as dicts.

    Null reads as absent unless ``keep_null``: in updates null clears the field.
    """
    definition = get_object_definition(type(value), strict=True)
    said: dict[str, Any] = {}
    for one in definition.fields:
        item = getattr(value, one.python_name)
        if item is strawberry.UNSET or (item is None and not keep_null):
            continue
        said[one.python_name] = _plain(item, one.metadata.get("of"), keep_null)
    return said


def _plain(item: Any, of: str | Reading | None, keep_null: bool) -> Any:
    if isinstance(item, list):
        return [_plain(one, of, keep_null) for one in item]
    if get_object_definition(type(item)) is not None:
        return given(item, keep_null=keep_null)
    if of is None or item is None:
        return item
    return parse(item, of) if isinstance(of, str) else of(item)


def any_id(text: str) -> UUID:
    """The uuid of a TypeID of whatever type; NIL for what is none."""
    try:
        return decode(text)[1]
    except InvalidId:
        return NIL
