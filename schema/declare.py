"""This module is where fields are declared, not coded: a column, a relation with its loader, or a batch function.

A declaration keeps what the field *is* (``field.spec``), so documents can be compiled to batches of it; the
generic executor only asks ``get_result``. A type's rows are the model's own rows: nothing is wrapped.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar
from uuid import UUID

import strawberry
from strawberry.annotation import StrawberryAnnotation
from strawberry.types.arguments import StrawberryArgument
from strawberry.types.base import StrawberryContainer
from strawberry.types.field import StrawberryField
from strawberry.types.lazy_type import LazyType

from dataloaders.base import Batch, by_id
from models import Scope
from resolvers.call import Call

Own = Callable[[Any, Call], bool | Awaitable[bool]]
"""Whether a row is the caller's own; awaited where another row has to say so."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What a field is, what it demands and what it costs (points; pages multiply what is below them)."""

    scope: Scope | None = None
    cost: int = 0
    own: Own | None = None
    attribute: str | None = None
    batch: Batch[Any, Any] | None = None
    key: str | None = None
    target: NodeType | None = None
    shared: bool = True
    """Whether callers with equal scopes see equal values; what is the caller's own aside."""
    guarded: bool = False
    """Whether it tries a secret: at most once an operation, and counted against the caller's network."""
    noted: bool = False
    """Whether it is written down who looked, unless it is their own: each has to look for themselves."""
    own_without: Scope | None = None
    """The scope without which it shows the caller's own only, so that callers with equal scopes see different rows."""


async def _own_rows(found: Any, target: NodeType, call: Call) -> Any:
    """Only the caller's own among what was found. Raises FORBIDDEN for a single row that is not, or is not there.

    Were what is not there null, a caller without the scope would learn which ids exist.
    """
    if found is None:
        return None
    value = await found if inspect.isawaitable(found) else found
    if isinstance(value, list):
        return [row for row in value if await target.visible(row, call)]
    if not (isinstance(value, target.model) and await target.visible(value, call)):
        call.require(target.scope)
    return value


async def _said(answer: bool | Awaitable[bool]) -> bool:
    return answer if isinstance(answer, bool) else await answer


