"""This module is where it is specified how somebody outside is forgotten: them, and every word with them."""

from __future__ import annotations

from typing import Any, Final

import pytest
from sqlalchemy import text

from models import Role
from models.ids import encode, uuid7
from tests.schema.conftest import Gateway
from tests.schema.talk import START, UPSERT, Talk
from tests.schema.test_audit import ACCESSES, person
from tests.schema.test_runs import BEGIN, TOOL
from tests.world import Tenants

FORGET: Final = """mutation($input: DeleteContactInput!) { deleteContact(input: $input) {
  deletedId userErrors { code field } } }"""
KINDS: Final = "{ activity(first: 100) { nodes { kind entityId payload entity { id } } } }"
TABLES: Final = ("contacts", "conversations", "messages", "agent_runs", "tool_executions", "read_markers")


@pytest.fixture
async def talk(gateway: Gateway, tenants: Tenants) -> Talk:
    """A tenant in which people talk."""
    return await Talk.begin(gateway, tenants.mine)


async def known(talk: Talk, name: str = "canary-ana", threads: int = 2) -> str:
    """A contact with conversations in which everything was done."""
    contact = await talk.done(talk.key, UPSERT, name=name, externalId=name, meta={"note": name})
    for _ in range(threads):
        thread = await talk.done(
            talk.key, START, kind="CONTACT", contactId=contact["id"], agentId=talk.agent, title=name
        )
        await talk.say(thread["id"], name, talk.key)
        run = await talk.done(talk.key, BEGIN, agentName="athena", conversationId=thread["id"], state={"of": name})
        await talk.done(talk.key, TOOL, kind="MCP", toolName="find", status="SUCCESS", runId=run["id"], input=name)
    return str(contact["id"])


async def rows(talk: Talk) -> dict[str, list[str]]:
    """Every row about talk, as text."""
    async with talk.gateway.services.database.session(talk.tenant) as session:
        return {
            table: list((await session.execute(text(f"SELECT t::text FROM {table} t"))).scalars()) for table in TABLES
        }


async def test_of_a_contact_who_is_forgotten_no_word_is_left_and_of_others_all(talk: Talk) -> None:
    gone, stays = await known(talk), await known(talk, "Bea", threads=1)
    assert await talk.done(talk.admin, FORGET, id=gone) == gone
    left = await rows(talk)
    assert "canary" not in str(left)
    assert {table: len(found) for table, found in left.items()} == {
        "contacts": 1,
        "conversations": 1,
        "messages": 1,
        "agent_runs": 1,
        "tool_executions": 1,
        "read_markers": len(left["read_markers"]),
    }
    read = "query($id: ID!) { node(id: $id) { id } }"
    assert (await talk.gateway.data(talk.admin, read, id=gone))["node"] is None
    assert (await talk.gateway.data(talk.admin, read, id=stays))["node"] == {"id": stays}


async def test_it_is_told_and_written_down_without_a_word(talk: Talk) -> None:
    id = await known(talk)
    await talk.done(talk.admin, FORGET, id=id)
    events: list[dict[str, Any]] = (await talk.gateway.data(talk.admin, KINDS))["activity"]["nodes"]
    last, *before = events[:3]
    assert (last["kind"], last["entityId"], last["entity"]) == ("contact.erased", id, None)
    assert last["payload"]["deleted"]["conversations"] == 2
    assert {one["kind"] for one in before} == {"conversation.deleted"}
    assert "canary" not in str(events)
    found = (await talk.gateway.data(talk.admin, ACCESSES, filter={"accessType": ["ERASURE"]}))["dataAccessLogs"]
    assert [(one["subjectId"], one["dataCategory"]) for one in found["nodes"]] == [(id, "MESSAGES")]


async def test_only_who_may_erase_erases_and_a_stranger_finds_nobody(talk: Talk, tenants: Tenants) -> None:
    id = await known(talk, threads=1)
    before = await rows(talk)
    for who in (talk.operator, talk.member, talk.viewer, talk.key, talk.token):
        assert await talk.code(who, FORGET, input={"id": id}) == {"FORBIDDEN"}
    stranger = await person(talk.gateway, tenants.other, Role.ADMIN)
    for whom, bad in ((stranger, id), (talk.admin, encode("contact", uuid7())), (talk.admin, "nonsense")):
        assert await talk.refused(whom, FORGET, id=bad) == ("NOT_FOUND", ["input", "id"])
    assert await rows(talk) == before
    await talk.done(talk.admin, FORGET, id=id)
    assert await talk.refused(talk.admin, FORGET, id=id) == ("NOT_FOUND", ["input", "id"])
