"""This module is where a document is measured before anything is done with it: one pass, linear in its length.

Every fragment is weighed once, relative to where it is spread, so fragments that spread each other cost no more than
they are long; "seen before" alone would let the second spread of a fragment through at any depth.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLInputType,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableDefinitionNode,
    VariableNode,
    get_named_type,
    is_composite_type,
    is_input_type,
    is_list_type,
    type_from_ast,
)

from schema.declare import Declared
from schema.limits import DEFAULT_PAGE, INTROSPECTION_COST, LIMITS, PLAIN_LIST, Limits, exceeded, only_once
from schema.prices import Cost, Price, Size, Tally, has_lists

_DEFINITION: Final = "strawberry-definition"
_UNCOUNTED: Final = frozenset({"edges", "node", "nodes", "pageInfo"})
_PAGED: Final = frozenset({"edges", "nodes"})
_PAGE: Final = frozenset({"first", "last"})
_INTROSPECTION: Final = frozenset({"__schema", "__type"})
_LISTS: Final = frozenset(
    {"types", "directives", "fields", "args", "inputFields", "interfaces", "enumValues", "possibleTypes"}
)
_DEEPEST: Final = 50
"""Braces in each other, whatever they hold; ten levels of pages with a fragment in each are 40."""
_LARGEST_NUMBER: Final = 10**9


class Weight(NamedTuple):
    """What a selection weighs wherever it stands; ``paged`` is the part of its cost that its page multiplies."""

    height: int = 0
    lists: int = 0
    width: int = 0
    flat: Cost = 0
    paged: Cost = 0
    guarded: frozenset[tuple[str, str]] = frozenset()


@dataclass(slots=True)
class _Scales:
    """One document being weighed."""

    schema: GraphQLSchema
    limits: Limits
    tally: Tally = field(default_factory=Tally)
    fragments: dict[str, Weight] = field(default_factory=dict)
    pages: list[Size] = field(default_factory=list)
    aliases: int = 0
    directives: int = 0

    def weigh(self, selections: SelectionSetNode, parent: GraphQLNamedType | None, depth: int = 1) -> Weight:
        """The weight of one selection; fragments that it spreads have been weighed, or spread each other."""
        if depth > _DEEPEST:
            raise exceeded("depth", depth, self.limits.depth, at_least=True)
        keys = Counter((one.alias or one.name).value for one in selections.selections if isinstance(one, FieldNode))
        self.hold("repeats", max(keys.values(), default=0), self.limits.repeats)
        parts = [self._part(one, parent, depth) for one in selections.selections]
        return Weight(
            height=max((one.height for one in parts), default=0),
            lists=max((one.lists for one in parts), default=0),
            width=sum(one.width for one in parts),
            flat=self.tally.add(0, [(1, one.flat) for one in parts]),
            paged=self.tally.add(0, [(1, one.paged) for one in parts]),
            guarded=frozenset[tuple[str, str]]().union(*(one.guarded for one in parts)),
        )

    def hold(self, limit: str, actual: int, maximum: int) -> None:
        """Raises LIMIT_EXCEEDED beyond the maximum."""
        if actual > maximum:
            raise exceeded(limit, actual, maximum)

    def count_directives(self, node: Any) -> None:
        """Count those of one node, and their arguments' items."""
        directives = node.directives or ()
        self.directives += len(directives)
        for one in directives:
            for argument in one.arguments or ():
                self.count_items(argument.value)

    def count_items(self, value: Any) -> None:
        """Hold every list of a value to its limit. How deep values nest is bounded by the parser."""
        if isinstance(value, ListValueNode):
            self.hold("listItems", len(value.values), self.limits.list_items)
            for one in value.values:
                self.count_items(one)
        elif isinstance(value, ObjectValueNode):
            for part in value.fields:
                self.count_items(part.value)

    def _part(self, node: Any, parent: GraphQLNamedType | None, depth: int) -> Weight:
        self.count_directives(node)
        if isinstance(node, FieldNode):
            return self._field(node, parent, depth)
        if isinstance(node, InlineFragmentNode):
            kind = self.schema.get_type(node.type_condition.name.value) if node.type_condition else parent
            return self.weigh(node.selection_set, kind, depth + 1)
        return self.fragments.get(node.name.value, Weight())

    def _field(self, node: FieldNode, parent: GraphQLNamedType | None, depth: int) -> Weight:
        name = node.name.value
        self.aliases += node.alias is not None
        for argument in node.arguments or ():
            self.count_items(argument.value)
        definition: GraphQLField | None = getattr(parent, "fields", {}).get(name)
        kind = get_named_type(definition.type) if definition else None
        inner = self.weigh(node.selection_set, kind, depth + 1) if node.selection_set else Weight()
        if name in _INTROSPECTION:
            self.hold("introspectionDepth", inner.height + 1, self.limits.introspection_depth)
            self.hold("introspectionLists", inner.lists, self.limits.introspection_lists)
            return Weight(height=1, width=1, flat=INTROSPECTION_COST)
        declared = definition.extensions.get(_DEFINITION) if definition else None
        spec = declared.spec if isinstance(declared, Declared) else None
        is_paged = name in _PAGED and parent is not None and parent.name.endswith("Connection")
        rows = 1 if definition is None or is_paged else self._rows(node, definition)
        # What stands beside the rows of a page, as its totalCount, is there once.
        times = 1 if definition is not None and not _PAGE.isdisjoint(definition.args) else rows
        cost = self.tally.add(spec.cost if spec else 0, [(times, inner.flat), (rows, inner.paged)])
        uncounted = name in _UNCOUNTED and not self._is_root(parent)
        return Weight(
            height=inner.height + (not uncounted),
            lists=inner.lists + (name in _LISTS),
            width=1,
            flat=0 if is_paged else cost,
            paged=cost if is_paged else 0,
            guarded=frozenset({(name, (node.alias or node.name).value)}) if spec and spec.guarded else frozenset(),
        )

    def _is_root(self, kind: GraphQLNamedType | None) -> bool:
        schema = self.schema
        return kind is not None and kind in (schema.query_type, schema.mutation_type, schema.subscription_type)

    def _rows(self, node: FieldNode, definition: GraphQLField) -> int | Size:
        """How often what is below a field is read: a page, a row for each id that is named, some for a plain list."""
        if not _PAGE.isdisjoint(definition.args):
            size = self._said(node, _PAGE)
            if isinstance(size, Size):
                self.pages.append(size)
            self.hold("pageSize", size.known or 0 if isinstance(size, Size) else size, self.limits.page_size)
            return size
        if not (_is_list(definition.type) and is_composite_type(get_named_type(definition.type))):
            return 1
        lists = frozenset(name for name, one in definition.args.items() if _is_list(one.type))
        return self._said(node, lists) if lists else PLAIN_LIST

    def _said(self, node: FieldNode, names: frozenset[str]) -> int | Size:
        """The largest number or the longest list among the arguments of these names."""
        known: int | None = None
        variables: list[str] = []
        for value in (one.value for one in node.arguments or () if one.name.value in names):
            if isinstance(value, VariableNode):
                variables.append(value.name.value)
            elif isinstance(value, IntValueNode):
                known = max(known or 0, _number(value))
            elif isinstance(value, ListValueNode):
                known = max(known or 0, len(value.values))
        if variables:
            return Size(tuple(variables), known)
        return DEFAULT_PAGE if known is None else known


