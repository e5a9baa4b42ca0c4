"""This module is where a session remembers what its flushes changed: each row's old and new values, once for all.

A statement that changes many rows at once passes by; whoever runs one says what it did.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from sqlalchemy import event, inspect
from sqlalchemy.orm import Session, UOWTransaction

from models.database import TenantSession

REDACTED: Final = "[redacted]"
_KEY: Final = "changes"
_UNTOLD: Final = frozenset(
    {"tenant_id", "id", "created_at", "updated_at", "version", "authorization_version", "search", "email_key"}
)
_SECRET_COLUMN: Final = re.compile(r"(^|_)(hash|secret|password|token|wrapped|private|ciphertext)(_|$)")
_SECRET_WORD: Final = re.compile(
    r"passw|secret|token|credential|authorization|api_?key|access_?key|private_?key|bearer|cookie", re.IGNORECASE
)
_LONGEST: Final = 4_096
_DEEPEST: Final = 8

Values = dict[str, Any]


class Changes:
    """Old and new values by table's TypeID prefix and id; what a row was before the first flush, and after the last."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, UUID], tuple[Values, Values]] = {}

    def take(self, kind: str, row_id: UUID) -> tuple[Values, Values] | None:
        """What became of one row, told once; None when no flush touched it."""
        return self._found.pop((kind, row_id), None)

    def note(self, row: Any, old: Values, new: Values) -> None:
        """Add what a flush did to ``row``."""
        before, after = self._found.setdefault((row.__typeid__, row.id), ({}, {}))
        for name, value in old.items():
            before.setdefault(name, value)
        after |= new


def remember_changes(session: TenantSession) -> Changes:
    """What ``session`` changes from now on."""
    changes = session.info[_KEY] = Changes()
    return changes


@event.listens_for(TenantSession.sync_session_class, "after_flush")
def _note(session: Session, _: UOWTransaction) -> None:
    # After the flush the values that defaults gave are there, and what each attribute was still is.
    changes: Changes | None = session.info.get(_KEY)
    if changes is None:
        return
    for row in session.new:
        if _is_told(row):
            changes.note(row, {}, {name: value for name, value in _values(row).items() if value is not None})
    for row in session.dirty:
        if _is_told(row):
            changes.note(row, *_difference(row))
    for row in session.deleted:
        if _is_told(row):
            changes.note(row, _values(row), {})


def _is_told(row: Any) -> bool:
    return hasattr(row, "__typeid__") and hasattr(row, "id")


def _columns(row: Any) -> list[str]:
    # What people say to each other is no change to be audited; a row names the columns that hold it.
    untold = _UNTOLD | getattr(row, "__untold__", frozenset())
    return [one.key for one in inspect(row).mapper.column_attrs if one.key not in untold]


def _values(row: Any) -> Values:
    # Only what is loaded: asking for more would emit SQL in the middle of a flush.
    loaded = inspect(row).dict
    return {name: redacted(name, loaded[name]) for name in _columns(row) if name in loaded}


def _difference(row: Any) -> tuple[Values, Values]:
    old: Values = {}
    new: Values = {}
    state = inspect(row)
    for name in _columns(row):
        history = state.attrs[name].history
        if history.has_changes():
            old[name] = redacted(name, history.deleted[0] if history.deleted else None)
            new[name] = redacted(name, history.added[0] if history.added else None)
    return old, new


def redacted(name: str, value: Any) -> Any:
    """A column's value as the log may keep it, sealed: JSON, without secrets, not longer than a screen."""
    if value is None:
        return None
    if isinstance(value, bytes) or _SECRET_COLUMN.search(name):
        return REDACTED
    return _plain(value, 0)


def is_secret_name(name: str) -> bool:
    """Whether a member of a document is called what secrets are called."""
    return _SECRET_WORD.search(name) is not None


def _plain(value: Any, depth: int) -> Any:
    if isinstance(value, dict | list | tuple) and depth >= _DEEPEST:
        return "[too deep]"
    if isinstance(value, dict):
        return {
            str(name): REDACTED if is_secret_name(str(name)) else _plain(one, depth + 1)
            for name, one in list(value.items())[:_LONGEST]
        }
    if isinstance(value, list | tuple):
        return [_plain(one, depth + 1) for one in value[:_LONGEST]]
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, datetime | date):
        return value.isoformat()
    if value is None or isinstance(value, bool | int | float):
        return value
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text)} characters)"
