"""This module is where the database is asked whether the constitution stands, whoever tries to change it."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from models import PLATFORM_TENANT_ID, HitlMode, PolicyRule, PolicyTier
from models.database import Database
from models.governance import BUILT_IN, STRONGEST_FIRST
from models.ids import uuid7
from tests.world import Tenants

CHANGES = [
    "UPDATE policy_rules SET enabled = false",
    "UPDATE policy_rules SET hitl_mode = 'inform'",
    "UPDATE policy_rules SET is_immutable = false",
    "DELETE FROM policy_rules",
]


async def _rule(database: Database, tenants: Tenants, *, is_immutable: bool) -> PolicyRule:
    rule = PolicyRule(
        tenant_id=tenants.mine,
        id=uuid7(),
        name="rule",
        conditions={"domain": "HR"},
        hitl_mode=HitlMode.DRAFT,
        is_immutable=is_immutable,
    )
    async with database.session(tenants.mine) as session:
        session.add(rule)
        await session.commit()
    return rule


def test_a_mode_is_stronger_than_the_one_before() -> None:
    assert [one.strength for one in HitlMode] == [0, 1, 2]


async def test_every_tenant_sees_the_constitution(database: Database, tenants: Tenants) -> None:
    async with database.session(tenants.mine) as session:
        rows = await session.scalars(
            select(PolicyRule).where(PolicyRule.id == func.any(list(BUILT_IN.values()))).order_by(PolicyRule.id)
        )
        found = [(one.name, one.tenant_id, one.is_immutable, one.tier, one.enabled) for one in rows]
    assert found == [(name, PLATFORM_TENANT_ID, True, PolicyTier.CONSTITUTIONAL, True) for name in BUILT_IN]


async def test_rules_stand_by_tier_and_then_by_priority(database: Database, tenants: Tenants) -> None:
    async with database.session(tenants.mine) as session:
        for tier in PolicyTier:
            for priority in (-10_000, 10_000):
                session.add(
                    PolicyRule(
                        tenant_id=tenants.mine,
                        name="rule",
                        conditions={},
                        hitl_mode=HitlMode.DRAFT,
                        tier=tier,
                        priority=priority,
                    )
                )
        await session.commit()
        rows = await session.scalars(
            select(PolicyRule).where(PolicyRule.tenant_id == tenants.mine).order_by(PolicyRule.standing.desc())
        )
        found = [(one.tier, one.priority) for one in rows]
    assert found == [(tier, priority) for tier in STRONGEST_FIRST for priority in (10_000, -10_000)]


@pytest.mark.parametrize("change", CHANGES)
async def test_the_serving_role_cannot_touch_the_platforms_rules(
    database: Database, tenants: Tenants, change: str
) -> None:
    async with database.session(tenants.mine) as session:
        result = await session.execute(text(f"{change} WHERE tenant_id = :platform"), {"platform": PLATFORM_TENANT_ID})
        await session.commit()
    assert result.rowcount == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("change", CHANGES)
async def test_nobody_changes_an_immutable_rule_not_even_its_own_tenant_or_the_owner(
    database: Database, owner: AsyncEngine, tenants: Tenants, change: str
) -> None:
    await _rule(database, tenants, is_immutable=True)
    statement = text(f"{change} WHERE tenant_id = :tenant AND is_immutable")
    for tenant in (tenants.mine, PLATFORM_TENANT_ID):
        with pytest.raises(DBAPIError, match="part of the constitution"):
            async with database.session(tenant) as session:
                await session.execute(statement, {"tenant": tenant})
        with pytest.raises(DBAPIError, match="part of the constitution"):
            async with owner.begin() as connection:
                await connection.execute(statement, {"tenant": tenant})


@pytest.mark.parametrize("change", CHANGES)
async def test_other_rules_are_their_tenants_to_change(database: Database, tenants: Tenants, change: str) -> None:
    await _rule(database, tenants, is_immutable=False)
    async with database.session(tenants.mine) as session:
        result = await session.execute(text(f"{change} WHERE tenant_id = :tenant"), {"tenant": tenants.mine})
        await session.commit()
    assert result.rowcount == 1  # type: ignore[attr-defined]


async def test_a_tenants_own_end_is_the_end_of_its_immutable_rules(
    database: Database, owner: AsyncEngine, tenants: Tenants
) -> None:
    await _rule(database, tenants, is_immutable=True)
    async with owner.begin() as connection:
        await connection.execute(text("UPDATE tenants SET deleted_at = now() WHERE id = :id"), {"id": tenants.mine})
    mine = {"tenant": tenants.mine}
    with pytest.raises(DBAPIError, match="part of the constitution"):
        async with database.session(tenants.mine) as session:
            await session.execute(text("UPDATE policy_rules SET name = 'x' WHERE tenant_id = :tenant"), mine)
    async with database.session(tenants.mine) as session:
        result = await session.execute(text("DELETE FROM policy_rules WHERE tenant_id = :tenant"), mine)
        await session.commit()
    assert result.rowcount == 1  # type: ignore[attr-defined]
