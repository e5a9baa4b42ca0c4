"""This module is where it is seen to that configurations name secrets and never hold one.

``env@@NAME`` stands for a value that the runtime finds among the secrets of its workspace, agent or tenant.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from models.errors import invalid

MARK: Final = "env@@"
NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_NAMED: Final = re.compile(rf"{MARK}([A-Za-z_][A-Za-z0-9_]{{0,127}})?")
_HOLDERS: Final = frozenset({"env", "envs", "environments", "headers", "values"})
_SECRET_WORD: Final = re.compile(
    r"passw|secret|token|credential|authorization|api[_-]?key|access[_-]?key|private[_-]?key|bearer|cookie",
    re.IGNORECASE,
)
_DEEPEST: Final = 32

Path = tuple[str, ...]


def refuse_secrets(document: dict[str, Any], *field: str) -> None:
    """Refuse a key that stands where a placeholder belongs. Raises INVALID with the path to it, never the value.

    Looked at are environments, headers and values whose names are those of secrets, and ``api_key`` at the top.
    """
    for path, value in texts(document, *field):
        holder, name = (path[-2] if len(path) > 1 else ""), path[-1]
        is_key = path[len(field) :] in {("api_key",), ("apiKey",)}
        if value and MARK not in value and (is_key or (holder in _HOLDERS and _SECRET_WORD.search(name))):
            raise invalid(
                "A key does not belong here: keep it with setSecret, and name it as env@@NAME.", "input", *path
            )


def refuse_unknown(document: Any, environments: dict[str, Any], *field: str) -> None:
    """Refuse a placeholder whose name ``environments`` does not know. Raises INVALID with the path to it."""
    for path, value in texts(document, *field):
        for found in _NAMED.finditer(value):
            if found[1] not in environments:
                raise invalid("A placeholder is written env@@NAME, and environments knows its name.", "input", *path)


def texts(document: Any, *path: str) -> Iterator[tuple[Path, str]]:
    """Every text in a JSON document with the path to it. Raises INVALID for one that is nested too deeply."""
    if len(path) > _DEEPEST:
        raise invalid(f"This is nested deeper than {_DEEPEST} levels.", "input", *path[:1])
    if isinstance(document, str):
        yield path, document
    elif isinstance(document, dict):
        for name, value in document.items():
            yield from texts(value, *path, str(name))
    elif isinstance(document, list):
        for place, value in enumerate(document):
            yield from texts(value, *path, str(place))
