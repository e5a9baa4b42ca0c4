"""This module is where the database's word that something exists already becomes a refusal."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy.exc import IntegrityError

from models.errors import Refusal, RefusalCode
from resolvers.unit_of_work import UnitOfWork


async def flush_unique(work: UnitOfWork, taken: Mapping[str, tuple[str, str]]) -> None:
    """Flush; a broken unique index that ``taken`` names (→ input field, sentence) is ALREADY_EXISTS.

    Asking first would not do: two that ask at once would both be told that it is free.
    """
    try:
        await work.session.flush()
    except IntegrityError as error:
        known = taken.get(_index_of(error) or "")
        if known is None:
            raise
        field, message = known
        raise Refusal(RefusalCode.ALREADY_EXISTS, message, field=("input", field)) from error


def _index_of(error: IntegrityError) -> str | None:
    name: str | None = getattr(getattr(error.orig, "__cause__", None), "constraint_name", None)
    return name
