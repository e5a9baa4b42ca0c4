"""This module is where every list there is proves that the database serves it by an index, under row-level security.

Lists are found by walking the package, so a later one is covered from its first day: it brings rows and sample values.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import orjson
import pytest
from sqlalchemy import event

import dataloaders
from dataloaders.base import is_shared
from dataloaders.pages import Direction, Listing, Page, Window, read_page
from models.months import BY_MONTH
from tests.dataloaders.crowd import Crowd, samples

RESIDUAL: Final = {
    ("api_keys", "is_active"): "it asks two columns and the time, and a tenant has few keys",
    ("sessions", "is_active"): "it asks three columns and the time; sessions that ended long ago are deleted",
    ("agents", "type"): "eight words, most agents share one: an index would select little",
    ("alert_rules", "action"): "three words, and a tenant has few rules",
    ("alert_rules", "enabled"): "two values, and a tenant has few rules",
    ("conversations", "kind"): "three words, and most conversations share one",
    ("tool_executions", "kind"): "two words",
    ("tool_executions", "status"): "three words, and most uses share one",
    ("audit_logs", "resource_type"): "most of a tenant's changes are of few kinds; action is finer and has an index",
    ("audit_events", "awaits_review"): "it asks two columns, and has an index of what they say",
    ("query_events", "hitl_mode"): "three words, and most requests share one",
    ("data_access_logs", "access_type"): "five words",
    ("data_access_logs", "data_category"): "five words",
    ("llm_providers", "is_enabled"): "two values, and a tenant has few providers",
    ("llm_providers", "provider_type"): "four words, and a tenant has few providers",
    ("servers", "auth_type"): "two words, and a tenant has few servers",
    ("terminal_sessions", "is_open"): "the index of those that are open holds no others; most are over",
    ("mcp_servers", "type"): "three words, and a tenant sees few servers",
    ("user_consents", "granted"): "two values, and most consents share one",
    ("users", "roles"): "&& is not leak-proof, so no index is reached under row-level security; a tenant has few users",
    ("activity_logs", "source"): "two values; beside a workspace or a type it looks at few rows",
    ("agent_assignments", "status"): "three words; beside a workspace or an agent it looks at few rows",
    ("structure_events", "event_type"): "beside a workspace or an agent it looks at few rows",
    ("webhook_endpoints", "is_enabled"): "two values, and a tenant has few endpoints",
    ("workspaces", "tier"): "four numbers; one more index would make every beat dearer",
}
"""Filters that are checked row by row, with the reason."""

LOOKED_AT: Final = {
    ("activity_logs", "source"): {"source_workspace_id"},
    ("api_keys", "is_active"): {"expires_at", "revoked_at"},
    ("audit_events", "awaits_review"): {"requires_review", "reviewed_at"},
    ("terminal_sessions", "is_open"): {"ended_at"},
    ("sessions", "is_active"): {"last_seen_at", "revoked_at", "started_at"},
}
"""The columns of a residual filter that is not named after its column."""

BY_ID: Final = (
    {(log, filter): "id" for log in BY_MONTH for filter in ("occurred_after", "occurred_before")}
    | {
        (list, f"{verb}_{side}"): column
        for list, verb, column in (
            ("activity_logs", "created", "created_at"),
            ("approval_requests", "created", "created_at"),
            ("alerts", "started", "starts_at"),
            ("terminal_sessions", "started", "started_at"),
        )
        for side in ("after", "before")
    }
    | {("query_events", filter): "occurred_at" for filter in ("occurred_after", "occurred_before")}
    | {
        ("approval_requests", "assignment"): "assigned_to",
        ("approval_requests", "department"): "user_department",
        ("approval_requests", "priority"): "urgency",
    }
    | {("alerts", "include_ignored"): "is_ignored"}
)
"""Filters that are conditions on the id, which holds the time, or on the time itself."""

ALWAYS: Final = {
    "agents": {"deleted_at"},
    "alert_rules": {"deleted_at"},
    "alerts": {"is_ignored"},
    "agent_templates": {"tenant_id"},  # of the bound tenant or the platform: the policy says or
    "mcp_servers": {"tenant_id"},
    "policy_rules": {"tenant_id"},
    "tools": {"tenant_id"},
    "conversations": {"status"},
    "users": {"deleted_at"},
    "tenants": {"deleted_at", "id"},
    "workspaces": {"status"},
}
"""Columns that every page of a list is checked for: almost no row fails, so the index's order is worth more."""

