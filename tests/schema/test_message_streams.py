"""This module is where live conversations are specified as their viewers see them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import select

from models import Message, MessageState, Role
from models.ids import encode, uuid7
from subscriptions.replies import Place
from tests.patience import DEADLINE
from tests.schema.conftest import Gateway
from tests.schema.talk import APPEND, ARCHIVE, CHUNK, DELETE, START, TYPE, UPSERT, Talk, keyed, raw
from tests.schema.test_audit import ACCESSES, person
from tests.schema.test_contact_erasure import FORGET
from tests.schema.test_privacy import ERASE
from tests.world import Tenants

SAID = """subscription($id: ID!, $after: EventCursor) { conversationMessages(conversationId: $id, after: $after) {
  __typename ... on StreamReady { cursor recovered } ... on StreamItem { cursor }
  ... on MessageItem { previousCursor kind entityId message { id seq role content state conversation { id } } } } }"""
BY_AGENT = """subscription($id: ID!, $after: EventCursor) { agentMessages(agentId: $id, after: $after) {
  __typename ... on StreamReady { cursor recovered } ... on StreamItem { cursor }
  ... on MessageItem { kind message { id content conversation { id } } } } }"""
CHUNKS = """subscription($id: ID!) { messageChunks(conversationId: $id) {
  conversationId messageId index text isSnapshot isFinal } }"""
TYPISTS = "subscription($id: ID!) { typing(conversationId: $id) { conversationId user { id } isTyping } }"


@pytest.fixture
async def talk(gateway: Gateway, tenants: Tenants) -> Talk:
    """A tenant in which people talk."""
    return await Talk.begin(gateway, tenants.mine)


class Viewer:
    """One subscriber."""

    def __init__(self, items: AsyncIterator[dict[str, Any]]) -> None:
        self._items = items

    async def next(self) -> dict[str, Any]:
        """The next item; fails at the deadline."""
        async with asyncio.timeout(DEADLINE):
            answer = await anext(self._items)
        assert "errors" not in answer, answer
        item: dict[str, Any] = next(iter(answer["data"].values()))
        return item

    async def messages(self, count: int) -> list[dict[str, Any]]:
        """So many items that are messages."""
        found: list[dict[str, Any]] = []
        while len(found) < count:
            item = await self.next()
            if item["__typename"] == "MessageItem":
                found.append(item)
        return found

    async def text(self) -> str:
        """What one reply ends with."""
        text = ""
        while True:
            item = await self.next()
            text = str(item["text"]) if item["isSnapshot"] else f"{text}{item['text']}"
            if item["isFinal"]:
                return text


@asynccontextmanager
async def viewing(talk: Talk, who: Any, document: str, id: str, **said: Any) -> AsyncIterator[Viewer]:
    """A subscriber; of a durable stream one that stands."""
    items = await talk.gateway.watch(who, document, id=id, **said)
    viewer = Viewer(items)
    try:
        if "StreamReady" in document:
            assert (await viewer.next())["__typename"] == "StreamReady"
        yield viewer
    finally:
        await items.aclose()


async def test_every_message_of_a_conversation_comes_once_and_in_order(talk: Talk) -> None:
    here, there = await talk.start(), await talk.start()
    async with viewing(talk, talk.member, SAID, here) as viewer:
        for number in range(5):
            await talk.say(here, f"said {number}")
            await talk.say(there, "elsewhere")
        items = await viewer.messages(5)
    assert [one["message"]["seq"] for one in items] == [1, 2, 3, 4, 5]
    assert {one["kind"] for one in items} == {"message.appended"}
    assert {one["message"]["conversation"]["id"] for one in items} == {here}
    async with viewing(talk, talk.member, SAID, here, after=items[1]["cursor"]) as viewer:
        assert [one["message"]["seq"] for one in await viewer.messages(3)] == [3, 4, 5]


async def test_of_what_is_anothers_or_never_was_a_stream_shows_nothing(
    talk: Talk, gateway: Gateway, tenants: Tenants
) -> None:
    mine = await talk.start()
    theirs = await Talk.begin(gateway, tenants.other)
    foreign = await theirs.start()
    hers = await talk.start(talk.other_member)
    for who, ids in (
        (talk.other_member, [mine, foreign, encode("conversation", uuid7()), "nonsense"]),
        (talk.viewer, [mine]),
        (talk.admin, [foreign]),
    ):
        for id in ids:
            async with viewing(talk, who, SAID, id) as viewer:
                await talk.say(mine, "secret")
                await theirs.say(foreign, "secret")
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.2):
                        await viewer.next()
            async with viewing(talk, who, CHUNKS, id) as viewer:
                with pytest.raises(StopAsyncIteration):
                    await viewer.next()
    async with viewing(talk, talk.other_member, SAID, hers) as viewer:
        await talk.say(hers, "mine", talk.other_member)
        assert (await viewer.messages(1))[0]["message"]["content"] == "mine"


async def test_a_machine_hears_what_its_agent_is_to_answer(talk: Talk) -> None:
    here, elsewhere = await talk.start(), await talk.start(agentId=None)
    for who in (talk.token, talk.key):
        async with viewing(talk, who, BY_AGENT, talk.agent) as viewer:
            await talk.say(elsewhere, "to nobody")
            await talk.say(here, "to the agent")
            (item,) = await viewer.messages(1)
            assert (item["message"]["content"], item["message"]["conversation"]["id"]) == ("to the agent", here)


async def test_a_reply_is_seen_to_grow_and_the_finished_message_takes_its_place(talk: Talk) -> None:
    here = await talk.start()
    async with viewing(talk, talk.member, CHUNKS, here) as viewer, viewing(talk, talk.member, SAID, here) as said:
        reply = await talk.done(talk.key, CHUNK, conversationId=here, index=0, text="The light ")
        first = await viewer.next()
        # A snapshot if the viewer stands only now.
        first.pop("isSnapshot")
        assert first == {
            "conversationId": here,
            "messageId": reply,
            "index": 0,
            "text": "The light ",
            "isFinal": False,
        }
        (begun,) = await said.messages(1)
        assert (begun["kind"], begun["message"]["id"], begun["message"]["state"]) == ("message.begun", reply, "WRITING")
        await talk.say(here, "Are you there?")
        await talk.done(talk.key, CHUNK, conversationId=here, messageId=reply, index=1, text="works.", isFinal=True)
        assert (await viewer.next())["isFinal"] is True
        asked = {"conversationId": here, "messageId": reply, "role": "ASSISTANT", "content": "The light works."}
        done = await talk.done(talk.key, APPEND, **asked, tokens=7)
        assert (done["id"], done["seq"], done["state"]) == (reply, 1, "FINAL")
        between, finished = await said.messages(2)
        assert (between["message"]["seq"], finished["kind"]) == (2, "message.appended")
        assert finished["message"] == {
            "id": reply,
            "seq": 1,
            "role": "ASSISTANT",
            "content": "The light works.",
            "state": "FINAL",
            "conversation": {"id": here},
        }
    async with talk.gateway.services.database.session(talk.tenant) as session:
        assert set(await session.scalars(select(Message.state))) == {MessageState.FINAL}


async def test_who_comes_late_gets_a_snapshot_first(talk: Talk) -> None:
    here = await talk.start()
    reply = await talk.done(talk.key, CHUNK, conversationId=here, index=0, text="one ")
    await talk.done(talk.key, CHUNK, conversationId=here, messageId=reply, index=1, text="two ")
    async with viewing(talk, talk.member, CHUNKS, here) as viewer:
        item = await viewer.next()
        assert (item["text"], item["index"], item["isSnapshot"]) == ("one two ", 1, True)
        await talk.done(talk.key, CHUNK, conversationId=here, messageId=reply, index=2, text="three")
        item = await viewer.next()
        assert (item["text"], item["index"], item["isSnapshot"]) == ("three", 2, False)


async def test_pieces_out_of_place_or_after_the_end_are_refused(talk: Talk) -> None:
    here, there = await talk.start(), await talk.start()
    assert await talk.refused(talk.key, CHUNK, conversationId=here, index=1, text="x") == (
        "INVALID",
        ["input", "index"],
    )
    reply = await talk.done(talk.key, CHUNK, conversationId=here, index=0, text="one ")
    said = {"conversationId": here, "messageId": reply}
    for index in (0, 2, 7):
        assert await talk.refused(talk.key, CHUNK, **said, index=index, text="x") == ("CONFLICT", ["input", "index"])
    lost = {"conversationId": there, "messageId": reply, "index": 1, "text": "x"}
    assert await talk.refused(talk.key, CHUNK, **lost) == ("NOT_FOUND", ["input", "messageId"])
    for unknown in ("nonsense", encode("message", uuid7())):
        asked = {"conversationId": here, "messageId": unknown, "index": 1, "text": "x"}
        assert await talk.refused(talk.key, CHUNK, **asked) == ("NOT_FOUND", ["input", "messageId"])
    another = talk.token
    assert (await talk.refused(another, CHUNK, **said, index=1, text="x"))[0] == "EXPIRED"
    await talk.done(talk.key, CHUNK, **said, index=1, text="two", isFinal=True)
    over = ("ILLEGAL_TRANSITION", ["input", "messageId"])
    assert await talk.refused(talk.key, CHUNK, **said, index=2, text="x") == over
    await talk.done(talk.key, APPEND, **said, role="ASSISTANT", content="one two")
    assert await talk.refused(talk.key, CHUNK, **said, index=2, text="x") == over
    again = await talk.do(talk.key, APPEND, **said, role="ASSISTANT", content="once more")
    assert again["userErrors"] == [{"code": "ILLEGAL_TRANSITION", "field": ["input", "messageId"]}]
    assert again["message"]["content"] == "one two"
    for text in ("x" * 8_193, "nul\x00"):
        asked = {"conversationId": here, "index": 0, "text": text}
        assert await talk.refused(talk.key, CHUNK, **asked) == ("INVALID", ["input", "text"])


async def test_a_piece_needs_its_scope_and_a_conversation_that_goes_on(talk: Talk) -> None:
    here = await talk.start()
    for who in (talk.member, talk.operator, talk.admin):
        asked = {"conversationId": here, "index": 0, "text": "x"}
        assert await talk.code(who, CHUNK, input=asked) == {"FORBIDDEN"}
    await talk.done(talk.member, ARCHIVE, id=here)
    assert await talk.refused(talk.key, CHUNK, conversationId=here, index=0, text="x") == (
        "ILLEGAL_TRANSITION",
        ["input", "conversationId"],
    )


@pytest.mark.parametrize(
    ("document", "refusal"),
    [
        (ARCHIVE, ("ILLEGAL_TRANSITION", ["input", "conversationId"])),
        (DELETE, ("NOT_FOUND", ["input", "messageId"])),
    ],
    ids=["archived", "deleted"],
)
async def test_a_reply_that_grows_ends_with_its_conversation(
    talk: Talk, document: str, refusal: tuple[str, list[str]]
) -> None:
    here, there = await talk.start(), await talk.start()
    said = {"conversationId": here, "text": "The light "}
    reply = await talk.done(talk.key, CHUNK, **said, index=0)
    other = await talk.done(talk.key, CHUNK, conversationId=there, text="Elsewhere", index=0)
    async with viewing(talk, talk.member, CHUNKS, here) as viewer:
        assert (await viewer.next())["isFinal"] is False
        await talk.done(talk.member, document, id=here)
        end = await viewer.next()
        assert (end["messageId"], end["text"], end["isFinal"]) == (reply, "", True)
    assert await talk.refused(talk.key, CHUNK, **said, messageId=reply, index=1) == refusal
    replies = talk.gateway.services.reply_board.replies
    assert await replies.read(Place(talk.tenant, raw("conversation", here))) == []
    more = {"conversationId": there, "messageId": other, "index": 1, "text": " it goes on."}
    assert await talk.done(talk.key, CHUNK, **more) == other


@pytest.mark.parametrize("who", ["a person", "somebody outside"])
async def test_what_is_being_written_for_whoever_is_erased_is_forgotten_with_them(talk: Talk, who: str) -> None:
    if who == "a person":
        here, erased = await talk.start(), encode("user", talk.member.user_id or uuid7())
        document = ERASE
    else:
        erased = (await talk.done(talk.key, UPSERT, name="Ana"))["id"]
        here = (await talk.done(talk.key, START, kind="CONTACT", contactId=erased, agentId=talk.agent))["id"]
        document = FORGET
    said = {"conversationId": here, "text": "canary"}
    reply = await talk.done(talk.key, CHUNK, **said, index=0)
    replies, place = talk.gateway.services.reply_board.replies, Place(talk.tenant, raw("conversation", here))
    assert [one.text for one in await replies.read(place) or ()] == ["canary"]
    await talk.done(talk.admin, document, id=erased)
    assert await replies.read(place) == []
    refusal = ("NOT_FOUND", ["input", "messageId"])
    assert await talk.refused(talk.key, CHUNK, **said, messageId=reply, index=1) == refusal


async def test_who_types_is_told_to_who_watches(talk: Talk) -> None:
    here = await talk.start()
    async with viewing(talk, talk.operator, TYPISTS, here) as viewer:
        seen = asyncio.create_task(viewer.next(), name="typing")
        # Until the watcher stands nothing reaches it, and no sign is kept: it is given again, as clients do.
        while not seen.done():
            assert await talk.done(talk.member, TYPE, conversationId=here, isTyping=True) is True
            await asyncio.wait({seen}, timeout=0.1)
        user = {"id": encode("user", talk.member.user_id or uuid7())}
        assert seen.result() == {"conversationId": here, "user": user, "isTyping": True}
        await talk.done(talk.member, TYPE, conversationId=here, isTyping=False)
        assert (await viewer.next())["isTyping"] is False
    asked = {"conversationId": here, "isTyping": True}
    assert await talk.refused(talk.other_member, TYPE, **asked) == ("NOT_FOUND", ["input", "conversationId"])
    assert await talk.code(talk.key, TYPE, input=asked) == {"FORBIDDEN"}


async def test_a_person_who_watches_anothers_conversation_is_written_down_once_a_stream(talk: Talk) -> None:
    here = await talk.start()
    async with (
        viewing(talk, talk.operator, SAID, here) as first,
        viewing(talk, talk.admin, SAID, here) as second,
        viewing(talk, talk.member, SAID, here) as own,
    ):
        for number in range(3):
            await talk.say(here, f"said {number}")
        for viewer in (first, second, own):
            await viewer.messages(3)
    noted = (await talk.gateway.data(talk.admin, ACCESSES))["dataAccessLogs"]["nodes"]
    readers = {encode("user", one.user_id or uuid7()) for one in (talk.operator, talk.admin)}
    assert sorted(one["actor"]["id"] for one in noted) == sorted(readers)
    assert {one["subjectId"] for one in noted} == {encode("user", talk.member.user_id or uuid7())}


async def test_who_sees_all_shares_one_execution_and_who_sees_their_own_has_one_of_their_own(talk: Talk) -> None:
    here = await talk.start()
    fanout = talk.gateway.services.fanout
    before = fanout.groups
    async with viewing(talk, talk.key, SAID, here), viewing(talk, keyed(talk.tenant), SAID, here):
        assert fanout.groups == before + 1
        async with viewing(talk, talk.member, SAID, here), viewing(talk, talk.other_member, SAID, here):
            assert fanout.groups == before + 3
    # Of an agent's conversations nobody knows beforehand whose they are: each person looks for themselves.
    second = await person(talk.gateway, talk.tenant, Role.OPERATOR)
    async with viewing(talk, talk.operator, BY_AGENT, talk.agent), viewing(talk, second, BY_AGENT, talk.agent):
        assert fanout.groups == before + 2


async def test_a_list_of_ones_own_within_a_stream_is_never_shared(talk: Talk) -> None:
    mine = await talk.start(title="Mine")
    fanout = talk.gateway.services.fanout
    before = fanout.groups
    places = """subscription($id: String) { workspaceStatus(filter: {search: $id}) { __typename
      ... on StreamReady { cursor recovered }
      ... on WorkspaceItem { workspace { agents { conversations { totalCount nodes { id } } } } } } }"""
    rename = """mutation($input: UpdateWorkspaceInput!) { updateWorkspace(input: $input) {
      workspace { id } userErrors { code field } } }"""
    async with (
        viewing(talk, talk.member, places, "desk") as own,
        viewing(talk, talk.other_member, places, "desk") as others,
        viewing(talk, talk.operator, places, "desk") as first,
        viewing(talk, await person(talk.gateway, talk.tenant, Role.OPERATOR), places, "desk"),
    ):
        assert fanout.groups == before + 3
        await talk.done(talk.admin, rename, id=encode("workspace", talk.place), expectedVersion=1, name="Desk 2")
        for viewer, seen in ((own, [{"id": mine}]), (others, []), (first, [{"id": mine}])):
            (agent,) = (await viewer.next())["workspace"]["agents"]
            assert agent["conversations"] == {"totalCount": len(seen), "nodes": seen}


async def test_runs_and_tools_are_told_in_the_log(talk: Talk) -> None:
    here = await talk.start()
    feed = """subscription($id: [String!]) { activityFeed(filter: {kinds: $id}) { __typename
      ... on StreamReady { cursor recovered } ... on ActivityItem { event { kind entity { __typename } } } } }"""
    kinds = ["run.started", "run.finished", "tool.executed"]
    items = await talk.gateway.watch(talk.operator, feed, id=kinds)
    viewer = Viewer(items)
    await viewer.next()
    run = """mutation($input: StartRunInput!) { startRun(input: $input) {
      agentRun { id } userErrors { code field } } }"""
    tool = """mutation($input: RecordToolExecutionInput!) { recordToolExecution(input: $input) {
      toolExecution { id } userErrors { code field } } }"""
    end = """mutation($input: FinishRunInput!) { finishRun(input: $input) {
      agentRun { id } userErrors { code field } } }"""
    made = await talk.done(talk.key, run, agentId=talk.agent, conversationId=here)
    await talk.done(talk.key, tool, kind="MCP", toolName="t", status="SUCCESS", runId=made["id"])
    await talk.done(talk.key, end, id=made["id"], status="COMPLETED")
    told = [(await viewer.next())["event"] for _ in range(3)]
    await items.aclose()
    assert [one["kind"] for one in told] == ["run.started", "tool.executed", "run.finished"]
    assert [one["entity"]["__typename"] for one in told] == ["AgentRun", "ToolExecution", "AgentRun"]
