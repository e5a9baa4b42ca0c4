"""This module is where agents' runs and the tools they use are specified as their callers see them."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from models import Event
from models.database import Database
from models.ids import encode, uuid7
from tests.conftest import counted
from tests.schema.conftest import Gateway
from tests.schema.talk import ERRORS, Talk
from tests.world import Tenants

RUN = f"""agentRun {{ id agentName status state inputTokens outputTokens totalCostUsd startedAt endedAt
  durationMilliseconds conversation {{ id }} agent {{ id }} user {{ id }} }} {ERRORS}"""
BEGIN = f"mutation($input: StartRunInput!) {{ startRun(input: $input) {{ {RUN} }} }}"
USE = f"mutation($input: UpdateRunInput!) {{ updateRun(input: $input) {{ {RUN} }} }}"
FINISH = f"mutation($input: FinishRunInput!) {{ finishRun(input: $input) {{ {RUN} }} }}"
TOOL = f"""mutation($input: RecordToolExecutionInput!) {{ recordToolExecution(input: $input) {{
  toolExecution {{ id kind toolName serverName input output status errorMessage durationMilliseconds
    run {{ id }} conversation {{ id }} message {{ id }} }} {ERRORS} }} }}"""
RUNS = """query($filter: AgentRunFilter) { agentRuns(filter: $filter) { totalCount nodes { id } } }"""
TOOLS = """query($filter: ToolExecutionFilter) { toolExecutions(filter: $filter) { totalCount nodes { id } } }"""


@pytest.fixture
async def talk(gateway: Gateway, tenants: Tenants) -> Talk:
    """A tenant in which agents work."""
    return await Talk.begin(gateway, tenants.mine)


async def begin(talk: Talk, **said: Any) -> dict[str, Any]:
    """A run of the tenant's agent."""
    run: dict[str, Any] = await talk.done(talk.key, BEGIN, **({"agentId": talk.agent} | said))
    return run


async def test_a_run_begins_uses_and_ends(talk: Talk) -> None:
    started = await talk.start()
    run = await begin(talk, conversationId=started, state={"step": 1})
    assert (run["agentName"], run["status"], run["state"]) == ("helper", "ACTIVE", {"step": 1})
    assert (run["conversation"], run["agent"]) == ({"id": started}, {"id": talk.agent})
    assert run["user"] == {"id": encode("user", talk.member.user_id or uuid7())}
    used = await talk.done(talk.key, USE, id=run["id"], inputTokens=412, outputTokens=188, totalCostUsd=0.018421)
    assert (used["inputTokens"], used["outputTokens"], used["totalCostUsd"]) == (412, 188, 0.018421)
    ended = await talk.done(talk.key, FINISH, id=run["id"], status="COMPLETED", state={"step": 2})
    assert (ended["status"], ended["state"], ended["inputTokens"]) == ("COMPLETED", {"step": 2}, 412)
    assert ended["durationMilliseconds"] >= 0
    assert ended["endedAt"] >= ended["startedAt"]
    async with talk.gateway.services.database.session(talk.tenant) as session:
        kinds = list(await session.scalars(select(Event.kind).where(Event.entity_type == "run").order_by(Event.seq)))
    assert kinds == ["run.started", "run.updated", "run.finished"]


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "CANCELLED"])
async def test_a_run_that_is_over_stays_as_it_ended(talk: Talk, status: str) -> None:
    run = await begin(talk)
    await talk.done(talk.key, FINISH, id=run["id"], status=status)
    for document, said in ((FINISH, {"status": "FAILED"}), (USE, {"inputTokens": 1})):
        answer = await talk.do(talk.key, document, id=run["id"], **said)
        assert answer["userErrors"] == [{"code": "ILLEGAL_TRANSITION", "field": ["input", "id"]}]
        assert (answer["agentRun"]["status"], answer["agentRun"]["inputTokens"]) == (status, 0)


@pytest.mark.parametrize(
    ("document", "said", "code", "field"),
    [
        (BEGIN, {}, "INVALID", "agentName"),
        (BEGIN, {"agentName": "two\nlines"}, "INVALID", "agentName"),
        (BEGIN, {"agentId": "nonsense"}, "NOT_FOUND", "agentId"),
        (BEGIN, {"agentName": "athena", "conversationId": "nonsense"}, "NOT_FOUND", "conversationId"),
        (BEGIN, {"agentName": "athena", "state": [1]}, "INVALID", "state"),
        (USE, {"id": "nonsense"}, "NOT_FOUND", "id"),
        (USE, {"id": "own", "inputTokens": -1}, "INVALID", "inputTokens"),
        (USE, {"id": "own", "totalCostUsd": -0.5}, "INVALID", "totalCostUsd"),
        (USE, {"id": "own", "totalCostUsd": 1e9}, "INVALID", "totalCostUsd"),
        (FINISH, {"id": "own", "status": "ACTIVE"}, "INVALID", "status"),
        (TOOL, {"runId": "nonsense"}, "NOT_FOUND", "runId"),
        (TOOL, {"conversationId": "nonsense"}, "NOT_FOUND", "conversationId"),
        (TOOL, {"messageId": "nonsense"}, "NOT_FOUND", "messageId"),
        (TOOL, {"toolName": ""}, "INVALID", "toolName"),
        (TOOL, {"durationMilliseconds": -1}, "INVALID", "durationMilliseconds"),
        (TOOL, {"output": {"big": "x" * 131_072}}, "INVALID", "output"),
    ],
)
async def test_what_is_wrong_is_one_user_error(
    talk: Talk, document: str, said: dict[str, Any], code: str, field: str
) -> None:
    if said.get("id") == "own":
        said = said | {"id": (await begin(talk))["id"]}
    if document is TOOL:
        said = {"kind": "MCP", "toolName": "brave_search", "status": "SUCCESS"} | said
    assert await talk.refused(talk.key, document, **said) == (code, ["input", field])


