"""This module is where the demo's people and contacts talk with agents: each kind, status, role and outcome once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select

from gateway.demo.together import SharingCall
from models import (
    ConversationKind,
    MessageContentType,
    MessageRole,
    Role,
    RunStatus,
    ToolKind,
    ToolStatus,
    User,
    UserStatus,
)
from models.ids import uuid7
from models.scopes import INGEST_SCOPES, ROLE_SCOPES
from resolvers.contacts import upsert_contact
from resolvers.conversations import archive_conversation, delete_conversation, start_conversation, update_conversation
from resolvers.messages import append_message, begin_message
from resolvers.principal import Principal
from resolvers.runs import finish_run, record_tool_execution, start_run, update_run

_QUESTION: Final = "Since when does the streetlight at the corner flicker, and who repairs it?"
_ANSWER: Final = "It was reported on Monday. Public works repairs it within five working days."


async def talk(call: SharingCall, agents: Mapping[str, UUID]) -> None:
    """A member's chats and a contact's, with what agents did in them."""
    machine = replace(call, principal=Principal(tenant_id=call.tenant_id, scopes=INGEST_SCOPES))
    member = replace(call, principal=await _member(call))
    agent = next(iter(agents.values()))
    chat = await _chat(member, machine, agent)
    await _work(machine, agent, chat)
    old = await start_conversation(member, kind=ConversationKind.CHAT, title="Parking permit", agent_id=agent)
    await _say(member, old.id, "How long is a parking permit valid?")
    await archive_conversation(member, id=old.id)
    gone = await start_conversation(member, kind=ConversationKind.CHAT, title="Never mind")
    await delete_conversation(member, id=gone.id)
    await _contact(machine, agent)


async def _member(call: SharingCall) -> Principal:
    found = await call.shared.session.scalar(
        select(User.id)
        .where(
            User.tenant_id == call.tenant_id,
            User.status == UserStatus.ACTIVE,
            User.roles.op("@>")([Role.MEMBER.value]),
        )
        .order_by(User.id)
        .limit(1)
    )
    assert found is not None, "every sample has a member"
    return Principal(tenant_id=call.tenant_id, user_id=found, scopes=ROLE_SCOPES[Role.MEMBER])


async def _say(call: SharingCall, conversation: UUID, content: str, **said: Any) -> UUID:
    given = {"role": MessageRole.USER} | said
    return (await append_message(call, conversation_id=conversation, content=content, **given)).id


async def _chat(member: SharingCall, machine: SharingCall, agent: UUID) -> UUID:
    chat = await start_conversation(
        member,
        kind=ConversationKind.CHAT,
        title="Streetlight",
        agent_id=agent,
        profile="main",
        department="Public works",
        metadata={"intent": "report_defect"},
    )
    await _say(machine, chat.id, "Answer in two sentences.", role=MessageRole.SYSTEM)
    question = await _say(member, chat.id, _QUESTION)
    await _say(member, chat.id, "corner-at-night.jpg", content_type=MessageContentType.IMAGE)
    await _say(member, chat.id, "report.pdf", content_type=MessageContentType.FILE)
    await _say(
        machine,
        chat.id,
        "",
        role=MessageRole.TOOL,
        content_type=MessageContentType.TOOL_CALL,
        tool_calls=[{"name": "brave_search", "arguments": {"q": "streetlight repair"}}],
    )
    await _say(
        machine,
        chat.id,
        _ANSWER,
        role=MessageRole.ASSISTANT,
        parent_id=question,
        sanitized_content=_ANSWER,
        tokens=188,
        model_used="gpt-4o",
        metadata={"hitlMode": "INFORM", "latencyMs": 2310},
    )
    await begin_message(machine, chat.id, uuid7())
    await update_conversation(member, id=chat.id, summary="A streetlight flickers; it is being repaired.")
    return chat.id


async def _work(machine: SharingCall, agent: UUID, chat: UUID) -> None:
    for number, status in enumerate(RunStatus):
        run = await start_run(machine, agent_id=agent, conversation_id=chat, state={"step": number})
        await update_run(machine, id=run.id, input_tokens=412, output_tokens=188, total_cost_usd=0.0184)
        for kind in ToolKind:
            await record_tool_execution(
                machine,
                kind=kind,
                tool_name="brave_search" if kind is ToolKind.MCP else "summarise",
                server_name="mcp-searxng" if kind is ToolKind.MCP else None,
                status=list(ToolStatus)[number % len(ToolStatus)],
                run_id=run.id,
                input={"q": "streetlight repair"},
                output={"results": number},
                duration_milliseconds=840,
            )
        if status is not RunStatus.ACTIVE:
            await finish_run(machine, id=run.id, status=status)


async def _contact(machine: SharingCall, agent: UUID) -> None:
    contact = await upsert_contact(
        machine,
        name="Ana Souza",
        external_id="5511999990001@s.whatsapp.net",
        meta={"channel": "whatsapp", "locale": "pt-BR"},
    )
    thread = await start_conversation(
        machine, kind=ConversationKind.CONTACT, contact_id=contact.id, agent_id=agent, title="WhatsApp"
    )
    await _say(machine, thread.id, "Qual ônibus vai ao centro?")
    await _say(machine, thread.id, "A linha 42.", role=MessageRole.ASSISTANT)