SEARCHED: Final = {"alerts": ("series", "search_alert_series")}
"""Lists whose words stand in another table: the column that leads there, and the function that searches it."""

FIRST_PAGE_BLOCKS: Final = 45
"""21 rows in as many blocks at worst, the way down the index, the rows that the check above refuses."""

MERGED: Final = {"Merge Append", "Append", "Subquery Scan", "Sort"}
"""Steps of a list that holds the platform's rows besides: a page of each by the index, then both as one."""


def _listings() -> dict[str, Listing]:
    found: dict[str, Listing] = {}
    for module in pkgutil.iter_modules(dataloaders.__path__):
        for value in vars(importlib.import_module(f"dataloaders.{module.name}")).values():
            if isinstance(value, Listing):
                found[value.model.__tablename__] = value
    return found


LISTINGS: Final = _listings()
ORDERS: Final = [
    (name, order, direction) for name, one in LISTINGS.items() for order in one.orders for direction in Direction
]
FILTERS: Final = [(name, filter) for name, one in LISTINGS.items() for filter in one.filters]


@pytest.fixture(scope="module")
async def crowd(migrated: str) -> AsyncIterator[Crowd]:
    """Thousands of rows, several tenants, fresh statistics."""
    crowd = await Crowd.gather(migrated)
    yield crowd
    await crowd.database.close()


class Recorder:
    """Remembers what the database is asked, to have it explained."""

    def __init__(self, crowd: Crowd, listing: Listing) -> None:
        self._crowd = crowd
        self._listing = listing
        self._engine = (crowd.database.platform if listing.across_tenants else crowd.database.app).sync_engine
        self.asked: list[tuple[str, Any]] = []

    def _note(self, _: object, __: object, statement: str, parameters: Any, *___: object) -> None:
        if "set_config" not in statement:
            self.asked.append((statement, parameters))

    async def page(self, window: Window, given: dict[str, Any], order: tuple[str, Direction] | None) -> Page:
        """A page, its statement remembered."""
        event.listen(self._engine, "before_cursor_execute", self._note)
        try:
            return await read_page(self._crowd.database, self._crowd.mine, self._listing, window, given, order)
        finally:
            event.remove(self._engine, "before_cursor_execute", self._note)

    async def count(self, page: Page) -> int:
        """The page's total, its statement remembered."""
        event.listen(self._engine, "before_cursor_execute", self._note)
        try:
            return await page.total_count()
        finally:
            event.remove(self._engine, "before_cursor_execute", self._note)

    async def plans(self) -> list[dict[str, Any]]:
        """What the database did for each statement."""
        plans = []
        async with self._listing.session(self._crowd.database, self._crowd.mine) as session:
            connection = await session.connection()
            for statement, parameters in self.asked:
                sql = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"
                answer = (await connection.exec_driver_sql(sql, parameters)).scalar_one()
                plans.append((orjson.loads(answer) if isinstance(answer, str) else answer)[0]["Plan"])
        self.asked.clear()
        return plans


