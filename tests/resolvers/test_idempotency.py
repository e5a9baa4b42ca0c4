"""This module is where retries are specified: one key does its work once, whoever else tries at the same time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select, text

from models import IdempotencyKey, Workspace, WorkspaceStatus, utcnow
from models.database import Database
from models.errors import Refusal, RefusalCode, Unavailable
from models.ids import encode, uuid7
from resolvers.idempotency import MAX_KEY_LENGTH, Claim, Replay, replayed_id
from resolvers.unit_of_work import UnitOfWork, unit_of_work
from tests.patience import DEADLINE, promised
from tests.resolvers.people import Announced
from tests.resolvers.test_unit_of_work import change
from tests.world import Tenants

BODY = {"name": "Marketing", "tier": 2}


def claim(key: str = "one", who: str = "user:1", mutation: str = "create_workspace", **body: Any) -> Claim:
    """Somebody's claim."""
    return Claim.of(who, mutation, key, body or BODY)


def work(database: Database, tenant_id: UUID, claimed: Claim | None) -> AbstractAsyncContextManager[UnitOfWork]:
    """A unit of work under a claim."""
    return unit_of_work(database, Announced(), utcnow, tenant_id, None, claimed)


async def create(database: Database, tenant_id: UUID, claimed: Claim | None) -> UUID:
    """What a create mutation does: the new row's id, or the one made before."""
    row = Workspace(id=uuid7(), name="Marketing")
    try:
        async with work(database, tenant_id, claimed) as under_way:
            under_way.add(row)
            under_way.record(change(row.id))
    except Replay as replay:
        return replayed_id(replay)
    return row.id


async def count(database: Database, tenant_id: UUID) -> int:
    """The tenant's workspaces."""
    async with database.session(tenant_id) as session:
        return await session.scalar(select(func.count()).select_from(Workspace)) or 0


async def test_a_retry_finds_what_the_first_try_made(database: Database, tenants: Tenants) -> None:
    first = await create(database, tenants.mine, claim())
    assert await create(database, tenants.mine, claim()) == first
    assert await count(database, tenants.mine) == 1


async def test_the_keys_row_keeps_ids_and_a_hash_and_never_the_answer(database: Database, tenants: Tenants) -> None:
    made = await create(database, tenants.mine, claim())
    async with database.session(tenants.mine) as session:
        row = (await session.scalars(select(IdempotencyKey))).one()
        held = str((await session.execute(text("SELECT * FROM idempotency_keys"))).one())
    assert row.result_ids == {"ids": [encode("workspace", made)]}
    assert len(row.body_hash) == 32
    assert "Marketing" not in held


async def test_another_body_under_the_same_key_is_a_mismatch(database: Database, tenants: Tenants) -> None:
    await create(database, tenants.mine, claim())
    with pytest.raises(Refusal) as refused:
        await create(database, tenants.mine, claim(name="Sales", tier=2))
    assert refused.value.code is RefusalCode.IDEMPOTENCY_MISMATCH
    assert refused.value.field == ("input", "idempotencyKey")
    assert await count(database, tenants.mine) == 1


@pytest.mark.parametrize("other", [{"key": "two"}, {"who": "user:2"}, {"mutation": "create_user"}])
async def test_another_key_caller_or_mutation_is_another_try(
    database: Database, tenants: Tenants, other: dict[str, str]
) -> None:
    first = await create(database, tenants.mine, claim())
    assert await create(database, tenants.mine, claim(**other)) != first
    assert await count(database, tenants.mine) == 2


async def test_the_other_tenants_keys_are_its_own(database: Database, tenants: Tenants) -> None:
    assert await create(database, tenants.mine, claim()) != await create(database, tenants.other, claim())
    assert await count(database, tenants.mine) == await count(database, tenants.other) == 1


async def test_of_duplicates_at_the_same_time_one_works_and_all_answer_the_same(
    database: Database, tenants: Tenants
) -> None:
    made = await asyncio.gather(*(create(database, tenants.mine, claim()) for _ in range(8)))
    assert len(set(made)) == 1
    assert await count(database, tenants.mine) == 1


