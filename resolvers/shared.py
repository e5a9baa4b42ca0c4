"""This module is where rows that the platform shares are kept from everybody else who would change them."""

from __future__ import annotations

from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import select

from models import PLATFORM_TENANT_ID, SharedRow
from models.errors import Refusal, RefusalCode
from resolvers.unit_of_work import UnitOfWork

Row = TypeVar("Row", bound=SharedRow)


async def locked_own(
    work: UnitOfWork, model: type[Row], row_id: UUID, *, expected_version: int | None = None, what: str
) -> Row:
    """The tenant's own row, locked until COMMIT. Raises NOT_FOUND, CONFLICT, and IMMUTABLE for one of the platform's.

    Security boundary: a shared row is everybody's to see, so saying that it is there tells nothing.
    """
    try:
        return await work.locked(model, row_id, expected_version=expected_version, what=what)
    except Refusal as refusal:
        shared: Any = None
        if refusal.code is RefusalCode.NOT_FOUND:
            shared = await work.session.scalar(
                select(model).where(model.tenant_id == PLATFORM_TENANT_ID, model.id == row_id)
            )
        if shared is None:
            raise
        raise Refusal(
            RefusalCode.IMMUTABLE, "What is shared is the platform's to change.", field=refusal.field, current=shared
        ) from refusal
