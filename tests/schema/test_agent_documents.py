"""This module is where it is specified how an agent leaves as a document and comes back."""

from __future__ import annotations

from typing import Any, Final

import pytest

from models import Role
from resolvers.principal import Principal
from tests.schema.conftest import Gateway
from tests.schema.staff import WHOLE, answered, done, kinds, make, mutation, nobody, person, refused
from tests.world import Tenants

EXPORT: Final = "query($id: ID!) { exportAgent(id: $id) }"
IMPORT: Final = mutation("importAgent", "agent", WHOLE)
PROVIDER: Final = mutation("createLlmProvider", "llmProvider")
PLAIN: Final = {"format": "signalbox.agent", "version": 1, "agent": {"name": "one", "type": "llm", "model": "gpt-4o"}}


@pytest.fixture
async def admin(gateway: Gateway, tenants: Tenants) -> Principal:
    """Somebody of mine who may everything."""
    return await person(gateway, tenants.mine)


async def _exported(gateway: Gateway, who: Principal, id: str) -> dict[str, Any]:
    document: dict[str, Any] = (await gateway.data(who, EXPORT, id=id))["exportAgent"]
    return document


async def _rich(gateway: Gateway, who: Principal) -> dict[str, Any]:
    chief, part = await make(gateway, who, "chief"), await make(gateway, who, "part")
    provider = await done(gateway, who, PROVIDER, name="main", providerType="OPENAI", modelId="gpt-4o")
    return await make(
        gateway,
        who,
        "rich",
        title="Rich",
        domain="Finance",
        description="Knows much",
        instruction="Say it.",
        capabilities=["count"],
        guardrails=["no promises"],
        config={"sub_agents": [part["id"]], "agent_tools": [part["id"]]},
        apiKey="sk-swordfish",
        escalatesToId=chief["id"],
        llmProviderId=provider["id"],
    )


async def test_an_agent_comes_back_as_it_left_and_waits_for_a_decision(gateway: Gateway, admin: Principal) -> None:
    made = await _rich(gateway, admin)
    document = await _exported(gateway, admin, made["id"])
    again = await done(gateway, admin, IMPORT, document=document)
    assert again["id"] != made["id"]
    own = {"id", "hasApiKey", "createdAt", "updatedAt"}
    assert {name: value for name, value in again.items() if name not in own} == {
        name: value for name, value in made.items() if name not in own
    }
    assert (again["hasApiKey"], again["status"]) == (False, "PENDING")
    assert await _exported(gateway, admin, again["id"]) == document
    assert await kinds(gateway, admin, [again["id"]]) == ["agent.created"]


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("A2A", {"card_url": "https://partner.example/.well-known/agent.json"}),
        ("WORKFLOW", {"workflow": {"nodes": [{"id": "a"}], "edges": []}, "more": [1, None, {"deep": True}]}),
    ],
)
async def test_a_configuration_survives_the_journey(
    gateway: Gateway, admin: Principal, kind: str, config: dict[str, Any]
) -> None:
    made = await make(gateway, admin, type=kind, config=config)
    document = await _exported(gateway, admin, made["id"])
    assert document["agent"]["config"] == config
    assert (await done(gateway, admin, IMPORT, document=document))["config"] == config


async def test_a_document_holds_no_key_and_nothing_of_who_decided(gateway: Gateway, admin: Principal) -> None:
    document = await _exported(gateway, admin, (await _rich(gateway, admin))["id"])
    assert "swordfish" not in str(document)
    assert set(document["agent"]) == {
        "name", "type", "title", "domain", "description", "model", "instruction", "capabilities", "guardrails",
        "config", "isRouter", "escalatesTo", "llmProvider",
    }  # fmt: skip


async def test_in_another_tenant_agents_and_providers_of_the_same_names_take_the_places(
    gateway: Gateway, tenants: Tenants, admin: Principal
) -> None:
    document = await _exported(gateway, admin, (await _rich(gateway, admin))["id"])
    there = await person(gateway, tenants.other)
    at = ["input", "document", "agent"]
    assert await refused(gateway, there, IMPORT, document=document) == ("NOT_FOUND", [*at, "llmProvider"])
    provider = await done(gateway, there, PROVIDER, name="main", providerType="OPENAI", modelId="gpt-4o")
    assert await refused(gateway, there, IMPORT, document=document) == ("NOT_FOUND", [*at, "escalatesTo"])
    chief = await make(gateway, there, "chief")
    missing = ("NOT_FOUND", [*at, "config", "sub_agents", "0"])
    assert await refused(gateway, there, IMPORT, document=document) == missing
    part = await make(gateway, there, "part")
    made = await done(gateway, there, IMPORT, document=document)
    assert made["config"] == {"sub_agents": [part["id"]], "agent_tools": [part["id"]]}
    assert (made["escalatesTo"], made["llmProvider"]) == ({"id": chief["id"]}, {"id": provider["id"]})
    await make(gateway, there, "part")
    assert await refused(gateway, there, IMPORT, document=document) == missing, "of two parts none is the one"


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ([], []),
        ({}, ["format"]),
        ({**PLAIN, "format": "another"}, ["format"]),
        ({**PLAIN, "version": 2}, ["version"]),
        ({**PLAIN, "agent": {}}, ["agent", "name"]),
        ({**PLAIN, "agent": {"name": "x", "type": "magic"}}, ["agent", "type"]),
        ({**PLAIN, "agent": {"name": "two words", "type": "llm", "model": "m"}}, ["agent", "name"]),
        ({**PLAIN, "agent": {"name": "x", "type": "llm"}}, ["agent", "model"]),
        ({**PLAIN, "agent": {"name": "x", "type": "loop"}}, ["agent", "config", "sub_agents"]),
        ({**PLAIN, "agents": {"agent_x": 1}}, ["agents"]),
    ],
)
async def test_a_document_that_is_none_is_refused_by_the_path(
    gateway: Gateway, admin: Principal, document: Any, path: list[str]
) -> None:
    answer = await answered(gateway, admin, IMPORT, document=document)
    (error,) = answer["userErrors"]
    assert (answer["agent"], error["code"], error["field"]) == (None, "INVALID", ["input", "document", *path])


async def test_a_second_router_does_not_come_in(gateway: Gateway, admin: Principal) -> None:
    router = await make(gateway, admin, isRouter=True)
    document = await _exported(gateway, admin, router["id"])
    at = ["input", "document", "agent", "isRouter"]
    assert await refused(gateway, admin, IMPORT, document=document) == ("ALREADY_EXISTS", at)


async def test_a_retry_under_a_key_makes_one_agent(gateway: Gateway, admin: Principal) -> None:
    first = await done(gateway, admin, IMPORT, document=PLAIN, idempotencyKey="once")
    assert (await done(gateway, admin, IMPORT, document=PLAIN, idempotencyKey="once"))["id"] == first["id"]


async def test_viewers_export_and_do_not_import_and_strangers_see_nothing(
    gateway: Gateway, tenants: Tenants, admin: Principal
) -> None:
    made = await make(gateway, admin)
    viewer = await person(gateway, tenants.mine, Role.VIEWER)
    assert (await _exported(gateway, viewer, made["id"]))["agent"]["name"] == "helper"
    answer = await gateway.answer(viewer, IMPORT, input={"document": PLAIN})
    assert [one["extensions"]["code"] for one in answer["errors"]] == ["FORBIDDEN"]
    stranger = await person(gateway, tenants.other)
    for bad in (made["id"], nobody("agent"), "nonsense"):
        assert await gateway.data(stranger, EXPORT, id=bad) == {"exportAgent": None}
