"""This module is where the audit log is specified: each change leaves an entry, sealed, chained, never changed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from models import (
    AccessType,
    AuditLog,
    DataCategory,
    EventTopic,
    PersonKey,
    Role,
    Scope,
    User,
    UserStatus,
    Workspace,
    WorkspaceStatus,
    utcnow,
)
from models.chain import CHAINED
from models.changes import REDACTED, redacted
from models.database import Database, DatabaseUrls, PoolOptions, sqlstate
from models.errors import Refusal, RefusalCode
from models.ids import uuid7
from resolvers.audit import Origin
from resolvers.data_access import Access
from resolvers.person_keys import destroy_key
from resolvers.status_changes import change_status, locked_workspaces
from tests.conftest import counted
from tests.resolvers.chains import Chain, change
from tests.world import AUDIT, Tenants

FORBIDDEN = "42501"
WRITERS = 16


@pytest.fixture
def chain(database: Database, tenants: Tenants) -> Chain:
    """The tenant's."""
    return Chain(database, tenants.mine)


def _user(**given: Any) -> User:
    row_id = uuid7()
    said = {"display_name": "Ada", "email": f"{row_id}@x.example", "email_key": f"{row_id}@x.example", "roles": []}
    return User(id=row_id, status=UserStatus.ACTIVE, **(said | given))


def _about(user: User, kind: str, **given: Any) -> Any:
    about = {"topic": EventTopic.TENANCY, "required_scope": Scope.USERS_READ, "owner_user_id": user.id}
    return change("user", user.id, kind, **(about | given))


async def test_a_change_leaves_one_entry_that_says_who_what_whence_and_what_it_was_before(chain: Chain) -> None:
    admin, ada = uuid7(), _user(department="Sales")
    async with chain.work(("user", admin)) as work:
        work.add(ada)
        work.record(_about(ada, "user.created"))
    origin = Origin("192.0.2.7", "a browser\x00", "request-1")
    async with chain.work(("user", admin), origin) as work:
        row = await work.locked(User, ada.id)
        row.display_name, row.roles = "Ada L.", [Role.VIEWER.value]
        work.record(_about(ada, "user.updated", payload={"changed": ["display_name", "roles"]}))
    made, changed = await chain.rows()
    assert (made.seq, made.action, made.resource_id, made.subject_id) == (1, "user.created", ada.id, ada.id)
    assert (changed.actor_type, changed.actor_id, changed.trace_id) == ("user", admin, "request-1")
    assert changed.details == '{"changed":["display_name","roles"]}'
    created = await chain.contents(made)
    assert "old" not in created
    assert {created["new"][name] for name in ("display_name", "department", "status")} == {"Ada", "Sales", "active"}
    assert await chain.contents(changed) == {
        "old": {"display_name": "Ada", "roles": []},
        "new": {"display_name": "Ada L.", "roles": ["viewer"]},
    }
    assert await chain.origin(changed) == {"address": "192.0.2.7", "agent": "a browser"}
    assert await chain.origin(made) is None


async def test_nothing_personal_stands_in_the_clear(chain: Chain, owner: AsyncEngine) -> None:
    ada = _user(display_name="Canary Name", email="canary@personal.example", department="Canary Department")
    async with chain.work(("user", ada.id), Origin("203.0.113.77", "CanaryAgent/1.0", "r")) as work:
        work.add(ada)
        work.record(_about(ada, "user.created", after={"department": "Canary Department"}))
    async with owner.connect() as connection:
        said = str((await connection.execute(text("SELECT a::text FROM audit_logs a"))).scalars().all())
    for canary in ("Canary", "canary@", "203.0.113"):
        assert canary not in said
        assert canary.encode().hex() not in said


@pytest.mark.parametrize(
    "column", ["password_hash", "secret_hash", "token_hash", "wrapped", "client_secret", "password"]
)
async def test_what_is_secret_is_not_even_sealed(column: str) -> None:
    assert redacted(column, "$argon2id$…") == REDACTED
    assert redacted("settings", {"theme": "dark", "smtp": {"apiKey": "k", "password": "p"}, "keys": [1]}) == {
        "theme": "dark",
        "smtp": {"apiKey": REDACTED, "password": REDACTED},
        "keys": [1],
    }
    assert redacted(column, None) is None


