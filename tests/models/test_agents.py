"""This module is where an agent's life is specified: which status leads where, and who said so."""

from __future__ import annotations

from itertools import product

import pytest

from models import Agent, AgentStatus, AgentType, Decision, utcnow
from models.errors import Refusal, RefusalCode
from models.ids import uuid7


def agent(status: AgentStatus = AgentStatus.PENDING) -> Agent:
    return Agent(id=uuid7(), name="one", type=AgentType.LLM, status=status)


def test_a_pending_agent_that_is_approved_works_and_says_who_said_so() -> None:
    one, somebody, now = agent(), uuid7(), utcnow()
    one.decide(Decision.APPROVE, by=somebody, now=now, reason="kept for rejections only")
    assert (one.status, one.approved_by, one.approved_at, one.rejection_reason) == (
        AgentStatus.ACTIVE,
        somebody,
        now,
        None,
    )


def test_a_pending_agent_that_is_rejected_keeps_who_and_why() -> None:
    one, somebody, now = agent(), uuid7(), utcnow()
    one.decide(Decision.REJECT, by=somebody, now=now, reason="Nobody asked for it.")
    assert (one.status, one.approved_by, one.rejection_reason) == (
        AgentStatus.REJECTED,
        somebody,
        "Nobody asked for it.",
    )


@pytest.mark.parametrize("status", sorted(set(AgentStatus) - {AgentStatus.PENDING}))
@pytest.mark.parametrize("decision", list(Decision))
def test_what_was_decided_is_not_decided_again(status: AgentStatus, decision: Decision) -> None:
    one = agent(status)
    with pytest.raises(Refusal) as refusal:
        one.decide(decision, by=None, now=utcnow())
    assert (refusal.value.code, refusal.value.current, one.status) == (RefusalCode.ALREADY_DECIDED, one, status)


SWITCHED = {AgentStatus.ACTIVE, AgentStatus.DISABLED}


@pytest.mark.parametrize(("before", "after"), list(product(AgentStatus, AgentStatus)))
def test_only_active_and_disabled_are_switched_without_a_decision(before: AgentStatus, after: AgentStatus) -> None:
    one = agent(before)
    if before is after or {before, after} == SWITCHED:
        one.switch(after)
        assert one.status is after
    else:
        with pytest.raises(Refusal) as refusal:
            one.switch(after)
        assert (refusal.value.code, one.status) == (RefusalCode.ILLEGAL_TRANSITION, before)
