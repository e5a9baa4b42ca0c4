"""This module is where a failure becomes the one shape of error that every transport sends."""

from __future__ import annotations

from typing import Any

import orjson
import structlog

from models.errors import Internal, RequestError
from resolvers.tokens import TokenExpired

log = structlog.get_logger(__name__)

TOKEN_EXPIRED = "TOKEN_EXPIRED"  # noqa: S105 - an error code, not a secret

# What each code means to HTTP when nothing was executed.
STATUS_BY_CODE = {
    "BAD_REQUEST": 400,
    "UNAUTHENTICATED": 401,
    TOKEN_EXPIRED: 401,
    "FORBIDDEN": 403,
    "THROTTLED": 429,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
}


class StreamTokenExpired(TokenExpired):
    """The access token expired; refresh the session and subscribe again."""

    code = TOKEN_EXPIRED


class HttpRefusal(Exception):
    """A request that HTTP itself refuses, with the status and headers that say why."""

    def __init__(
        self, status: int, message: str, *, code: str = "BAD_REQUEST", headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers or {}


def error_entry(
    code: str, message: str, request_id: str, extensions: dict[str, object] | None = None
) -> dict[str, Any]:
    """One entry of ``errors``; the code and the request id win over whatever the extensions hold."""
    return {"message": message, "extensions": {**(extensions or {}), "code": code, "requestId": request_id}}


def errors_of(failure: BaseException, request_id: str) -> list[dict[str, Any]]:
    """The ``errors`` list for a failure. Anything but a RequestError is logged here and told as INTERNAL."""
    if not isinstance(failure, RequestError):
        log.error("operation failed", request_id=request_id, exc_info=failure)
        failure = Internal()
    return [error_entry(failure.code, failure.message, request_id, failure.extensions)]


def status_of(errors: list[dict[str, Any]]) -> int:
    """The HTTP status for a request error: by the first error's code, 400 for one that is not in the table."""
    extensions = errors[0].get("extensions") if errors else None
    return STATUS_BY_CODE.get((extensions or {}).get("code", ""), 400)


def encode(payload: object) -> bytes:
    """A payload as JSON. Whatever the schema let through that JSON has no word for fails the request."""
    return orjson.dumps(payload)