@asynccontextmanager
async def trying(database: Database, tenant_id: UUID, claimed: Claim) -> AsyncIterator[asyncio.Event]:
    """A first try that holds its key until the event is set, then commits."""
    taken, finish = asyncio.Event(), asyncio.Event()

    async def first() -> None:
        async with work(database, tenant_id, claimed) as under_way:
            taken.set()
            await finish.wait()
            row = Workspace(id=uuid7(), name="Marketing")
            under_way.add(row)
            under_way.record(change(row.id))

    task = asyncio.create_task(first(), name="first try")
    async with asyncio.timeout(DEADLINE):
        await taken.wait()
    try:
        yield finish
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_a_duplicate_does_the_work_when_the_first_try_fails(database: Database, tenants: Tenants) -> None:
    async with trying(database, tenants.mine, claim()):
        second = asyncio.create_task(create(database, tenants.mine, claim()), name="second try")
        await asyncio.sleep(0)
    async with asyncio.timeout(DEADLINE):
        await second
    assert await count(database, tenants.mine) == 1


async def test_a_duplicate_waits_no_longer_than_two_seconds(database: Database, tenants: Tenants) -> None:
    async with trying(database, tenants.mine, claim()):
        begun = time.monotonic()
        with pytest.raises(Unavailable):
            await create(database, tenants.mine, claim())
        assert 1.5 < time.monotonic() - begun < promised(4)
    assert await count(database, tenants.mine) == 0


async def test_a_try_that_was_refused_leaves_its_key_free(database: Database, tenants: Tenants) -> None:
    with pytest.raises(Refusal):
        async with work(database, tenants.mine, claim()):
            raise Refusal(RefusalCode.INVALID, "no")
    first = await create(database, tenants.mine, claim())
    assert await create(database, tenants.mine, claim()) == first


async def test_the_key_is_taken_before_and_kept_inside_the_same_transaction(
    database: Database, tenants: Tenants
) -> None:
    async with work(database, tenants.mine, claim()) as under_way:
        async with database.session(tenants.mine) as other:
            assert await other.scalar(select(func.count()).select_from(IdempotencyKey)) == 0
        under_way.record(change(uuid7()))
    async with database.session(tenants.mine) as session:
        assert await session.scalar(select(func.count()).select_from(IdempotencyKey)) == 1


@pytest.mark.parametrize("key", ["", "x" * (MAX_KEY_LENGTH + 1), "nul\x00", "line\n"])
def test_a_key_is_a_short_printable_text(key: str) -> None:
    with pytest.raises(Refusal) as refused:
        claim(key)
    assert refused.value.code is RefusalCode.INVALID
    assert refused.value.field == ("input", "idempotencyKey")
    assert claim("é" * MAX_KEY_LENGTH).key == "é" * MAX_KEY_LENGTH


@pytest.mark.parametrize("value", [10**30, "\ud800", {1: 2}])
def test_a_body_that_json_cannot_hold_is_refused(value: object) -> None:
    with pytest.raises(Refusal) as refused:
        claim(settings=value)
    assert refused.value.code is RefusalCode.INVALID


def test_the_order_of_a_bodys_fields_says_nothing_and_every_value_does() -> None:
    body: dict[str, Any] = {
        "id": UUID(int=7),
        "at": datetime(2026, 1, 1, tzinfo=UTC),
        "status": WorkspaceStatus.ONLINE,
        "card": {"a": [1, None], "b": 1.5},
    }
    backwards = {name: body[name] for name in reversed(body)}
    assert claim(**body) == claim(**backwards)
    others: list[dict[str, Any]] = [
        {"id": UUID(int=8)},
        {"status": WorkspaceStatus.OFFLINE},
        {"card": {"a": [1], "b": 1.5}},
        {"more": None},
    ]
    hashes = {claim(**(body | other)).body_hash for other in others}
    assert len(hashes | {claim(**body).body_hash}) == len(others) + 1
