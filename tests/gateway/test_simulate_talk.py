"""This module is where a simulated fleet talks with a whole gateway: asked by a person, answering piece by piece."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select
from starlette.applications import Starlette

from gateway.cli import main
from gateway.embedded import EmbeddedValkey
from gateway.settings import Settings
from gateway.simulate import FleetReport, TalkScript, run_fleet
from gateway.simulate.behaviour import STEADY
from gateway.watch import Credentials, KeyCredentials
from models import (
    ActivityLog,
    Agent,
    AgentRun,
    AgentStatus,
    Conversation,
    ConversationStatus,
    Message,
    MessageRole,
    MessageState,
    Role,
    RunStatus,
    Scope,
    ToolExecution,
)
from models.errors import BadRequest
from models.ids import uuid7
from models.scopes import INGEST_SCOPES, ROLE_SCOPES
from resolvers.call import Call
from resolvers.conversations import archive_conversation
from resolvers.messages import begin_message
from resolvers.principal import Principal
from resolvers.runs import start_run
from subscriptions.replies import Place
from tests.gateway.fleet_gateway import FleetGateway, fleet, newcomer, person_of, serving, settings_for, until
from tests.patience import DEADLINE
from tests.report import record
from tests.world import call_of

QUICK = TalkScript(
    questions_a_minute=300, thinking_seconds=(0.0, 0.02), longest_tool_seconds=0.02, piece_seconds=(0.0, 0.01)
)


@pytest.fixture(scope="module")
async def served(
    app_url: str, valkey: EmbeddedValkey, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Settings, Starlette]]:
    """One gateway for this module's tests."""
    settings = settings_for(app_url, valkey.url, tmp_path_factory.mktemp("talk"))
    async with serving(settings) as app:
        yield settings, app


@pytest.fixture
async def here(served: tuple[Settings, Starlette]) -> FleetGateway:
    """The gateway with a tenant of this test's own."""
    return await newcomer(*served)


async def operator_key(here: FleetGateway) -> Credentials:
    """A machine that plays the operator's part."""
    scopes = sorted(scope.value for scope in ROLE_SCOPES[Role.OPERATOR] - {Scope.SIGNED_IN})
    _, secret = await here.services.accounts.create_api_key(here.admin, name="operator", scopes=scopes)
    return KeyCredentials(secret)


def machine(here: FleetGateway) -> Call:
    """An operation of the fleet's own key."""
    return call_of(here.services, Principal(tenant_id=here.tenant_id, scopes=INGEST_SCOPES))


async def rows(here: FleetGateway, model: Any, *order: Any) -> list[Any]:
    """Every row of the tenant."""
    async with here.services.database.session(here.tenant_id) as session:
        return list(await session.scalars(select(model).order_by(*order, model.id)))


async def at_work(here: FleetGateway) -> list[Agent]:
    """The agents that work in a workspace; others may wait for a decision."""
    return [one for one in await rows(here, Agent) if one.workspace_id is not None]


async def talk(here: FleetGateway, messages: int, script: TalkScript = QUICK, **given: Any) -> FleetReport:
    """A fleet that talks until so much was said."""
    stop = asyncio.Event()

    def look(report: FleetReport) -> None:
        if report.messages >= messages:
            stop.set()

    options: dict[str, Any] = {"agents": 1, "rate": 4, "script": STEADY, "progress_seconds": 0.02}
    return await run_fleet(
        here.url, here.key, seconds=DEADLINE, stop=stop, progress=look, **(options | {"talk": script} | given)
    )


def told(threads: list[Conversation], messages: list[Message]) -> dict[UUID, list[Message]]:
    """What was said in each conversation that is still there."""
    there = [one.id for one in threads if one.status is not ConversationStatus.DELETED]
    return {id: [message for message in messages if message.conversation_id == id] for id in there}


