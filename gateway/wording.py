"""This module is where graphql-core's complaints lose the values they quote.

Errors are logged, collected and shown on screens by clients: what somebody typed into the wrong place, a password as a
list of one, must not go there with them. Where it was wrong and what was expected stays said.
"""

from __future__ import annotations

import re
from typing import Final

_QUOTES: Final = (
    (re.compile(r",? [Ff]ound: .*", re.DOTALL), ""),
    (re.compile(r"(cannot represent [\w -]*value): .*", re.DOTALL), r"\1"),
    (re.compile(r"\bValue '.*' does not exist in", re.DOTALL), "This value does not exist in"),
    (re.compile(r"((?:found|Unexpected) (?:Block)?String) .*", re.DOTALL), r"\1"),
)


def without_values(message: str) -> str:
    """``message`` without what the caller gave as a value."""
    for pattern, rest in _QUOTES:
        message = pattern.sub(rest, message)
    return message if message.endswith((".", "?", "!")) else f"{message}."
