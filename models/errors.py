"""This module is where every way of saying no is named, with its stable code.

A class's docstring is the message a caller may see when none is given.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class RefusalCode(StrEnum):
    """Why a well-formed request was refused; something the caller can act on."""

    INVALID = "invalid"
    NOT_FOUND = "not_found"
    ALREADY_EXISTS = "already_exists"
    CONFLICT = "conflict"
    ALREADY_DECIDED = "already_decided"
    EXPIRED = "expired"
    SELF_APPROVAL = "self_approval"
    ILLEGAL_TRANSITION = "illegal_transition"
    CYCLE = "cycle"
    IMMUTABLE = "immutable"
    LIMIT_EXCEEDED = "limit_exceeded"
    IDEMPOTENCY_MISMATCH = "idempotency_mismatch"
    INVALID_CREDENTIALS = "invalid_credentials"
    THROTTLED = "throttled"
    FENCED = "fenced"


class Refusal(Exception):
    """The request was refused."""

    def __init__(
        self,
        code: RefusalCode,
        message: str,
        *,
        field: tuple[str, ...] | None = None,
        current: object | None = None,
    ) -> None:
        """``field`` is the path into the input; ``current`` is the row as it stands now."""
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field
        self.current = current


def not_found(what: str, *field: str) -> Refusal:
    """The one answer to a malformed, a foreign and an unknown id: nothing tells them apart."""
    return Refusal(RefusalCode.NOT_FOUND, f"There is no such {what}.", field=field or None)


def invalid(message: str, *field: str) -> Refusal:
    """A value that is well-typed but not acceptable."""
    return Refusal(RefusalCode.INVALID, message, field=field or None)


class RequestError(Exception):
    """The request failed."""

    code: ClassVar[str] = "INTERNAL"

    def __init__(self, message: str | None = None, **extensions: object) -> None:
        super().__init__(message or type(self).__doc__ or "")
        self.message = message or (type(self).__doc__ or "").strip()
        self.extensions = extensions


class Forbidden(RequestError):
    """The credentials do not allow this."""

    code = "FORBIDDEN"


class Unauthenticated(RequestError):
    """The request carries no valid credentials."""

    code = "UNAUTHENTICATED"


class BadRequest(RequestError):
    """The request is malformed."""

    code = "BAD_REQUEST"


class LimitExceeded(RequestError):
    """The request asks for more than is allowed at once."""

    code = "LIMIT_EXCEEDED"


class Throttled(RequestError):
    """Too many requests; try again later."""

    code = "THROTTLED"


class Unavailable(RequestError):
    """The service cannot answer right now; try again."""

    code = "UNAVAILABLE"


class Internal(RequestError):
    """Something went wrong on our side."""

    code = "INTERNAL"
