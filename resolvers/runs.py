"""This module is where agents say what they work on: a run begins, costs something and ends; tools are used in it."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select

from dataloaders.messages import is_said_in
from models import (
    Agent,
    AgentRun,
    Conversation,
    ConversationStatus,
    RunStatus,
    ToolExecution,
    ToolKind,
    ToolStatus,
)
from models.errors import invalid, not_found
from models.ids import uuid7
from models.runs import LONGEST_MILLISECONDS
from resolvers.call import Call
from resolvers.changing import take_over
from resolvers.conversation_access import workspace_of
from resolvers.unit_of_work import UnitOfWork
from resolvers.validation import anything, document, line, speech, within

STATE_LIMIT_BYTES: Final = 131_072
NAME_LIMIT: Final = 255
ERROR_LIMIT_BYTES: Final = 8_192
MOST_TOKENS: Final = 2**53
_COST_PLACES: Final = Decimal("0.000001")
_MOST_COST: Final = Decimal(100_000_000)


async def start_run(
    call: Call,
    *,
    agent_id: UUID | None = None,
    agent_name: str | None = None,
    conversation_id: UUID | None = None,
    state: Any = None,
) -> AgentRun:
    """A run that is at work. Raises INVALID without an agent or its name, NOT_FOUND. Commits."""
    run = AgentRun(
        id=uuid7(),
        agent_id=agent_id,
        conversation_id=conversation_id,
        state=document(state, STATE_LIMIT_BYTES, "state") if state is not None else {},
    )
    name = line(agent_name, NAME_LIMIT, "agentName") if agent_name is not None else None
    if agent_id is None and name is None:
        raise invalid("A run names its agent.", "input", "agentName")
    async with call.work() as work:
        agent = await _agent(call, work, agent_id)
        run.agent_name = name or (agent.name if agent is not None else "")
        run.started_at = work.now
        if conversation_id is not None:
            run.user_id = (await _conversation(work, conversation_id)).user_id
        work.add(run)
        await work.session.flush()
        await _tell(work, run, "run.started", None)
    return run


async def update_run(
    call: Call,
    *,
    id: UUID,
    state: Any = None,
    input_tokens: int | None = None,
    output_tokens: int | None = None,
    total_cost_usd: float | None = None,
) -> AgentRun:
    """What a run that is at work has used so far. Raises INVALID, NOT_FOUND, ILLEGAL_TRANSITION. Commits."""
    said = _used(state, input_tokens, output_tokens, total_cost_usd)
    async with call.work() as work:
        run = await _locked(call, work, id)
        run.require_active()
        before = run.facets()
        changed = take_over(run, said)
        if changed:
            await _tell(work, run, "run.updated", before, {"changed": changed})
    return run


async def finish_run(
    call: Call,
    *,
    id: UUID,
    status: RunStatus,
    state: Any = None,
    input_tokens: int | None = None,
    output_tokens: int | None = None,
    total_cost_usd: float | None = None,
) -> AgentRun:
    """End a run. Raises INVALID, NOT_FOUND, ILLEGAL_TRANSITION when it is over already. Commits."""
    said = _used(state, input_tokens, output_tokens, total_cost_usd)
    async with call.work() as work:
        run = await _locked(call, work, id)
        before = run.facets()
        run.finish(status, work.now)
        take_over(run, said)
        payload = {
            "status": run.status.value,
            "duration_ms": run.duration_ms,
            "input_tokens": run.input_tokens,
            "output_tokens": run.output_tokens,
        }
        await _tell(work, run, "run.finished", before, payload)
    return run


async def record_tool_execution(
    call: Call,
    *,
    kind: ToolKind,
    tool_name: str,
    status: ToolStatus,
    server_name: str | None = None,
    run_id: UUID | None = None,
    conversation_id: UUID | None = None,
    message_id: UUID | None = None,
    input: Any = None,
    output: Any = None,
    error_message: str | None = None,
    duration_milliseconds: int | None = None,
) -> ToolExecution:
    """One use of a tool, over already. Raises INVALID, NOT_FOUND. Commits."""
    execution = ToolExecution(
        id=uuid7(),
        kind=kind,
        status=status,
        tool_name=line(tool_name, NAME_LIMIT, "toolName"),
        server_name=line(server_name, NAME_LIMIT, "serverName") if server_name is not None else None,
        run_id=run_id,
        message_id=message_id,
        input=anything(input, STATE_LIMIT_BYTES, "input") if input is not None else None,
        output=anything(output, STATE_LIMIT_BYTES, "output") if output is not None else None,
        error_message=speech(error_message, ERROR_LIMIT_BYTES, "errorMessage") if error_message is not None else None,
        duration_ms=_duration(duration_milliseconds),
    )
    async with call.work() as work:
        agent_id = await _place(call, work, execution, conversation_id)
        work.add(execution)
        await work.session.flush()
        payload = {"kind": kind.value, "status": status.value, "duration_ms": execution.duration_ms}
        work.tell(execution, "tool.executed", None, payload, workspace_id=await workspace_of(work, agent_id))
    return execution


async def _place(call: Call, work: UnitOfWork, execution: ToolExecution, conversation_id: UUID | None) -> UUID | None:
    """Put the use of a tool where it belongs; the agent that used it. Raises NOT_FOUND."""
    agent_id: UUID | None = None
    if execution.run_id is not None:
        run = await _locked(call, work, execution.run_id, "input", "runId")
        if conversation_id not in (None, run.conversation_id):
            raise not_found("conversation", "input", "conversationId")
        conversation_id, agent_id, execution.user_id = run.conversation_id, run.agent_id, run.user_id
    if conversation_id is not None:
        conversation = await _conversation(work, conversation_id)
        agent_id = agent_id or conversation.agent_id
        execution.user_id = conversation.user_id
    mine = call.who.workspace_id
    if mine is not None and await workspace_of(work, agent_id) != mine:
        raise not_found("conversation", "input", "conversationId")
    execution.conversation_id = conversation_id
    said = execution.message_id
    if said is not None and not await is_said_in(work.session, said, conversation_id):
        raise not_found("message", "input", "messageId")
    return agent_id


async def _locked(call: Call, work: UnitOfWork, run_id: UUID, *field: str) -> AgentRun:
    run = await work.locked(AgentRun, run_id, *field, what="run")
    mine = call.who.workspace_id
    if mine is not None and await workspace_of(work, run.agent_id) != mine:
        raise not_found("run", *(field or ("input", "id")))
    return run


async def _agent(call: Call, work: UnitOfWork, agent_id: UUID | None) -> Agent | None:
    agent: Agent | None = None
    if agent_id is not None:
        agent = await work.session.scalar(
            select(Agent).where(Agent.tenant_id == work.tenant_id, Agent.id == agent_id, Agent.deleted_at.is_(None))
        )
    mine = call.who.workspace_id
    is_mine = mine is None or (agent is not None and agent.workspace_id == mine)
    if (agent_id is not None and agent is None) or not is_mine:
        raise not_found("agent", "input", "agentId")
    return agent


async def _conversation(work: UnitOfWork, conversation_id: UUID) -> Conversation:
    conversation: Conversation | None = await work.session.scalar(
        select(Conversation).where(Conversation.tenant_id == work.tenant_id, Conversation.id == conversation_id)
    )
    if conversation is None or conversation.status is ConversationStatus.DELETED:
        raise not_found("conversation", "input", "conversationId")
    return conversation


def _used(
    state: Any, input_tokens: int | None, output_tokens: int | None, total_cost_usd: float | None
) -> dict[str, Any]:
    said: dict[str, Any] = {}
    if state is not None:
        said["state"] = document(state, STATE_LIMIT_BYTES, "state")
    if input_tokens is not None:
        said["input_tokens"] = within(input_tokens, 0, MOST_TOKENS, "inputTokens")
    if output_tokens is not None:
        said["output_tokens"] = within(output_tokens, 0, MOST_TOKENS, "outputTokens")
    if total_cost_usd is not None:
        said["total_cost"] = _cost(total_cost_usd)
    return said


def _cost(dollars: float) -> Decimal:
    try:
        cost = Decimal(str(dollars)).quantize(_COST_PLACES)
    except InvalidOperation as error:
        raise invalid("This is an amount of dollars.", "input", "totalCostUsd") from error
    if not 0 <= cost < _MOST_COST:
        raise invalid(f"This is an amount from 0 to below {_MOST_COST:,} dollars.", "input", "totalCostUsd")
    return cost


def _duration(milliseconds: int | None) -> int | None:
    if milliseconds is None:
        return None
    return within(milliseconds, 0, LONGEST_MILLISECONDS, "durationMilliseconds")


async def _tell(
    work: UnitOfWork,
    run: AgentRun,
    kind: str,
    before: dict[str, Any] | None,
    payload: dict[str, Any] | None = None,
) -> None:
    work.tell(run, kind, before, payload, workspace_id=await workspace_of(work, run.agent_id))
