"""This module is where an operation runs: read, executed with a fresh call, its errors put into stable codes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from inspect import isawaitable
from typing import Any

import structlog
from graphql import ExecutionResult, GraphQLError, GraphQLSchema
from graphql.execution import create_source_event_stream
from graphql.execution.execute import execute_root_selection_set
from graphql.execution.executor import Executor
from graphql.execution.executor_throwing_on_incremental import ExecutorThrowingOnIncremental

from gateway.documents import Document, Documents, Operation
from gateway.live import DurableSubscription, EphemeralSubscription
from gateway.metrics import OPERATIONS
from gateway.rate_limits import RateLimits
from gateway.shared_answers import SharedAnswers
from gateway.transports.errors import encode
from gateway.transports.operations import OperationKind, OperationRequest, Outcome, Subscription
from gateway.trusted_documents import TrustedDocuments
from gateway.wording import without_values
from models.database import is_passing
from models.errors import BadRequest, Internal, LimitExceeded, RequestError, Unauthenticated, Unavailable
from resolvers.call import Call, Services
from resolvers.principal import Principal
from schema.streams import DurableSource

_log = structlog.get_logger(__name__)
_INTROSPECTION = frozenset({"__schema", "__type"})
_LONGEST_MESSAGE = 1000  # it quotes the document, which may have a name as long as it likes


class GatewayOperations:
    """What the transports run operations with."""

    def __init__(
        self,
        schema: GraphQLSchema,
        *,
        anonymous_introspection: bool,
        trusted: TrustedDocuments | None = None,
    ) -> None:
        self._running: Services | None = None
        self._rates: RateLimits | None = None
        self._schema = schema
        self._documents = Documents(schema)
        self._trusted = trusted or TrustedDocuments()
        self._anonymous_introspection = anonymous_introspection
        self.shared = SharedAnswers()

    def serve(self, services: Services, rates: RateLimits | None = None) -> None:
        """Answer with ``services`` from now on, callers held to ``rates``."""
        self._running = services
        self._rates = rates

    @property
    def _services(self) -> Services:
        if self._running is None:
            raise Unavailable("The gateway is starting.")
        return self._running

    async def authenticate(self, authorization: str | None, headers: Mapping[str, str]) -> Principal | None:
        """Who calls; None without credentials. Raises UNAUTHENTICATED for dead ones."""
        return await self._services.accounts.authenticate(authorization, headers.get("x-signalbox-tenant"))

    def kind(self, request: OperationRequest, principal: Principal | None) -> OperationKind | None:
        """Query, mutation or subscription; None when it cannot be told. Raises THROTTLED, before anything is read."""
        if self._rates is not None:
            self._rates.check(principal, request.address)
        try:
            operation = self._operation(self._trusted.resolve(request), principal)
        except RequestError:
            return None
        return operation.kind if operation else None

    async def execute(self, request: OperationRequest, principal: Principal | None, request_id: str) -> Outcome:
        """Run a query or a mutation to its end. Raises THROTTLED, and what is wrong with a trusted document's name."""
        request = self._trusted.resolve(request)
        call = Call(
            services=self._services,
            principal=principal,
            request_id=request_id,
            address=request.address,
            user_agent=request.user_agent,
        )
        executor = self._admit(request, call)
        if isinstance(executor, Outcome):
            return executor
        try:
            operation = self._operation(request, principal)
            if operation is not None and "eventCursor" in operation.root_fields:
                # Before every other field, so that state read after it is at least as new as the cursor.
                await call.event_cursor()
            found = execute_root_selection_set(executor)
            result = await found if isawaitable(found) else found
        except RequestError as error:
            return Outcome({"errors": [_formatted(error, request_id)], "data": None})
        OPERATIONS.labels(executor.operation.operation.value, "error" if result.errors else "ok").inc()
        return Outcome(self._answer(result, request_id))

    async def subscribe(
        self, request: OperationRequest, principal: Principal | None, request_id: str
    ) -> Outcome | Subscription:
        """A subscription to run; an outcome when it fails at once. Raises as ``execute``."""
        request = self._trusted.resolve(request)
        call = Call(services=self._services, principal=principal, request_id=request_id)
        executor = self._admit(request, call)
        if isinstance(executor, Outcome):
            return executor
        found = create_source_event_stream(executor)
        source = await found if isawaitable(found) else found
        if isinstance(source, ExecutionResult):
            return Outcome(self._answer(source, request_id))
        OPERATIONS.labels("subscription", "ok").inc()
        answer = partial(self._answer_event, request)
        operation = self._operation(request, principal)
        assert operation is not None
        sharing = operation.sharing
        assert sharing is not None
        if not isinstance(source, DurableSource):
            key = sharing.key(request, call.who, personal=sharing.noted)
            return EphemeralSubscription(call, answer, sharing.scope, sharing.stream, source, key, self.shared)
        personal = source.personal or (sharing.noted and not source.noted)
        key = sharing.key(request, call.who, personal=personal)
        return DurableSubscription(call, answer, sharing.scope, sharing.stream, source, key, chained=sharing.chained)

    async def _answer_event(self, request: OperationRequest, call: Call, event: Any) -> bytes:
        """One item's answer, encoded."""
        executor = self._prepare(request, call, root_value=event)
        assert not isinstance(executor, Outcome)
        found = execute_root_selection_set(executor)
        result = await found if isawaitable(found) else found
        return encode(self._answer(result, call.request_id))

    def _document(self, request: OperationRequest, principal: Principal | None) -> Document:
        return self._documents.read(request.query or "", signed_in=principal is not None)

    def _operation(self, request: OperationRequest, principal: Principal | None) -> Operation | None:
        return self._document(request, principal).operation(request.operation_name)

    def _admit(self, request: OperationRequest, call: Call) -> Executor[Any] | Outcome:
        """An operation that its cost and its caller's rate allow. Raises THROTTLED."""
        operation = self._operation(request, call.principal)
        try:
            cost = operation.price.of(request.variables) if operation else 0
        except LimitExceeded as excess:
            self._spend(request, call, operation, 0)
            return Outcome({"errors": [_formatted(excess, call.request_id)]}, executed=False)
        # What is not valid has been read, and counts as a request like any other.
        self._spend(request, call, operation, cost)
        return self._prepare(request, call)

    def _spend(self, request: OperationRequest, call: Call, operation: Operation | None, cost: int) -> None:
        if self._rates is not None:
            guarded = operation is not None and operation.price.is_guarded
            self._rates.spend(call.principal, request.address, cost, guarded=guarded)

    def _prepare(self, request: OperationRequest, call: Call, root_value: Any = None) -> Executor[Any] | Outcome:
        document = self._document(request, call.principal)
        errors = document.errors or self._introspection_refused(document, request, call)
        if errors or document.node is None:
            return Outcome({"errors": [self._error(error, call.request_id) for error in errors]}, executed=False)
        built = ExecutorThrowingOnIncremental.build(
            self._schema,
            document.node,
            root_value,
            call,
            request.variables,
            request.operation_name,
            hide_suggestions=call.principal is None,
        )
        if isinstance(built, list):
            return Outcome({"errors": [self._error(error, call.request_id) for error in built]}, executed=False)
        return built

    def _introspection_refused(self, document: Document, request: OperationRequest, call: Call) -> list[GraphQLError]:
        if self._anonymous_introspection or call.principal is not None:
            return []
        operation = document.operation(request.operation_name)
        if operation is None or not operation.root_fields & _INTROSPECTION:
            return []
        return [GraphQLError("Introspection needs credentials.", original_error=Unauthenticated())]

    def _answer(self, result: ExecutionResult, request_id: str) -> dict[str, Any]:
        payload: dict[str, Any] = {"data": result.data}
        if result.errors:
            payload["errors"] = [self._error(error, request_id) for error in result.errors]
        return payload

    def _error(self, error: GraphQLError, request_id: str) -> dict[str, Any]:
        original = _root_cause(error)
        if original is None:
            formatted: dict[str, Any] = {
                "message": without_values(error.message)[:_LONGEST_MESSAGE],
                "extensions": {"code": BadRequest.code, "requestId": request_id},
            }
        elif isinstance(original, RequestError):
            formatted = _formatted(original, request_id)
        elif is_passing(original):
            formatted = _formatted(Unavailable(), request_id)
        else:
            _log.error("operation_failed", request_id=request_id, path=error.path, exc_info=original)
            formatted = _formatted(Internal(), request_id)
        if error.locations:
            formatted["locations"] = [{"line": one.line, "column": one.column} for one in error.locations]
        if error.path is not None:
            formatted["path"] = error.path
        return formatted


def _root_cause(error: GraphQLError) -> Exception | None:
    """What a resolver raised; None for what graphql-core itself finds wrong with the request."""
    cause: Exception | None = error.original_error
    while isinstance(cause, GraphQLError):
        cause = cause.original_error
    return cause


def _formatted(error: RequestError, request_id: str) -> dict[str, Any]:
    return {
        "message": error.message,
        "extensions": {"code": error.code, "requestId": request_id, **error.extensions},
    }