async def test_a_fleet_that_is_asked_answers_with_runs_tools_and_activity_and_without_an_error(
    here: FleetGateway,
) -> None:
    report = await talk(here, 16, agents=4, operator=await person_of(here))
    assert report.errors == {}
    assert report.ended == {}
    agents = await at_work(here)
    assert len(agents) == report.conversations == 4
    assert {agent.status for agent in agents} == {AgentStatus.ACTIVE}

    threads = await rows(here, Conversation)
    said = told(threads, await rows(here, Message, Message.seq))
    assert sum(map(len, said.values())) == report.messages >= 16
    for thread in threads:
        messages = said[thread.id]
        assert [one.seq for one in messages] == list(range(1, len(messages) + 1))
        assert thread.message_count == len(messages)
        assert thread.token_count == sum(one.tokens or 0 for one in messages)
        assert {one.state for one in messages} == {MessageState.FINAL}
        for one, following in pairwise(messages):
            if following.role is MessageRole.ASSISTANT:
                assert (one.role, following.parent_id) == (MessageRole.USER, one.id)

    runs = await rows(here, AgentRun)
    assert len(runs) == report.runs
    assert RunStatus.ACTIVE not in {run.status for run in runs}
    assert all(run.ended_at is not None for run in runs)
    done = [run for run in runs if run.status is RunStatus.COMPLETED]
    assert done
    assert all(run.input_tokens and run.output_tokens and run.total_cost for run in done)

    tools = await rows(here, ToolExecution)
    assert Counter(tool.status.value for tool in tools) == report.tools
    assert {tool.run_id for tool in tools} <= {run.id for run in runs}
    assert len(await rows(here, ActivityLog)) == report.activities > 0
    record(5, "messages of a simulated fleet", report.messages, f"{report.pieces} pieces, no error, seq without gap")


async def test_a_finished_message_is_what_its_pieces_were(here: FleetGateway) -> None:
    script = replace(QUICK, piece_seconds=(0.02, 0.05))
    async with fleet(here, operator=await person_of(here), talk=script) as running:
        await until(lambda: running.report.conversations == 1)
        [thread] = await rows(here, Conversation)
        replies = await _replies(here, thread.id, 2)
    assert running.report.errors == {}
    finished = {one.id: one.content for one in await rows(here, Message)}
    assert len(replies) == 2
    assert {id: finished[id] for id in replies} == replies


async def _replies(here: FleetGateway, conversation_id: UUID, count: int) -> dict[UUID, str]:
    """The text of so many replies, as somebody sees it grow who watches from now on."""
    growing: dict[UUID, str] = {}
    ended: dict[UUID, str] = {}
    place = Place(here.tenant_id, conversation_id)
    async with asyncio.timeout(DEADLINE), here.services.reply_board.watch(place) as shown:
        async for one in shown:
            before = "" if one.is_snapshot else growing.get(one.message_id, "")
            growing[one.message_id] = before + one.text
            if one.is_final:
                ended[one.message_id] = growing[one.message_id]
            if len(ended) == count:
                break
    return ended


async def test_a_person_types_before_they_ask(here: FleetGateway) -> None:
    async with fleet(here, operator=await person_of(here), talk=QUICK) as running:
        await until(lambda: running.report.conversations == 1)
        [thread] = await rows(here, Conversation)
        place = Place(here.tenant_id, thread.id)
        async with asyncio.timeout(DEADLINE), here.services.reply_board.watch_typing(place) as signs:
            async for sign in signs:
                assert sign.user_id == thread.user_id
                break


async def test_a_machine_can_ask_and_does_not_type(here: FleetGateway) -> None:
    report = await talk(here, 4, operator=await operator_key(here))
    assert report.errors == {}
    [thread] = await rows(here, Conversation)
    assert thread.user_id is None


async def test_a_run_that_ends_in_the_middle_of_a_reply_closes_what_it_began(here: FleetGateway) -> None:
    stop = asyncio.Event()

    def look(report: FleetReport) -> None:
        if report.pieces >= 2:
            stop.set()

    report = await run_fleet(
        here.url,
        here.key,
        agents=1,
        rate=4,
        seconds=DEADLINE,
        script=STEADY,
        operator=await person_of(here),
        talk=replace(QUICK, piece_seconds=(0.5, 0.5)),
        stop=stop,
        progress=look,
        progress_seconds=0.02,
    )
    assert report.errors == {}
    question, answer = await rows(here, Message, Message.seq)
    assert (question.state, answer.state) == (MessageState.FINAL, MessageState.FINAL)
    assert answer.content
    [run] = await rows(here, AgentRun)
    assert run.status is RunStatus.CANCELLED


