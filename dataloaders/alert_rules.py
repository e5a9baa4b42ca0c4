"""This module is where alert rules are fetched: in the order of evaluation, and by what tells whether they changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, String, Text, TextClause, Uuid, bindparam, cast, func, select, text
from sqlalchemy.dialects.postgresql import aggregate_order_by

from dataloaders.pages import Direction, Listing, Order, any_of, equals
from models import AlertRule, Tenant
from models.database import TenantSession

MOST_RULES: Final = 500
"""Of one tenant, disabled ones included."""


def _present(_: Any) -> list[ColumnElement[bool]]:
    return [AlertRule.deleted_at.is_(None)]


alert_rules: Final = Listing(
    AlertRule,
    filters={"enabled": equals(AlertRule.enabled), "action": any_of(AlertRule.action)},
    orders={"evaluation": Order(AlertRule.priority, then=AlertRule.created_at)},
    default=("evaluation", Direction.ASC),
    always=_present,
)


_ALL: Final = (
    select(AlertRule)
    .where(AlertRule.tenant_id == bindparam("tenant", type_=Uuid()), AlertRule.deleted_at.is_(None))
    .order_by(AlertRule.priority, AlertRule.created_at, AlertRule.id)
    .limit(MOST_RULES)
)

_REORDER: Final[TextClause] = text(
    """
UPDATE alert_rules r SET priority = u.priority, version = r.version + 1, updated_at = CAST(:now AS timestamptz)
FROM unnest(CAST(:ids AS uuid[]), CAST(:priorities AS int[])) AS u (id, priority)
WHERE r.tenant_id = CAST(:tenant AS uuid) AND r.id = u.id
"""
)


async def rules_of(session: TenantSession) -> Sequence[AlertRule]:
    """All rules of the tenant in the order of evaluation, disabled ones included."""
    return (await session.scalars(_ALL, {"tenant": session.tenant_id})).all()


async def lock_rules(session: TenantSession) -> Sequence[AlertRule]:
    """The same, locked until COMMIT; they belong to no session."""
    rules = (await session.scalars(_ALL.with_for_update(key_share=True), {"tenant": session.tenant_id})).all()
    for rule in rules:
        session.expunge(rule)
    return rules


async def store_priorities(session: TenantSession, rules: Sequence[AlertRule], now: datetime) -> None:
    """Store the priorities of ``rules``, each one version further; one statement. Does not commit."""
    if not rules:
        return
    for rule in rules:
        rule.version += 1
        rule.updated_at = now
    ids, priorities = [rule.id for rule in rules], [rule.priority for rule in rules]
    await session.execute(_REORDER, {"tenant": session.tenant_id, "now": now, "ids": ids, "priorities": priorities})


async def count_rules(session: TenantSession) -> int:
    """How many rules the tenant has, disabled ones included."""
    some = (
        select(AlertRule.id)
        .where(AlertRule.tenant_id == session.tenant_id, AlertRule.deleted_at.is_(None))
        .limit(MOST_RULES)
    )
    return int(await session.scalar(select(func.count()).select_from(some.subquery())) or 0)


async def ground_rules(session: TenantSession) -> tuple[dict[str, Any], str]:
    """The tenant's settings, and a text that is another one whenever what its rules say is: ids and versions.

    One statement; rules themselves are read only when this differs from what was compiled.
    """
    named = cast(AlertRule.id, String) + ":" + cast(AlertRule.version, String)
    rules = (
        select(AlertRule.id, AlertRule.version, named.label("named"))
        .where(AlertRule.tenant_id == session.tenant_id, AlertRule.deleted_at.is_(None))
        .order_by(AlertRule.priority, AlertRule.created_at, AlertRule.id)
        .limit(MOST_RULES)
        .subquery()
    )
    edition = select(func.md5(func.string_agg(rules.c.named, aggregate_order_by(cast(",", Text), rules.c.id))))
    row = (
        await session.execute(select(Tenant.settings, edition.scalar_subquery()).where(Tenant.id == session.tenant_id))
    ).one()
    return row[0] or {}, row[1] or ""


async def settings_of(session: TenantSession) -> dict[str, Any]:
    """What the tenant's administrators set."""
    return await session.scalar(select(Tenant.settings).where(Tenant.id == session.tenant_id)) or {}
