"""This module is where a search of alerts looks for its words: among their series, of which there are few.

How the alerts of what it finds are read depends on how many series it finds (docs/decisions/0021).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, any_, bindparam, func, select, text, true
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import BigInteger, Uuid

from dataloaders.narrowed import Narrowed
from dataloaders.pages import Sorter
from models import Alert
from models.alerts import BY_SERIES
from models.search import sought

FEW_SERIES: Final = 12
"""Of so many each one's newest are read by an index; of more, alerts are gone through in the order of the list.

The first costs five blocks a series and four a row, the second an index's entries of as many alerts as there are
series for each one found: with ten thousand series both are some 150 blocks at that number.
"""

_SERIES_BY_SERIES: Final = text(BY_SERIES)


def searched(text: str) -> ColumnElement[bool] | None:
    """Alerts of the series that a search finds, however many. Raises BAD_REQUEST for too long a text."""
    wanted = sought(text)
    return None if wanted is None else and_(Alert.series == any_(_found(wanted)), _SERIES_BY_SERIES)


async def narrowed(session: AsyncSession, tenant_id: UUID, given: Mapping[str, Any]) -> Narrowed | None:
    """The filters with the series found in the place of the search; None when there are none. At most one statement."""
    if "search" not in given:
        return Narrowed(given)
    wanted = sought(given["search"])
    series: list[int] = [] if wanted is None else list(await session.scalar(select(_found(wanted))) or ())
    if not series:
        return None
    others = {name: value for name, value in given.items() if name != "search"}
    if len(series) <= FEW_SERIES:
        return Narrowed(others, of_each=partial(_first_of_each, tenant_id, series))
    return Narrowed(others, [Alert.series == any_(bindparam(None, series, type_=ARRAY(BigInteger)))])


def _found(wanted: str) -> ColumnElement[Any]:
    series = select(func.search_alert_series(wanted).column_valued("found")).scalar_subquery()
    return func.array(series, type_=ARRAY(BigInteger))


def _first_of_each(
    tenant_id: UUID, series: Sequence[int], matching: Select[Any], sorter: Sorter, backward: bool, limit: int
) -> Select[Any]:
    one = func.unnest(bindparam(None, series, type_=ARRAY(BigInteger))).table_valued("id", name="one").render_derived()
    names = [f"key{place}" for place in range(len(sorter.keys))]
    keys = [key.label(name) for name, key in zip(names, sorter.keys, strict=True)]
    theirs = matching.where(Alert.series == one.c.id, _SERIES_BY_SERIES).with_only_columns(*keys)
    first = sorter.sort(theirs, backward).limit(limit).lateral("first")
    places = [first.c[name] for name in names]
    # The index alone says which ones they are; of all others not a row is touched.
    ids = select(places[-1]).select_from(one.join(first, true()))
    ids = ids.order_by(*sorter.directed(places, backward)).limit(limit)
    at_hand = Alert.id == any_(func.array(ids.scalar_subquery(), type_=ARRAY(Uuid)))
    return select(Alert).where(Alert.tenant_id == tenant_id, at_hand)
