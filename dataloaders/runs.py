"""This module is where runs and tools are fetched: as lists, and by what they belong to."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import ARRAY, Select, Uuid, bindparam, func, select, true
from sqlalchemy.orm import InstrumentedAttribute, aliased

from dataloaders.base import grouped
from dataloaders.pages import Direction, Listing, Order, any_of, equals
from models import AgentRun, ToolExecution

MOST_RUNS: Final = 50
MOST_TOOLS: Final = 200

agent_runs: Final = Listing(
    AgentRun,
    filters={
        "status": any_of(AgentRun.status),
        "agent_id": equals(AgentRun.agent_id),
        "conversation_id": equals(AgentRun.conversation_id),
        "user_id": equals(AgentRun.user_id),
    },
    orders={"started_at": Order(AgentRun.started_at)},
    default=("started_at", Direction.DESC),
)

tool_executions: Final = Listing(
    ToolExecution,
    filters={
        "kind": any_of(ToolExecution.kind),
        "status": any_of(ToolExecution.status),
        "run_id": equals(ToolExecution.run_id),
        "conversation_id": equals(ToolExecution.conversation_id),
        "message_id": equals(ToolExecution.message_id),
        "tool_name": equals(ToolExecution.tool_name),
        "user_id": equals(ToolExecution.user_id),
    },
    orders={"created_at": Order(ToolExecution.created_at)},
)


def _newest(
    model: Any, column: InstrumentedAttribute[Any], moment: InstrumentedAttribute[Any], most: int
) -> Select[Any]:
    """The newest rows of each key, at most ``most``."""
    parent = func.unnest(bindparam("keys", type_=ARRAY(Uuid))).table_valued("id", name="parent").render_derived()
    some = (
        select(model)
        .where(model.tenant_id == bindparam("tenant", type_=Uuid()), column == parent.c.id)
        .order_by(moment.desc(), model.id.desc())
        .limit(most)
        .lateral("newest")
    )
    row = aliased(model, some)
    newest = getattr(row, moment.key).desc()
    return select(row).select_from(parent.join(some, true())).order_by(getattr(row, column.key), newest, row.id.desc())


runs_by_conversation: Final = grouped(
    _newest(AgentRun, AgentRun.conversation_id, AgentRun.started_at, MOST_RUNS), "conversation_id"
)
"""The runs of each conversation, newest first, at most 50."""

tools_by_conversation: Final = grouped(
    _newest(ToolExecution, ToolExecution.conversation_id, ToolExecution.created_at, MOST_TOOLS), "conversation_id"
)
"""The tools used in each conversation, newest first, at most 200."""

tools_by_run: Final = grouped(
    _newest(ToolExecution, ToolExecution.run_id, ToolExecution.created_at, MOST_TOOLS), "run_id"
)
"""The tools used in each run, newest first, at most 200."""
