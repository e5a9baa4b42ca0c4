"""This module is where a small schema stands in for the real one, so that transports are tested by themselves.

The transports, the server and the sockets are the real ones; only what they carry is small.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import strawberry
from graphql import (
    ExecutionResult,
    GraphQLError,
    OperationType,
    get_operation_ast,
    parse,
    subscribe,
    validate,
)
from graphql.execution import execute

from gateway.transports.errors import encode, errors_of
from gateway.transports.operations import OperationKind, OperationRequest, Outcome
from models import Scope
from models.errors import Forbidden, RequestError, Unauthenticated
from resolvers.principal import Principal
from subscriptions.fanout import Batch, Sink

TENANT = UUID("01890000-0000-7000-8000-000000000001")


class Iterated:
    """A subscription that hands over what an iterator yields."""

    cursor: str | None = None

    def __init__(self, items: AsyncGenerator[dict[str, Any], None]) -> None:
        self._items = items

    def refusal(self, principal: Principal) -> RequestError | None:
        """Allowed to all but those with the one scope that tests give to whom they refuse."""
        return Forbidden(retryable=False) if Scope.PUBLIC in principal.scopes else None

    async def run(self, sink: Sink) -> None:
        """One item at a time, as there is room."""
        try:
            async for item in self._items:
                while not sink.deliver(Batch([encode(item)])):
                    await sink.room()
        finally:
            await self._items.aclose()


class Stage:
    """What tests and the toy schema share: doors to open, and counts of what runs."""

    def __init__(self) -> None:
        self.open_streams = 0
        self.all_closed = asyncio.Event()
        self.all_closed.set()
        self.entered = asyncio.Event()
        self.door = asyncio.Event()
        self.finished_mutations = 0

    def enter(self) -> None:
        self.open_streams += 1
        self.all_closed.clear()
        self.entered.set()

    def leave(self) -> None:
        self.open_streams -= 1
        if not self.open_streams:
            self.all_closed.set()


Info = strawberry.Info[dict[str, Any], None]


@strawberry.type
class Query:
    @strawberry.field
    def hello(self, name: str = "world") -> str:
        return f"hello {name}"

    @strawberry.field
    def me(self, info: Info) -> str | None:
        principal: Principal | None = info.context["principal"]
        return principal.key if principal else None

    @strawberry.field
    def broken(self) -> str:
        raise RuntimeError("the inside")

    @strawberry.field
    def forbidden(self) -> str | None:
        raise Forbidden

    @strawberry.field
    async def waiting(self, info: Info) -> str:
        stage: Stage = info.context["stage"]
        stage.entered.set()
        await stage.door.wait()
        return "done"


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def slow(self, info: Info) -> int:
        stage: Stage = info.context["stage"]
        stage.entered.set()
        await stage.door.wait()
        stage.finished_mutations += 1
        return stage.finished_mutations


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def count(self, info: Info, to: int, size: int = 0) -> AsyncGenerator[str, None]:
        """Counts; every item is padded to at least ``size`` characters."""
        stage: Stage = info.context["stage"]
        stage.enter()
        try:
            for number in range(1, to + 1):
                yield f"{number}".ljust(size, ".")
        finally:
            stage.leave()

    @strawberry.subscription
    async def forever(self, info: Info) -> AsyncGenerator[int, None]:
        """One item, then nothing until it is closed."""
        stage: Stage = info.context["stage"]
        stage.enter()
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            stage.leave()

    @strawberry.subscription
    async def refused(self) -> AsyncGenerator[int, None]:
        """Fails before there is a stream."""
        raise Forbidden


schema = strawberry.Schema(Query, Mutation, Subscription)


class ToyOperations:
    """Execution over the toy schema, with credentials that tests make up."""

    def __init__(self) -> None:
        self.stage = Stage()
        self.principals: dict[str, Principal] = {"ada": person(), "grace": person()}
        self.authenticating: asyncio.Event | None = None
        self.failure: RequestError | None = None
        # Raised by every subscription after its first item, as a stream that is told to end.
        self.stream_failure: Exception | None = None

    async def authenticate(self, authorization: str | None, headers: Mapping[str, str]) -> Principal | None:
        if self.authenticating is not None:
            await self.authenticating.wait()
        if self.failure is not None:
            raise self.failure
        if authorization is None:
            return None
        principal = self.principals.get(authorization.removeprefix("Bearer "))
        if principal is None:
            raise Unauthenticated
        return principal

    def kind(self, request: OperationRequest, principal: Principal | None) -> OperationKind | None:
        try:
            node = get_operation_ast(parse(request.query or ""), request.operation_name)
        except GraphQLError:
            return None
        if node is None:
            return None
        kinds: dict[OperationType, OperationKind] = {
            OperationType.QUERY: "query",
            OperationType.MUTATION: "mutation",
            OperationType.SUBSCRIPTION: "subscription",
        }
        return kinds[node.operation]

    async def execute(self, request: OperationRequest, principal: Principal | None, request_id: str) -> Outcome:
        document = self._document(request, request_id)
        if isinstance(document, Outcome):
            return document
        result = execute(
            schema._schema,
            document,
            context_value={"principal": principal, "stage": self.stage},
            variable_values=request.variables,
            operation_name=request.operation_name,
        )
        if not isinstance(result, ExecutionResult):
            result = await result
        return Outcome(_payload(result, request_id), executed=result.data is not None or not _early(result))

    async def subscribe(
        self, request: OperationRequest, principal: Principal | None, request_id: str
    ) -> Outcome | Iterated:
        document = self._document(request, request_id)
        if isinstance(document, Outcome):
            return document
        result = await _awaited(
            subscribe(
                schema._schema,
                document,
                context_value={"principal": principal, "stage": self.stage},
                variable_values=request.variables,
                operation_name=request.operation_name,
            )
        )
        if isinstance(result, ExecutionResult):
            return Outcome(_payload(result, request_id))
        return Iterated(self._items(result, request_id))

    async def _items(
        self, results: AsyncIterator[ExecutionResult], request_id: str
    ) -> AsyncGenerator[dict[str, Any], None]:
        try:
            async for result in results:
                yield _payload(result, request_id)
                if self.stream_failure is not None:
                    raise self.stream_failure
        finally:
            aclose = getattr(results, "aclose", None)
            if aclose is not None:
                await aclose()

    def _document(self, request: OperationRequest, request_id: str) -> Any:
        try:
            document = parse(request.query or "")
        except GraphQLError as error:
            return Outcome({"errors": [_entry(error, request_id)]}, executed=False)
        errors = validate(schema._schema, document)
        if errors:
            return Outcome({"errors": [_entry(error, request_id) for error in errors]}, executed=False)
        return document


def person(*, expires_in: float | None = None, like: Principal | None = None) -> Principal:
    """Somebody new, or the same person and session with a token of another age."""
    expires_at = None if expires_in is None else datetime.now(UTC) + timedelta(seconds=expires_in)
    return Principal(
        tenant_id=TENANT,
        scopes=frozenset(),
        user_id=like.user_id if like else uuid4(),
        session_id=like.session_id if like else uuid4(),
        expires_at=expires_at,
    )


async def _awaited(result: Any) -> Any:
    return await result if asyncio.iscoroutine(result) or asyncio.isfuture(result) else result


def _early(result: ExecutionResult) -> bool:
    # Without a path the error did not come from a field: variables were refused.
    return all(error.path is None for error in result.errors or ())


def _payload(result: ExecutionResult, request_id: str) -> dict[str, Any]:
    payload: dict[str, Any] = {"data": result.data}
    if result.errors:
        payload["errors"] = [_entry(error, request_id) for error in result.errors]
    return payload


def _entry(error: GraphQLError, request_id: str) -> dict[str, Any]:
    if error.original_error is not None and not isinstance(error.original_error, GraphQLError):
        return errors_of(error.original_error, request_id)[0]
    return {"message": error.message, "extensions": {"code": "BAD_REQUEST", "requestId": request_id}}