async def test_a_tool_is_recorded_where_it_was_used(talk: Talk) -> None:
    started = await talk.start()
    message = await talk.say(started, "look it up", talk.key, role="ASSISTANT", contentType="TOOL_CALL")
    run = await begin(talk, conversationId=started)
    said = {
        "kind": "MCP",
        "toolName": "brave_search",
        "serverName": "mcp-searxng",
        "status": "TIMEOUT",
        "runId": run["id"],
        "messageId": message["id"],
        "input": {"q": "streetlight"},
        "output": ["nothing"],
        "errorMessage": "It took too long.",
        "durationMilliseconds": 30_000,
    }
    tool = await talk.done(talk.key, TOOL, **said)
    assert tool == {
        **{name: value for name, value in said.items() if not name.endswith("Id")},
        "id": tool["id"],
        "run": {"id": run["id"]},
        "conversation": {"id": started},
        "message": {"id": message["id"]},
    }
    skill = await talk.done(talk.key, TOOL, kind="SKILL", toolName="summarise", status="SUCCESS", input="text")
    assert (skill["kind"], skill["run"], skill["input"]) == ("SKILL", None, "text")
    for filter, expected in (
        ({"kind": ["SKILL"]}, skill),
        ({"status": ["TIMEOUT"]}, tool),
        ({"runId": run["id"]}, tool),
        ({"conversationId": started}, tool),
        ({"messageId": message["id"]}, tool),
        ({"toolName": "summarise"}, skill),
    ):
        found = (await talk.gateway.data(talk.operator, TOOLS, filter=filter))["toolExecutions"]
        assert found == {"totalCount": 1, "nodes": [{"id": expected["id"]}]}, filter
    elsewhere = await talk.start()
    wrong = said | {"conversationId": elsewhere}
    assert await talk.refused(talk.key, TOOL, **wrong) == ("NOT_FOUND", ["input", "conversationId"])


async def test_runs_are_listed_and_found_beside_their_conversation(talk: Talk, database: Database) -> None:
    started = [await talk.start() for _ in range(5)]
    runs = [await begin(talk, conversationId=one) for one in started]
    for run in runs:
        await talk.done(talk.key, TOOL, kind="SKILL", toolName="think", status="SUCCESS", runId=run["id"])
    for filter, count in (
        ({"status": ["ACTIVE"]}, 5),
        ({"status": ["FAILED"]}, 0),
        ({"agentId": talk.agent}, 5),
        ({"conversationId": started[0]}, 1),
        ({"userId": encode("user", talk.member.user_id or uuid7())}, 5),
    ):
        found = (await talk.gateway.data(talk.operator, RUNS, filter=filter))["agentRuns"]
        assert found["totalCount"] == count, filter
    document = """{ conversations { nodes { id runs { id toolExecutions { toolName } } toolExecutions { id } } } }"""
    with counted(database) as statements:
        nodes = (await talk.gateway.data(talk.operator, document))["conversations"]["nodes"]
    assert {one["id"]: [run["id"] for run in one["runs"]] for one in nodes} == {
        one: [run["id"]] for one, run in zip(started, runs, strict=True)
    }
    assert all(one["runs"][0]["toolExecutions"] == [{"toolName": "think"}] for one in nodes)
    assert len(statements) == 4


async def test_everybody_sees_the_runs_of_their_own_conversations_and_operators_all(
    talk: Talk, gateway: Gateway, tenants: Tenants
) -> None:
    mine = await begin(talk, conversationId=await talk.start())
    hers = await begin(talk, conversationId=await talk.start(talk.other_member))
    theirs = await Talk.begin(gateway, tenants.other)
    foreign = await begin(theirs)
    assert (await gateway.data(talk.member, RUNS))["agentRuns"]["nodes"] == [{"id": mine["id"]}]
    assert (await gateway.data(talk.operator, RUNS))["agentRuns"]["totalCount"] == 2
    one = "query($id: ID!) { agentRun(id: $id) { id } }"
    assert (await gateway.data(talk.member, one, id=mine["id"]))["agentRun"] == {"id": mine["id"]}
    assert await talk.code(talk.member, one, id=hers["id"]) == {"FORBIDDEN"}
    assert (await gateway.data(talk.operator, one, id=foreign["id"]))["agentRun"] is None
    assert await talk.refused(talk.key, USE, id=foreign["id"], inputTokens=1) == ("NOT_FOUND", ["input", "id"])
    assert await talk.code(talk.operator, BEGIN, input={"agentName": "athena"}) == {"FORBIDDEN"}


async def test_a_workspaces_token_runs_its_own_agents_alone(talk: Talk, gateway: Gateway) -> None:
    # A token reads no agents, so it does not ask for the run's.
    begin, finish = (one.replace("agent { id }", "") for one in (BEGIN, FINISH))
    run: dict[str, Any] = await talk.done(talk.token, begin, agentId=talk.agent)
    assert (await talk.done(talk.token, finish, id=run["id"], status="CANCELLED"))["status"] == "CANCELLED"
    assert await talk.refused(talk.token, BEGIN, agentName="athena") == ("NOT_FOUND", ["input", "agentId"])
    other = await talk.done(talk.key, BEGIN, agentName="athena")
    assert await talk.refused(talk.token, FINISH, id=other["id"], status="FAILED") == ("NOT_FOUND", ["input", "id"])


async def test_a_retry_under_a_key_begins_one_run(talk: Talk) -> None:
    first = await begin(talk, idempotencyKey="one")
    assert (await begin(talk, idempotencyKey="one"))["id"] == first["id"]
