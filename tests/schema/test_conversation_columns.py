"""This module is where every column of the unified systems about talking is written, and read by somebody else."""

from __future__ import annotations

from typing import Any, Final

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from models import Alert, utcnow
from models.ids import encode, uuid7
from tests.report import record
from tests.schema.conftest import Gateway
from tests.schema.talk import ARCHIVE, START, UPDATE, UPSERT, Talk, raw
from tests.schema.test_runs import BEGIN, FINISH, TOOL
from tests.world import Tenants

COLUMNS: Final[dict[str, dict[str, str]]] = {
    "Evo AI contact": {
        "id": "contact.id",
        "client_id": "viewer.tenant.id",
        "ext_id": "contact.externalId",
        "name": "contact.name",
        "meta": "contact.meta",
        "created_at": "contact.createdAt",
        "updated_at": "contact.updatedAt",
    },
    "Evo AI conversation": {
        "id": "answer.id",
        "agent_id": "thread.agent.id",
        "contact_id": "thread.contact.id",
        "message": "question.content",
        "response": "answer.content",
        "meta": "answer.metadata",
        "created_at": "answer.createdAt",
    },
    "AIOS sessions": {
        "id": "chat.id",
        "title": "chat.title",
        "profile": "chat.profile",
        "user_id": "chat.user.id",
        "department": "chat.department",
        "created_at": "chat.createdAt",
        "updated_at": "chat.updatedAt",
    },
    "AIOS messages": {
        "id": "said.id",
        "session_id": "said.conversation.id",
        "role": "said.role",
        "content": "said.content",
        "metadata": "said.metadata",
        "created_at": "said.createdAt",
    },
    "AIOS skill_invocations": {
        "id": "skill.id",
        "session_id": "skill.conversation.id",
        "skill_id": "skill.toolName",
        "input": "skill.input",
        "output": "skill.output",
        "success": "skill.status",
        "duration_ms": "skill.durationMilliseconds",
        "created_at": "skill.createdAt",
    },
    "KOSMOS conversations": {
        "id": "chat.id",
        "user_id": "chat.user.id",
        "tenant_id": "viewer.tenant.id",
        "title": "chat.title",
        "summary": "chat.summary",
        "status": "chat.status",
        "metadata": "chat.metadata",
        "message_count": "chat.messageCount",
        "token_count": "chat.tokenCount",
        "last_message_at": "chat.lastMessageAt",
        "created_at": "chat.createdAt",
        "updated_at": "chat.updatedAt",
        "archived_at": "chat.archivedAt",
    },
    "KOSMOS messages": {
        "id": "said.id",
        "conversation_id": "said.conversation.id",
        "role": "said.role",
        "content": "said.content",
        "sanitized_content": "said.sanitizedContent",
        "content_type": "said.contentType",
        "tokens": "said.tokens",
        "model_used": "said.modelUsed",
        "tool_calls": "said.toolCalls",
        "metadata": "said.metadata",
        "parent_id": "said.parent.id",
        "created_at": "said.createdAt",
    },
    "KOSMOS agent_sessions": {
        "id": "run.id",
        "conversation_id": "run.conversation.id",
        "user_id": "run.user.id",
        "tenant_id": "viewer.tenant.id",
        "agent_name": "run.agentName",
        "state": "run.state",
        "status": "run.status",
        "input_tokens": "run.inputTokens",
        "output_tokens": "run.outputTokens",
        "total_cost": "run.totalCostUsd",
        "started_at": "run.startedAt",
        "ended_at": "run.endedAt",
        "duration_ms": "run.durationMilliseconds",
    },
    "KOSMOS tool_executions": {
        "id": "tool.id",
        "session_id": "tool.run.id",
        "message_id": "tool.message.id",
        "tool_name": "tool.toolName",
        "server_name": "tool.serverName",
        "input": "tool.input",
        "output": "tool.output",
        "status": "tool.status",
        "error_message": "tool.errorMessage",
        "duration_ms": "tool.durationMilliseconds",
        "created_at": "tool.createdAt",
    },
    "AIOps chat_sessions": {
        "id": "chat.id",
        "user_id": "chat.user.id",
        "alert_id": "chat.alertId",
        "title": "chat.title",
        "llm_provider_id": "chat.llmProviderId",
    },
    "AIOps chat_messages": {
        "id": "said.id",
        "session_id": "said.conversation.id",
        "role": "said.role",
        "content": "said.content",
        "tokens_used": "said.tokens",
        "created_at": "said.createdAt",
    },
}
"""Where each column of each table is read; the names stand for the things below."""

DEFAULTS: Final = {"chat.status": "ACTIVE", "said.contentType": "TEXT", "run.status": "ACTIVE", "said.role": "USER"}
PROVIDER: Final = """mutation($input: CreateLlmProviderInput!) { createLlmProvider(input: $input) {
  llmProvider { id } userErrors { code field } } }"""
ALL: Final = """query($contact: ID!, $thread: ID!, $question: ID!, $answer: ID!, $chat: ID!, $said: ID!, $run: ID!,
  $tool: ID!, $skill: ID!) {
  viewer { tenant { id } }
  contact: node(id: $contact) { ... on Contact { id externalId name meta createdAt updatedAt } }
  thread: node(id: $thread) { ... on Conversation { agent { id } contact { id } } }
  question: node(id: $question) { ... on Message { content } }
  answer: node(id: $answer) { ... on Message { id content metadata createdAt } }
  chat: node(id: $chat) { ... on Conversation { id title profile department summary chatStatus: status metadata
    messageCount tokenCount lastMessageAt createdAt updatedAt archivedAt user { id } alertId llmProviderId } }
  said: node(id: $said) { ... on Message { id role content sanitizedContent contentType tokens modelUsed toolCalls
    metadata createdAt conversation { id } parent { id } } }
  run: node(id: $run) { ... on AgentRun { id agentName state status inputTokens outputTokens totalCostUsd startedAt
    endedAt durationMilliseconds conversation { id } user { id } } }
  tool: node(id: $tool) { ... on ToolExecution { id toolName serverName input output status errorMessage
    durationMilliseconds createdAt run { id } message { id } } }
  skill: node(id: $skill) { ... on ToolExecution { id toolName input output status durationMilliseconds createdAt
    conversation { id } } } }"""


