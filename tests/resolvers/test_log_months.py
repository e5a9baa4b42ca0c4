"""This module is where the logs' months are specified: made ahead, and given up only when signed for and let go."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from dataloaders.audit import drop_month, months_of
from gateway.embedded import EmbeddedPostgres
from models import AuditCheckpoint, AuditLog, RetentionRule, RetentionSubject, utcnow
from models.chain import entry_mac, genesis
from models.database import Database, DatabaseUrls, PoolOptions, role_url, sqlstate
from models.ids import uuid7
from models.months import first_id
from models.roles import OWNER
from resolvers.log_months import LogMonths
from resolvers.verification import verify_tenant
from tests.gateway.demo_house import new_database
from tests.resolvers.chains import Chain, Intruder
from tests.resolvers.test_verification import always
from tests.world import AUDIT, make_tenant

OLD = datetime(2021, 3, 1)  # noqa: DTZ001 - as months are named


class House:
    """A database whose months no other test minds."""

    def __init__(self, database: Database, owner: AsyncEngine, superuser: AsyncEngine) -> None:
        self.database = database
        self.owner = owner
        self.superuser = superuser
        self.months = LogMonths(database, AUDIT, utcnow)

    async def open_month(self, log: str, month: datetime) -> None:
        """A month of long ago."""
        start = month.replace(tzinfo=UTC)
        end = (start + timedelta(days=32)).replace(day=1)
        name = f"{log}{month:_%Y_%m}"
        async with self.owner.begin() as connection:
            await connection.execute(text(f"DROP TABLE IF EXISTS {name}"))
            bounds = f"FROM ('{first_id(start)}') TO ('{first_id(end)}')"
            await connection.execute(text(f"CREATE TABLE {name} PARTITION OF {log} FOR VALUES {bounds}"))

    async def history(self, entries: int) -> Chain:
        """A tenant with ``entries`` of long ago, and three of today."""
        tenant = await make_tenant(self.database)
        rows, mac = [], genesis(AUDIT, tenant)
        moment = OLD.replace(tzinfo=UTC) + timedelta(days=3)
        for number in range(entries):
            row = dict.fromkeys(("actor_type", "actor_id", "subject_id", "details", "trace_id", "origin"))
            row |= {"tenant_id": tenant, "seq": number + 1, "contents": None, "key_id": AUDIT.key_id}
            row |= {"action": "user.updated", "resource_type": "user", "resource_id": uuid7()}
            row |= {"occurred_at": moment, "id": UUID(int=first_id(moment).int + (7 << 76) + (2 << 62) + number)}
            mac = entry_mac(AUDIT, mac, row)
            rows.append(row | {"mac": mac})
        async with self.database.session(tenant) as session:
            session.add_all(AuditLog(**row) for row in rows)
            await session.flush()
            await session.execute(
                text("UPDATE audit_heads SET seq = :seq, last_id = :id, mac = :mac WHERE tenant_id = :tenant"),
                {"seq": entries, "id": rows[-1]["id"], "mac": mac, "tenant": tenant},
            )
            await session.commit()
        chain = Chain(self.database, tenant)
        await chain.grow(3)
        return chain


@pytest.fixture(scope="module")
async def url(postgres: EmbeddedPostgres) -> str:
    """The superuser's URL of it."""
    return await new_database(postgres.url, "months")


@pytest.fixture
async def house(url: str) -> AsyncIterator[House]:
    """With the month of March 2021 in both logs."""
    made = House(
        Database(DatabaseUrls.for_roles(url), PoolOptions(size=3), AUDIT),
        create_async_engine(role_url(url, OWNER)),
        create_async_engine(url),
    )
    for log in ("audit_logs", "data_access_logs"):
        await made.open_month(log, OLD)
    yield made
    await made.database.close()
    await made.owner.dispose()
    await made.superuser.dispose()


async def test_months_stand_ready_a_year_ahead_and_are_made_where_they_are_missing(house: House) -> None:
    assert await house.months.make(always) == 0
    months = await months_of(house.database, "audit_logs")
    last = months[-1]
    assert len(months) == 15
    ahead = (last.year - utcnow().year) * 12 + last.month - utcnow().month
    assert ahead == 12
    async with house.owner.begin() as connection:
        await connection.execute(text(f"DROP TABLE audit_logs{last:_%Y_%m}"))
    assert await house.months.make(always) == 1
    assert (await months_of(house.database, "audit_logs"))[-1] == last


async def test_a_month_that_is_signed_for_goes_and_the_chain_stands_on_its_checkpoint(house: House) -> None:
    chains = [await house.history(5), await house.history(2)]
    assert await house.months.drop(always) == 2
    assert OLD not in await months_of(house.database, "audit_logs")
    for chain, entries in zip(chains, (5, 2), strict=True):
        verdict = await verify_tenant(house.database, AUDIT, chain.tenant_id)
        assert (verdict.entries, verdict.fault) == (3, None)
        async with house.database.session(chain.tenant_id) as session:
            (checkpoint,) = (await session.scalars(select(AuditCheckpoint))).all()
        assert (checkpoint.seq, checkpoint.entries) == (entries, entries)
        intruder = Intruder(house.superuser, chain.tenant_id)
        await intruder.run("UPDATE audit_checkpoints SET mac = sha256(mac) WHERE tenant_id = :tenant")
        fault = (await verify_tenant(house.database, AUDIT, chain.tenant_id)).fault
        assert fault is not None
        assert "not signed by us" in fault.what
        await intruder.run("DELETE FROM audit_checkpoints WHERE tenant_id = :tenant")
        fault = (await verify_tenant(house.database, AUDIT, chain.tenant_id)).fault
        assert fault is not None
        assert (fault.seq, "no checkpoint" in fault.what) == (1, True)
    assert await house.months.drop(always) == 0


async def test_a_month_stays_while_one_tenant_keeps_it_or_its_chain_is_broken(house: House) -> None:
    chain = await house.history(4)
    rule = {"tenant_id": chain.tenant_id, "subject": RetentionSubject.AUDIT_LOGS, "updated_at": utcnow()}
    async with house.database.session(chain.tenant_id) as session:
        session.add(RetentionRule(days=20 * 365, **rule))
        await session.commit()
    assert await house.months.drop(always) == 1  # the access log's
    assert OLD in await months_of(house.database, "audit_logs")
    intruder = Intruder(house.superuser, chain.tenant_id)
    await intruder.run("DELETE FROM retention_rules WHERE tenant_id = :tenant")
    await intruder.run("UPDATE audit_logs SET action = 'x' WHERE tenant_id = :tenant AND seq = 2")
    assert await house.months.drop(always) == 0
    assert OLD in await months_of(house.database, "audit_logs")
    await intruder.run("UPDATE audit_logs SET action = 'user.updated' WHERE tenant_id = :tenant AND seq = 2")
    assert await house.months.drop(always) == 1


async def test_the_database_drops_no_month_that_is_young_or_not_signed_for(house: House) -> None:
    await house.history(1)
    young = (await months_of(house.database, "audit_logs"))[-14]
    for log, month in (("audit_logs", young), ("data_access_logs", young), ("audit_logs", OLD)):
        with pytest.raises(DBAPIError) as refused:
            await drop_month(house.database, log, month)
        assert sqlstate(refused.value) == "42501"
    assert await house.months.drop(always) == 2
    assert not await drop_month(house.database, "audit_logs", OLD)
