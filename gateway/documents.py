"""This module is where documents are parsed and validated once, and kept by their text."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import Final

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    parse,
    validate,
)

from gateway.sharing import Sharing, sharing_of
from gateway.transports.operations import OperationKind

MAX_TOKENS: Final = 1000
MAX_ERRORS: Final = 5
_KEPT: Final = 1000
_KINDS: Final[dict[str, OperationKind]] = {
    "query": "query",
    "mutation": "mutation",
    "subscription": "subscription",
}


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a document: what it is, and the root fields it selects, fragments included."""

    kind: OperationKind
    root_fields: frozenset[str]
    node: OperationDefinitionNode
    sharing: Sharing | None = None
    """What subscribers share; None for queries, mutations and what is not valid."""


@dataclass(frozen=True, slots=True)
class Document:
    """A document that was read: its operations by name, or why it cannot be run."""

    node: DocumentNode | None
    errors: list[GraphQLError] = field(default_factory=list)
    operations: dict[str | None, Operation] = field(default_factory=dict)

    def operation(self, name: str | None) -> Operation | None:
        """The operation that ``name`` chooses; without a name the only one."""
        if name:
            return self.operations.get(name)
        return next(iter(self.operations.values())) if len(self.operations) == 1 else None


class Documents:
    """The newest thousand documents, read against one schema. Errors are kept too: a bad client repeats itself."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self._schema = schema
        self._kept: OrderedDict[str, Document] = OrderedDict()

    def read(self, text: str) -> Document:
        """The document, parsed and validated now or before."""
        known = self._kept.get(text)
        if known is not None:
            self._kept.move_to_end(text)
            return known
        document = self._kept[text] = self._read(text)
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return document

    def _read(self, text: str) -> Document:
        try:
            node = parse(text, max_tokens=MAX_TOKENS)
        except GraphQLError as error:
            return Document(None, [error])
        errors = validate(self._schema, node, max_errors=MAX_ERRORS)
        operations = _operations(node)
        if not errors:
            operations = {
                name: replace(one, sharing=sharing_of(self._schema, node, one.node))
                if one.kind == "subscription"
                else one
                for name, one in operations.items()
            }
        return Document(node, errors, operations)


def _operations(node: DocumentNode) -> dict[str | None, Operation]:
    fragments = {one.name.value: one for one in node.definitions if isinstance(one, FragmentDefinitionNode)}
    found: dict[str | None, Operation] = {}
    for one in node.definitions:
        if isinstance(one, OperationDefinitionNode):
            name = one.name.value if one.name else None
            fields = _root_fields(one.selection_set, fragments, set())
            found[name] = Operation(_KINDS[one.operation.value], frozenset(fields), one)
    return found


def _root_fields(
    selections: SelectionSetNode, fragments: dict[str, FragmentDefinitionNode], seen: set[str]
) -> set[str]:
    names: set[str] = set()
    for one in selections.selections:
        if isinstance(one, FieldNode):
            names.add(one.name.value)
        elif isinstance(one, InlineFragmentNode):
            names |= _root_fields(one.selection_set, fragments, seen)
        elif isinstance(one, FragmentSpreadNode) and one.name.value not in seen:
            seen.add(one.name.value)
            fragment = fragments.get(one.name.value)
            if fragment is not None:
                names |= _root_fields(fragment.selection_set, fragments, seen)
    return names
