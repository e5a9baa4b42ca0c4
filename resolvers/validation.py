"""This module is where values that are well-typed but unacceptable are refused, in one wording."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import orjson

from models.errors import invalid


def line(value: str, limit: int, *field: str) -> str:
    """One line of 1 to ``limit`` characters, trimmed. Raises INVALID."""
    trimmed = value.strip()
    if not 1 <= len(trimmed) <= limit or any(ord(letter) < 32 for letter in trimmed):
        raise invalid(f"This is one line of 1 to {limit} characters.", "input", *field)
    return trimmed


def prose(value: str, limit: int, *field: str) -> str:
    """Up to ``limit`` characters; NUL is refused because the database cannot hold it. Raises INVALID."""
    if len(value) > limit or "\x00" in value:
        raise invalid(f"This is text of at most {limit} characters.", "input", *field)
    return value


def speech(value: str, limit_bytes: int, *field: str) -> str:
    """Text of at most ``limit_bytes`` of UTF-8, without NUL. Raises INVALID."""
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        # Half a character: JSON can say it, no encoding can keep it.
        size = limit_bytes + 1
    if size > limit_bytes or "\x00" in value:
        raise invalid(f"This is text of at most {limit_bytes:,} bytes.", "input", *field)
    return value


def anything(value: Any, limit_bytes: int, *field: str) -> Any:
    """A JSON value of at most ``limit_bytes``. Raises INVALID."""
    if not _fits(value, limit_bytes):
        raise invalid(f"This is a JSON value of at most {limit_bytes:,} bytes, without NUL.", "input", *field)
    return value


def within(value: int, low: int, high: int, *field: str) -> int:
    """A whole number from ``low`` to ``high``. Raises INVALID."""
    if not low <= value <= high:
        raise invalid(f"This is a number from {low} to {high}.", "input", *field)
    return value


def web_address(value: str, *field: str) -> str:
    """An http(s) address with a host and without credentials. Raises INVALID."""
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    acceptable = parts.scheme in {"http", "https"} and host and parts.username is None and len(value) <= 2048
    if not acceptable or any(ord(letter) <= 32 for letter in value):
        raise invalid("This is an http or https address without credentials.", "input", *field)
    return value


def document(value: Any, limit_bytes: int, *field: str) -> dict[str, Any]:
    """A JSON object of at most ``limit_bytes``. Raises INVALID."""
    if not isinstance(value, dict) or not _fits(value, limit_bytes):
        raise invalid(f"This is a JSON object of at most {limit_bytes:,} bytes, without NUL.", "input", *field)
    return value


def _fits(value: Any, limit_bytes: int) -> bool:
    """Whether it is JSON of that size that the database can hold."""
    try:
        encoded = orjson.dumps(value)
    except orjson.JSONEncodeError:
        return False
    # Without escaped backslashes: "C:\\u0000" is a text like any other.
    return len(encoded) <= limit_bytes and b"\\u0000" not in encoded.replace(b"\\\\", b"")
