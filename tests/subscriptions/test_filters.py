"""This module is where a live filter is specified: it means on an event's facets what it means on rows in SQL."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataloaders.pages import Window, read_page
from dataloaders.registry import workspaces
from models import Workspace, WorkspaceStatus
from models.database import Database
from models.ids import NIL, uuid7
from subscriptions.filters import any_of, equals, matcher, words
from subscriptions.registry import workspace_matcher
from tests.world import Tenants, make_tenant

ONLINE, REMOVED = WorkspaceStatus.ONLINE, WorkspaceStatus.REMOVED


def facets(**given: Any) -> dict[str, Any]:
    """A workspace's, as an event holds them."""
    said = {"id": str(uuid7()), "status": "online", "tier": 2, "parent_id": None, "search": ["Marketing", "Sales desk"]}
    return said | given


@pytest.mark.parametrize(
    ("given_filter", "matches"),
    [
        ({}, True),
        ({"status": [ONLINE, WorkspaceStatus.OFFLINE]}, True),
        ({"status": [WorkspaceStatus.OFFLINE]}, False),
        ({"status": []}, False),
        ({"tier": [2]}, True),
        ({"tier": [1, 3]}, False),
        ({"parent_id": UUID(int=7)}, False),
        ({"search": "mark DESK"}, True),
        ({"search": "arketing"}, False),
        ({"search": " - "}, False),
        ({"status": [ONLINE], "tier": [1]}, False),
    ],
)
def test_lists_mean_any_of_and_fields_combine_with_and(given_filter: dict[str, Any], matches: bool) -> None:
    assert workspace_matcher(given_filter)(facets()) is matches


def test_what_did_not_exist_matches_nothing() -> None:
    assert workspace_matcher({})(None) is False


def test_a_removed_workspace_matches_only_whoever_asks_for_that_status() -> None:
    gone = facets(status="removed")
    assert workspace_matcher({})(gone) is False
    assert workspace_matcher({"tier": [2]})(gone) is False
    assert workspace_matcher({"status": [REMOVED]})(gone) is True


def test_a_parent_is_matched_by_its_id_and_a_facet_that_is_missing_by_nothing() -> None:
    parent = uuid7()
    below = facets(parent_id=str(parent))
    assert workspace_matcher({"parent_id": parent})(below) is True
    assert workspace_matcher({"parent_id": NIL})(below) is False
    assert not any_of("kind")({}, ["chat"])
    assert not equals("kind")({}, "chat")
    assert not words({}, "chat")


def test_a_filter_that_nobody_declared_is_an_error_and_not_a_match() -> None:
    with pytest.raises(KeyError):
        matcher({}, {"unknown": 1}, None)({})


def test_the_live_filter_knows_every_filter_that_the_list_knows() -> None:
    one_of_each = {"status": [ONLINE], "tier": [2], "search": "marketing", "parent_id": None}
    assert set(one_of_each) == set(workspaces.filters)
    assert workspace_matcher(one_of_each)(facets()) is True


_FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "status": st.lists(st.sampled_from([ONLINE, REMOVED, WorkspaceStatus.PAUSED]), max_size=2),
        "tier": st.lists(st.integers(1, 4), max_size=2),
        "search": st.sampled_from(["a", "be", "alpha beta", "", "gamma"]),
        "parent": st.booleans(),
    },
)
_ROWS = st.lists(
    st.tuples(
        st.sampled_from(list(WorkspaceStatus)),
        st.integers(1, 4),
        st.sampled_from(["Alpha", "beta-alpha", "Gamma"]),
        st.booleans(),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=_FILTERS, made=_ROWS)
async def test_a_live_filter_and_a_list_agree_on_every_row(
    database: Database, asked: dict[str, Any], made: list[tuple[WorkspaceStatus, int, str, bool]]
) -> None:
    tenant_id = await make_tenant(database)
    root = Workspace(tenant_id=tenant_id, id=uuid7(), name="Root", role="", tier=1, status=ONLINE)
    rows = [
        Workspace(
            tenant_id=tenant_id,
            id=uuid7(),
            name=name,
            role="",
            tier=tier,
            status=status,
            parent_id=root.id if below else None,
        )
        for status, tier, name, below in made
    ]
    async with database.session(tenant_id) as session:
        session.add(root)
        await session.flush()
        session.add_all(rows)
        await session.commit()
    given_filter = {name: value for name, value in asked.items() if name != "parent"}
    if "parent" in asked:
        given_filter["parent_id"] = root.id if asked["parent"] else uuid7()
    page = await read_page(database, tenant_id, workspaces, Window(first=100), given_filter, None)
    matches = workspace_matcher(given_filter)
    assert {row.id for row in page.rows} == {row.id for row in [root, *rows] if matches(row.facets())}


async def test_another_tenants_rows_are_no_ones_business(database: Database, tenants: Tenants) -> None:
    async with database.session(tenants.other) as session:
        session.add(Workspace(tenant_id=tenants.other, name="Alpha"))
        await session.commit()
    page = await read_page(database, tenants.mine, workspaces, Window(), {"search": "alpha"}, None)
    assert page.rows == []
