"""This module is where search by words is specified: in the database, and in its twin for events."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from dataloaders.pages import Window, read_page
from dataloaders.registry import workspaces
from models import Workspace
from models.database import Database, sqlstate
from models.errors import BadRequest
from models.ids import uuid7
from models.search import SEARCH_CHARACTERS, lexemes, words
from subscriptions.registry import workspace_matcher
from tests.world import Tenants

NAMES = [
    "Vancouver SEO Agent",
    "web-server-07.example.com",
    "Straße 9",
    "Ὀδυσσεύς",
    "हिन्दी सहायक",
    "مُساعِد",
    "ראש הממשלה",
    "ราคา",
    "東京 支店",
    "v1.5e5 (beta)",
    'O\'Brien \\ "quoted" : * & | !',
    "snake_case and CamelCase",
    "cafe\u0301 \u2013 Ⅻ 🚀",
]


async def _name(database: Database, tenant_id: UUID, names: Sequence[str]) -> dict[UUID, Workspace]:
    rows = [Workspace(tenant_id=tenant_id, id=uuid7(), name=name, role="") for name in names]
    async with database.session(tenant_id) as session:
        session.add_all(rows)
        await session.commit()
    return {row.id: row for row in rows}


async def _found(database: Database, tenant_id: UUID, wanted: str) -> set[str]:
    page = await read_page(database, tenant_id, workspaces, Window(first=100), {"search": wanted}, None)
    return {row.name for row in page.rows}


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ("vanc", "Vancouver SEO Agent"),
        ("agent SEO", "Vancouver SEO Agent"),
        ("web-server", "web-server-07.example.com"),
        ("EXAMPLE", "web-server-07.example.com"),
        ("straße", "Straße 9"),
        ("STRAß", "Straße 9"),
        ("ὈΔΥΣΣΕΎς", "Ὀδυσσεύς"),
        ("हिन्दी", "हिन्दी सहायक"),
        ("مُساعِد", "مُساعِد"),
        ("支店", "東京 支店"),
        ("o'br", 'O\'Brien \\ "quoted" : * & | !'),
        ("camel", "snake_case and CamelCase"),
        ("case", "snake_case and CamelCase"),
    ],
)
async def test_each_word_of_a_search_starts_a_word_of_what_it_finds(
    database: Database, tenants: Tenants, wanted: str, name: str
) -> None:
    await _name(database, tenants.mine, NAMES)
    assert await _found(database, tenants.mine, wanted) == {name}


@pytest.mark.parametrize(
    "wanted", ["ancouver", "vanc market", "", " - ", "'", ":*", "a & !b | c:*", "t", "tenant", "\x00"]
)
async def test_the_middle_of_a_word_an_operator_or_nothing_finds_nothing(
    database: Database, tenants: Tenants, wanted: str
) -> None:
    await _name(database, tenants.mine, ["Vancouver SEO Agent"])
    assert await _found(database, tenants.mine, wanted) == set()


async def test_no_tenant_finds_another_tenants_rows(database: Database, tenants: Tenants) -> None:
    await _name(database, tenants.mine, ["Mine alone"])
    await _name(database, tenants.other, ["Theirs alone"])
    assert await _found(database, tenants.mine, "alone") == {"Mine alone"}
    for forged in (f"tenant:{tenants.other}", str(tenants.other)):
        assert await _found(database, tenants.mine, forged) == set()


async def test_a_search_longer_than_anything_searched_is_refused(database: Database, tenants: Tenants) -> None:
    await _name(database, tenants.mine, ["Many words"])
    assert await _found(database, tenants.mine, ("w " * SEARCH_CHARACTERS)[:SEARCH_CHARACTERS]) == {"Many words"}
    with pytest.raises(BadRequest):
        await _found(database, tenants.mine, "w" * (SEARCH_CHARACTERS + 1))


@pytest.mark.parametrize(
    "function",
    [
        "search_users",
        "search_workspaces",
        "search_agents",
        "search_contacts",
        "search_conversations",
        "search_messages",
        "search_alert_series",
    ],
)
async def test_a_search_without_a_tenant_fails(database: Database, function: str) -> None:
    async with database.app.connect() as connection:
        with pytest.raises(DBAPIError) as refused:
            await connection.execute(text(f"SELECT {function}('anything')"))
    assert sqlstate(refused.value) == "42501"


async def test_the_other_serving_roles_cannot_search_at_all(database: Database) -> None:
    for engine in (database.ingest, database.tail, database.platform):
        async with engine.connect() as connection:
            with pytest.raises(DBAPIError) as refused:
                await connection.execute(text("SELECT search_workspaces('anything')"))
        assert sqlstate(refused.value) == "42501"


@pytest.mark.parametrize("name", NAMES)
async def test_events_and_rows_are_broken_into_the_same_words(owner: AsyncEngine, name: str) -> None:
    statement = text(f"SELECT tsvector_to_array({lexemes('CAST(:name AS text)')})")
    async with owner.connect() as connection:
        held = await connection.scalar(statement, {"name": name})
    assert sorted(set(words(name))) == sorted(held)


def _texts(letters: str) -> st.SearchStrategy[str]:
    return st.text(st.sampled_from(letters), min_size=1, max_size=20)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=_texts("aAbBßÉ7-_.'Σिहς店 "), wanted=_texts("aAbBßé7-_.'\\:*&|!()\tΣिहς店 "))
async def test_a_live_filter_and_a_list_agree_on_every_search(
    database: Database, tenants: Tenants, name: str, wanted: str
) -> None:
    (row,) = (await _name(database, tenants.mine, [name])).values()
    page = await read_page(database, tenants.mine, workspaces, Window(first=100), {"search": wanted}, None)
    assert (row.id in {one.id for one in page.rows}) == workspace_matcher({"search": wanted})(row.facets())
