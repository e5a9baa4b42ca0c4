"""This module is where conversations are followed from a terminal: messages, replies as they grow, who types."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from gateway.cli import main
from gateway.embedded import EmbeddedValkey
from gateway.watch import STREAMS, Follower, KeyCredentials, WatchError
from models import Agent, AgentType, Conversation, ConversationKind, MessageRole, Role
from models.ids import encode, uuid7
from models.scopes import INGEST_SCOPES
from resolvers.call import Call
from resolvers.conversations import start_conversation
from resolvers.message_chunks import publish_message_chunk, set_typing
from resolvers.messages import append_message
from resolvers.principal import Principal
from tests.gateway.fleet_gateway import FleetGateway, newcomer, serving, settings_for, until
from tests.gateway.test_watch import Terminal
from tests.patience import DEADLINE
from tests.schema.talk import raw
from tests.world import call_of, principal


@dataclass(slots=True)
class Desk:
    """A tenant in which one agent talks in one conversation."""

    here: FleetGateway
    agent: Agent
    conversation: Conversation

    @property
    def machine(self) -> Call:
        """An operation of a key that speaks for agents."""
        who = Principal(tenant_id=self.here.tenant_id, scopes=INGEST_SCOPES, api_key_id=self.agent.id)
        return call_of(self.here.services, who)

    async def say(self, content: str, role: MessageRole = MessageRole.USER, message_id: UUID | None = None) -> None:
        """A message."""
        await append_message(
            self.machine, conversation_id=self.conversation.id, role=role, content=content, message_id=message_id
        )

    def follower(self, terminal: Terminal, stream: str, id: str, after: str | None = None) -> Follower:
        """Somebody who follows with the fleet's key."""
        chosen = STREAMS[stream]
        assert chosen.of is not None
        return Follower(
            self.here.url,
            KeyCredentials(self.here.key),
            chosen,
            after=after,
            filter={chosen.of: id},
            show=terminal.shown.append,
            say=terminal.said.append,
        )

    @asynccontextmanager
    async def following(
        self, stream: str, id: str, after: str | None = None
    ) -> AsyncIterator[tuple[Terminal, Follower]]:
        """The follower at work, once its stream stands."""
        terminal = Terminal()
        one = self.follower(terminal, stream, id, after)
        task = asyncio.create_task(one.run(), name="follower under test")
        try:
            await until(lambda: terminal.stood() or task.done())
            assert not task.done()
            yield terminal, one
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(scope="module")
async def desk(app_url: str, valkey: EmbeddedValkey, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    """A gateway, a tenant, an agent and its conversation."""
    settings = settings_for(app_url, valkey.url, tmp_path_factory.mktemp("watch-talk"))
    async with serving(settings) as app:
        here = await newcomer(settings, app)
        agent = Agent(tenant_id=here.tenant_id, id=uuid7(), name="helper", type=AgentType.LLM)
        async with here.services.database.session(here.tenant_id) as session:
            session.add(agent)
            await session.commit()
        who = call_of(here.services, principal(here.tenant_id, Role.ADMIN))
        conversation = await start_conversation(who, kind=ConversationKind.CHAT, agent_id=agent.id)
        yield Desk(here, agent, conversation)


@pytest.mark.parametrize("stream", ["conversationMessages", "agentMessages"])
async def test_messages_are_followed_and_gone_on_with_after_a_cursor(desk: Desk, stream: str) -> None:
    id = desk.conversation.typeid if stream == "conversationMessages" else desk.agent.typeid
    async with desk.following(stream, id) as (terminal, one):
        await desk.say("They flicker.\nAll of them.")
        await until(lambda: len(terminal.shown) == 1)
    await desk.say("missed", MessageRole.ASSISTANT)
    async with desk.following(stream, id, after=one.cursor) as (later, _):
        await until(lambda: len(later.shown) == 1)
    first, second = STREAMS[stream].line(terminal.shown[0]), STREAMS[stream].line(later.shown[0])
    assert "USER  They flicker.\N{REPLACEMENT CHARACTER}All of them." in first
    assert "ASSISTANT  missed" in second
    assert desk.conversation.typeid in first


async def test_a_reply_is_followed_as_it_grows(desk: Desk) -> None:
    async with desk.following("messageChunks", desk.conversation.typeid) as (terminal, _):
        id = await publish_message_chunk(desk.machine, conversation_id=desk.conversation.id, index=0, text="It was ")
        await until(lambda: bool(terminal.shown))
        reply = raw("message", id)
        call = desk.machine
        said: dict[str, Any] = {"conversation_id": desk.conversation.id, "message_id": reply}
        await publish_message_chunk(call, index=1, text="reported.", is_final=True, **said)
        await until(lambda: bool(terminal.shown[-1]["isFinal"]))
    await desk.say("It was reported.", MessageRole.ASSISTANT, reply)
    text = ""
    for piece in terminal.shown:
        text = piece["text"] if piece["isSnapshot"] else text + piece["text"]
    assert text == "It was reported."
    assert STREAMS["messageChunks"].line(terminal.shown[-1]).endswith("(end)")


async def test_who_types_is_followed(desk: Desk) -> None:
    person = call_of(desk.here.services, principal(desk.here.tenant_id, Role.ADMIN, user_id=uuid7()))
    async with desk.following("typing", desk.conversation.typeid) as (terminal, _):
        async with asyncio.timeout(DEADLINE):
            while not terminal.shown:
                # Signs are kept nowhere: one that was given before the stream stood is not shown.
                await set_typing(person, conversation_id=desk.conversation.id, is_typing=True)
                await asyncio.sleep(0.05)
    assert STREAMS["typing"].line(terminal.shown[0]).endswith("types")


@pytest.mark.parametrize("stream", ["messageChunks", "typing"])
async def test_of_a_conversation_that_is_not_there_following_ends_with_one_line(desk: Desk, stream: str) -> None:
    terminal = Terminal()
    with pytest.raises(WatchError, match="nothing to follow"):
        async with asyncio.timeout(DEADLINE):
            await desk.follower(terminal, stream, encode("conversation", uuid7())).run()
    assert terminal.shown == []


def test_what_is_gone_or_being_written_is_a_line_as_well() -> None:
    item = {"occurredAt": "now", "kind": "message.begun", "entityId": "message_1", "message": None}
    assert STREAMS["agentMessages"].line(item) == "now  message.begun  message_1  (gone)"
    message = {"seq": 2, "role": "ASSISTANT", "contentType": "TEXT", "state": "WRITING", "content": ""}
    said = {**item, "message": {**message, "conversation": {"id": "conversation_1"}}}
    line = STREAMS["agentMessages"].line(said)
    assert line == "now  conversation_1  message_1  #2  ASSISTANT  (is being written)"
    assert STREAMS["typing"].line({"user": None, "isTyping": False}) == "somebody  has stopped"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["typing"], "needs its conversationId"),
        (["agentMessages"], "needs its agentId"),
        (["activityFeed", "--of", "agent_1"], "not of one thing"),
        (["messageChunks", "--of", "conversation_1", "--after", "x"], "has no cursors"),
    ],
)
def test_what_a_stream_is_of_must_be_said(
    arguments: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(sys, "argv", ["signalbox", "watch", *arguments, "--data-dir", str(tmp_path)])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code not in (0, None)
    assert said in capsys.readouterr().err