async def test_what_is_refused_leaves_no_entry(chain: Chain) -> None:
    with pytest.raises(Refusal):
        async with chain.work(("user", uuid7())) as work:
            work.record(change("workspace", uuid7(), "workspace.created"))
            raise Refusal(RefusalCode.INVALID, "no")
    assert await chain.rows() == []
    await chain.grow(1)
    assert [row.seq for row in await chain.rows()] == [1]
    assert (await chain.verdict()).fault is None


async def test_sixteen_writers_at_once_make_one_chain(migrated: str, tenants: Tenants) -> None:
    wide = Database(DatabaseUrls.for_roles(migrated), PoolOptions(size=WRITERS), AUDIT)
    chain = Chain(wide, tenants.mine)
    await asyncio.gather(*(chain.grow(4) for _ in range(WRITERS)))
    rows = await chain.rows()
    assert [row.seq for row in rows] == list(range(1, WRITERS * 4 + 1))
    assert [row.id for row in rows] == sorted(row.id for row in rows)
    verdict = await chain.verdict()
    assert (verdict.entries, verdict.fault) == (WRITERS * 4, None)
    await wide.close()


async def test_a_commit_of_many_changes_chains_them_all(chain: Chain) -> None:
    ids = [uuid7() for _ in range(1200)]
    async with chain.work(("key", uuid7())) as work:
        for one in ids:
            work.record(change("workspace", one, "workspace.updated"))
    async with chain.work() as work:
        work.record(change("workspace", ids[0], "workspace.updated"))
    assert (await chain.verdict()).entries == 1201
    assert (await chain.verdict()).fault is None


async def test_what_silence_does_by_the_thousand_is_nobodys_doing(chain: Chain) -> None:
    async with chain.work(("user", uuid7())) as work:
        place = Workspace(id=uuid7(), name="place", status=WorkspaceStatus.ONLINE)
        work.add(place)
    async with chain.work() as work:
        await change_status(work, await locked_workspaces(work, [place.id]), WorkspaceStatus.OFFLINE)
    assert await chain.rows() == []


async def test_an_entry_costs_two_statements_once_the_keys_are_known(chain: Chain, database: Database) -> None:
    who = ("user", uuid7())
    await chain.grow(2, who)
    with counted(database) as statements:
        await chain.grow(1, who)
    of_the_log = [one for one in statements if "audit_" in one or "person_keys" in one]
    assert len(of_the_log) == 2
    assert "FOR NO KEY UPDATE" in of_the_log[0]


async def test_the_head_is_locked_after_the_rows_and_before_the_counter(chain: Chain, database: Database) -> None:
    with counted(database) as statements:
        await chain.grow(1)
    tables = [
        next(one for one in ("workspaces", "audit_heads", "tenant_streams", "") if one in text) for text in statements
    ]
    places = [tables.index(one) for one in ("workspaces", "audit_heads", "tenant_streams")]
    assert places == sorted(places)


@pytest.mark.parametrize(
    "statement", ["UPDATE audit_logs SET action = ''", "DELETE FROM audit_logs", "TRUNCATE audit_logs"]
)
async def test_the_serving_role_cannot_change_an_entry(chain: Chain, database: Database, statement: str) -> None:
    await chain.grow(1)
    async with database.session(chain.tenant_id) as session:
        with pytest.raises(DBAPIError) as refused:
            await session.execute(text(statement))
    assert sqlstate(refused.value) == FORBIDDEN


