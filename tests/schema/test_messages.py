"""This module is where messages are specified as their readers see them: by number, searched, counted, looked after."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from models import Agent, AgentType, Contact, Conversation, ConversationKind, Message, MessageRole, utcnow
from models.database import Database
from models.ids import encode, uuid7
from tests.conftest import counted
from tests.report import record
from tests.schema.conftest import Gateway
from tests.schema.talk import APPEND, DELETE, MESSAGES, READ, START, UPSERT, Talk
from tests.schema.test_audit import ACCESSES, person
from tests.schema.test_privacy import ERASE, export
from tests.world import Tenants

BOARD = """{ conversations(first: 100) { totalCount nodes { id title messageCount agent { name } contact { name }
  messages(last: 5) { totalCount nodes { seq role content } } } } }"""
UNREAD = "{ conversations(first: 100) { nodes { id unreadCount } } }"
AGENTS = """query($window: Int) { agents(first: 100) { nodes { id
  conversations(first: $window) { totalCount nodes { id } pageInfo { hasNextPage } } } } }"""
SEARCH = """query($filter: MessageFilter, $first: Int) { searchMessages(filter: $filter, first: $first) {
  totalCount nodes { content conversation { id } } } }"""


@pytest.fixture
async def talk(gateway: Gateway, tenants: Tenants) -> Talk:
    """A tenant in which people talk."""
    return await Talk.begin(gateway, tenants.mine)


async def fill(database: Database, tenant: UUID, owner: UUID | None, conversations: int, messages: int) -> list[UUID]:
    """Conversations with an agent, a contact and messages each, put straight into the database."""
    made = []
    async with database.session(tenant) as session:
        for number in range(conversations):
            agent = Agent(tenant_id=tenant, id=uuid7(), name=f"agent_{number}", type=AgentType.LLM)
            contact = Contact(tenant_id=tenant, id=uuid7(), name=f"Contact {number}")
            session.add_all([agent, contact])
            await session.flush()
            one = Conversation(
                tenant_id=tenant,
                id=uuid7(),
                kind=ConversationKind.CHAT,
                user_id=owner,
                agent_id=agent.id,
                contact_id=contact.id,
                title=f"Talk {number}",
                message_count=messages,
                last_message_at=utcnow(),
            )
            session.add(one)
            await session.flush()
            session.add_all(
                Message(
                    tenant_id=tenant,
                    id=uuid7(),
                    conversation_id=one.id,
                    user_id=owner,
                    seq=seq,
                    role=MessageRole.USER,
                    content=f"said {number}/{seq}",
                )
                for seq in range(1, messages + 1)
            )
            made.append(one.id)
        await session.commit()
    return made


async def test_messages_are_read_from_either_end_by_their_number(talk: Talk) -> None:
    (one,) = await fill(talk.gateway.services.database, talk.tenant, talk.member.user_id, 1, 25)
    started = encode("conversation", one)

    async def page(**window: Any) -> dict[str, Any]:
        found = (await talk.gateway.data(talk.member, MESSAGES, id=started, **window))["conversation"]
        messages: dict[str, Any] = found["messages"]
        assert messages["totalCount"] == 25
        return messages

    def seqs(found: dict[str, Any]) -> list[int]:
        return [node["seq"] for node in found["nodes"]]

    newest = await page(last=10)
    assert seqs(newest) == list(range(16, 26))
    assert (newest["pageInfo"]["hasPreviousPage"], newest["pageInfo"]["hasNextPage"]) == (True, False)
    older = await page(last=10, before=newest["pageInfo"]["startCursor"])
    assert seqs(older) == list(range(6, 16))
    oldest = await page(last=10, before=older["pageInfo"]["startCursor"])
    assert seqs(oldest) == list(range(1, 6))
    assert oldest["pageInfo"]["hasPreviousPage"] is False
    front = await page()
    assert seqs(front) == list(range(1, 21))
    rest = await page(after=front["pageInfo"]["endCursor"])
    assert (seqs(rest), rest["pageInfo"]["hasNextPage"]) == (list(range(21, 26)), False)
    assert seqs(await page(first=0)) == []
    assert [edge["cursor"] for edge in front["edges"]][-1] == front["pageInfo"]["endCursor"]


@pytest.mark.parametrize(
    "window",
    [{"first": 5, "last": 5}, {"first": -1}, {"after": "nonsense"}, {"before": "WzEsMl0"}, {"after": "A" * 99}],
)
async def test_a_bad_window_is_a_bad_request(talk: Talk, window: dict[str, Any]) -> None:
    started = await talk.start()
    assert await talk.code(talk.member, MESSAGES, id=started, **window) == {"BAD_REQUEST"}


async def test_a_page_of_conversations_with_all_about_them_costs_five_statements_whatever_their_number(
    gateway: Gateway, tenants: Tenants, database: Database
) -> None:
    counts = {}
    for size in (1, 50, 100):
        tenant = tenants.mine if size == 1 else (await Tenants.make(database)).mine
        owner = await person(gateway, tenant)
        await fill(database, tenant, owner.user_id, size, 8)
        with counted(database) as statements:
            found = (await gateway.data(owner, BOARD))["conversations"]
        assert (found["totalCount"], len(found["nodes"])) == (size, size)
        for one in found["nodes"]:
            number = one["title"].split()[1]
            assert one["agent"]["name"] == f"agent_{number}"
            assert one["contact"]["name"] == f"Contact {number}"
            assert one["messages"]["totalCount"] == 8
            assert [node["content"] for node in one["messages"]["nodes"]] == [f"said {number}/{n}" for n in range(4, 9)]
        counts[size] = len(statements)
    assert max(counts.values()) <= 5, counts
    record(5, "conversations with agent, contact, last messages and counts: at most five statements", 100, str(counts))


async def test_agents_conversations_cost_the_same_whatever_the_number_of_agents(
    gateway: Gateway, tenants: Tenants, database: Database
) -> None:
    operator = await person(gateway, tenants.mine)
    counts = []
    for _ in range(2):
        await fill(database, tenants.mine, operator.user_id, 20, 0)
        with counted(database) as statements:
            found = (await gateway.data(operator, AGENTS, window=1))["agents"]["nodes"]
        assert {one["conversations"]["totalCount"] for one in found} == {1}
        assert {len(one["conversations"]["nodes"]) for one in found} == {1}
        counts.append(len(statements))
    assert counts == [3, 3]


async def test_an_agents_conversations_are_paged_filtered_and_the_callers_to_see(talk: Talk) -> None:
    mine = [await talk.start(title=f"Talk {number}") for number in range(3)]
    await talk.start(talk.other_member, title="Hers")
    document = """query($id: ID!, $after: String, $filter: ConversationFilter, $orderBy: ConversationOrder) {
      agent(id: $id) { conversations(first: 2, after: $after, filter: $filter, orderBy: $orderBy) {
        totalCount nodes { id } pageInfo { hasNextPage endCursor } } } }"""

    async def page(**said: Any) -> dict[str, Any]:
        found = (await talk.gateway.data(talk.member, document, id=talk.agent, **said))["agent"]["conversations"]
        return dict(found)

    first = await page()
    assert (first["totalCount"], [one["id"] for one in first["nodes"]]) == (3, [mine[2], mine[1]])
    rest = await page(after=first["pageInfo"]["endCursor"])
    assert ([one["id"] for one in rest["nodes"]], rest["pageInfo"]["hasNextPage"]) == ([mine[0]], False)
    assert (await page(filter={"search": "talk 1"}))["totalCount"] == 1
    oldest = await page(orderBy={"field": "CREATED_AT", "direction": "ASC"})
    assert [one["id"] for one in oldest["nodes"]] == mine[:2]


async def test_a_persons_and_a_contacts_conversations_are_the_callers_to_see(talk: Talk) -> None:
    mine, hers = await talk.start(), await talk.start(talk.other_member)
    contact = await talk.done(talk.key, UPSERT, name="Ana")
    outside = (await talk.done(talk.key, START, kind="CONTACT", contactId=contact["id"]))["id"]
    document = """query($ids: [ID!]!) { nodes(ids: $ids) { ... on User { conversations { nodes { id } } }
      ... on Contact { conversations { nodes { id } } } } }"""
    people = [encode("user", one.user_id or uuid7()) for one in (talk.member, talk.other_member)]
    found = (await talk.gateway.data(talk.operator, document, ids=[*people, contact["id"]]))["nodes"]
    assert [one["conversations"]["nodes"] for one in found] == [[{"id": one}] for one in (mine, hers, outside)]
    found = (await talk.gateway.data(talk.member, document, ids=people))["nodes"]
    assert [one["conversations"]["nodes"] for one in found] == [[{"id": mine}], []]


async def test_a_search_finds_words_in_what_the_caller_may_read(talk: Talk, tenants: Tenants, gateway: Gateway) -> None:
    mine, hers = await talk.start(), await talk.start(talk.other_member)
    await talk.say(mine, "The streetlight flickers at night.")
    await talk.say(hers, "My streetlight works.", talk.other_member)
    theirs = await Talk.begin(gateway, tenants.other)
    await theirs.say(await theirs.start(), "Their streetlight fell over.")
    found = (await gateway.data(talk.member, SEARCH, filter={"search": "STREET flick"}))["searchMessages"]
    assert found == {
        "totalCount": 1,
        "nodes": [{"content": "The streetlight flickers at night.", "conversation": {"id": mine}}],
    }
    assert (await gateway.data(talk.member, SEARCH, filter={"search": "streetlight"}))["searchMessages"][
        "totalCount"
    ] == 1
    all_of_them = (await gateway.data(talk.operator, SEARCH, filter={"search": "streetlight"}))["searchMessages"]
    assert [one["conversation"]["id"] for one in all_of_them["nodes"]] == [hers, mine]
    one = {"search": "streetlight", "conversationId": hers}
    assert (await gateway.data(talk.operator, SEARCH, filter=one))["searchMessages"]["totalCount"] == 1
    assert await talk.code(talk.member, SEARCH, filter={"search": "x" * 1001}) == {"BAD_REQUEST"}


async def test_unread_messages_are_counted_for_each_reader(talk: Talk, database: Database) -> None:
    started, other = await talk.start(), await talk.start()
    for number in range(3):
        await talk.say(started, f"reply {number}", talk.key, role="ASSISTANT")

    async def unread() -> dict[str, int]:
        nodes = (await talk.gateway.data(talk.member, UNREAD))["conversations"]["nodes"]
        return {one["id"]: one["unreadCount"] for one in nodes}

    assert await unread() == {started: 3, other: 0}
    after = await talk.done(talk.member, READ, conversationId=started, seq=2)
    assert after == {"id": started, "unreadCount": 1}
    assert (await talk.done(talk.member, READ, conversationId=started, seq=1))["unreadCount"] == 1
    assert (await talk.done(talk.operator, READ, conversationId=started))["unreadCount"] == 0
    assert (await unread())[started] == 1
    await talk.say(started, "an answer shows that the rest was read")
    assert (await unread())[started] == 0
    assert await talk.refused(talk.other_member, READ, conversationId=started) == (
        "NOT_FOUND",
        ["input", "conversationId"],
    )
    assert await talk.refused(talk.member, READ, conversationId=started, seq=-1) == ("INVALID", ["input", "seq"])
    assert await talk.code(talk.key, READ, input={"conversationId": started}) == {"FORBIDDEN"}
    with counted(database) as statements:
        await talk.gateway.data(talk.member, UNREAD)
    assert len(statements) == 2


async def test_that_somebody_reads_anothers_messages_is_written_down_once_an_operation(talk: Talk) -> None:
    mine, hers = await talk.start(), await talk.start(talk.other_member)
    for started, who in ((mine, talk.member), (mine, talk.member), (hers, talk.other_member)):
        await talk.say(started, "private", who)
    board = "{ conversations { nodes { messages { nodes { content } } } } searchMessages { nodes { content } } }"
    await talk.gateway.data(talk.operator, board)
    noted = (await talk.gateway.data(talk.admin, ACCESSES))["dataAccessLogs"]["nodes"]
    people = {encode("user", one.user_id or uuid7()) for one in (talk.member, talk.other_member)}
    assert sorted(one["subjectId"] for one in noted) == sorted(people)
    assert {(one["dataCategory"], one["accessType"]) for one in noted} == {("MESSAGES", "READ")}
    assert {one["actor"]["id"] for one in noted} == {encode("user", talk.operator.user_id or uuid7())}


async def test_ones_own_messages_a_machines_reading_and_lists_without_content_are_not_noted(talk: Talk) -> None:
    started = await talk.start()
    await talk.say(started, "private")
    for who in (talk.member, talk.key):
        await talk.gateway.data(who, MESSAGES, id=started)
    await talk.gateway.data(talk.operator, "{ conversations { nodes { id title messages { nodes { seq role } } } } }")
    assert (await talk.gateway.data(talk.admin, ACCESSES))["dataAccessLogs"]["totalCount"] == 0


async def test_a_contact_whose_messages_are_read_is_a_subject_too(talk: Talk) -> None:
    contact = await talk.done(talk.key, UPSERT, name="Ana")
    started = (await talk.done(talk.key, START, kind="CONTACT", contactId=contact["id"]))["id"]
    message = await talk.say(started, "hello", talk.key)
    await talk.gateway.data(
        talk.operator, "query($id: ID!) { node(id: $id) { ... on Message { content } } }", id=message["id"]
    )
    noted = (await talk.gateway.data(talk.admin, ACCESSES))["dataAccessLogs"]["nodes"]
    assert [one["subjectId"] for one in noted] == [contact["id"]]


async def test_what_a_person_said_is_handed_over_whole_and_erased_with_them(talk: Talk, owner: AsyncEngine) -> None:
    started = await talk.start(title="canary-title", metadata={"note": "canary-metadata"})
    long = "canary " * 2_000
    await talk.say(started, long)
    await talk.say(started, "canary-reply", talk.key, role="ASSISTANT")
    gone = await talk.start()
    await talk.done(talk.member, DELETE, id=gone)
    mine = await export(talk.gateway, talk.member)
    assert [one["content"] for one in mine["messages"]] == [long, "canary-reply"]
    assert mine["conversations"][0]["title"] == "canary-title"
    assert mine["conversations"][0]["metadata"] == {"note": "canary-metadata"}
    user = encode("user", talk.member.user_id or uuid7())
    erased = (await talk.gateway.data(talk.admin, ERASE, input={"id": user}))["eraseUser"]
    assert erased["userErrors"] == []
    async with owner.connect() as connection:
        for table in ("conversations", "messages", "read_markers", "agent_runs", "tool_executions", "events"):
            rows = await connection.scalars(
                text(f"SELECT t::text FROM {table} t WHERE tenant_id = :tenant"), {"tenant": talk.tenant}
            )
            assert "canary" not in str(rows.all()), table
    asked = {"conversationId": started, "role": "USER", "content": "hello"}
    assert await talk.refused(talk.operator, APPEND, **asked) == ("NOT_FOUND", ["input", "conversationId"])
