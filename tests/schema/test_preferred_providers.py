"""This module is where it is specified which model provider a person prefers, and which answers in a conversation."""

from __future__ import annotations

from typing import Any, Final

import pytest

from models import Role
from models.ids import encode
from resolvers.principal import Principal
from tests.report import record
from tests.schema.conftest import Gateway
from tests.schema.staff import answered, done, nobody, person, refused
from tests.schema.talk import START, UPDATE
from tests.world import Tenants

CREATE: Final = """mutation($input: CreateLlmProviderInput!) { createLlmProvider(input: $input) {
  llmProvider { id } userErrors { code field } } }"""
SWITCH: Final = """mutation($input: UpdateLlmProviderInput!) { updateLlmProvider(input: $input) {
  llmProvider { id } userErrors { code field } } }"""
FORGET: Final = """mutation($input: DeleteLlmProviderInput!) { deleteLlmProvider(input: $input) {
  deletedId userErrors { code field } } }"""
PREFER: Final = """mutation($input: UpdateUserInput!) { updateUser(input: $input) {
  user { id defaultLlmProvider { id name } } userErrors { code field } } }"""
SEE: Final = "query($id: ID!) { node(id: $id) { ... on User { id defaultLlmProvider { id } } } }"
TALK: Final = """query($id: ID!) { node(id: $id) { ... on Conversation { llmProviderId llmProvider { id name } } } }"""


async def provider(gateway: Gateway, who: Principal, name: str = "house") -> str:
    """A model provider's id."""
    made = await done(gateway, who, CREATE, name=name, providerType="OPENAI", modelId="gpt-4o")
    return str(made["id"])


def id_of(who: Principal) -> str:
    """The person's TypeID."""
    assert who.user_id is not None
    return encode("user", who.user_id)


@pytest.fixture
async def admin(gateway: Gateway, tenants: Tenants) -> Principal:
    """Somebody of mine who may everything."""
    return await person(gateway, tenants.mine)


async def prefers(gateway: Gateway, who: Principal, whom: Principal) -> Any:
    """What ``who`` sees of it: the id, None, or the code of the refusal."""
    answer = await gateway.answer(who, SEE, id=id_of(whom))
    for error in answer.get("errors", ()):
        return error["extensions"]["code"]
    found = answer["data"]["node"]["defaultLlmProvider"]
    return found and found["id"]


async def test_a_person_says_which_provider_they_prefer_and_takes_it_back(
    gateway: Gateway, tenants: Tenants, admin: Principal
) -> None:
    ada, eve = [await person(gateway, tenants.mine, Role.MEMBER) for _ in range(2)]
    house = await provider(gateway, admin)
    chosen = await done(gateway, ada, PREFER, id=id_of(ada), defaultLlmProviderId=house)
    assert chosen == {"id": id_of(ada), "defaultLlmProvider": {"id": house, "name": "house"}}
    assert await prefers(gateway, admin, ada) == await prefers(gateway, ada, ada) == house
    assert await prefers(gateway, eve, ada) == "FORBIDDEN"
    record(
        5, "every column of the unified tables is written and read back by a second role", 1, "AIOps users' provider"
    )
    await done(gateway, ada, PREFER, id=id_of(ada), defaultLlmProviderId=None)
    assert await prefers(gateway, admin, ada) is None


async def test_nobody_says_it_for_somebody_else_without_the_scope(
    gateway: Gateway, tenants: Tenants, admin: Principal
) -> None:
    ada, eve = [await person(gateway, tenants.mine, Role.MEMBER) for _ in range(2)]
    house = await provider(gateway, admin)
    said = {"id": id_of(ada), "defaultLlmProviderId": house}
    answer = await gateway.answer(eve, PREFER, input=said)
    assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    assert (await done(gateway, admin, PREFER, **said))["defaultLlmProvider"]["id"] == house


async def test_a_provider_that_is_not_there_or_switched_off_is_named_and_nothing_changes(
    gateway: Gateway, tenants: Tenants, admin: Principal
) -> None:
    ada = await person(gateway, tenants.mine, Role.MEMBER)
    theirs = await provider(gateway, await person(gateway, tenants.other))
    off = await provider(gateway, admin, "off")
    await done(gateway, admin, SWITCH, id=off, expectedVersion=1, isEnabled=False)
    chat = await done(gateway, ada, START, kind="CHAT")
    for bad, code in ((theirs, "NOT_FOUND"), (nobody("provider"), "NOT_FOUND"), ("x", "NOT_FOUND"), (off, "INVALID")):
        at = ["input", "defaultLlmProviderId"]
        assert await refused(gateway, ada, PREFER, id=id_of(ada), defaultLlmProviderId=bad) == (code, at)
        at = ["input", "llmProviderId"]
        assert await refused(gateway, ada, START, kind="CHAT", llmProviderId=bad) == (code, at)
        assert await refused(gateway, ada, UPDATE, id=chat["id"], llmProviderId=bad) == (code, at)
    assert await prefers(gateway, ada, ada) is None
    assert (await gateway.data(ada, TALK, id=chat["id"]))["node"] == {"llmProviderId": None, "llmProvider": None}


async def test_a_conversation_names_the_provider_that_answers_in_it(
    gateway: Gateway, tenants: Tenants, admin: Principal
) -> None:
    ada = await person(gateway, tenants.mine, Role.MEMBER)
    house, other = await provider(gateway, admin), await provider(gateway, admin, "other")
    chat = await done(gateway, ada, START, kind="CHAT", llmProviderId=house)
    operator = await person(gateway, tenants.mine, Role.OPERATOR)
    found = (await gateway.data(operator, TALK, id=chat["id"]))["node"]
    assert found == {"llmProviderId": house, "llmProvider": {"id": house, "name": "house"}}
    await done(gateway, ada, UPDATE, id=chat["id"], llmProviderId=other)
    assert (await gateway.data(ada, TALK, id=chat["id"]))["node"]["llmProviderId"] == other
    await done(gateway, ada, UPDATE, id=chat["id"], llmProviderId=None)
    assert (await gateway.data(ada, TALK, id=chat["id"]))["node"]["llmProviderId"] is None


async def test_a_provider_that_goes_leaves_the_person_and_the_conversation_without_one(
    gateway: Gateway, tenants: Tenants, admin: Principal
) -> None:
    ada = await person(gateway, tenants.mine, Role.MEMBER)
    house = await provider(gateway, admin)
    await done(gateway, ada, PREFER, id=id_of(ada), defaultLlmProviderId=house)
    chat = await done(gateway, ada, START, kind="CHAT", llmProviderId=house)
    assert (await answered(gateway, admin, FORGET, id=house)) == {"deletedId": house, "userErrors": []}
    assert await prefers(gateway, ada, ada) is None
    assert (await gateway.data(ada, TALK, id=chat["id"]))["node"] == {"llmProviderId": None, "llmProvider": None}
