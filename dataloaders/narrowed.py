"""This module is where it stands what a list may ask the database before a page of it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select
from sqlalchemy.ext.asyncio import AsyncSession


@dataclass(frozen=True, slots=True)
class Narrowed:
    """Filters after the database was asked: ``given`` those that are left, ``where`` what stands for the others.

    ``of_each`` makes of a list, its order, whether it is read from its other end and how many rows are wanted another
    statement with the same first rows: those of each of a few things, read in order by an index and put together.
    """

    given: Mapping[str, Any]
    where: Sequence[ColumnElement[bool]] = ()
    of_each: Callable[[Select[Any], Any, bool, int], Select[Any]] | None = None

    def lists(
        self, matching: Sequence[Select[Any] | None], bounded: Sequence[ColumnElement[bool]], *window: Any
    ) -> list[Select[Any]]:
        """``matching``, those that can hold anything, within their bounds; ``window`` is what ``of_each`` takes."""
        lists = [one.where(*self.where, *bounded) for one in matching if one is not None]
        return lists if self.of_each is None else [self.of_each(one, *window) for one in lists]


async def as_given(_: AsyncSession, __: UUID, given: Mapping[str, Any]) -> Narrowed | None:
    """The filters as they are; nothing is asked."""
    return Narrowed(given)
