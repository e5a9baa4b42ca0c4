"""This module is where a row takes over what an update says of it, and what an update cannot take away is refused."""

from __future__ import annotations

from collections.abc import Mapping

from models.errors import invalid


def refuse_cleared(said: Mapping[str, object], *columns: str) -> None:
    """Refuse null for any of ``columns``, whose names the input says in camelCase. Raises INVALID with its path."""
    for column in columns:
        if column in said and said[column] is None:
            first, *others = column.split("_")
            raise invalid("This cannot be cleared.", "input", first + "".join(map(str.capitalize, others)))


def take_over(row: object, columns: Mapping[str, object]) -> list[str]:
    """Set what of ``columns`` differs; their names, sorted."""
    changed = sorted(name for name, value in columns.items() if getattr(row, name) != value)
    for name in changed:
        setattr(row, name, columns[name])
    return changed