def measure(schema: GraphQLSchema, document: DocumentNode, limits: Limits = LIMITS) -> dict[str | None, Price]:
    """The price of every operation by its name. Raises LIMIT_EXCEEDED for what is too large with any variables.

    The document need not be valid: what the schema does not know costs nothing here, and is refused by validation.
    """
    scales = _Scales(schema, limits)
    fragments = {one.name.value: one for one in document.definitions if isinstance(one, FragmentDefinitionNode)}
    scales.hold("fragments", len(fragments), limits.fragments)
    for name in _innermost_first(fragments):
        scales.count_directives(fragments[name])
        kind = schema.get_type(fragments[name].type_condition.name.value)
        scales.fragments[name] = scales.weigh(fragments[name].selection_set, kind)
    prices = {
        one.name.value if one.name else None: _operation(scales, one)
        for one in document.definitions
        if isinstance(one, OperationDefinitionNode)
    }
    scales.hold("aliases", scales.aliases, limits.aliases)
    scales.hold("directives", scales.directives, limits.directives)
    return prices


def _operation(scales: _Scales, node: OperationDefinitionNode) -> Price:
    limits, variables = scales.limits, node.variable_definitions or ()
    scales.count_directives(node)
    for one in variables:
        scales.count_directives(one)
        scales.count_items(one.default_value)
    weight = scales.weigh(node.selection_set, scales.schema.get_root_type(node.operation))
    scales.hold("rootFields", weight.width, limits.root_fields)
    scales.hold("depth", weight.height, limits.depth)
    for name, count in Counter(name for name, _ in weight.guarded).items():
        if count > 1:
            raise only_once(name, count)
    cost = scales.tally.add(0, [(1, weight.flat), (1, weight.paged)])
    if isinstance(cost, int):
        scales.hold("cost", cost, limits.cost)
    return Price(
        cost,
        scales.tally.sums,
        scales.pages,
        lists=tuple(_lists(scales.schema, variables)),
        defaults={one.variable.name.value: _default(one.default_value) for one in variables if one.default_value},
        is_guarded=bool(weight.guarded),
        limits=limits,
    )


def _lists(
    schema: GraphQLSchema, variables: Sequence[VariableDefinitionNode]
) -> Iterator[tuple[str, GraphQLInputType]]:
    """The variables that can hold lists."""
    for one in variables:
        kind = type_from_ast(schema, one.type)
        if is_input_type(kind) and has_lists(kind):
            yield one.variable.name.value, kind


def _innermost_first(fragments: dict[str, FragmentDefinitionNode]) -> Iterator[str]:
    """Every fragment after those that it spreads; in a circle somebody has to be first."""
    entered: set[str] = set()
    for start in fragments:
        if start in entered:
            continue
        entered.add(start)
        path = [(start, iter(_spreads(fragments[start])))]
        while path:
            name, spreads = path[-1]
            following = next((one for one in spreads if one in fragments and one not in entered), None)
            if following is None:
                path.pop()
                yield name
            else:
                entered.add(following)
                path.append((following, iter(_spreads(fragments[following]))))


def _spreads(fragment: FragmentDefinitionNode) -> list[str]:
    found: list[str] = []
    waiting: list[Any] = [fragment.selection_set]
    while waiting:
        for one in waiting.pop().selections:
            if isinstance(one, FragmentSpreadNode):
                found.append(one.name.value)
            elif one.selection_set:
                waiting.append(one.selection_set)
    return found


def _is_list(kind: Any) -> bool:
    return is_list_type(kind.of_type if isinstance(kind, GraphQLNonNull) else kind)


def _number(node: IntValueNode) -> int:
    # int() takes its time over thousands of digits, and all of them are too many.
    return int(node.value) if len(node.value) < 10 else _LARGEST_NUMBER


def _default(node: Any) -> Any:
    """A default as far as it can say how many: a number, or a list of that length."""
    if isinstance(node, IntValueNode):
        return _number(node)
    return [None] * len(node.values) if isinstance(node, ListValueNode) else None
