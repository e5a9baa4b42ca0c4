"""This module is where ids are made (UUIDv7, RFC 9562) and written for the outside (TypeID 0.3).

Specification: https://github.com/jetify-com/typeid/tree/main/spec
"""

from __future__ import annotations

import os
import re
import threading
import time
from typing import Final
from uuid import UUID

NIL: Final = UUID(int=0)
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS: Final = [first + second for first in _ALPHABET for second in _ALPHABET]
_SUFFIX: Final = re.compile(f"[0-7][{_ALPHABET}]{{25}}")
_AS_PYTHON_COUNTS: Final = str.maketrans(_ALPHABET, "0123456789abcdefghijklmnopqrstuv")
_PREFIX: Final = re.compile(r"[a-z]([a-z_]{0,61}[a-z])?")


class InvalidId(ValueError):
    """The text is not a TypeID."""


class _Clock:
    """Milliseconds plus a 12-bit counter, so ids made in one process sort in the order they were made."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def tick(self) -> int:
        with self._lock:
            self._last = max(self._last + 1, (time.time_ns() // 1_000_000) << 12)
            return self._last


_clock = _Clock()


def uuid7() -> UUID:
    """A new UUIDv7; increasing within this process (RFC 9562, 6.2 method 1)."""
    tick = _clock.tick()
    milliseconds, counter = tick >> 12, tick & 0xFFF
    random = int.from_bytes(os.urandom(8)) & ((1 << 62) - 1)
    return UUID(int=(milliseconds << 80) | (0x7 << 76) | (counter << 64) | (0b10 << 62) | random)


def suffix(value: UUID) -> str:
    """The 26 characters of Crockford base32 that stand for ``value`` in a TypeID."""
    number = value.int
    # Ids are most of what an answer consists of: two letters at a time take half as long as one.
    return "".join([_PAIRS[(number >> shift) & 1023] for shift in range(120, -1, -10)])


def from_suffix(text: str) -> UUID:
    """The uuid that 26 characters of base32 stand for. Raises InvalidId."""
    if not _SUFFIX.fullmatch(text):
        raise InvalidId("a suffix has 26 lower-case letters of Crockford base32, at most 7zzzzzzzzzzzzzzzzzzzzzzzzz")
    return UUID(int=int(text.translate(_AS_PYTHON_COUNTS), 32))


def encode(prefix: str, value: UUID) -> str:
    """The TypeID of ``value``; an empty prefix leaves the separator out. Raises InvalidId."""
    if prefix and not _PREFIX.fullmatch(prefix):
        raise InvalidId("a prefix is 1 to 63 characters of [a-z_], letters at both ends")
    return f"{prefix}_{suffix(value)}" if prefix else suffix(value)


def decode(text: str) -> tuple[str, UUID]:
    """Prefix and uuid of a TypeID. Raises InvalidId."""
    prefix, separator, rest = text.rpartition("_")
    if separator and not _PREFIX.fullmatch(prefix):
        raise InvalidId("a prefix is 1 to 63 characters of [a-z_], letters at both ends")
    return prefix, from_suffix(rest)


def parse(text: str, *prefixes: str) -> UUID:
    """The uuid, or NIL for anything that is not a TypeID with one of ``prefixes``.

    No row has the NIL id, so a malformed id, another type's id and an unknown id take the same path
    to the same answer: the caller learns nothing from the difference.
    """
    try:
        prefix, value = decode(text)
    except InvalidId:
        return NIL
    return value if prefix in prefixes else NIL
