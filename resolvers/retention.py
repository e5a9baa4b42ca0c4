"""This module is where what nobody needs any more is deleted: old keys, old activity, the far end of the event log."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final
from uuid import UUID

from dataloaders.conversation_retention import delete_old_conversations, tenants_with_old_conversations
from dataloaders.retention import (
    CHUNK,
    delete_old_events,
    delete_old_keys,
    tenants_with_old_events,
    tenants_with_old_keys,
)
from dataloaders.spent_credentials import SPENT, Spent, delete_old_rows, tenants_with_spent
from models import ActivityLog
from models.database import Database, TenantSession

_CHUNKS_OF_A_TENANT: Final = 200  # then the others get their turn; the next run goes on

_PATIENCE_SECONDS: Final = 10.0

MayGoOn = Callable[[], Awaitable[bool]]
"""Asked before every transaction: whether this process may still do the work."""


@dataclass(frozen=True, slots=True)
class RetentionRules:
    """How long things are kept."""

    key_age: timedelta = timedelta(hours=24)
    event_age: timedelta = timedelta(days=7)
    most_events: int = 1_000_000
    activity_age: timedelta = timedelta(days=7)
    conversation_age: timedelta = timedelta(days=90)
    """Since anything was last said or changed in it; where the tenant's settings say nothing else."""


async def delete_keys(database: Database, rules: RetentionRules, may_go_on: MayGoOn) -> int:
    """Delete idempotency keys past their age, tenant by tenant; how many. Commits each thousand rows."""

    async def chunk(session: TenantSession) -> int:
        return await delete_old_keys(session, rules.key_age)

    tenants = await tenants_with_old_keys(database, rules.key_age)
    return sum([await _delete(database, tenant, chunk, may_go_on) for tenant in tenants])


async def trim_logs(database: Database, rules: RetentionRules, may_go_on: MayGoOn) -> int:
    """Delete events past their age or number and move the floors with them; how many. Commits each thousand rows.

    A cursor below the floor is told so when it resumes; structure events stay for ever.
    """

    async def chunk(session: TenantSession) -> int:
        return await delete_old_events(session, rules.event_age, rules.most_events)

    tenants = await tenants_with_old_events(database, rules.event_age, rules.most_events)
    return sum([await _delete(database, tenant, chunk, may_go_on) for tenant in tenants])


async def delete_activity(database: Database, rules: RetentionRules, may_go_on: MayGoOn) -> int:
    """Delete what workspaces did longer ago than it is kept, tenant by tenant; how many. Commits each thousand rows."""
    old = Spent(ActivityLog, "created_at", rules.activity_age)
    tenants = await tenants_with_spent(database, old)
    return sum([await _delete(database, one, partial(delete_old_rows, spent=old), may_go_on) for one in tenants])


async def delete_conversations(database: Database, rules: RetentionRules, may_go_on: MayGoOn) -> int:
    """Delete conversations in which nothing was said for longer than the tenant keeps them, with all that they hold.

    How many rows; what is left of those that were deleted before goes as well. Commits about each thousand rows.
    """

    async def chunk(session: TenantSession) -> int:
        return await delete_old_conversations(session, rules.conversation_age)

    tenants = await tenants_with_old_conversations(database, rules.conversation_age)
    return sum([await _delete(database, tenant, chunk, may_go_on) for tenant in tenants])


async def delete_spent(database: Database, may_go_on: MayGoOn) -> int:
    """Delete sessions, one-time tokens, wrong passwords, mails and webhooks that are of no use any more; how many.

    Commits each thousand rows. A session outlives its end by the month in which its network is still a known one.
    """
    deleted = 0
    for spent in SPENT:
        for tenant in await tenants_with_spent(database, spent):
            deleted += await _delete(database, tenant, partial(delete_old_rows, spent=spent), may_go_on)
    return deleted


async def _delete(
    database: Database, tenant_id: UUID, chunk: Callable[[TenantSession], Awaitable[int]], may_go_on: MayGoOn
) -> int:
    deleted = 0
    for _ in range(_CHUNKS_OF_A_TENANT):
        if not await may_go_on():
            break
        async with asyncio.timeout(_PATIENCE_SECONDS), database.session(tenant_id) as session:
            count = await chunk(session)
            await session.commit()
        deleted += count
        if count < CHUNK:
            break
    return deleted