def _steps(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    # The months that are still to come are empty: how nothing is looked for says nothing.
    if plan.get("Relation Name", "")[:-8] not in BY_MONTH or plan["Actual Rows"] + plan.get(
        "Rows Removed by Filter", 0
    ):
        yield plan
    for inner in plan.get("Plans", ()):
        yield from _steps(inner)


def _said(plan: dict[str, Any], *what: str) -> str:
    return " ".join(str(step[one]) for step in _steps(plan) for one in what if one in step)


def _columns(listing: Listing, conditions: str) -> set[str]:
    words = set("".join(letter if letter.isalnum() or letter == "_" else " " for letter in conditions).split())
    return {column.name for column in listing.model.__table__.columns if column.name in words}


def test_the_lists_that_are_known_are_found() -> None:
    assert {"agents", "api_keys", "sessions", "tenants", "user_consents", "users", "workspaces"} <= set(LISTINGS)


@pytest.mark.parametrize(("name", "order", "direction"), ORDERS)
async def test_every_order_is_served_by_an_index_from_any_place_in_either_direction(
    crowd: Crowd, name: str, order: str, direction: Direction
) -> None:
    listing = LISTINGS[name]
    recorder = Recorder(crowd, listing)
    sorting = (order, direction)
    front = await recorder.page(Window(), {}, sorting)
    deep = await recorder.page(Window(first=100), {}, sorting)
    middle = await recorder.page(Window(after=deep.end_cursor), {}, sorting)
    await recorder.page(Window(before=middle.start_cursor), {}, sorting)
    await recorder.page(Window(last=20), {}, sorting)
    for plan in await recorder.plans():
        if plan["Actual Rows"] == 101:
            continue
        assert plan["Actual Rows"] == 21
        kinds = {step["Node Type"] for step in _steps(plan)}
        # A log is divided by month, and the months are gone through in the order of the list.
        more = {"Append"} if name in BY_MONTH else MERGED if is_shared(listing.model) else set()
        assert kinds <= {"Limit", "Index Scan", "Result"} | more, kinds
        assert _columns(listing, _said(plan, "Filter")) <= ALWAYS.get(name, set())
        pages = 2 if is_shared(listing.model) else 1
        assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] <= pages * FIRST_PAGE_BLOCKS
        assert listing.across_tenants or "tenant_id" in _columns(listing, _said(plan, "Index Cond"))
    assert {row.id for row in front.rows} <= {row.id for row in deep.rows}


@pytest.mark.parametrize(("name", "order", "direction"), ORDERS)
async def test_a_cursor_is_an_index_condition(crowd: Crowd, name: str, order: str, direction: Direction) -> None:
    listing = LISTINGS[name]
    recorder = Recorder(crowd, listing)
    front = await recorder.page(Window(), {}, (order, direction))
    recorder.asked.clear()
    await recorder.page(Window(after=front.end_cursor), {}, (order, direction))
    (plan,) = await recorder.plans()
    key = listing.orders[order].column.key
    assert {key, key if listing.orders[order].is_unique else "id"} <= _columns(listing, _said(plan, "Index Cond"))


@pytest.mark.parametrize(("name", "filter"), FILTERS)
async def test_every_filter_is_an_index_condition_or_on_the_list_of_those_that_are_not(
    crowd: Crowd, name: str, filter: str
) -> None:
    listing = LISTINGS[name]
    value = samples(crowd)[name, filter]
    recorder = Recorder(crowd, listing)
    page = await recorder.page(Window(first=0), {filter: value}, None)
    matching = await recorder.count(page)
    assert 0 < matching < 1000
    (plan,) = await recorder.plans()
    column, function = SEARCHED.get(name, ("id", f"search_{name}"))
    column = column if filter == "search" else BY_ID.get((name, filter), filter)
    found = _columns(listing, _said(plan, "Index Cond"))
    assert listing.across_tenants or "tenant_id" in found
    assert ((name, filter) in RESIDUAL) == (column not in found)
    if filter == "search":
        assert function in _said(plan, "Function Name")
    checked = _columns(listing, _said(plan, "Filter", "Join Filter")) - LOOKED_AT.get((name, filter), {column})
    assert checked <= ALWAYS.get(name, set())


def test_the_list_of_residual_filters_names_filters_that_there_are() -> None:
    assert set(RESIDUAL) <= set(FILTERS)
    assert set(ALWAYS) <= set(LISTINGS)
