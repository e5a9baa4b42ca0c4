"""This module is where it is said which topics no request may touch without a human; each change is a version."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from dataloaders.governance import agents_there, topics_of
from models import Agent, ProhibitedTopic, TopicScope
from models.errors import Refusal, RefusalCode, invalid, not_found
from models.ids import parse, uuid7
from resolvers.call import Call
from resolvers.governance_versions import hold_policies, keep_version
from resolvers.risk_signals import folded
from resolvers.unit_of_work import UnitOfWork
from resolvers.validation import line

TOPIC_LIMIT: Final = 200
DEPARTMENT_LIMIT: Final = 255


async def create_prohibited_topic(
    call: Call, *, topic: str, scope: TopicScope = TopicScope.GLOBAL, scope_id: str | None = None
) -> ProhibitedTopic:
    """Prohibit a topic everywhere, at one agent or in one department. Commits, with a version.

    Raises INVALID, NOT_FOUND for the agent, ALREADY_EXISTS, LIMIT_EXCEEDED.
    """
    row = ProhibitedTopic(id=uuid7(), **cleaned(topic, scope, scope_id))
    async with call.work() as work:
        await hold_policies(work)
        await _check(work, row)
        work.add(row)
        work.tell(row, "topic.prohibited", None, {"scope": row.scope.value})
        await keep_version(work, f"Topic “{row.topic}” was prohibited.")
    return row


async def update_prohibited_topic(
    call: Call,
    *,
    id: UUID,
    expected_version: int,
    topic: str | None = None,
    scope: TopicScope | None = None,
    scope_id: str | None = None,
) -> ProhibitedTopic:
    """Change a topic; a new scope is said with its scopeId. Commits, with a version where anything changed.

    Raises INVALID, NOT_FOUND, CONFLICT, ALREADY_EXISTS.
    """
    async with call.work() as work:
        await hold_policies(work)
        row = await work.locked(ProhibitedTopic, id, expected_version=expected_version, what="prohibited topic")
        before = row.facets()
        kept = row.scope_id if scope is None and scope_id is None else scope_id
        columns = cleaned(topic if topic is not None else row.topic, scope or row.scope, kept)
        changed = sorted(name for name, value in columns.items() if getattr(row, name) != value)
        if changed:
            await _check(work, ProhibitedTopic(id=row.id, **columns))
            for name in changed:
                setattr(row, name, columns[name])
            work.tell(row, "topic.changed", before, {"changed": changed})
            await keep_version(work, f"Topic “{row.topic}” was changed.")
    return row


async def delete_prohibited_topic(call: Call, *, id: UUID, expected_version: int | None = None) -> str:
    """Allow a topic again; its TypeID. Raises NOT_FOUND, CONFLICT. Commits, with a version."""
    async with call.work() as work:
        await hold_policies(work)
        row = await work.locked(ProhibitedTopic, id, expected_version=expected_version, what="prohibited topic")
        work.tell(row, "topic.allowed", row.facets(), gone=True)
        await work.session.delete(row)
        await keep_version(work, f"Topic “{row.topic}” was allowed again.")
    return row.typeid


def cleaned(topic: str, scope: TopicScope, scope_id: str | None) -> dict[str, Any]:
    """What is said of a topic as columns. Raises INVALID."""
    words = line(topic, TOPIC_LIMIT, "topic")
    if not folded(words):
        raise invalid("This holds nothing that can be seen.", "input", "topic")
    if (scope is TopicScope.GLOBAL) != (scope_id is None):
        said = "A topic that is prohibited everywhere has none." if scope_id is not None else "This names where."
        raise invalid(said, "input", "scopeId")
    agent_id = parse(scope_id, Agent.__typeid__) if scope is TopicScope.AGENT and scope_id is not None else None
    department = line(scope_id, DEPARTMENT_LIMIT, "scopeId") if scope is TopicScope.DEPARTMENT and scope_id else None
    if scope is TopicScope.DEPARTMENT and department is None:
        raise invalid("This names where.", "input", "scopeId")
    return {"topic": words, "scope": scope, "agent_id": agent_id, "department": department}


async def _check(work: UnitOfWork, row: ProhibitedTopic) -> None:
    """Refuse an agent that is not there, and a topic that is prohibited there already."""
    if row.agent_id is not None and not await agents_there(work.session, [row.agent_id]):
        raise not_found("agent", "input", "scopeId")
    wanted = _sense(row)
    for other in await topics_of(work.session):
        if other.id != row.id and _sense(other) == wanted:
            raise Refusal(
                RefusalCode.ALREADY_EXISTS, "This topic is prohibited there already.", field=("input", "topic")
            )


def _sense(row: ProhibitedTopic) -> tuple[str, TopicScope, UUID | None, str]:
    return folded(row.topic), row.scope, row.agent_id, folded(row.department or "")
