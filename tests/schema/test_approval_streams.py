"""This module is where the live queue is specified, and the decision that a machine waits for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from models import utcnow
from models.ids import encode, uuid7
from resolvers.approval_deadlines import ApprovalDeadlines
from tests.patience import DEADLINE
from tests.resolvers.deadlines import bring_forward
from tests.schema.conftest import Gateway
from tests.schema.queue import CANCEL, CLAIM, RELEASE, TRANSFER, Queue
from tests.schema.test_message_streams import Viewer
from tests.world import Tenants

QUEUE = """subscription($filter: ApprovalFilter, $after: EventCursor) { approvalQueue(filter: $filter, after: $after) {
  __typename ... on StreamItem { cursor } ... on StreamReady { recovered }
  ... on ApprovalItem { previousCursor kind entityId matchesFilter
    approval { id status slaState originalQuery } } } }"""
DECIDED = "subscription($id: ID!) { approvalDecided(id: $id) { id status originalQuery modifiedResponse } }"


@pytest.fixture
async def queue(gateway: Gateway, tenants: Tenants) -> Queue:
    """A tenant in which people ask and decide."""
    return await Queue.open(gateway, tenants.mine)


@asynccontextmanager
async def watching(queue: Queue, who: Any, **said: Any) -> AsyncIterator[Viewer]:
    """A subscriber of the queue that stands."""
    items = await queue.talk.gateway.watch(who, QUEUE, **said)
    viewer = Viewer(items)
    try:
        assert (await viewer.next())["__typename"] == "StreamReady"
        yield viewer
    finally:
        await items.aclose()


async def changes(viewer: Viewer, count: int) -> list[dict[str, Any]]:
    """So many items that are changes."""
    found: list[dict[str, Any]] = []
    while len(found) < count:
        item = await viewer.next()
        if item["__typename"] == "ApprovalItem":
            found.append(item)
    return found


async def test_every_change_comes_once_in_order_and_says_what_left_the_filter(queue: Queue) -> None:
    async with watching(queue, queue.talk.operator, filter={"status": ["PENDING"], "hitlMode": ["ESCALATE"]}) as viewer:
        await queue.ask()
        asked = await queue.ask(query=TRANSFER)
        await queue.talk.done(queue.talk.operator, CLAIM, id=asked["id"])
        await queue.decide(asked["id"])
        items = await changes(viewer, 3)
    assert [(one["kind"], one["matchesFilter"]) for one in items] == [
        ("approval.requested", True),
        ("approval.claimed", True),
        ("approval.decided", False),
    ]
    assert {one["entityId"] for one in items} == {asked["id"]}
    assert [one["previousCursor"] for one in items[1:]] == [one["cursor"] for one in items[:-1]]
    async with watching(
        queue, queue.talk.operator, filter={"hitlMode": ["ESCALATE"]}, after=items[0]["cursor"]
    ) as late:
        assert [one["kind"] for one in await changes(late, 2)] == ["approval.claimed", "approval.decided"]


async def test_what_is_in_whose_hands_depends_on_who_looks(queue: Queue) -> None:
    mine = {"assignment": ["MINE"]}
    async with (
        watching(queue, queue.talk.operator, filter=mine) as claimer,
        watching(queue, queue.second, filter=mine) as other,
    ):
        asked = await queue.ask()
        await queue.talk.done(queue.talk.operator, CLAIM, id=asked["id"])
        await queue.talk.done(queue.talk.operator, RELEASE, id=asked["id"])
        await queue.talk.done(queue.second, CLAIM, id=asked["id"])
        seen = [(one["kind"], one["matchesFilter"]) for one in await changes(claimer, 2)]
        assert seen == [("approval.claimed", True), ("approval.released", False)]
        assert [(one["kind"], one["matchesFilter"]) for one in await changes(other, 1)] == [("approval.claimed", True)]


async def test_a_change_of_how_it_stands_to_its_time_is_an_event_of_its_own(queue: Queue) -> None:
    services = queue.talk.gateway.services
    asked = await queue.ask(query=TRANSFER, expiresInSeconds=3600 * 24)
    async with watching(queue, queue.talk.viewer, filter={"slaState": ["AT_RISK", "BREACHED"]}) as viewer:
        for hours, kind, state in ((3, "approval.at_risk", "AT_RISK"), (1, "approval.escalated", "BREACHED")):
            await bring_forward(services.database, queue.talk.tenant, hours)
            await ApprovalDeadlines(services.database, services.announcer, utcnow).run()
            (item,) = await changes(viewer, 1)
            assert (item["kind"], item["matchesFilter"], item["approval"]["slaState"]) == (kind, True, state)
            # What was asked is not for everybody who sees that something was.
            assert item["approval"]["originalQuery"] == ""
    assert (await queue.show(asked["id"]))["slaState"] == "BREACHED"


async def test_a_waiting_machine_is_answered_once_and_its_stream_completes(queue: Queue) -> None:
    asked = await queue.ask(queue.talk.token, agentId=queue.talk.agent)
    items = await queue.talk.gateway.watch(queue.talk.token, DECIDED, id=asked["id"])
    first = asyncio.ensure_future(anext(items))
    await queue.talk.done(queue.talk.operator, CLAIM, id=asked["id"])
    await queue.ask()
    await queue.decide(asked["id"], modifiedResponse="Three years.")
    async with asyncio.timeout(DEADLINE):
        found = (await first)["data"]["approvalDecided"]
        assert (found["status"], found["modifiedResponse"]) == ("APPROVED", "Three years.")
        assert [one async for one in items] == []
        # Whoever comes later is answered at once.
        late = await queue.talk.gateway.watch(queue.talk.operator, DECIDED, id=asked["id"])
        assert [one["data"]["approvalDecided"]["status"] async for one in late] == ["APPROVED"]


async def test_a_withdrawal_counts_as_an_answer(queue: Queue) -> None:
    asked = await queue.ask()
    items = await queue.talk.gateway.watch(queue.talk.member, DECIDED, id=asked["id"])
    first = asyncio.ensure_future(anext(items))
    await queue.talk.done(queue.talk.member, CANCEL, id=asked["id"])
    async with asyncio.timeout(DEADLINE):
        assert (await first)["data"]["approvalDecided"]["status"] == "CANCELLED"


async def test_of_what_is_not_there_or_foreign_nothing_comes(queue: Queue, gateway: Gateway, tenants: Tenants) -> None:
    theirs = await Queue.open(gateway, tenants.other)
    foreign = (await theirs.ask())["id"]
    for id in (foreign, encode("approval", uuid7()), "nonsense"):
        items = await queue.talk.gateway.watch(queue.talk.admin, DECIDED, id=id)
        async with asyncio.timeout(DEADLINE):
            assert [one async for one in items] == []
    async with watching(queue, queue.talk.admin) as viewer:
        await theirs.ask()
        await queue.ask()
        (item,) = await changes(viewer, 1)
        assert item["entityId"] != foreign


async def test_a_token_hears_of_its_own_agents_requests_alone(queue: Queue) -> None:
    async with watching(queue, queue.talk.token) as viewer:
        await queue.ask()
        asked = await queue.ask(agentId=queue.talk.agent)
        (item,) = await changes(viewer, 1)
        assert (item["entityId"], item["approval"]["id"]) == (asked["id"], asked["id"])