async def _contacts(talk: Talk) -> dict[str, str]:
    contact = await talk.done(
        talk.key, UPSERT, externalId="5511999990001@s.whatsapp.net", name="Ana", meta={"channel": "whatsapp"}
    )
    thread = await talk.done(talk.key, START, kind="CONTACT", contactId=contact["id"], agentId=talk.agent)
    question = await talk.say(thread["id"], "Which bus goes downtown?", talk.key)
    meta = {"tokens_in": 412, "tokens_out": 188, "tools": ["brave_web_search"], "latency_ms": 2310}
    answer = await talk.say(thread["id"], "The 42.", talk.key, role="ASSISTANT", metadata=meta)
    return {"contact": contact["id"], "thread": thread["id"], "question": question["id"], "answer": answer["id"]}


async def _chat(talk: Talk) -> dict[str, str]:
    provider = await talk.done(
        talk.admin,
        PROVIDER,
        name="House model",
        providerType="OPENAI",
        modelId="gpt-4o",
        apiBaseUrl="https://a.example",
    )
    chat = await talk.start(
        title="Lights", profile="reasoning", department="Public works", llmProviderId=provider["id"]
    )
    await talk.done(talk.member, UPDATE, id=chat, summary="They flicker.", metadata={"intent": "repair"})
    first = await talk.say(chat, "They flicker.")
    said = await talk.say(
        chat,
        "I look it up for Ana.",
        talk.key,
        role="TOOL",
        contentType="TOOL_CALL",
        sanitizedContent="I look it up for [name].",
        tokens=12,
        modelUsed="claude-sonnet-4",
        toolCalls=[{"name": "brave_search"}],
        metadata={"intent": "search", "risk": ["PII"], "hitlMode": "DRAFT"},
        parentId=first["id"],
    )
    run = await talk.done(talk.key, BEGIN, agentName="athena", conversationId=chat, state={"node": "search"})
    used = {"inputTokens": 412, "outputTokens": 188, "totalCostUsd": 0.018421}
    tool = await talk.done(
        talk.key,
        TOOL,
        kind="MCP",
        runId=run["id"],
        messageId=said["id"],
        toolName="brave_search",
        serverName="mcp-searxng",
        input={"q": "lights"},
        output={"found": 3},
        status="ERROR",
        errorMessage="Too many requests.",
        durationMilliseconds=840,
    )
    await talk.done(talk.key, FINISH, id=run["id"], status="COMPLETED", **used)
    said_of = {"conversationId": chat, "toolName": "summarise", "input": "long", "output": "short"}
    skill = await talk.done(talk.key, TOOL, kind="SKILL", status="TIMEOUT", durationMilliseconds=12, **said_of)
    await talk.done(talk.member, ARCHIVE, id=chat)
    return {"chat": chat, "said": said["id"], "run": run["id"], "tool": tool["id"], "skill": skill["id"]}


def _at(data: dict[str, Any], path: str) -> Any:
    value: Any = data
    for name in path.split("."):
        value = value.get("chatStatus" if path == "chat.status" and name == "status" else name)
    return value


@pytest.fixture(scope="module")
async def read(gateway: Gateway, owner: AsyncEngine) -> dict[str, Any]:
    """All of it, as an operator reads it."""
    return await written(gateway, owner)


async def written(gateway: Gateway, owner: AsyncEngine) -> dict[str, Any]:
    """All of it, written by a member and a machine, read by an operator, and not by the neighbour."""
    tenants = await Tenants.make(gateway.services.database)
    talk = await Talk.begin(gateway, tenants.mine)
    ids = await _contacts(talk) | await _chat(talk)
    alert = Alert(tenant_id=tenants.mine, id=uuid7(), fingerprint="5f3a", starts_at=utcnow(), alert_name="HighCPUUsage")
    async with gateway.services.database.session(tenants.mine) as session:
        session.add(alert)
        await session.commit()
    # What imports write is written as they do.
    links = {"alert": alert.id, "id": raw("conversation", ids["chat"])}
    async with owner.begin() as connection:
        statement = "UPDATE conversations SET alert_id = :alert WHERE id = :id"
        await connection.execute(text(statement), links)
        # A run of no time at all would read as one whose duration was never written.
        await connection.execute(text("UPDATE agent_runs SET duration_ms = 840 WHERE duration_ms = 0"))
    data = await gateway.data(talk.operator, ALL, **ids)
    assert data["chat"]["alertId"] == encode("alert", links["alert"])
    foreign = await Talk.begin(gateway, tenants.other)
    answer = await gateway.data(foreign.admin, ALL, **ids)
    assert [name for name, value in answer.items() if value is not None] == ["viewer"]
    return data


@pytest.mark.parametrize("table", COLUMNS)
def test_every_column_is_written_and_read_by_another_role(read: dict[str, Any], table: str) -> None:
    for column, path in COLUMNS[table].items():
        value = _at(read, path)
        assert value not in (None, "", {}, [], 0), f"{table}.{column}"
        assert value != DEFAULTS.get(path), f"{table}.{column}"
    record(
        5, "every column of the unified tables is written and read back by a second role", len(COLUMNS[table]), table
    )
