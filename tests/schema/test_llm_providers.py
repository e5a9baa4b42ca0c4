"""This module is where model providers are specified: one default, keys that never come out, nothing taken away."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest
from sqlalchemy import select

from models import Role, Secret, SecretOwner
from models.ids import parse
from resolvers.llm_providers import DEFAULTS
from resolvers.principal import Principal
from resolvers.secrets import use_secret
from tests.report import record
from tests.schema.conftest import Gateway
from tests.schema.staff import DELETE as DELETE_AGENT
from tests.schema.staff import answered, done, kinds, make, mutation, nobody, person, refused
from tests.world import Tenants, call_of

FIELDS: Final = "id name providerType modelId hasKey isDefault isEnabled apiBaseUrl config version"
CREATE: Final = mutation("createLlmProvider", "llmProvider", FIELDS)
UPDATE: Final = mutation("updateLlmProvider", "llmProvider", FIELDS)
DELETE: Final = mutation("deleteLlmProvider", "deletedId", "")
LIST: Final = """query($filter: LlmProviderFilter, $orderBy: LlmProviderOrder) {
  llmProviders(filter: $filter, orderBy: $orderBy) { totalCount nodes { name isDefault } } }"""
BY_NAME: Final = {"field": "NAME", "direction": "ASC"}


@pytest.fixture
async def admin(gateway: Gateway, tenants: Tenants) -> Principal:
    """Somebody of mine who may everything."""
    return await person(gateway, tenants.mine)


async def provider(gateway: Gateway, who: Principal, name: str = "main", **said: Any) -> dict[str, Any]:
    """A provider."""
    given = {"providerType": "OPENAI", "modelId": "gpt-4o", **said}
    made: dict[str, Any] = await done(gateway, who, CREATE, name=name, **given)
    return made


async def _listed(gateway: Gateway, who: Principal, **filter: Any) -> tuple[list[str], list[str], int]:
    """Names, those that are the default, and the count."""
    page = (await gateway.data(who, LIST, filter=filter, orderBy=BY_NAME))["llmProviders"]
    names = [one["name"] for one in page["nodes"]]
    return names, [one["name"] for one in page["nodes"] if one["isDefault"]], page["totalCount"]


async def test_a_new_provider_is_enabled_and_asked_as_it_is_usual(gateway: Gateway, admin: Principal) -> None:
    made = await provider(gateway, admin)
    assert (made["isDefault"], made["isEnabled"], made["hasKey"], made["version"]) == (False, True, False, 1)
    assert made["config"] == DEFAULTS


async def test_whoever_becomes_the_default_takes_the_place_of_the_one_before(
    gateway: Gateway, tenants: Tenants, admin: Principal
) -> None:
    stranger = await person(gateway, tenants.other)
    await provider(gateway, stranger, "theirs", isDefault=True)
    one = await provider(gateway, admin, "one", isDefault=True)
    two = await provider(gateway, admin, "two", isDefault=True)
    assert await _listed(gateway, admin) == (["one", "two"], ["two"], 2)
    back = await done(gateway, admin, UPDATE, id=one["id"], expectedVersion=2, isDefault=True)
    assert (back["isDefault"], back["version"]) == (True, 3)
    assert await _listed(gateway, admin) == (["one", "two"], ["one"], 2)
    assert await _listed(gateway, stranger) == (["theirs"], ["theirs"], 1)
    assert await kinds(gateway, admin, [two["id"]]) == ["llm_provider.created", "llm_provider.updated"]
    await done(gateway, admin, UPDATE, id=one["id"], expectedVersion=3, isDefault=False)
    assert (await _listed(gateway, admin))[1] == []


async def test_of_many_that_become_the_default_at_once_one_is_it(gateway: Gateway, admin: Principal) -> None:
    made = [await provider(gateway, admin, f"p{number}") for number in range(5)]
    answers = await asyncio.gather(
        *(answered(gateway, admin, UPDATE, id=one["id"], expectedVersion=1, isDefault=True) for one in made)
    )
    assert all(answer["userErrors"] in ([], [answer["userErrors"][0]]) for answer in answers if answer["userErrors"])
    assert len((await _listed(gateway, admin))[1]) == 1
    record(5, "defaults set at once", 5, "one default, no error but user errors")


async def test_a_key_goes_in_and_never_comes_out(gateway: Gateway, tenants: Tenants, admin: Principal) -> None:
    made = await provider(gateway, admin, apiKey="sk-swordfish")
    assert made["hasKey"] is True
    assert "swordfish" not in str(made)
    async with gateway.services.database.session(tenants.mine) as session:
        secret = await session.scalar(
            select(Secret).where(Secret.tenant_id == tenants.mine, Secret.owner_id == parse(made["id"], "provider"))
        )
    assert secret is not None
    assert secret.owner_type is SecretOwner.LLM_PROVIDER
    assert await use_secret(call_of(gateway.services, admin), secret.id, "a test") == "sk-swordfish"
    without = await done(gateway, admin, UPDATE, id=made["id"], expectedVersion=1, apiKey=None)
    assert (without["hasKey"], without["version"]) == (False, 2)
    again = await done(gateway, admin, UPDATE, id=made["id"], expectedVersion=2, apiKey="sk-2")
    assert (again["hasKey"], again["version"]) == (True, 3)
    assert await done(gateway, admin, DELETE, id=made["id"]) == made["id"]
    async with gateway.services.database.session(tenants.mine) as session:
        assert list(await session.scalars(select(Secret).where(Secret.tenant_id == tenants.mine))) == []


async def test_a_secret_that_belongs_to_a_provider_names_it(gateway: Gateway, admin: Principal) -> None:
    made = await provider(gateway, admin, apiKey="sk-swordfish")
    document = "{ secrets { nodes { ownerType ownerId owner { id } } } }"
    (found,) = (await gateway.data(admin, document))["secrets"]["nodes"]
    assert found == {"ownerType": "LLM_PROVIDER", "ownerId": made["id"], "owner": {"id": made["id"]}}


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ({"name": ""}, ["name"]),
        ({"name": "x" * 101}, ["name"]),
        ({"modelId": " "}, ["modelId"]),
        ({"apiKey": ""}, ["apiKey"]),
        ({"apiBaseUrl": "file:///etc"}, ["apiBaseUrl"]),
        ({"config": []}, ["config"]),
        ({"config": {"temperature": 3}}, ["config", "temperature"]),
        ({"config": {"max_tokens": 0}}, ["config", "max_tokens"]),
        ({"config": {"api_key": "canary"}}, ["config", "api_key"]),
    ],
)
async def test_what_is_not_acceptable_is_refused_by_its_path(
    gateway: Gateway, admin: Principal, said: dict[str, Any], path: list[str]
) -> None:
    given = {"name": "main", "providerType": "OPENAI", "modelId": "gpt-4o", **said}
    assert await refused(gateway, admin, CREATE, **given) == ("INVALID", ["input", *path])
    made = await provider(gateway, admin, "other")
    assert await refused(gateway, admin, UPDATE, id=made["id"], expectedVersion=1, **said) == (
        "INVALID",
        ["input", *path],
    )


async def test_names_are_unique_in_a_tenant(gateway: Gateway, tenants: Tenants, admin: Principal) -> None:
    await provider(gateway, admin)
    at = ("ALREADY_EXISTS", ["input", "name"])
    assert await refused(gateway, admin, CREATE, name="main", providerType="OLLAMA", modelId="x") == at
    other = await provider(gateway, admin, "other")
    assert await refused(gateway, admin, UPDATE, id=other["id"], expectedVersion=1, name="main") == at
    assert (await provider(gateway, await person(gateway, tenants.other)))["name"] == "main"


async def test_a_provider_that_agents_use_is_not_deleted(gateway: Gateway, admin: Principal) -> None:
    made = await provider(gateway, admin)
    agent = await make(gateway, admin, llmProviderId=made["id"])
    assert await refused(gateway, admin, DELETE, id=made["id"]) == ("CONFLICT", ["input", "id"])
    await done(gateway, admin, DELETE_AGENT, id=agent["id"])
    assert await done(gateway, admin, DELETE, id=made["id"], expectedVersion=1) == made["id"]
    assert (await kinds(gateway, admin, [made["id"]]))[-1] == "llm_provider.deleted"


async def test_providers_are_filtered_and_paged(gateway: Gateway, admin: Principal) -> None:
    await provider(gateway, admin, "one")
    await provider(gateway, admin, "two", providerType="OLLAMA", isEnabled=False)
    assert (await _listed(gateway, admin, providerType=["OLLAMA", "GOOGLE"]))[0] == ["two"]
    assert (await _listed(gateway, admin, isEnabled=True))[0] == ["one"]
    assert (await _listed(gateway, admin, name="two"))[0] == ["two"]
    assert (await _listed(gateway, admin, name="none\x00"))[0] == []


async def test_another_tenants_provider_is_not_there(gateway: Gateway, tenants: Tenants, admin: Principal) -> None:
    made = await provider(gateway, admin)
    stranger = await person(gateway, tenants.other)
    for bad in (made["id"], nobody("provider"), "nonsense"):
        found = await gateway.data(stranger, "query($id: ID!) { llmProvider(id: $id) { id } }", id=bad)
        assert found == {"llmProvider": None}
        for document, said in ((UPDATE, {"expectedVersion": 1, "name": "x"}), (DELETE, {})):
            assert await refused(gateway, stranger, document, id=bad, **said) == ("NOT_FOUND", ["input", "id"])


@pytest.mark.parametrize("role", sorted(set(Role) - {Role.ADMIN}))
async def test_only_admins_change_providers(gateway: Gateway, tenants: Tenants, admin: Principal, role: Role) -> None:
    made = await provider(gateway, admin)
    who = await person(gateway, tenants.mine, role)
    for document, said in (
        (CREATE, {"name": "x", "providerType": "OPENAI", "modelId": "x"}),
        (UPDATE, {"id": made["id"], "expectedVersion": 1}),
        (DELETE, {"id": made["id"]}),
    ):
        answer = await gateway.answer(who, document, input=said)
        assert [one["extensions"]["code"] for one in answer["errors"]] == ["FORBIDDEN"]
