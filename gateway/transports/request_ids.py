"""This module is where a request gets the id that its answer, its errors and its logs share."""

from __future__ import annotations

import re
from uuid import uuid4

HEADER = "x-request-id"
# Ids end up in logs and headers: nothing that could break out of either.
_ACCEPTABLE = re.compile(r"[A-Za-z0-9._:\-]{1,64}")


def request_id_from(value: str | None) -> str:
    """The caller's id when it is harmless, a new one otherwise."""
    if value is not None and _ACCEPTABLE.fullmatch(value):
        return value
    return uuid4().hex
