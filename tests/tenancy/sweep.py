"""This module is where every place of the schema that takes an id is found, and asked with ids of every kind."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLUnionType,
    get_named_type,
    is_leaf_type,
    is_required_argument,
    is_required_input_field,
)

from models.ids import NIL, encode, uuid7
from schema.build import build, core
from schema.declare import Nodes

SCHEMA: Final = core(build())

MALFORMED: Final = (
    "",
    "nonsense",
    "workspace_",
    "workspace_8zzzzzzzzzzzzzzzzzzzzzzzzz",
    "WORKSPACE_01h455vb4pex5vsknk084sn02q",
    "' OR 1=1 --",
    "00000000-0000-7000-8000-000000000001",
    "x" * 300,
    "workspace_01h455vb4pex5vsknk084sn02q\x00",
    encode("workspace", NIL),
    encode("unknown", uuid7()),
)

_TEXTS: Final = {
    "email": "somebody@example.org",
    "password": "correct horse battery",
    "newPassword": "correct horse battery",
    "url": "https://example.org",
    "slug": "a-new-slug",
    "key": "A_KEY",
}
_SCALARS: Final[dict[str, Any]] = {
    "String": "sample",
    "Int": 1,
    "Float": 0.1,
    "Boolean": True,
    "DateTime": "2030-01-01T00:00:00Z",
    "JSON": {},
}


@dataclass(frozen=True, slots=True)
class Slot:
    """One place that takes an id: a root field, the way into its arguments, and what kind of id belongs there."""

    operation: str
    field: str
    path: tuple[str, ...]
    prefix: str

    @property
    def name(self) -> str:
        """Where it is, for people."""
        return f"{self.operation} {self.field}({'.'.join(self.path)})"

    def document(self, depth: int = 2) -> str:
        """An operation that asks the field with its arguments as variables and for all that it can say in short."""
        field = _root(self.operation).fields[self.field]
        declared = ", ".join(f"${name}: {one.type}" for name, one in field.args.items() if self._uses(name, one))
        passed = ", ".join(f"{name}: ${name}" for name, one in field.args.items() if self._uses(name, one))
        return f"{self.operation}({declared}) {{ {self.field}({passed}) {selection(field.type, depth)} }}"

    def variables(self, candidate: str, own: dict[str, str]) -> dict[str, Any]:
        """The arguments with ``candidate`` in this place; whatever else is demanded is valid and the caller's own."""
        field = _root(self.operation).fields[self.field]
        return {
            name: self._value(name, one.type, (name,), candidate, own)
            for name, one in field.args.items()
            if self._uses(name, one)
        }

    def _uses(self, name: str, one: Any) -> bool:
        return name == self.path[0] or is_required_argument(one)

    def _value(self, name: str, kind: Any, at: tuple[str, ...], candidate: str, own: dict[str, str]) -> Any:
        if isinstance(kind, GraphQLNonNull):
            return self._value(name, kind.of_type, at, candidate, own)
        if isinstance(kind, GraphQLList):
            return [self._value(name, kind.of_type, at, candidate, own)]
        if isinstance(kind, GraphQLInputObjectType):
            return {
                part: self._value(part, one.type, (*at, part), candidate, own)
                for part, one in kind.fields.items()
                if self.path[: len(at) + 1] == (*at, part) or is_required_input_field(one)
            }
        if isinstance(kind, GraphQLEnumType):
            return next(iter(kind.values))
        if kind.name == "ID":
            return candidate if at == self.path else own[_prefix(at, self)]
        return _TEXTS.get(name, "sample") if kind.name == "String" else _SCALARS[kind.name]


def _prefix(at: tuple[str, ...], slot: Slot) -> str:
    return next(one.prefix for one in SLOTS if (one.field, one.path) == (slot.field, at))


def _root(operation: str) -> GraphQLObjectType:
    kind = {"query": SCHEMA.query_type, "mutation": SCHEMA.mutation_type, "subscription": SCHEMA.subscription_type}
    found = kind[operation]
    assert found is not None
    return found


def _slots() -> Iterator[Slot]:
    for operation in ("query", "mutation", "subscription"):
        for name, field in _root(operation).fields.items():
            for argument, one in field.args.items():
                for path, prefix in _ids(one.type, (argument,), name):
                    yield Slot(operation, name, path, prefix)


def _ids(kind: Any, path: tuple[str, ...], field: str) -> Iterator[tuple[tuple[str, ...], str]]:
    named = get_named_type(kind)
    if named.name == "ID":
        yield path, _guess(path, field)
    elif isinstance(named, GraphQLInputObjectType):
        definition = named.extensions["strawberry-definition"]
        of = {one.graphql_name or _camel(one.python_name): one.metadata.get("of") for one in definition.fields}
        for part, one in named.fields.items():
            for deeper, prefix in _ids(one.type, (*path, part), field):
                declared = of.get(part)
                yield deeper, declared if isinstance(declared, str) else prefix


def _guess(path: tuple[str, ...], field: str) -> str:
    word = path[-1].removesuffix("Ids").removesuffix("Id").removesuffix("By")
    # approvalDecided(id) is about an approval.
    about = max((one for one in Nodes.by_prefix if field.lower().startswith(one)), key=len, default=field)
    known = {"id": about, "ids": "workspace", "created": "user", "owner": "workspace", "entity": "workspace"}
    prefix = known.get(word, word)
    return prefix if prefix in Nodes.by_prefix else "user" if prefix == "actor" else "workspace"


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(one.title() for one in rest)


def selection(kind: Any, depth: int = 2) -> str:
    """What to ask of a type: its leaves, and those of what it leads to."""
    named = get_named_type(kind)
    if is_leaf_type(named):
        return ""
    if isinstance(named, GraphQLInterfaceType):
        return "{ __typename id }"
    if isinstance(named, GraphQLUnionType):
        members = (f"... on {one.name} {selection(one, depth - 1)}" for one in named.types)
        return f"{{ __typename {' '.join(members)} }}"
    assert isinstance(named, GraphQLObjectType)
    if "nodes" in named.fields and "pageInfo" in named.fields:
        count = "totalCount" if "totalCount" in named.fields else ""
        return f"{{ {count} nodes {selection(named.fields['nodes'].type, 1)} }}"
    parts = [f"{name} {inner}" for name, one in named.fields.items() if (inner := _part(one, depth)) is not None]
    return f"{{ __typename {' '.join(parts)} }}"


def _part(field: GraphQLField, depth: int) -> str | None:
    named = get_named_type(field.type)
    if isinstance(named, GraphQLScalarType | GraphQLEnumType):
        return ""
    pages = isinstance(named, GraphQLObjectType) and "pageInfo" in named.fields
    if depth <= 1 or field.args or pages or isinstance(named, GraphQLUnionType | GraphQLInterfaceType):
        return None
    return selection(named, depth - 1)


SLOTS: Final = list(_slots())


def candidates(foreign: dict[str, str], dice: random.Random) -> Iterator[tuple[str, str, str]]:
    """Ids that must all be answered alike, each with its kind and prefix: of the neighbour's, unknown, malformed."""
    for prefix, one in foreign.items():
        yield "foreign", prefix, one
        yield "random", prefix, encode(prefix, uuid7())
    yield from (("malformed", "", one) for one in dice.sample(MALFORMED, 5))
