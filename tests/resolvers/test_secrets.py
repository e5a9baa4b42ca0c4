"""This module is where secrets are specified: set, replaced, found by a workspace, used by us and by nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import delete, func, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import undefer

from models import (
    AccessType,
    Agent,
    AgentType,
    DataAccessLog,
    DataCategory,
    Event,
    Role,
    Scope,
    Secret,
    SecretOwner,
    TenantKey,
    Workspace,
    WorkspaceStatus,
)
from models.database import Database
from models.envelope import Unreadable
from models.errors import Forbidden, Refusal, RefusalCode
from models.ids import NIL, encode, uuid7
from resolvers.call import Call, Services
from resolvers.secrets import Owner, delete_secret, set_secret, use_secret, use_workspace_secret
from tests.world import Fleet, Tenants, call_of, principal, running


@pytest.fixture(scope="module")
async def services(database: Database) -> AsyncIterator[Services]:
    async with running(database) as made:
        yield made


def admin(services: Services, tenant_id: UUID) -> Call:
    return call_of(services, principal(tenant_id))


async def place(services: Services, tenant_id: UUID) -> UUID:
    fleet = Fleet(services.database, tenant_id)
    await fleet.grow(1)
    return fleet.workspaces[0]


async def refused(code: RefusalCode, attempt: Any) -> Refusal:
    with pytest.raises(Refusal) as refusal:
        await attempt
    assert refusal.value.code is code
    return refusal.value


async def test_a_secret_is_used_as_it_was_set(services: Services, tenants: Tenants) -> None:
    call = admin(services, tenants.mine)
    secret = await set_secret(call, key="OPENAI_API_KEY", value="sk-swordfish ✓")
    assert await use_secret(call, secret.id, "a test") == "sk-swordfish ✓"
    assert (secret.owner_type, secret.owner_id, secret.sealed_version) == (SecretOwner.TENANT, tenants.mine, 1)
    assert b"swordfish" not in secret.sealed


async def test_setting_it_again_replaces_it_in_its_place(services: Services, tenants: Tenants) -> None:
    call = admin(services, tenants.mine)
    first = await set_secret(call, key="TOKEN", value="one")
    second = await set_secret(call, key="TOKEN", value="two", expected_version=1)
    assert (first.id, second.sealed_version) == (second.id, 2)
    assert await use_secret(call, second.id, "a test") == "two"
    conflict = await refused(RefusalCode.CONFLICT, set_secret(call, key="TOKEN", value="x", expected_version=1))
    assert isinstance(conflict.current, Secret)
    await refused(RefusalCode.CONFLICT, set_secret(call, key="TOKEN", value="x", expected_version=0))
    assert await use_secret(call, second.id, "a test") == "two"


async def test_a_workspace_finds_its_own_before_the_tenants(services: Services, tenants: Tenants) -> None:
    call = admin(services, tenants.mine)
    here, there = await place(services, tenants.mine), await place(services, tenants.mine)
    await set_secret(call, key="SHARED", value="everybody's")
    await set_secret(call, key="MODEL_KEY", value="everybody's")
    await set_secret(call, key="MODEL_KEY", value="mine", owner_id=Owner(SecretOwner.WORKSPACE, here))
    assert await use_workspace_secret(call, here, "MODEL_KEY", "a test") == "mine"
    assert await use_workspace_secret(call, there, "MODEL_KEY", "a test") == "everybody's"
    assert await use_workspace_secret(call, here, "SHARED", "a test") == "everybody's"
    await refused(RefusalCode.NOT_FOUND, use_workspace_secret(call, here, "OTHER", "a test"))
    await refused(RefusalCode.NOT_FOUND, use_workspace_secret(call, uuid7(), "SHARED", "a test"))


@pytest.mark.parametrize(
    ("key", "value", "field"),
    [
        ("", "x", "key"),
        ("1ST", "x", "key"),
        ("A B", "x", "key"),
        ("A\n", "x", "key"),
        ("K" * 129, "x", "key"),
        ("KEY", "", "value"),
        ("KEY", "x" * 65_537, "value"),
        ("KEY", "\ud800", "value"),
    ],
)
async def test_what_cannot_be_kept_is_refused(
    services: Services, tenants: Tenants, key: str, value: str, field: str
) -> None:
    refusal = await refused(RefusalCode.INVALID, set_secret(admin(services, tenants.mine), key=key, value=value))
    assert refusal.field == ("input", field)


@pytest.mark.parametrize("value", ["\x00", "x" * 65_536, "☃" * 21_845])
async def test_any_text_of_up_to_64_kib_is_kept(services: Services, tenants: Tenants, value: str) -> None:
    call = admin(services, tenants.mine)
    assert await use_secret(call, (await set_secret(call, key="K", value=value)).id, "a test") == value


async def test_an_owner_that_is_not_there_is_not_found_however_it_is_not(services: Services, tenants: Tenants) -> None:
    call, theirs = admin(services, tenants.mine), await place(services, tenants.other)
    mine = await place(services, tenants.mine)
    wrong = [
        Owner(SecretOwner.WORKSPACE, theirs),
        Owner(SecretOwner.WORKSPACE, uuid7()),
        Owner(SecretOwner.AGENT, mine),
        Owner(SecretOwner.TENANT, tenants.other),
        Owner.named(encode("workspace", theirs)),
        Owner.named(encode("user", mine)),
        Owner.named("nonsense"),
    ]
    said = {
        str(await refused(RefusalCode.NOT_FOUND, set_secret(call, key="K", value="v", owner_id=one))) for one in wrong
    }
    assert said == {"There is no such owner."}
    async with services.database.session(tenants.other) as session:
        assert await session.scalar(select(func.count()).select_from(Secret)) == 0


async def test_a_removed_workspace_gets_no_secrets(services: Services, tenants: Tenants) -> None:
    here = await place(services, tenants.mine)
    async with services.database.session(tenants.mine) as session:
        await session.execute(update(Workspace).values(status=WorkspaceStatus.REMOVED))
        await session.commit()
    call = admin(services, tenants.mine)
    owner = Owner(SecretOwner.WORKSPACE, here)
    await refused(RefusalCode.NOT_FOUND, set_secret(call, key="K", value="v", owner_id=owner))


async def test_whoever_lacks_the_scope_sets_and_deletes_nothing(services: Services, tenants: Tenants) -> None:
    secret = await set_secret(admin(services, tenants.mine), key="K", value="v")
    for role in set(Role) - {Role.ADMIN}:
        call = call_of(services, principal(tenants.mine, role))
        with pytest.raises(Forbidden):
            await set_secret(call, key="K", value="w")
        with pytest.raises(Forbidden):
            await delete_secret(call, id=secret.id)
    assert await use_secret(admin(services, tenants.mine), secret.id, "a test") == "v"


async def test_a_workspaces_key_reaches_that_workspace_only(services: Services, tenants: Tenants) -> None:
    here, there = await place(services, tenants.mine), await place(services, tenants.mine)
    who = principal(tenants.mine, api_key_id=uuid7(), workspace_id=here, scopes=frozenset({Scope.SECRETS_WRITE}))
    machine = call_of(services, who)
    mine = await set_secret(machine, key="K", value="v", owner_id=Owner(SecretOwner.WORKSPACE, here))
    with pytest.raises(Forbidden):
        await set_secret(machine, key="K", value="v", owner_id=Owner(SecretOwner.WORKSPACE, there))
    with pytest.raises(Forbidden):
        await set_secret(machine, key="K", value="v")
    shared = await set_secret(admin(services, tenants.mine), key="K", value="v")
    await refused(RefusalCode.NOT_FOUND, delete_secret(machine, id=shared.id))
    await delete_secret(machine, id=mine.id)


async def test_a_deleted_secret_is_gone_and_cannot_be_used(services: Services, tenants: Tenants) -> None:
    call = admin(services, tenants.mine)
    secret = await set_secret(call, key="K", value="v")
    await refused(RefusalCode.CONFLICT, delete_secret(call, id=secret.id, expected_version=2))
    assert (await delete_secret(call, id=secret.id, expected_version=1)).key == "K"
    await refused(RefusalCode.NOT_FOUND, delete_secret(call, id=secret.id))
    await refused(RefusalCode.NOT_FOUND, use_secret(call, secret.id, "a test"))


async def test_another_tenant_neither_uses_nor_deletes_it(services: Services, tenants: Tenants) -> None:
    secret = await set_secret(admin(services, tenants.mine), key="K", value="v")
    stranger = admin(services, tenants.other)
    for unknown in (secret.id, uuid7(), NIL):
        await refused(RefusalCode.NOT_FOUND, use_secret(stranger, unknown, "a test"))
        await refused(RefusalCode.NOT_FOUND, delete_secret(stranger, id=unknown))
    assert await use_secret(admin(services, tenants.mine), secret.id, "a test") == "v"


async def test_changes_are_told_without_the_value(services: Services, tenants: Tenants) -> None:
    call, here = admin(services, tenants.mine), await place(services, tenants.mine)
    secret = await set_secret(call, key="K", value="swordfish", owner_id=Owner(SecretOwner.WORKSPACE, here))
    await set_secret(call, key="K", value="swordfish", owner_id=Owner(SecretOwner.WORKSPACE, here))
    await delete_secret(call, id=secret.id)
    async with services.database.session(tenants.mine) as session:
        events = list(await session.scalars(select(Event).order_by(Event.seq)))
    assert [one.kind for one in events] == ["secret.set", "secret.set", "secret.deleted"]
    assert {one.required_scope for one in events} == {"secrets:read"}
    assert {one.workspace_id for one in events} == {here}
    assert [(one.before or {}).get("version") for one in events] == [None, 1, 2]
    assert "swordfish" not in str([(one.before, one.after, one.payload) for one in events])


async def test_each_use_is_written_down_with_its_purpose(services: Services, tenants: Tenants) -> None:
    call = admin(services, tenants.mine)
    secret = await set_secret(call, key="K", value="swordfish")
    await use_secret(call, secret.id, "calling the model")
    await use_workspace_secret(call, await place(services, tenants.mine), "K", "starting")
    await refused(RefusalCode.NOT_FOUND, use_secret(call, uuid7(), "guessing"))
    async with services.database.session(tenants.mine) as session:
        uses = list(await session.scalars(select(DataAccessLog).order_by(DataAccessLog.id)))
    assert [(one.subject_typeid, one.purpose) for one in uses] == [
        (secret.typeid, "calling the model"),
        (secret.typeid, "starting"),
    ]
    assert {(one.data_category, one.access_type) for one in uses} == {(DataCategory.SECRET, AccessType.USE)}


async def test_the_audit_log_tells_of_changes_and_holds_neither_value_nor_envelope(
    services: Services, tenants: Tenants, owner: AsyncEngine
) -> None:
    call = admin(services, tenants.mine)
    secret = await set_secret(call, key="K", value="swordfish")
    await delete_secret(call, id=secret.id)
    async with owner.connect() as connection:
        rows = list(
            await connection.execute(
                text("SELECT * FROM audit_logs WHERE tenant_id = :t ORDER BY seq"), {"t": tenants.mine}
            )
        )
    assert [row.action for row in rows] == ["secret.set", "secret.deleted"]
    for row in rows:
        assert "swordfish" not in str(row)
        assert secret.sealed not in [bytes(one) for one in row if isinstance(one, bytes | memoryview)]


async def test_an_owner_holds_at_most_a_hundred_also_when_asked_at_once(services: Services, tenants: Tenants) -> None:
    call = admin(services, tenants.mine)
    for number in range(98):
        await set_secret(call, key=f"K{number}", value="v")
    answers = await asyncio.gather(
        *(set_secret(admin(services, tenants.mine), key=f"LAST{number}", value="v") for number in range(6)),
        return_exceptions=True,
    )
    refusals = [one for one in answers if isinstance(one, Refusal)]
    assert {one.code for one in refusals} == {RefusalCode.LIMIT_EXCEEDED}
    assert len(refusals) == 4
    assert (await set_secret(call, key="K0", value="w")).sealed_version == 2


async def test_the_first_secrets_of_a_tenant_set_at_once_share_one_data_key(
    services: Services, tenants: Tenants
) -> None:
    agents = [uuid7() for _ in range(5)]
    async with services.database.session(tenants.mine) as session:
        session.add_all(Agent(tenant_id=tenants.mine, id=one, name=f"a{one.hex}", type=AgentType.LLM) for one in agents)
        await session.commit()
    made = await asyncio.gather(
        *(
            set_secret(admin(services, tenants.mine), key="K", value=one.hex, owner_id=Owner(SecretOwner.AGENT, one))
            for one in agents
        )
    )
    assert len({one.key_id for one in made}) == 1
    for secret, one in zip(made, agents, strict=True):
        assert await use_secret(admin(services, tenants.mine), secret.id, "a test") == one.hex


async def test_an_envelope_that_the_databases_owner_swapped_moved_or_put_back_does_not_open(
    services: Services, tenants: Tenants, owner: AsyncEngine
) -> None:
    call = admin(services, tenants.mine)
    one, two = await set_secret(call, key="ONE", value="1"), await set_secret(call, key="TWO", value="2")
    theirs = await set_secret(admin(services, tenants.other), key="ONE", value="3")
    earlier = one.sealed
    one = await set_secret(call, key="ONE", value="1, later")

    async def tamper(statement: str, **said: Any) -> None:
        async with owner.begin() as connection:
            await connection.execute(text(statement), said)

    put = "UPDATE secrets SET sealed = :sealed WHERE id = :id"
    whole = "UPDATE secrets SET sealed = :sealed WHERE id = :id AND tenant_id = :tenant"
    for foreign in (two.sealed, theirs.sealed, earlier, one.sealed[:-1], b"", one.sealed + b"\x00"):
        await tamper(put, sealed=foreign, id=one.id)
        with pytest.raises(Unreadable):
            await use_secret(call, one.id, "a test")
    await tamper(whole, sealed=one.sealed, id=one.id, tenant=tenants.mine)
    assert await use_secret(call, one.id, "a test") == "1, later"
    for change, said in (
        ("key = 'RENAMED'", {}),
        ("owner_id = :other", {"other": uuid7()}),
        ("owner_type = 'agent'", {}),
        ("sealed_version = 1", {}),
    ):
        await tamper(f"UPDATE secrets SET {change} WHERE id = :id", id=two.id, **said)
        if change == "sealed_version = 1":
            await tamper("UPDATE secrets SET sealed_version = 7 WHERE id = :id", id=two.id)
        with pytest.raises(Unreadable):
            await use_secret(call, two.id, "a test")
        await tamper(
            "UPDATE secrets SET key = 'TWO', owner_id = tenant_id, owner_type = 'tenant', sealed_version = 1 "
            "WHERE id = :id",
            id=two.id,
        )
    assert await use_secret(call, two.id, "a test") == "2"


async def test_a_data_key_of_another_tenant_or_another_version_does_not_unwrap(
    services: Services, tenants: Tenants, database: Database, owner: AsyncEngine
) -> None:
    secret = await set_secret(admin(services, tenants.mine), key="K", value="v")
    theirs = await set_secret(admin(services, tenants.other), key="K", value="v")
    async with owner.begin() as connection:
        await connection.execute(
            text(
                "UPDATE tenant_keys SET wrapped = (SELECT wrapped FROM tenant_keys WHERE id = :other) WHERE id = :mine"
            ),
            {"mine": secret.key_id, "other": theirs.key_id},
        )
    # Another process: it remembers no key.
    async with running(database) as fresh:
        with pytest.raises(Unreadable):
            await use_secret(admin(fresh, tenants.mine), secret.id, "a test")


async def test_a_data_key_that_an_envelope_needs_cannot_be_deleted(services: Services, tenants: Tenants) -> None:
    secret = await set_secret(admin(services, tenants.mine), key="K", value="v")
    with pytest.raises(IntegrityError):
        async with services.database.session(tenants.mine) as session:
            await session.execute(delete(TenantKey).where(TenantKey.id == secret.key_id))
    async with services.database.session(tenants.mine) as session:
        whole = (await session.scalars(select(Secret).options(undefer(Secret.sealed)))).one()
    assert whole.sealed == secret.sealed
