"""This module is where a simulated agent's questions to people are specified: drawn, bounded, decided by anybody."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from random import Random
from typing import Any

import pytest

from gateway.simulate.approvals import MOST_OPEN, QUESTIONS, Asking, Questions
from gateway.simulate.public_api import Refused
from models.database import Database
from models.ids import NIL, encode
from resolvers.principal import Principal
from tests.schema.conftest import Gateway
from tests.schema.queue import LIST, Queue
from tests.schema.staff import done, make, mutation
from tests.world import Tenants, running


class Line:
    """The public API as far as an agent needs it, answered in this process."""

    def __init__(self, gateway: Gateway, who: Principal) -> None:
        self._gateway = gateway
        self._who = who
        self.modes: list[str] = []

    async def __call__(self, document: str, field: str, said: Mapping[str, Any]) -> dict[str, Any]:
        payload: dict[str, Any] = (await self._gateway.data(self._who, document, input=dict(said)))[field]
        for error in payload["userErrors"]:
            raise Refused(error["code"], error["message"])
        if "decision" in payload:
            self.modes.append(payload["decision"]["hitlMode"])
        return payload


class Colleague:
    """A simulated agent, and the operator of its run, as far as the habit of asking needs them."""

    name = "helper"
    number = 1

    def __init__(self, queue: Queue) -> None:
        self._gateway = queue.talk.gateway
        self._operator = queue.talk.operator
        self._line = Line(queue.talk.gateway, queue.talk.token)
        self.workspace_id = encode("workspace", queue.talk.token.workspace_id or NIL)
        self.credential = ""
        self.run = self.report = self.api = self.operator = self
        self.questions = 0

    def random_of(self, _: int, __: str) -> Random:
        """Always the same."""
        return Random(7)

    async def insist(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        """The first answer."""
        return await ask()

    async def ask(self, _: Any, document: str, **variables: Any) -> dict[str, Any]:
        """What the operator sees."""
        return await self._gateway.data(self._operator, document, **variables)

    async def change(self, by: Any, document: str, field: str, said: Mapping[str, Any]) -> dict[str, Any]:
        """What the operator does, or the agent itself."""
        line = self._line if by == self.credential else Line(self._gateway, self._operator)
        return await line(document, field, said)


@pytest.fixture
async def queue(database: Database, tenants: Tenants) -> AsyncIterator[Queue]:
    async with running(database) as services:
        yield await Queue.open(Gateway(services), tenants.mine)


async def test_an_agent_asks_for_all_it_may_and_keeps_no_more_waiting_than_it_should(queue: Queue) -> None:
    line = Line(queue.talk.gateway, queue.talk.token)
    agent = await make(queue.talk.gateway, queue.talk.admin, "candidate")

    async def candidate() -> str:
        return str(agent["id"])

    asking = Asking(line, candidate, queue.talk.agent, "helper", Random(7))
    for number in range(40):
        await asking.ask()
        if number == 10:
            # People do decide, sometimes.
            page = await queue.talk.gateway.data(queue.talk.operator, LIST, filter={"status": ["PENDING"]})
            await queue.decide(page["approvals"]["nodes"][-1]["id"])
    assert set(line.modes) == {"DRAFT", "ESCALATE"}
    assert (asking.asked, asking.withdrawn) == (40, 40 - MOST_OPEN - 1)
    document = "{ approvals(first: 100) { nodes { kind status } } }"
    found = (await queue.talk.gateway.data(queue.talk.admin, document))["approvals"]["nodes"]
    assert {one["kind"] for one in found} == {kind for kind, _, _ in QUESTIONS}
    assert sum(one["status"] == "PENDING" for one in found) == MOST_OPEN


async def test_it_asks_about_one_candidate_until_somebody_decides_and_then_about_another(queue: Queue) -> None:
    worker: Any = Colleague(queue)
    habit = Questions(worker, worker)
    await habit.practise()
    assert worker.questions == 0, "nobody asks whom nobody has defined"
    decide = mutation("decideAgent", "agent", "id")
    await done(queue.talk.gateway, queue.talk.operator, decide, id=queue.talk.agent, decision="APPROVE")
    document = "{ approvals(first: 100, filter: {kind: [AGENT]}) { nodes { id subjectId status } } }"
    subjects: list[set[str]] = []
    for _ in range(2):
        for _ in range(20):
            await habit.practise()
        found = (await queue.talk.gateway.data(queue.talk.admin, document))["approvals"]["nodes"]
        assert len(found) > 2 * len(subjects)
        subjects.append({one["subjectId"] for one in found})
        waiting = [one["id"] for one in found if one["status"] == "PENDING"]
        if waiting:
            await queue.decide(waiting[0])
        else:
            (candidate,) = subjects[-1]
            await done(queue.talk.gateway, queue.talk.operator, decide, id=candidate, decision="APPROVE")
    assert [len(one) for one in subjects] == [1, 2]
    assert worker.questions == 40


async def test_the_same_seed_asks_the_same(queue: Queue) -> None:
    said: list[list[Any]] = [[], []]

    async def note(_: str, __: str, input: Mapping[str, Any], into: list[Any]) -> dict[str, Any]:
        into.append(dict(input))
        return {"approval": None}

    async def candidate() -> str:
        return queue.talk.agent

    for into in said:

        async def change(document: str, field: str, input: Mapping[str, Any], into: list[Any] = into) -> dict[str, Any]:
            return await note(document, field, input, into)

        asking = Asking(change, candidate, queue.talk.agent, "helper", Random(7))
        for _ in range(10):
            await asking.ask()
    assert said[0] == said[1]
