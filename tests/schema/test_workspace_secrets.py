"""This module is where it is specified when a workspace must start anew because of a secret that was set."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select

from models import ForgottenSecret, Role
from models.database import Database
from models.ids import encode, parse, uuid7
from resolvers.principal import Principal
from resolvers.secrets import use_workspace_secret
from tests.conftest import counted
from tests.report import record
from tests.schema.conftest import Gateway
from tests.schema.places import place, rows
from tests.schema.test_secrets import DELETE, put
from tests.world import Tenants, call_of, principal

REGISTER = "mutation($input: RegisterWorkspaceInput!) { registerWorkspace(input: $input) { token } }"
NEEDED = "query($id: ID!) { workspace(id: $id) { restartNeeded } }"
BOARD = "{ workspaces(first: 100) { nodes { id restartNeeded } } }"


async def started(gateway: Gateway, who: Principal, *names: str) -> list[str]:
    """Workspaces whose runtimes have read what there was."""
    ids = [await place(gateway, who, name) for name in names]
    for id in ids:
        await gateway.data(who, REGISTER, input={"id": id})
    return ids


async def needed(gateway: Gateway, who: Principal, id: str) -> bool:
    return bool((await gateway.data(who, NEEDED, id=id))["workspace"]["restartNeeded"])


async def forget(gateway: Gateway, who: Principal, answer: dict[str, Any]) -> None:
    """Delete the secret that ``put`` answered with."""
    gone = (await gateway.data(who, DELETE, input={"id": answer["secret"]["id"]}))["deleteSecret"]
    assert gone["userErrors"] == []


async def test_a_secret_that_is_set_asks_for_a_restart_until_the_runtime_comes_anew(
    gateway: Gateway, tenants: Tenants
) -> None:
    who = principal(tenants.mine, api_key_id=uuid7())
    here, there = await started(gateway, who, "Here", "There")
    viewer = principal(tenants.mine, Role.VIEWER, user_id=uuid7())
    assert not await needed(gateway, viewer, here)
    await put(gateway, who, "ANTHROPIC_API_KEY", here)
    assert await needed(gateway, viewer, here)
    assert not await needed(gateway, viewer, there)
    await gateway.data(who, REGISTER, input={"id": here})
    assert not await needed(gateway, viewer, here)
    await put(gateway, who, "ANTHROPIC_API_KEY", here)
    assert await needed(gateway, viewer, here)


async def test_the_tenants_secret_asks_those_that_have_none_of_their_own(gateway: Gateway, tenants: Tenants) -> None:
    who = principal(tenants.mine, api_key_id=uuid7())
    here, there = await started(gateway, who, "Here", "There")
    await put(gateway, who, "GITHUB_TOKEN", here)
    await gateway.data(who, REGISTER, input={"id": here})
    await put(gateway, who, "GITHUB_TOKEN")
    assert not await needed(gateway, who, here)
    assert await needed(gateway, who, there)
    call = call_of(gateway.services, who)
    own = await use_workspace_secret(call, parse(here, "workspace"), "GITHUB_TOKEN", "a test")
    shared = await use_workspace_secret(call, parse(there, "workspace"), "GITHUB_TOKEN", "a test")
    assert own == shared == "swordfish GITHUB_TOKEN"


async def test_a_secret_that_is_deleted_asks_for_a_restart_as_well(gateway: Gateway, tenants: Tenants) -> None:
    who = principal(tenants.mine, api_key_id=uuid7())
    here, there = await started(gateway, who, "Here", "There")
    own = await put(gateway, who, "GITHUB_TOKEN", here)
    shared = await put(gateway, who, "GITHUB_TOKEN")
    for id in (here, there):
        await gateway.data(who, REGISTER, input={"id": id})
    await forget(gateway, who, shared)
    assert not await needed(gateway, who, here)
    assert await needed(gateway, who, there)
    await gateway.data(who, REGISTER, input={"id": there})
    assert not await needed(gateway, who, there)
    await forget(gateway, who, own)
    assert await needed(gateway, who, here)
    assert not await needed(gateway, who, there)
    # Set and deleted once more: what is kept of it is one row.
    await forget(gateway, who, await put(gateway, who, "GITHUB_TOKEN", here))
    async with gateway.services.database.session(tenants.mine) as session:
        assert await session.scalar(select(func.count()).select_from(ForgottenSecret)) == 2


async def test_what_an_agents_secret_was_asks_no_workspace(gateway: Gateway, tenants: Tenants) -> None:
    who = principal(tenants.mine, api_key_id=uuid7())
    (here,) = await started(gateway, who, "Here")
    stranger = principal(tenants.other, api_key_id=uuid7())
    await forget(gateway, stranger, await put(gateway, stranger, "A"))
    assert not await needed(gateway, who, here)
    async with gateway.services.database.session(tenants.mine) as session:
        assert await session.scalar(select(func.count()).select_from(ForgottenSecret)) == 0


async def test_who_never_started_needs_no_restart_and_neighbours_ask_nobody(gateway: Gateway, tenants: Tenants) -> None:
    who, stranger = principal(tenants.mine, api_key_id=uuid7()), principal(tenants.other, api_key_id=uuid7())
    waiting = await place(gateway, who, "Waiting")
    (running,) = await started(gateway, who, "Running")
    await put(gateway, who, "A", waiting)
    await put(gateway, stranger, "A")
    assert not await needed(gateway, who, waiting)
    assert not await needed(gateway, who, running)


@pytest.mark.parametrize("count", [1, 100])
async def test_a_board_that_asks_costs_two_statements_for_any_number_of_workspaces(
    gateway: Gateway, tenants: Tenants, database: Database, count: int
) -> None:
    who = principal(tenants.mine, api_key_id=uuid7())
    await rows(gateway, tenants.mine, count - 1)
    (running,) = await started(gateway, who, "Running")
    await put(gateway, who, "A")
    with counted(database) as statements:
        found = (await gateway.data(who, BOARD))["workspaces"]["nodes"]
    assert [one["id"] for one in found if one["restartNeeded"]] == [running]
    assert len(found) == count
    assert len(statements) == 2
    record(5, "workspaces and whether each must start anew", count, f"{len(statements)} statements")


async def test_a_workspaces_secrets_are_told_by_key_its_own_first_and_never_what_they_are(
    gateway: Gateway, tenants: Tenants
) -> None:
    who = principal(tenants.mine, api_key_id=uuid7())
    (here,) = await started(gateway, who, "Here")
    for key, owner in (("BOTH", None), ("BOTH", here), ("SHARED", None)):
        await put(gateway, who, key, owner)
    query = "query($id: ID!) { effectiveSecrets(workspaceId: $id) { key ownerType ownerId } }"
    answer: dict[str, Any] = await gateway.answer(who, query, id=here)
    assert answer["data"]["effectiveSecrets"] == [
        {"key": "BOTH", "ownerType": "WORKSPACE", "ownerId": here},
        {"key": "SHARED", "ownerType": "TENANT", "ownerId": encode("tenant", tenants.mine)},
    ]
    assert "swordfish" not in str(answer)