@pytest.mark.parametrize("log", ["audit_logs", "data_access_logs"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET trace_id = ''", "DELETE FROM {}", "TRUNCATE {}"])
async def test_even_the_owner_meets_a_trigger(chain: Chain, owner: AsyncEngine, statement: str, log: str) -> None:
    await chain.grow(1)
    async with chain.work(("user", uuid7())) as work:
        work.note_access(
            Access(subject=("user", uuid7()), category=DataCategory.ACCOUNT, kind=AccessType.READ, purpose="a test")
        )
    async with owner.connect() as connection:
        with pytest.raises(DBAPIError) as refused:
            await connection.execute(text(statement.format(log)))
        await connection.rollback()
    assert sqlstate(refused.value) == FORBIDDEN
    assert "only added to" in str(refused.value)


async def test_another_tenant_sees_nothing_of_it(chain: Chain, database: Database, tenants: Tenants) -> None:
    await chain.grow(1)
    async with database.session(tenants.other) as session:
        for table in ("audit_logs", "audit_heads", "person_keys", "audit_checkpoints", "data_access_logs"):
            mine = await session.scalar(
                text(f"SELECT count(*) FROM {table} WHERE tenant_id = :mine"), {"mine": chain.tenant_id}
            )
            assert mine == 0


async def test_an_erased_persons_part_is_unreadable_and_the_chain_stands(chain: Chain, database: Database) -> None:
    ada, bob = _user(), _user()
    origin = Origin("192.0.2.7", "a browser", "r")
    for one in (ada, bob):
        async with chain.work(("user", one.id), origin) as work:
            work.add(one)
            work.record(_about(one, "user.created"))
    async with database.session(chain.tenant_id) as session:
        await destroy_key(session, AUDIT, ada.id, utcnow())
        await session.commit()
    async with chain.work(("user", ada.id), origin) as work:
        work.record(_about(ada, "user.updated", before={"department": "a"}, after={"department": "b"}))
    hers, his, later = await chain.rows()
    assert [await chain.contents(hers), await chain.origin(hers)] == [None, None]
    assert (await chain.contents(his))["new"]["display_name"] == "Ada"
    assert (later.contents, later.origin) == (None, None)
    assert (await chain.verdict()).fault is None


async def test_a_key_that_was_rolled_back_seals_nothing_afterwards(chain: Chain, database: Database) -> None:
    ada = _user()
    with pytest.raises(RuntimeError, match="a defect"):
        async with chain.work(("user", ada.id)) as work:
            work.add(ada)
            work.record(_about(ada, "user.created"))
            await work.finish()
            raise RuntimeError("a defect")
    again = _user()
    async with chain.work(("user", ada.id), Origin("192.0.2.7")) as work:
        work.add(again)
        work.record(_about(again, "user.created"))
    (row,) = await chain.rows()
    assert await chain.origin(row) == {"address": "192.0.2.7"}


async def test_a_lost_key_stops_no_work(chain: Chain, database: Database) -> None:
    ada = _user()
    async with database.session(chain.tenant_id) as session:
        session.add(PersonKey(tenant_id=chain.tenant_id, person_id=ada.id, wrapped=b"x" * 80, created_at=utcnow()))
        await session.commit()
    async with chain.work(("user", ada.id)) as work:
        work.add(ada)
        work.record(_about(ada, "user.created"))
    (row,) = await chain.rows()
    assert row.contents is None
    assert (await chain.verdict()).fault is None


async def test_a_statement_that_changes_many_rows_is_told_by_its_event(chain: Chain) -> None:
    async with chain.work(("user", uuid7())) as work:
        place = Workspace(id=uuid7(), name="place", status=WorkspaceStatus.ONLINE)
        work.add(place)
    async with chain.work(("user", uuid7())) as work:
        await work.session.execute(update(Workspace).where(Workspace.tenant_id == work.tenant_id).values(tier=3))
        facets = {"id": str(place.id), "tier": 2, "status": "online"}
        work.record(change("workspace", place.id, "workspace.updated", before=facets, after=facets | {"tier": 3}))
    (row,) = await chain.rows()
    assert await chain.contents(row) == {"old": {"tier": 2}, "new": {"tier": 3}}


def test_the_entrys_columns_are_all_in_the_chain() -> None:
    assert set(AuditLog.__table__.columns.keys()) == {*CHAINED, "occurred_at", "key_id", "mac"}