class Declared(StrawberryField):
    """A field that knows its spec. Subclasses say how its value is found."""

    @property
    def spec(self) -> Spec:
        """The declaration."""
        spec: Spec = self.metadata["spec"]
        return spec

    @property
    def is_basic_field(self) -> bool:
        """Always false: even a plain column may demand a scope."""
        return False

    def get_result(self, source: Any, info: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """The value, or an awaitable of it. Raises UNAUTHENTICATED or FORBIDDEN."""
        call: Call = info.context
        spec = self.spec
        if spec.scope is None or call.allows(spec.scope):
            return self.resolve(source, call, kwargs)
        if spec.target is not None and spec.target.own is not None and call.principal is not None:
            return _own_rows(self.resolve(source, call, kwargs), spec.target, call)
        # Of a column, ``own`` looks at its row alone, so it never has to be awaited.
        if spec.own is None or spec.own(source, call) is not True:
            call.require(spec.scope)
        return self.resolve(source, call, kwargs)

    def resolve(self, source: Any, call: Call, arguments: dict[str, Any]) -> Any:
        """The value once the caller's scope is known to suffice."""
        raise NotImplementedError


class Column(Declared):
    """An attribute of the row."""

    @property
    def is_basic_field(self) -> bool:
        """A column that demands nothing beyond its row is read without an Info; one that leads to a node demands."""
        return self.spec.scope is None and target_of(self.type) is None

    def get_result(self, source: Any, info: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """The attribute's value. Raises FORBIDDEN where the column demands more than its row did."""
        if info is not None:
            return super().get_result(source, info, args, kwargs)
        return getattr(source, self.spec.attribute or self.python_name)

    def resolve(self, source: Any, call: Call, arguments: dict[str, Any]) -> Any:
        """The attribute's value."""
        return getattr(source, self.spec.attribute or self.python_name)


class Relation(Declared):
    """What a loader finds by an attribute of the row: one row, or a bounded list."""

    def resolve(self, source: Any, call: Call, arguments: dict[str, Any]) -> Any:
        """A future of the loader's value; None without a key."""
        spec = self.spec
        key = getattr(source, spec.key or "id")
        return None if key is None else call.load(spec.batch, key)  # type: ignore[arg-type]


class Computed(Declared):
    """What a function of the call makes: roots, connections, commands."""

    def resolve(self, source: Any, call: Call, arguments: dict[str, Any]) -> Any:
        """Whatever the function returns."""
        return self.metadata["function"](source, call, **arguments)


def column(
    description: str, attribute: str | None = None, *, scope: Scope | None = None, own: Own | None = None
) -> Any:
    """A field that is an attribute of the row; ``scope`` where it demands more than the row itself."""
    return Column(description=description, metadata={"spec": Spec(scope=scope, own=own, attribute=attribute)})


def to_one(model: Any, description: str, key: str, *, scope: Scope | None = None) -> Any:
    """A field that is the row of ``model`` whose id the attribute ``key`` holds."""
    return Relation(description=description, metadata={"spec": Spec(scope=scope, cost=1, batch=by_id(model), key=key)})


def related(
    batch: Batch[Any, Any], description: str, *, key: str = "id", scope: Scope | None = None, cost: int = 1
) -> Any:
    """A field that ``batch`` finds by the attribute ``key``."""
    return Relation(description=description, metadata={"spec": Spec(scope=scope, cost=cost, batch=batch, key=key)})


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a computed field."""

    name: str
    kind: Any
    description: str
    default: Any = strawberry.UNSET

    def build(self) -> StrawberryArgument:
        """Strawberry's own form of it."""
        return StrawberryArgument(
            python_name=self.name,
            graphql_name=None,
            type_annotation=StrawberryAnnotation(self.kind),
            description=self.description,
            default=self.default,
        )


def computed(
    function: Callable[..., Any],
    description: str,
    arguments: Sequence[Argument] = (),
    *,
    scope: Scope | None = None,
    cost: int = 1,
    own: Own | None = None,
    shared: bool = False,
    guarded: bool = False,
    noted: bool = False,
    own_without: Scope | None = None,
) -> Any:
    """A field that ``function(source, call, **arguments)`` makes; ``shared`` if it never looks at who calls.

    ``guarded`` if it tries a secret: once an operation, and counted against the caller's network. ``noted`` if it
    writes down who looked. ``own_without`` is the scope without which it shows the caller's own only.
    """
    spec = Spec(scope=scope, cost=cost, own=own, shared=shared, guarded=guarded, noted=noted, own_without=own_without)
    made = Computed(description=description, metadata={"spec": spec, "function": function})
    made.arguments = [argument.build() for argument in arguments]
    return made


@dataclass(frozen=True, slots=True)
class NodeType:
    """A type that ``node(id:)`` can find."""

    prefix: str
    graphql_type: type
    model: Any
    scope: Scope
    batch: Batch[UUID, Any] = field(repr=False)
    own: Own | None = None
    rule: Own | None = None
    """What else must hold of a row for whoever has the scope."""

    @property
    def name(self) -> str:
        """What GraphQL calls it."""
        name: str = self.graphql_type.__strawberry_definition__.name  # type: ignore[attr-defined]
        return name

    async def visible(self, row: Any, call: Call) -> bool:
        """Whether the caller may see the row: by scope, or because it is their own."""
        if call.allows(self.scope):
            return self.rule is None or await _said(self.rule(row, call))
        return self.own is not None and await _said(self.own(row, call))


class Nodes:
    """Every node type by its TypeID prefix; filled as the types' modules are imported."""

    by_prefix: ClassVar[dict[str, NodeType]] = {}
    scopes: ClassVar[dict[type, Scope]] = {}


def node(
    model: Any, description: str, *, scope: Scope, own: Own | None = None, rule: Own | None = None
) -> Callable[[type], Any]:
    """Make a class the GraphQL type of ``model``'s rows; every field that leads to it demands ``scope``.

    Whoever lacks the scope still sees the rows that ``own`` says are theirs; whoever has it, only those of ``rule``.
    """

    def decorate(cls: type) -> Any:
        setattr(cls, "is_type_of", classmethod(lambda _, value, __: isinstance(value, model)))  # noqa: B010
        made = strawberry.type(cls, description=description)
        Nodes.by_prefix[model.__typeid__] = NodeType(model.__typeid__, made, model, scope, by_id(model), own, rule)
        Nodes.scopes[made] = scope
        return made

    return decorate


def part(description: str) -> Callable[[type], Any]:
    """Make a class a GraphQL type that is only a part of what leads to it, and demands nothing of its own."""

    def decorate(cls: type) -> Any:
        made = strawberry.type(cls, description=description)
        Nodes.scopes[made] = Scope.PUBLIC
        return made

    return decorate


def root_fields(cls: type) -> Any:
    """Make a class a mixin of Query, Mutation or Subscription: one domain's root fields."""
    return strawberry.type(cls)


def describe(kind: type, description: str, *, name: str | None = None, **values: str) -> None:
    """Make ``kind`` a GraphQL enum whose every value is described."""
    strawberry.enum(kind, name=name, description=description)  # type: ignore[call-overload]
    definition = kind.__strawberry_definition__  # type: ignore[attr-defined]
    for value in definition.values:
        value.description = values[value.name]


def target_of(kind: Any) -> NodeType | None:
    """The node type a field leads to, through lists, nulls and pages."""
    while isinstance(kind, StrawberryContainer):
        kind = kind.of_type
    if isinstance(kind, LazyType):
        kind = kind.resolve_type()
    definition = getattr(kind, "__strawberry_definition__", None)
    if definition is not None and definition.type_var_map:
        return next(filter(None, (target_of(one) for one in definition.type_var_map.values())), None)
    return next((node for node in Nodes.by_prefix.values() if node.graphql_type is kind), None)
