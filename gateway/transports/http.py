"""This module is where GraphQL over HTTP is spoken: one endpoint, one operation per request."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Final

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.transports.allow_lists import refuse_strangers
from gateway.transports.bodies import read_body, require_json
from gateway.transports.errors import STATUS_BY_CODE, HttpRefusal, encode, error_entry, errors_of, status_of
from gateway.transports.framing import FRAMING
from gateway.transports.negotiation import Acceptable, Form, acceptable, wants_page
from gateway.transports.open_connections import OpenConnections
from gateway.transports.operations import OperationRequest, Operations, Outcome
from gateway.transports.options import TransportOptions
from gateway.transports.parameters import decode_json, operation_request, operation_request_from_url
from gateway.transports.request_ids import HEADER, request_id_from
from gateway.transports.retry_headers import retry_headers
from gateway.transports.seats import Seats
from gateway.transports.stream_response import StreamResponse
from models.errors import LimitExceeded, Unauthenticated, Unavailable
from resolvers.principal import Principal

_LONGEST_USER_AGENT: Final = 300
log = structlog.get_logger(__name__)


class HttpEndpoint:
    """The HTTP side of ``/graphql``, as an ASGI application.

    ``page`` answers browsers that navigate here; None when there is no such page.
    """

    def __init__(
        self,
        operations: Operations,
        options: TransportOptions,
        connections: OpenConnections,
        seats: Seats,
        page: ASGIApp | None = None,
    ) -> None:
        self._operations = operations
        self._options = options
        self._connections = connections
        self._seats = seats
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        request_id = request_id_from(request.headers.get(HEADER))
        accepts = acceptable(request.headers.get("accept"))
        try:
            response = await self._respond(request, accepts, request_id)
        except HttpRefusal as refusal:
            entry = error_entry(refusal.code, refusal.message, request_id)
            response = _errors(accepts, [entry], request_id, status=refusal.status, headers=refusal.headers)
        except Exception as failure:
            response = _errors(accepts, errors_of(failure, request_id), request_id)
        await response(scope, receive, send)

    async def _respond(self, request: Request, accepts: Acceptable, request_id: str) -> ASGIApp:
        refuse_strangers(request.headers, self._options)
        if self._page is not None and _navigates(request):
            return self._page
        operation = replace(
            await self._read(request),
            address=request.client.host if request.client else None,
            user_agent=request.headers.get("user-agent", "")[:_LONGEST_USER_AGENT] or None,
        )
        principal = await self._operations.authenticate(request.headers.get("authorization"), request.headers)
        kind = self._operations.kind(operation, principal)
        if request.method == "GET" and kind == "mutation":
            raise HttpRefusal(405, "Mutations need POST.", headers={"allow": "POST"})
        form = accepts.form_for(kind)
        if form is None:
            raise HttpRefusal(406, _not_acceptable(kind == "subscription"))
        self._connections.counters.operations[kind or "unknown"] += 1
        if kind == "subscription":
            return await self._subscribe(operation, principal, accepts, form, request_id)
        outcome = await self._operations.execute(operation, principal, request_id)
        return _outcome(outcome, form, request_id)

    async def _read(self, request: Request) -> OperationRequest:
        if request.method == "GET" and self._options.allow_get:
            return operation_request_from_url(request.query_params)
        if request.method != "POST":
            allow = "GET, POST" if self._options.allow_get else "POST"
            raise HttpRefusal(405, f"The method must be {allow.replace(', ', ' or ')}.", headers={"allow": allow})
        require_json(request)
        body = await read_body(request, limit=self._options.body_limit, timeout=self._options.body_timeout)
        return operation_request(decode_json(body, "The request body"))

    async def _subscribe(
        self,
        operation: OperationRequest,
        principal: Principal | None,
        accepts: Acceptable,
        form: Form,
        request_id: str,
    ) -> ASGIApp:
        if principal is None:
            raise Unauthenticated
        if self._connections.draining:
            raise Unavailable("The service restarts; subscribe again.", retryable=True)
        with ExitStack() as held:
            try:
                held.enter_context(self._seats.taken(principal))
                held.enter_context(self._seats.following(principal))
            except LimitExceeded as full:
                raise HttpRefusal(429, full.message, code=full.code) from full
            result = await self._operations.subscribe(operation, principal, request_id)
            if isinstance(result, Outcome):
                # A stream that never began is told as JSON to whoever reads it: a status says more than an item.
                failed = Outcome(result.payload, executed=False)
                return _outcome(failed, accepts.json or form, request_id)
            return StreamResponse(
                result,
                FRAMING[form],
                held=held.pop_all(),
                principal=principal,
                options=self._options,
                connections=self._connections,
                request_id=request_id,
            )


def _navigates(request: Request) -> bool:
    # A GET with a query is a client's, whatever its Accept header says.
    return request.method == "GET" and "query" not in request.query_params and wants_page(request.headers.get("accept"))


def _not_acceptable(is_subscription: bool) -> str:
    forms = (
        (Form.EVENT_STREAM.value, "multipart/mixed;subscriptionSpec=1.0")
        if is_subscription
        else (Form.GRAPHQL_RESPONSE.value, Form.JSON.value)
    )
    what = "A subscription" if is_subscription else "The answer"
    return f"{what} needs an Accept header with {' or '.join(forms)}."


def _outcome(outcome: Outcome, form: Form, request_id: str) -> Response:
    """What was executed is 200; a request error has no ``data`` and, in GraphQL's own type, a status of its own."""
    if form.is_stream:
        framing = FRAMING[form]
        body = framing.opening + framing.item(encode(outcome.payload)) + framing.ending
        return _response(200, body, framing.content_type, request_id)
    if outcome.executed:
        return _json(200, outcome.payload, form, request_id)
    outcome.payload.pop("data", None)
    status = status_of(outcome.payload.get("errors", []))
    if form is Form.JSON and status == 400:
        # For application/json the specification wants 200 for every well-formed GraphQL response.
        status = 200
    return _json(status, outcome.payload, form, request_id)


def _errors(
    accepts: Acceptable,
    errors: list[dict[str, Any]],
    request_id: str,
    *,
    status: int | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    response = _json(status or status_of(errors), {"errors": errors}, accepts.json or Form.JSON, request_id)
    response.headers.update(headers or {})
    return response


def _json(status: int, payload: dict[str, Any], form: Form, request_id: str) -> Response:
    response = _response(status, encode(payload), f"{form.value}; charset=utf-8", request_id)
    if status == STATUS_BY_CODE["UNAUTHENTICATED"]:
        response.headers["www-authenticate"] = "Bearer"
    if status in (429, 503):
        response.headers.update(retry_headers(payload["errors"][0].get("extensions", {})))
    return response


def _response(status: int, body: bytes, content_type: str, request_id: str) -> Response:
    headers = {
        "content-type": content_type,
        "cache-control": "no-store",
        "vary": "accept",
        "x-content-type-options": "nosniff",
        HEADER: request_id,
    }
    return Response(body, status, headers)
