"""This module is where policies are fetched: as lists, as what is in force, and as what they were."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import undefer

from dataloaders.pages import Direction, Listing, Order, any_of, equals
from models import PLATFORM_TENANT_ID, Agent, GovernanceHead, GovernanceVersion, PolicyRule, ProhibitedTopic, User
from models.database import TenantSession

MOST_RULES: Final = 500
"""Rules that one tenant can have."""

MOST_TOPICS: Final = 500
"""Topics that one tenant can prohibit."""

policy_rules: Final = Listing(
    PolicyRule,
    filters={},
    orders={"standing": Order(PolicyRule.standing)},
    default=("standing", Direction.DESC),
)

prohibited_topics: Final = Listing(
    ProhibitedTopic,
    filters={"scope": any_of(ProhibitedTopic.scope), "agent_id": equals(ProhibitedTopic.agent_id)},
    orders={"created_at": Order(ProhibitedTopic.created_at)},
)

governance_versions: Final = Listing(
    GovernanceVersion,
    filters={"changed_by": equals(GovernanceVersion.changed_by)},
    orders={"version_no": Order(GovernanceVersion.version_no, is_unique=True)},
    default=("version_no", Direction.DESC),
)


async def newest_versions(session: TenantSession) -> tuple[int, int]:
    """The numbers of the tenant's newest version and of the platform's; 0 where nothing was ever changed."""
    owners = [session.tenant_id, PLATFORM_TENANT_ID]
    rows = await session.execute(
        select(GovernanceHead.tenant_id, GovernanceHead.version_no)
        .where(GovernanceHead.tenant_id == func.any(owners))
        .limit(2)
    )
    found = {row.tenant_id: row.version_no for row in rows}
    return found.get(session.tenant_id, 0), found.get(PLATFORM_TENANT_ID, 0)


async def rules_in_force(session: TenantSession) -> Sequence[PolicyRule]:
    """The tenant's rules and the platform's, those that are switched off included; two statements' worth of rows."""
    rows: list[PolicyRule] = []
    for owner in dict.fromkeys([session.tenant_id, PLATFORM_TENANT_ID]):
        rows += await rules_of(session, owner)
    return rows


async def rules_of(session: TenantSession, owner: UUID) -> Sequence[PolicyRule]:
    """One tenant's rules in the order of evaluation; at most one more than it may have."""
    statement = select(PolicyRule).where(PolicyRule.tenant_id == owner)
    ordered = statement.order_by(PolicyRule.standing.desc(), PolicyRule.id.desc()).limit(MOST_RULES + 1)
    return (await session.scalars(ordered)).all()


async def topics_of(session: TenantSession) -> Sequence[ProhibitedTopic]:
    """The tenant's topics, oldest first; at most one more than it may have."""
    statement = select(ProhibitedTopic).where(ProhibitedTopic.tenant_id == session.tenant_id)
    ordered = statement.order_by(ProhibitedTopic.created_at, ProhibitedTopic.id).limit(MOST_TOPICS + 1)
    return (await session.scalars(ordered)).all()


async def version_numbered(session: TenantSession, number: int) -> GovernanceVersion | None:
    """The tenant's version of this number, with its snapshot."""
    found: GovernanceVersion | None = await session.scalar(
        select(GovernanceVersion)
        .where(GovernanceVersion.tenant_id == session.tenant_id, GovernanceVersion.version_no == number)
        .options(undefer(GovernanceVersion.rules_snapshot))
    )
    return found


async def newest_version(session: TenantSession) -> GovernanceVersion | None:
    """The tenant's newest version, without its snapshot; None where nothing was ever changed."""
    statement = select(GovernanceVersion).where(GovernanceVersion.tenant_id == session.tenant_id)
    found: GovernanceVersion | None = await session.scalar(
        statement.order_by(GovernanceVersion.version_no.desc()).limit(1)
    )
    return found


async def snapshots_by_id(session: TenantSession, ids: Sequence[UUID]) -> list[dict[str, Any] | None]:
    """The whole of each version."""
    statement = select(GovernanceVersion.id, GovernanceVersion.rules_snapshot).where(
        GovernanceVersion.tenant_id == session.tenant_id, GovernanceVersion.id == func.any(list(ids))
    )
    found = {row.id: row.rules_snapshot for row in await session.execute(statement.limit(len(ids)))}
    return [found.get(one) for one in ids]


async def agents_there(session: TenantSession, ids: Sequence[UUID]) -> set[UUID]:
    """Which of these agents the tenant has."""
    statement = select(Agent.id).where(
        Agent.tenant_id == session.tenant_id, Agent.id == func.any(list(ids)), Agent.deleted_at.is_(None)
    )
    return set(await session.scalars(statement.limit(len(ids))))


async def is_member(session: TenantSession, user_id: UUID) -> bool:
    """Whether the tenant has a row of this person."""
    found = await session.scalar(select(User.id).where(User.tenant_id == session.tenant_id, User.id == user_id))
    return found is not None


async def replace_rows(
    session: TenantSession,
    model: type[PolicyRule] | type[ProhibitedTopic],
    going: Sequence[UUID],
    coming: Sequence[PolicyRule | ProhibitedTopic],
    now: datetime,
) -> None:
    """Delete ``going`` and insert ``coming``, which belong to no session; two statements at most. Does not commit."""
    table: Any = model.__table__
    if going:
        await session.execute(
            delete(table).where(table.c.tenant_id == session.tenant_id, table.c.id == func.any(list(going)))
        )
    if coming:
        # The table and not the model: the mapper would begin to count versions anew.
        said = [one.key for one in table.c if one.computed is None]
        shared = {"tenant_id": session.tenant_id, "updated_at": now}
        await session.execute(insert(table), [{key: getattr(row, key) for key in said} | shared for row in coming])
