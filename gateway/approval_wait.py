"""This module is where agents that speak only HTTP wait for a decision: GET /v1/approvals/{id}/wait."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.senders import ANYWHERE, LimitsRates, answering, caller
from gateway.transports.errors import HttpRefusal
from gateway.transports.options import TransportOptions
from models import ApprovalRequest
from models.ids import encode, parse
from resolvers.approval_access import query_of, text_of
from resolvers.approval_waiting import Waiting
from resolvers.call import Call, Services

DEFAULT_SECONDS: Final = 30
LONGEST_SECONDS: Final = 60
_AUTHENTICATE_SECONDS: Final = 5.0
_PEOPLE: Final = ("resolved_by", "assigned_to", "user_id")
_WORDS: Final = ("kind", "status", "hitl_mode", "priority", "sla_state")
_PLAIN: Final = ("agent_name", "user_department", "risk_signals", "escalation_reason", "subject_type", "version")
_COUNTS: Final = ("required_approvals", "approvals_given")
_TIMES: Final = ("sla_due_at", "expires_at", "resolved_at", "created_at", "updated_at")
_TEXTS: Final = ("proposed_response", "modified_response", "reviewer_notes")


def approval_wait_endpoint(
    services: Services, waiting: Waiting, rates: LimitsRates | None = None, options: TransportOptions = ANYWHERE
) -> Callable[[Request], Awaitable[Response]]:
    """The handler: 200 with the decided approval, its fields named as GraphQL names them; 204 when the time is over.

    ``timeout`` is 0 to 60 seconds, 30 when absent; 0 asks once. An expired or cancelled request counts as decided.
    400, 401, 403, 404, 421, 429 and 503 carry ``errors`` as GraphQL does. Of ``options`` hosts and origins count.
    """

    async def take(request: Request, request_id: str) -> dict[str, Any] | None:
        call = await _call(services, request, request_id)
        if rates is not None:
            rates.check(call.principal, None)
        seconds = _seconds(request)
        if rates is not None:
            rates.spend(call.principal, None, 1)
        approval_id = parse(request.path_params["id"], ApprovalRequest.__typeid__)
        is_known, row = await waiting.decided(call, approval_id, seconds)
        if is_known and row is None:
            raise HttpRefusal(404, "There is no such approval.", code="NOT_FOUND")
        return await shown(call, row) if row is not None else None

    return answering(take, options)


async def shown(call: Call, row: ApprovalRequest) -> dict[str, Any]:
    """The approval as JSON; texts that are not the caller's to read are left empty. Notes who reads another's."""
    said: dict[str, Any] = {"id": row.typeid, "originalQuery": await query_of(call, row)}
    said |= {_camel(name): _plain(getattr(row, name)) for name in (*_WORDS, *_PLAIN, *_COUNTS, *_TIMES)}
    said |= {_camel(name): await text_of(call, row, name) for name in _TEXTS}
    said |= {_camel(name).removesuffix("Id") + "Id": _person(getattr(row, name)) for name in _PEOPLE}
    said["agentId"] = encode("agent", row.agent_id) if row.agent_id is not None else None
    said["subjectId"] = row.subject_typeid
    return said


async def _call(services: Services, request: Request, request_id: str) -> Call:
    headers = request.headers
    principal = await caller(services, request, headers.get("x-signalbox-tenant"))
    address = request.client.host if request.client is not None else None
    return Call(
        services=services,
        principal=principal,
        request_id=request_id,
        address=address,
        user_agent=headers.get("user-agent"),
    )


def _seconds(request: Request) -> int:
    said = request.query_params.get("timeout", str(DEFAULT_SECONDS))
    # Neither a sign nor a digit of another script: what int() takes besides is nobody's intention.
    if not (said.isascii() and said.isdigit() and len(said) <= 2 and int(said) <= LONGEST_SECONDS):
        raise HttpRefusal(400, f"timeout is a number of seconds from 0 to {LONGEST_SECONDS}.")
    return int(said)


def _plain(value: Any) -> Any:
    if isinstance(value, StrEnum):
        return value.value.upper()
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value


def _person(value: Any) -> str | None:
    return encode("user", value) if value is not None else None


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
