"""This module is where a simulated agent's questions to people are specified: drawn, bounded, decided by anybody."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from random import Random
from typing import Any

import pytest

from gateway.simulate.approvals import MOST_OPEN, QUESTIONS, Asking
from gateway.simulate.public_api import Refused
from models.database import Database
from resolvers.principal import Principal
from tests.schema.conftest import Gateway
from tests.schema.queue import LIST, Queue
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


@pytest.fixture
async def queue(database: Database, tenants: Tenants) -> AsyncIterator[Queue]:
    async with running(database) as services:
        yield await Queue.open(Gateway(services), tenants.mine)


async def test_an_agent_asks_for_all_it_may_and_keeps_no_more_waiting_than_it_should(queue: Queue) -> None:
    line = Line(queue.talk.gateway, queue.talk.token)
    asking = Asking(line, queue.talk.agent, "helper", Random(7))
    for number in range(30):
        await asking.ask()
        if number == 10:
            # People do decide, sometimes.
            page = await queue.talk.gateway.data(queue.talk.operator, LIST, filter={"status": ["PENDING"]})
            await queue.decide(page["approvals"]["nodes"][-1]["id"])
    assert set(line.modes) == {"DRAFT", "ESCALATE"}
    assert (asking.asked, asking.withdrawn) == (30, 30 - MOST_OPEN - 1)
    document = "{ approvals(first: 100) { nodes { kind status } } }"
    found = (await queue.talk.gateway.data(queue.talk.admin, document))["approvals"]["nodes"]
    assert {one["kind"] for one in found} == {kind for kind, _, _ in QUESTIONS}
    assert sum(one["status"] == "PENDING" for one in found) == MOST_OPEN


async def test_the_same_seed_asks_the_same(queue: Queue) -> None:
    said: list[list[Any]] = [[], []]

    async def note(_: str, __: str, input: Mapping[str, Any], into: list[Any]) -> dict[str, Any]:
        into.append(dict(input))
        return {"approval": None}

    for into in said:

        async def change(document: str, field: str, input: Mapping[str, Any], into: list[Any] = into) -> dict[str, Any]:
            return await note(document, field, input, into)

        asking = Asking(change, queue.talk.agent, "helper", Random(7))
        for _ in range(10):
            await asking.ask()
    assert said[0] == said[1]
