"""This module is where forgetting of talk is specified: what nobody touched for 90 days goes with all that it holds."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select, text, update

from models import (
    AgentRun,
    Conversation,
    ConversationKind,
    ConversationStatus,
    Message,
    MessageRole,
    ReadMarker,
    Tenant,
    ToolExecution,
    ToolKind,
    ToolStatus,
    User,
    UserStatus,
    utcnow,
)
from models.database import Database
from models.errors import Refusal
from models.ids import uuid7
from resolvers.retention import RetentionRules, delete_conversations
from resolvers.shapes import tenant_settings
from tests.world import Tenants

RULES = RetentionRules()
DAY = timedelta(days=1)
TALK: tuple[Any, ...] = (Conversation, Message, ReadMarker, AgentRun, ToolExecution)


async def always() -> bool:
    return True


async def thread(database: Database, tenant: UUID, age: timedelta, messages: int = 2, **said: Any) -> UUID:
    """A conversation that was last touched so long ago, with everything that can hang on one."""
    user = User(tenant_id=tenant, id=uuid7(), status=UserStatus.ACTIVE)
    mine: dict[str, Any] = {"tenant_id": tenant}
    one = Conversation(**mine, id=uuid7(), kind=ConversationKind.CHAT, user_id=user.id, message_count=messages, **said)
    run = AgentRun(**mine, id=uuid7(), conversation_id=one.id, agent_name="a", started_at=utcnow())
    async with database.session(tenant) as session:
        session.add(user)
        await session.flush()
        session.add(one)
        await session.flush()
        session.add_all([run, ReadMarker(**mine, conversation_id=one.id, user_id=user.id, read_seq=1)])
        await session.flush()
        session.add(
            ToolExecution(
                **mine,
                conversation_id=one.id,
                run_id=run.id,
                kind=ToolKind.MCP,
                tool_name="t",
                status=ToolStatus.SUCCESS,
            )
        )
        session.add_all(
            Message(**mine, conversation_id=one.id, user_id=user.id, seq=n + 1, role=MessageRole.USER, content="said")
            for n in range(messages)
        )
        await session.flush()
        await session.execute(
            update(Conversation)
            .where(Conversation.tenant_id == tenant, Conversation.id == one.id)
            .values(updated_at=utcnow() - age)
        )
        await session.commit()
    return one.id


async def left(database: Database, tenant: UUID) -> list[int]:
    """How many rows there are of everything about talk."""
    async with database.session(tenant) as session:
        return [await session.scalar(select(func.count()).select_from(one)) or 0 for one in TALK]


async def test_what_was_touched_within_ninety_days_stays_and_all_else_goes_whatever_its_status(
    database: Database, tenants: Tenants
) -> None:
    almost = 90 * DAY - timedelta(minutes=5)
    young = await thread(database, tenants.mine, almost)
    for status in ConversationStatus:
        await thread(database, tenants.mine, 90 * DAY + timedelta(minutes=5), status=status)
    await thread(database, tenants.other, almost)
    assert await delete_conversations(database, RULES, always) >= 3 * 6
    assert await left(database, tenants.mine) == [1, 2, 1, 1, 1]
    assert await left(database, tenants.other) == [1, 2, 1, 1, 1]
    async with database.session(tenants.mine) as session:
        assert list(await session.scalars(select(Conversation.id))) == [young]


async def test_a_tenant_that_says_how_long_is_taken_at_its_word(database: Database, tenants: Tenants) -> None:
    for tenant, days in ((tenants.mine, 10), (tenants.other, 400)):
        async with database.session(tenant) as session:
            settings = {"retention": {"conversation_days": days}}
            await session.execute(update(Tenant).where(Tenant.id == tenant).values(settings=settings))
            await session.commit()
        await thread(database, tenant, 20 * DAY)
        await thread(database, tenant, 200 * DAY)
    await delete_conversations(database, RULES, always)
    assert (await left(database, tenants.mine))[0] == 0
    assert (await left(database, tenants.other))[0] == 2


async def test_what_stands_in_the_settings_and_is_no_number_stops_nothing(database: Database, tenants: Tenants) -> None:
    async with database.session(tenants.mine) as session:
        await session.execute(
            text("""UPDATE tenants SET settings = '{"retention": {"conversation_days": "soon"}}' WHERE id = :id"""),
            {"id": tenants.mine},
        )
        await session.commit()
    await thread(database, tenants.mine, 91 * DAY)
    await delete_conversations(database, RULES, always)
    assert (await left(database, tenants.mine))[0] == 0


async def test_a_long_conversation_goes_a_thousand_rows_at_a_time_and_is_closed_from_the_first(
    database: Database, tenants: Tenants
) -> None:
    await delete_conversations(database, RULES, always)  # what other tests left
    await thread(database, tenants.mine, 91 * DAY, messages=1_500, title="Title")
    leads = [True, False]

    async def still_leads() -> bool:
        return leads.pop(0)

    assert await delete_conversations(database, RULES, still_leads) == 1_000
    async with database.session(tenants.mine) as session:
        [one] = await session.scalars(select(Conversation))
    assert (one.status, one.title, one.message_count) == (ConversationStatus.DELETED, None, 0)
    # 1,500 messages, a marker, a run, a tool and the conversation.
    assert await delete_conversations(database, RULES, always) == 504
    assert await left(database, tenants.mine) == [0] * 5
    assert await delete_conversations(database, RULES, always) == 0


@pytest.mark.parametrize("days", [0, -1, 3_651, "ten", 1.5])
def test_how_long_is_a_number_of_days(days: Any) -> None:
    assert tenant_settings({"retention": {"conversation_days": 365}})
    with pytest.raises(Refusal) as refused:
        tenant_settings({"retention": {"conversation_days": days}})
    assert refused.value.field == ("input", "settings", "retention", "conversation_days")
