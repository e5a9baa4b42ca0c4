"""This module is where it is specified what an agent may say of itself, and how it is told what is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from models import Role, WorkspaceStatus
from models.ids import encode, uuid7
from resolvers.principal import Principal
from tests.schema.conftest import Gateway
from tests.schema.places import changed, machine, place, update
from tests.world import Tenants, principal

CARD: dict[str, Any] = {
    "name": "Vancouver SEO Agent",
    "description": "Writes and audits pages.",
    "version": "1.1.0",
    "url": "https://seo.agents.example",
    "skills": ["audit-seo-page", {"id": "generate-seo-page", "name": "Generate", "tags": ["seo"]}],
    "capabilities": {"streaming": True, "pushNotifications": False},
    "defaultInputModes": ["text/plain"],
    "provider": {"organization": "Example", "anything": [1, None, {"else": True}]},
}
REGISTER = """mutation($input: RegisterWorkspaceInput!) { registerWorkspace(input: $input) {
  workspace { agentCard } userErrors { code message field } } }"""
SAY = """mutation($input: UpdateAgentCardInput!) { updateAgentCard(input: $input) {
  workspace { agentCard version } userErrors { code message field } } }"""
READ = """query($id: ID!) { workspace(id: $id) { agentCard version
  structureEvents { nodes { eventType payload } } } }"""


async def said(gateway: Gateway, who: Principal, id: str, card: Any) -> dict[str, Any]:
    answer: dict[str, Any] = (await gateway.data(who, SAY, input={"workspaceId": id, "agentCard": card}))[
        "updateAgentCard"
    ]
    return answer


async def test_a_card_is_kept_as_it_was_said(gateway: Gateway, tenants: Tenants) -> None:
    who = principal(tenants.mine, api_key_id=uuid7())
    for number, keep in enumerate(("register", "update", "say")):
        id = await place(gateway, who, f"Place {number}")
        if keep == "register":
            await gateway.data(who, REGISTER, input={"id": id, "agentCard": CARD})
        elif keep == "update":
            assert (await update(gateway, who, id, agentCard=CARD))["userErrors"] == []
        else:
            assert (await said(gateway, who, id, CARD))["userErrors"] == []
        viewer = principal(tenants.mine, Role.VIEWER, user_id=uuid7())
        assert (await gateway.data(viewer, READ, id=id))["workspace"]["agentCard"] == CARD


BAD: list[tuple[Any, list[str]]] = [
    ([CARD], []),
    ("card", []),
    ({}, ["name"]),
    (CARD | {"name": 7}, ["name"]),
    (CARD | {"name": ""}, ["name"]),
    (CARD | {"name": "x" * 256}, ["name"]),
    (CARD | {"version": 1.1}, ["version"]),
    (CARD | {"url": "javascript:alert(1)"}, ["url"]),
    (CARD | {"url": "https://user:password@host.example"}, ["url"]),
    (CARD | {"skills": {"id": "x"}}, ["skills"]),
    (CARD | {"skills": ["fine", 7]}, ["skills", "1"]),
    (CARD | {"skills": ["fine", {"name": "no id"}]}, ["skills", "1", "id"]),
    (CARD | {"skills": [{"id": "x", "tags": "seo"}]}, ["skills", "0", "tags"]),
    (CARD | {"skills": ["x"] * 101}, ["skills"]),
    (CARD | {"capabilities": ["streaming"]}, ["capabilities"]),
    (CARD | {"capabilities": {"streaming": "yes"}}, ["capabilities", "streaming"]),
    (CARD | {"defaultInputModes": [1]}, ["defaultInputModes", "0"]),
    (CARD | {"description": "x" * 70_000}, []),
    (CARD | {"more": "nul\x00"}, []),
]


@pytest.mark.parametrize(("card", "path"), BAD, ids=range(len(BAD)))
async def test_what_is_wrong_with_a_card_is_named_by_its_path_and_nothing_changes(
    gateway: Gateway, tenants: Tenants, card: Any, path: list[str]
) -> None:
    who = principal(tenants.mine, user_id=uuid7())
    id = await place(gateway, who)
    answers = [
        (await gateway.data(who, REGISTER, input={"id": id, "agentCard": card}))["registerWorkspace"],
        await update(gateway, who, id, agentCard=card),
        await said(gateway, who, id, card),
    ]
    for answer in answers:
        (error,) = answer["userErrors"]
        assert (error["code"], error["field"]) == ("INVALID", ["input", "agentCard", *path])
        assert error["message"].endswith(".")
        assert "CANARY" not in error["message"]
        assert answer["workspace"] is None
    kept = (await gateway.data(who, READ, id=id))["workspace"]
    assert (kept["agentCard"], kept["version"]) == (None, 1)
    assert [one["eventType"] for one in kept["structureEvents"]["nodes"]] == ["WORKSPACE_AWAITING_AGENT"]


async def test_a_machine_says_what_its_own_agent_is_and_of_no_other(gateway: Gateway, tenants: Tenants) -> None:
    who = principal(tenants.mine, user_id=uuid7())
    mine, sibling = await place(gateway, who, "Mine"), await place(gateway, who, "Sibling")
    own = machine(tenants.mine, mine)
    assert (await said(gateway, own, mine, CARD))["workspace"]["agentCard"] == CARD
    for id in (sibling, encode("workspace", uuid7()), "nonsense"):
        answer = await said(gateway, own, id, CARD)
        assert [(one["code"], one["field"]) for one in answer["userErrors"]] == [
            ("NOT_FOUND", ["input", "workspaceId"])
        ]
    stranger = principal(tenants.other, user_id=uuid7())
    assert [one["code"] for one in (await said(gateway, stranger, mine, CARD))["userErrors"]] == ["NOT_FOUND"]


async def test_a_card_that_changes_is_an_event_and_the_same_again_is_none(gateway: Gateway, tenants: Tenants) -> None:
    who = principal(tenants.mine, user_id=uuid7())
    id = await place(gateway, who)
    await said(gateway, who, id, CARD)
    again = await said(gateway, who, id, CARD)
    assert again["workspace"]["version"] == 2
    newest, *_ = events = (await gateway.data(who, READ, id=id))["workspace"]["structureEvents"]["nodes"]
    assert newest == {"eventType": "AGENT_CARD_UPDATED", "payload": {"changed": ["agent_card"]}}
    assert len(events) == 2
    await changed(gateway, tenants.mine, id, status=WorkspaceStatus.REMOVED)
    refused = await said(gateway, who, id, CARD | {"version": "2"})
    assert [one["code"] for one in refused["userErrors"]] == ["ILLEGAL_TRANSITION"]
