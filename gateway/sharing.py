"""This module is where it is decided which subscribers may be answered together: by document, variables and rights.

Unknown means not shared: a group that shares too little costs time, one that shares too much shows a stranger's data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import orjson
from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLSchema,
    Node,
    OperationDefinitionNode,
    TypeInfo,
    TypeInfoVisitor,
    VariableNode,
    Visitor,
    get_named_type,
    is_abstract_type,
    visit,
)

from gateway.transports.operations import OperationRequest
from models import Scope
from resolvers.principal import Principal
from schema.declare import Declared, Nodes
from schema.streams import Stream

_AFTER = "after"
_DEFINITION = "strawberry-definition"
_HELD_BY_ALL = frozenset({None, Scope.PUBLIC, Scope.SIGNED_IN})


@dataclass(frozen=True, slots=True)
class Sharing:
    """What an operation lets its subscribers share.

    ``always_personal``: some field looks at who calls. ``personal_without``: scopes without which a field shows
    only the caller's own. ``place_variable``: the variable that says only where to start.
    """

    always_personal: bool
    personal_without: frozenset[Scope]
    place_variable: str | None
    chained: bool
    scope: Scope | None = None
    """What the stream itself demands."""
    noted: bool = False
    """Whether some field writes down who looked."""
    stream: str = ""
    """The name of the field that it follows."""

    def key(self, request: OperationRequest, principal: Principal, *, personal: bool = False) -> Hashable:
        """Equal for subscribers who get equal bytes; ``personal`` where they get different events."""
        variables = {name: value for name, value in (request.variables or {}).items() if name != self.place_variable}
        personal = personal or self.always_personal or not self.personal_without <= principal.scopes
        return (
            request.query,
            request.operation_name,
            _digest(variables) if variables else b"",
            principal.tenant_id,
            principal.scopes,
            (principal.key, principal.session_id) if personal else None,
        )


def _digest(variables: dict[str, Any]) -> bytes:
    # Kept for every subscriber, so it is short whatever the variables are.
    return hashlib.sha256(orjson.dumps(variables, option=orjson.OPT_SORT_KEYS)).digest()


class _Reader(Visitor):
    """Collects what the fields and variables of one operation say."""

    def __init__(self, schema: GraphQLSchema, types: TypeInfo) -> None:
        super().__init__()
        self._schema = schema
        self._types = types
        self.personal = False
        self.noted = False
        self.scopes: set[Scope] = set()
        self.chained = False
        self.spreads: list[str] = []
        self.variables: dict[str, int] = {}
        self.place: str | None = None
        self.scope: Scope | None = None
        self.stream = ""

    def enter_field(self, node: FieldNode, *_: object) -> None:
        """A field: whose it is, and whether it is the root's place."""
        if node.name.value.startswith("__"):
            return
        self.chained |= node.name.value == "previousCursor"
        definition = self._types.get_field_def()
        declared = definition.extensions.get(_DEFINITION) if definition else None
        if not isinstance(declared, Declared):
            self.personal = True
            return
        if isinstance(declared, Stream):
            self.scope = declared.spec.scope
            self.stream = node.name.value
            self._read_place(node)
            return
        spec = declared.spec
        self.personal |= not spec.shared
        self.noted |= spec.noted
        if spec.own_without is not None:
            self.scopes.add(spec.own_without)
        scope = spec.scope if spec.scope is not None or spec.target is None else spec.target.scope
        is_narrowed = spec.own is not None or (spec.target is not None and spec.target.own is not None)
        # A scope that everybody holds leaves nobody with only their own.
        if is_narrowed and scope is not None and scope not in _HELD_BY_ALL:
            self.scopes.add(scope)
        kind = get_named_type(self._types.get_type())
        if is_abstract_type(kind):
            # Any of these may come, and of some the caller sees no more than their own.
            possible = {one.name for one in self._schema.get_possible_types(kind)}
            self.scopes |= {one.scope for one in Nodes.by_prefix.values() if one.own and one.name in possible}

    def enter_fragment_spread(self, node: FragmentSpreadNode, *_: object) -> None:
        """A fragment to read as well."""
        self.spreads.append(node.name.value)

    def enter_variable(self, node: VariableNode, _: object, parent: Node | None, *__: object) -> None:
        """One use of a variable; its definition is none."""
        if parent is None or getattr(parent, "kind", "") != "variable_definition":
            self.variables[node.name.value] = self.variables.get(node.name.value, 0) + 1

    def _read_place(self, node: FieldNode) -> None:
        for argument in node.arguments or ():
            if argument.name.value == _AFTER and isinstance(argument.value, VariableNode):
                self.place = argument.value.name.value


def sharing_of(schema: GraphQLSchema, document: DocumentNode, operation: OperationDefinitionNode) -> Sharing:
    """What the valid ``operation`` lets its subscribers share."""
    fragments = {one.name.value: one for one in document.definitions if isinstance(one, FragmentDefinitionNode)}
    types = TypeInfo(schema)
    reader = _Reader(schema, types)
    visit(operation, TypeInfoVisitor(types, reader))
    seen: set[str] = set()
    while reader.spreads:
        name = reader.spreads.pop()
        if name not in seen:
            seen.add(name)
            visit(fragments[name], TypeInfoVisitor(types, reader))
    sole = reader.place is not None and reader.variables.get(reader.place) == 1
    place = reader.place if sole else None
    return Sharing(
        reader.personal,
        frozenset(reader.scopes),
        place,
        reader.chained,
        reader.scope,
        reader.noted,
        reader.stream,
    )
