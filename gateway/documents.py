"""This module is where documents are measured, then parsed and validated once, and kept by their text."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
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
    assert_valid_schema,
    parse,
    validate,
)
from graphql.validation.rules import overlapping_fields_can_be_merged as merging

from gateway.sharing import Sharing, sharing_of
from gateway.transports.operations import OperationKind
from models.errors import LimitExceeded
from schema.limits import LIMITS, Limits, exceeded
from schema.measure import measure
from schema.prices import Price

MAX_ERRORS: Final = 5
MAX_COMPARISONS: Final = 20_000
"""Work that comparing fields may take: a hundred times what honest documents need, a 25th of the library's own."""
_KEPT: Final = 1000
_KEPT_OF_STRANGERS: Final = 100
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
    price: Price
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
    """The newest documents, read against one schema. Errors are kept too: a bad client repeats itself.

    What the signed-out send, and what is not valid, is kept apart: neither can crowd out what the others ask all day.
    """

    def __init__(self, schema: GraphQLSchema, limits: Limits = LIMITS) -> None:
        self._schema = schema
        self._limits = limits
        self._kept = _Kept(_KEPT)
        self._refused = _Kept(_KEPT_OF_STRANGERS)
        self._strangers = _Kept(_KEPT_OF_STRANGERS)
        merging.MAX_COMPLEXITY_BUDGET = MAX_COMPARISONS
        # The library looks at the schema once, and keeps what it found: nobody's first query shall pay for that.
        assert_valid_schema(schema)

    def read(self, text: str, *, signed_in: bool) -> Document:
        """The document, parsed and validated now or before. The signed-out are told no name that they did not say."""
        known = self._kept.get(text) or (self._refused if signed_in else self._strangers).get(text)
        if known is not None:
            return known
        document = self._read(text, signed_in)
        if not signed_in:
            self._strangers.put(text, document)
        elif document.errors:
            self._refused.put(text, document)
        else:
            self._kept.put(text, document)
        return document

    def _read(self, text: str, signed_in: bool) -> Document:
        try:
            node = self._parse(text)
            prices = measure(self._schema, node, self._limits)
        except LimitExceeded as excess:
            return _excessive(excess)
        except GraphQLError as error:
            return Document(None, [error])
        errors = validate(self._schema, node, max_errors=MAX_ERRORS, hide_suggestions=not signed_in)
        if errors and errors[-1].message.startswith("Validation aborted"):
            return _excessive(exceeded("comparisons", MAX_COMPARISONS, MAX_COMPARISONS, at_least=True))
        return Document(node, errors, _operations(self._schema, node, prices, valid=not errors))

    def _parse(self, text: str) -> DocumentNode:
        limits = self._limits
        if len(text) > limits.characters:
            raise exceeded("characters", len(text), limits.characters)
        try:
            return parse(text, max_tokens=limits.tokens)
        except GraphQLError as error:
            if error.message.startswith("Syntax Error: Document contains more than"):
                raise exceeded("tokens", limits.tokens + 1, limits.tokens, at_least=True) from error
            if error.message.startswith("Syntax Error: Document is nested too deeply"):
                raise exceeded("depth", limits.depth + 1, limits.depth, at_least=True) from error
            raise


def _excessive(excess: LimitExceeded) -> Document:
    return Document(None, [GraphQLError(excess.message, original_error=excess)])


class _Kept:
    """So many documents, the longest unused leave first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._documents: OrderedDict[str, Document] = OrderedDict()

    def get(self, text: str) -> Document | None:
        """The document with this text, if it is kept."""
        known = self._documents.get(text)
        if known is not None:
            self._documents.move_to_end(text)
        return known

    def put(self, text: str, document: Document) -> None:
        """Keep it."""
        self._documents[text] = document
        if len(self._documents) > self._size:
            self._documents.popitem(last=False)


def _operations(
    schema: GraphQLSchema, node: DocumentNode, prices: dict[str | None, Price], *, valid: bool
) -> dict[str | None, Operation]:
    fragments = {one.name.value: one for one in node.definitions if isinstance(one, FragmentDefinitionNode)}
    found: dict[str | None, Operation] = {}
    for one in node.definitions:
        if isinstance(one, OperationDefinitionNode):
            name = one.name.value if one.name else None
            fields = frozenset(_root_fields(one.selection_set, fragments, set()))
            kind = _KINDS[one.operation.value]
            sharing = sharing_of(schema, node, one) if valid and kind == "subscription" else None
            found[name] = Operation(kind, fields, one, prices[name], sharing)
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