async def test_a_fleet_that_is_started_again_goes_on_and_ties_up_what_was_left_open(here: FleetGateway) -> None:
    person = await person_of(here)
    await talk(here, 2, operator=person)
    [agent], [thread] = await at_work(here), await rows(here, Conversation)
    # As a fleet leaves it that was killed in the middle of a reply.
    await start_run(machine(here), agent_id=agent.id, conversation_id=thread.id)
    await begin_message(machine(here), thread.id, uuid7())
    report = await talk(here, 4, operator=person)
    assert report.errors == {}
    assert (report.conversations, len(await at_work(here)), len(await rows(here, Conversation))) == (0, 1, 1)
    messages = await rows(here, Message, Message.seq)
    assert {one.state for one in messages} == {MessageState.FINAL}
    assert [one.seq for one in messages] == list(range(1, len(messages) + 1))
    runs = await rows(here, AgentRun)
    assert RunStatus.ACTIVE not in {run.status for run in runs}
    assert RunStatus.FAILED in {run.status for run in runs}


async def test_a_long_conversation_is_archived_and_the_oldest_are_deleted(here: FleetGateway) -> None:
    script = replace(QUICK, messages_of_a_conversation=2, conversations_kept=1)
    report = await talk(here, 6, script, operator=await person_of(here))
    assert report.errors == {}
    statuses = Counter(one.status for one in await rows(here, Conversation))
    assert report.conversations >= 3
    assert statuses[ConversationStatus.ARCHIVED] == 1
    assert statuses[ConversationStatus.ACTIVE] <= 1
    assert statuses[ConversationStatus.DELETED] == report.conversations - 1 - statuses[ConversationStatus.ACTIVE]


async def test_a_conversation_that_somebody_puts_away_is_a_counted_refusal_and_another_begins(
    here: FleetGateway,
) -> None:
    async with fleet(here, operator=await person_of(here), talk=QUICK) as running:
        await until(lambda: running.report.messages >= 2)
        [thread] = await rows(here, Conversation)
        await archive_conversation(here.admin, id=thread.id)
        await until(lambda: running.report.conversations >= 2)
        await running.beats_more(1)
    assert running.report.errors == {"ILLEGAL_TRANSITION": 1}
    assert running.report.ended == {}


async def test_an_operator_who_cannot_sign_in_is_told_and_the_fleet_beats_on(here: FleetGateway) -> None:
    wrong = await person_of(here)
    wrong._login["password"] = "not this one"
    async with fleet(here, operator=wrong, talk=QUICK) as running:
        await until(lambda: bool(running.report.errors))
        await running.beats_more(2)
    assert set(running.report.errors) == {"SIGN_IN_REFUSED"}
    assert running.report.messages == 0


@pytest.mark.parametrize("rate", [0.0, -1.0, 601.0, float("nan")])
async def test_a_talk_rate_that_cannot_be_is_refused(rate: float) -> None:
    with pytest.raises(BadRequest, match="questions a minute"):
        await run_fleet("http://127.0.0.1:1", "key", agents=1, rate=1, talk=TalkScript(questions_a_minute=rate))


def _simulate(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    monkeypatch.setattr(sys, "argv", ["signalbox", "simulate", *arguments])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def test_the_command_says_that_agents_talk(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert _simulate(monkeypatch, "--help") in (0, None)
    said = capsys.readouterr().out
    assert "--talk-rate" in said
    assert "also talk" in said


def test_somebody_who_asks_is_a_person_or_a_key(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _simulate(monkeypatch, "--operator", "a@b.example", "--operator-key", "sbx_x") not in (0, None)
    assert "not both" in capsys.readouterr().err
