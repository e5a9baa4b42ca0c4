"""This module is where conversations are specified as their callers see them: begun, spoken in, put away, deleted."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import func, select, text

from models import Contact, Conversation, Event, Message, Scope
from models.conversations import CONTENT_LIMIT_BYTES
from models.ids import encode, uuid7
from tests.report import record
from tests.schema.conftest import Gateway
from tests.schema.talk import (
    APPEND,
    ARCHIVE,
    DELETE,
    MESSAGES,
    START,
    UPDATE,
    UPSERT,
    Talk,
    raw,
)
from tests.world import Tenants

WRITERS = 16
EACH = 10
LIST = """query($filter: ConversationFilter, $orderBy: ConversationOrder) {
  conversations(first: 100, filter: $filter, orderBy: $orderBy) { totalCount nodes { id title } } }"""


@pytest.fixture
async def talk(gateway: Gateway, tenants: Tenants) -> Talk:
    """A tenant in which people talk."""
    return await Talk.begin(gateway, tenants.mine)


@pytest.fixture
async def theirs(gateway: Gateway, tenants: Tenants) -> Talk:
    """The other tenant, in which people talk too."""
    return await Talk.begin(gateway, tenants.other)


async def test_a_chat_is_its_starters_own_and_begins_empty(talk: Talk) -> None:
    made = await talk.done(talk.member, START, kind="CHAT", title=" Lights ", agentId=talk.agent)
    assert made == {
        "id": made["id"],
        "kind": "CHAT",
        "title": "Lights",
        "status": "ACTIVE",
        "messageCount": 0,
        "user": {"id": encode("user", talk.member.user_id or uuid7())},
        "agent": {"id": talk.agent},
        "contact": None,
    }


async def test_a_contacts_conversation_is_nobodys_own_and_needs_its_scope(talk: Talk) -> None:
    contact = await talk.done(talk.key, UPSERT, name="Ana", externalId="5511999990001@s.whatsapp.net")
    made = await talk.done(talk.key, START, kind="CONTACT", contactId=contact["id"], agentId=talk.agent)
    assert (made["contact"], made["user"]) == ({"id": contact["id"]}, None)
    assert await talk.code(talk.member, START, input={"kind": "CONTACT", "contactId": contact["id"]}) == {"FORBIDDEN"}


@pytest.mark.parametrize(
    ("said", "code", "field"),
    [
        ({"kind": "ALERT_CHAT"}, "INVALID", "alertId"),
        ({"kind": "ALERT_CHAT", "alertId": encode("alert", uuid7())}, "NOT_FOUND", "alertId"),
        ({"kind": "ALERT_CHAT", "alertId": "nonsense"}, "NOT_FOUND", "alertId"),
        ({"kind": "CHAT", "alertId": encode("alert", uuid7())}, "INVALID", "alertId"),
        ({"kind": "CHAT", "agentId": encode("agent", uuid7())}, "NOT_FOUND", "agentId"),
        ({"kind": "CHAT", "agentId": "nonsense"}, "NOT_FOUND", "agentId"),
        ({"kind": "CHAT", "contactId": encode("contact", uuid7())}, "INVALID", "contactId"),
        ({"kind": "CONTACT"}, "INVALID", "contactId"),
        ({"kind": "CONTACT", "contactId": encode("contact", uuid7())}, "NOT_FOUND", "contactId"),
        ({"kind": "CHAT", "title": "two\nlines"}, "INVALID", "title"),
        ({"kind": "CHAT", "title": "x" * 256}, "INVALID", "title"),
        ({"kind": "CHAT", "metadata": ["no object"]}, "INVALID", "metadata"),
        ({"kind": "CHAT", "metadata": {"big": "x" * 65_536}}, "INVALID", "metadata"),
    ],
)
async def test_a_bad_beginning_is_one_user_error_and_begins_nothing(
    talk: Talk, said: dict[str, Any], code: str, field: str
) -> None:
    assert await talk.refused(talk.operator, START, **said) == (code, ["input", field])
    assert (await talk.gateway.data(talk.admin, LIST))["conversations"]["totalCount"] == 0


async def test_another_tenants_agent_and_contact_are_not_found(talk: Talk, theirs: Talk) -> None:
    contact = await theirs.done(theirs.key, UPSERT, name="Theirs")
    for said in ({"kind": "CHAT", "agentId": theirs.agent}, {"kind": "CONTACT", "contactId": contact["id"]}):
        assert (await talk.refused(talk.operator, START, **said))[0] == "NOT_FOUND"


async def test_a_retry_under_a_key_begins_one_conversation_also_for_a_member(talk: Talk) -> None:
    first = await talk.start(idempotencyKey="one")
    assert await talk.start(idempotencyKey="one") == first
    asked = {"conversationId": first, "role": "USER", "content": "hello", "idempotencyKey": "two"}
    said = [(await talk.done(talk.member, APPEND, **asked))["id"] for _ in range(3)]
    assert len(set(said)) == 1


async def test_sixteen_writers_number_their_messages_without_a_gap(talk: Talk) -> None:
    started = await talk.start()
    asked = {"conversationId": started, "role": "ASSISTANT", "content": "said", "tokens": 3}

    async def write() -> list[int]:
        return [int((await talk.done(talk.key, APPEND, **asked))["seq"]) for _ in range(EACH)]

    seqs = [seq for some in await asyncio.gather(*(write() for _ in range(WRITERS))) for seq in some]
    assert sorted(seqs) == list(range(1, WRITERS * EACH + 1))
    found = (await talk.gateway.data(talk.member, MESSAGES, id=started, last=1))["conversation"]
    assert (found["messageCount"], found["tokenCount"]) == (WRITERS * EACH, 3 * WRITERS * EACH)
    assert found["messages"]["nodes"] == [{"seq": WRITERS * EACH, "content": "said"}]
    async with talk.gateway.services.database.session(talk.tenant) as session:
        newest = await session.scalar(select(func.max(Message.created_at)))
        row = (await session.scalars(select(Conversation))).one()
    assert newest is not None
    assert row.last_message_at is not None
    assert abs((row.last_message_at - newest).total_seconds()) < 5
    record(
        5,
        "16 writers on one conversation: seq without gap or repeat, counters exact",
        WRITERS * EACH,
        f"{WRITERS} writers at once, seq 1 to {WRITERS * EACH}",
    )


@pytest.mark.parametrize("role", ["ASSISTANT", "SYSTEM", "TOOL"])
async def test_people_say_only_what_people_say(talk: Talk, role: str) -> None:
    started = await talk.start()
    asked = {"conversationId": started, "role": role, "content": "I am no machine"}
    # An administrator holds the scope, to give it to keys.
    for who in (talk.member, talk.operator, talk.admin):
        assert await talk.code(who, APPEND, input=asked) == {"FORBIDDEN"}
    said = await talk.done(talk.key, APPEND, **asked)
    assert (said["role"], said["seq"]) == (role, 1)


async def test_a_viewer_says_nothing(talk: Talk) -> None:
    started = await talk.start()
    assert await talk.code(talk.viewer, START, input={"kind": "CHAT"}) == {"FORBIDDEN"}
    asked = {"conversationId": started, "role": "USER", "content": "hello"}
    assert await talk.code(talk.viewer, APPEND, input=asked) == {"FORBIDDEN"}


@pytest.mark.parametrize(
    ("said", "code", "field"),
    [
        ({"content": ""}, "INVALID", "content"),
        ({"content": "nul\x00"}, "INVALID", "content"),
        ({"content": "é" * (CONTENT_LIMIT_BYTES // 2 + 1)}, "INVALID", "content"),
        ({"tokens": -1}, "INVALID", "tokens"),
        ({"metadata": "text"}, "INVALID", "metadata"),
        ({"toolCalls": {"big": "x" * 131_072}}, "INVALID", "toolCalls"),
        ({"modelUsed": "two\nlines"}, "INVALID", "modelUsed"),
        ({"parentId": "nonsense"}, "NOT_FOUND", "parentId"),
        ({"parentId": encode("message", uuid7())}, "NOT_FOUND", "parentId"),
        ({"conversationId": "nonsense"}, "NOT_FOUND", "conversationId"),
    ],
)
async def test_a_bad_message_is_one_user_error_and_says_nothing(
    talk: Talk, said: dict[str, Any], code: str, field: str
) -> None:
    started = await talk.start()
    asked = {"conversationId": started, "role": "USER", "content": "hello"} | said
    assert await talk.refused(talk.member, APPEND, **asked) == (code, ["input", field])
    found = (await talk.gateway.data(talk.member, MESSAGES, id=started))["conversation"]
    assert (found["messageCount"], found["messages"]["nodes"]) == (0, [])


async def test_a_message_as_long_as_may_be_is_kept_whole(talk: Talk) -> None:
    started = await talk.start()
    content = "é" * (CONTENT_LIMIT_BYTES // 2)
    assert (await talk.say(started, content))["content"] == content


async def test_a_parent_stands_in_the_same_conversation(talk: Talk) -> None:
    here, there = await talk.start(), await talk.start()
    first = await talk.say(here, "a question")
    answer = await talk.say(here, "an answer", parentId=first["id"])
    assert answer["parent"] == {"id": first["id"]}
    asked = {"conversationId": there, "role": "USER", "content": "lost", "parentId": first["id"]}
    assert await talk.refused(talk.member, APPEND, **asked) == ("NOT_FOUND", ["input", "parentId"])


async def test_anothers_conversation_is_answered_like_one_that_never_was(talk: Talk, theirs: Talk) -> None:
    mine, foreign = await talk.start(), await theirs.start()
    for who, ids in (
        (talk.other_member, (mine, foreign, encode("conversation", uuid7()), "nonsense")),
        (talk.admin, (foreign, encode("conversation", uuid7()), "nonsense")),
    ):
        for document, said in (
            (APPEND, {"role": "USER", "content": "hello"}),
            (ARCHIVE, {}),
            (DELETE, {}),
            (UPDATE, {}),
        ):
            name = "conversationId" if document is APPEND else "id"
            answers = [await talk.do(who, document, **{name: one}, **said) for one in ids]
            assert all(one == answers[0] for one in answers)
            assert answers[0]["userErrors"] == [{"code": "NOT_FOUND", "field": ["input", name]}]
    assert (await talk.gateway.data(talk.member, MESSAGES, id=mine))["conversation"]["messageCount"] == 0


async def test_a_member_sees_and_counts_only_their_own_and_an_operator_all(talk: Talk, theirs: Talk) -> None:
    mine = await talk.start(title="Mine")
    hers = await talk.start(talk.other_member, title="Hers")
    await theirs.start(title="Theirs")
    listed = (await talk.gateway.data(talk.member, LIST))["conversations"]
    assert listed == {"totalCount": 1, "nodes": [{"id": mine, "title": "Mine"}]}
    asked = {"userId": encode("user", talk.other_member.user_id or uuid7())}
    assert (await talk.gateway.data(talk.member, LIST, filter=asked))["conversations"]["totalCount"] == 0
    both = (await talk.gateway.data(talk.operator, LIST))["conversations"]
    assert {one["id"] for one in both["nodes"]} == {mine, hers}
    one = "query($id: ID!) { conversation(id: $id) { title } node(id: $id) { id } }"
    assert await talk.gateway.data(talk.member, one, id=mine) == {
        "conversation": {"title": "Mine"},
        "node": {"id": mine},
    }
    assert await talk.code(talk.member, one, id=hers) == {"FORBIDDEN"}


async def test_lists_are_filtered_and_sorted(talk: Talk) -> None:
    first = await talk.start(title="Streetlight broken")
    second = await talk.start(title="Parking permit", agentId=None)
    await talk.say(first, "still dark")
    await talk.done(talk.member, ARCHIVE, id=second)
    for filter, expected in (
        ({"search": "street"}, [first]),
        ({"status": ["ARCHIVED"]}, [second]),
        ({"agentId": talk.agent}, [first]),
        ({"kind": ["CONTACT"]}, []),
        ({"alertId": encode("alert", uuid7())}, []),
    ):
        found = (await talk.gateway.data(talk.member, LIST, filter=filter))["conversations"]
        assert [one["id"] for one in found["nodes"]] == expected, filter
    order = {"field": "LAST_MESSAGE_AT", "direction": "DESC"}
    found = (await talk.gateway.data(talk.member, LIST, orderBy=order))["conversations"]
    assert [one["id"] for one in found["nodes"]] == [first, second]


async def test_in_an_update_absent_stays_and_null_clears(talk: Talk) -> None:
    started = await talk.start(title="Lights", metadata={"intent": "repair"})
    after = await talk.done(talk.member, UPDATE, id=started, summary="They flicker.", agentId=None)
    assert (after["title"], after["summary"], after["agent"], after["metadata"]) == (
        "Lights",
        "They flicker.",
        None,
        {"intent": "repair"},
    )
    after = await talk.done(talk.operator, UPDATE, id=started, title=None, metadata=None)
    assert (after["title"], after["metadata"]) == (None, {})


async def test_an_archived_conversation_can_be_read_and_nothing_is_added(talk: Talk) -> None:
    started = await talk.start()
    await talk.say(started, "hello")
    assert (await talk.done(talk.member, ARCHIVE, id=started))["status"] == "ARCHIVED"
    asked = {"conversationId": started, "role": "USER", "content": "too late"}
    assert await talk.do(talk.member, APPEND, **asked) == {
        "message": None,
        "userErrors": [{"code": "ILLEGAL_TRANSITION", "field": ["input", "conversationId"]}],
    }
    for document in (ARCHIVE, UPDATE):
        answer = await talk.do(talk.member, document, id=started)
        assert answer["userErrors"] == [{"code": "ILLEGAL_TRANSITION", "field": ["input", "id"]}]
        assert answer["conversation"]["status"] == "ARCHIVED"
    found = (await talk.gateway.data(talk.member, MESSAGES, id=started))["conversation"]
    assert found["messages"]["nodes"] == [{"seq": 1, "content": "hello"}]


async def test_of_a_deleted_conversation_no_word_is_left_anywhere(talk: Talk) -> None:
    started = await talk.start(title="canary-title")
    await talk.say(started, "canary-content")
    await talk.done(talk.member, UPDATE, id=started, summary="canary-summary", metadata={"note": "canary-note"})
    assert await talk.done(talk.member, DELETE, id=started) == started
    assert await talk.refused(talk.member, DELETE, id=started) == ("NOT_FOUND", ["input", "id"])
    assert (await talk.gateway.data(talk.admin, LIST))["conversations"]["totalCount"] == 0
    gone = (await talk.gateway.data(talk.admin, LIST, filter={"status": ["DELETED"]}))["conversations"]
    assert gone["nodes"] == [{"id": started, "title": None}]
    async with talk.gateway.services.database.session(talk.tenant) as session:
        for table in ("conversations", "messages", "events", "read_markers"):
            rows = (await session.execute(text(f"SELECT t::text FROM {table} t"))).scalars().all()
            assert "canary" not in str(rows), table


async def test_no_word_of_a_conversation_is_in_the_event_log_or_its_audit(talk: Talk) -> None:
    started = await talk.start(title="canary-title", metadata={"note": "canary-note"})
    await talk.say(started, "canary-content", metadata={"note": "canary-note"})
    await talk.say(started, "canary-reply", talk.key, role="ASSISTANT", sanitizedContent="canary-sane")
    await talk.done(talk.key, UPSERT, name="canary-name", externalId="canary-number", meta={"note": "canary-meta"})
    async with talk.gateway.services.database.session(talk.tenant) as session:
        kinds = list(await session.scalars(select(Event.kind).order_by(Event.seq)))
        said = str((await session.execute(text("SELECT t::text FROM events t"))).scalars().all())
    assert kinds == ["conversation.started", "message.appended", "message.appended", "contact.created"]
    assert "canary" not in said
    log = "{ auditLogs(first: 100) { nodes { action details oldValues newValues } } }"
    assert "canary" not in str(await talk.gateway.data(talk.admin, log))


async def test_a_contact_is_found_again_by_what_another_system_calls_them(talk: Talk, theirs: Talk) -> None:
    first = await talk.done(talk.key, UPSERT, externalId="+55 11", name="Ana", meta={"channel": "whatsapp"})
    again = await talk.done(talk.operator, UPSERT, externalId="+55 11", name="Ana Souza")
    assert again == {"id": first["id"], "externalId": "+55 11", "name": "Ana Souza", "meta": {"channel": "whatsapp"}}
    by_id = await talk.done(talk.operator, UPSERT, id=first["id"], name="Ana S.", externalId="+55 12")
    assert (by_id["id"], by_id["externalId"]) == (first["id"], "+55 12")
    assert (await theirs.done(theirs.key, UPSERT, externalId="+55 12", name="Other"))["id"] != first["id"]
    for one in (encode("contact", uuid7()), "nonsense"):
        assert await talk.refused(talk.operator, UPSERT, id=one, name="Nobody") == ("NOT_FOUND", ["input", "id"])
    second = await talk.done(talk.operator, UPSERT, name="Bea", externalId="+55 13")
    taken = await talk.refused(talk.operator, UPSERT, id=second["id"], name="Bea", externalId="+55 12")
    assert taken == ("ALREADY_EXISTS", ["input", "externalId"])
    listed = "query($filter: ContactFilter) { contacts(filter: $filter) { totalCount nodes { name } } }"
    found = (await talk.gateway.data(talk.operator, listed, filter={"externalId": "+55 12"}))["contacts"]
    assert found == {"totalCount": 1, "nodes": [{"name": "Ana S."}]}
    found = (await talk.gateway.data(talk.operator, listed, filter={"search": "bea"}))["contacts"]
    assert found["totalCount"] == 1
    assert await talk.code(talk.member, listed) == {"FORBIDDEN"}
    assert await talk.code(talk.member, UPSERT, input={"name": "Eve"}) == {"FORBIDDEN"}


async def test_ten_who_bring_the_same_contact_at_once_bring_one(talk: Talk) -> None:
    made = await asyncio.gather(
        *(talk.done(talk.key, UPSERT, externalId="same", name=f"Name {number}") for number in range(10))
    )
    assert len({one["id"] for one in made}) == 1
    async with talk.gateway.services.database.session(talk.tenant) as session:
        assert await session.scalar(select(func.count()).select_from(Contact)) == 1


async def test_a_workspaces_token_speaks_in_its_own_agents_conversations_alone(talk: Talk) -> None:
    mine, other = await talk.start(), await talk.start(agentId=None)
    said = {"role": "ASSISTANT", "content": "here"}
    assert (await talk.say(mine, "here", talk.token, role="ASSISTANT"))["seq"] == 1
    assert await talk.refused(talk.token, APPEND, conversationId=other, **said) == (
        "NOT_FOUND",
        ["input", "conversationId"],
    )
    assert (await talk.refused(talk.token, START, kind="CHAT"))[0] == "NOT_FOUND"
    start = """mutation($input: StartConversationInput!) { startConversation(input: $input) {
      conversation { id } userErrors { code field } } }"""
    own = (await talk.done(talk.token, start, kind="CHAT", agentId=talk.agent))["id"]
    read = "query($id: ID!) { conversation(id: $id) { id messages { totalCount } } }"
    answer = await talk.gateway.answer(talk.token, read, id=own)
    assert answer["data"]["conversation"]["messages"] == {"totalCount": 0}
    assert await talk.code(talk.token, read, id=other) == {"FORBIDDEN"}
    assert Scope.CONVERSATIONS_READ not in talk.token.scopes


async def test_what_is_sanitized_is_kept_apart(talk: Talk) -> None:
    started = await talk.start()
    await talk.say(started, "I am Ana", talk.key, role="ASSISTANT", sanitizedContent="I am [name]")
    read = """query($id: ID!) { conversation(id: $id) { messages { nodes { content sanitizedContent } } } }"""
    for who in (talk.operator, talk.admin):
        found = (await talk.gateway.data(who, read, id=started))["conversation"]["messages"]["nodes"]
        assert found == [{"content": "I am Ana", "sanitizedContent": "I am [name]"}]
    answer = await talk.gateway.answer(talk.member, read, id=started)
    assert answer["data"]["conversation"]["messages"]["nodes"] == [{"content": "I am Ana", "sanitizedContent": None}]
    assert {one["extensions"]["code"] for one in answer["errors"]} == {"FORBIDDEN"}
    asked = {"conversationId": started, "role": "USER", "content": "x", "sanitizedContent": "y"}
    for who in (talk.member, talk.admin):
        assert await talk.code(who, APPEND, input=asked) == {"FORBIDDEN"}
    assert raw("conversation", started).int != 0
