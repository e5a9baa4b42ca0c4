"""This module is where clients read state and cursor together and then follow: no change falls in between."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from models import Event
from models.ids import encode
from subscriptions.cursor import Cursor
from tests.faults.checker import Audience, check
from tests.faults.journal import Follower, all_stopped
from tests.faults.stage import Guest, Stage
from tests.faults.transports import NO_TLS, TRANSPORTS
from tests.faults.writers import Churn, marked, writing
from tests.patience import DEADLINE
from tests.report import record

ALL = Audience(frozenset({"workspaces:read"}))
AT_ONCE = 16
PLACES = 40
EVENTS_PER_SECOND = 10.0
SNAPSHOT = """
query Snapshot { eventCursor workspaces(first: 100) { edges { node { id tier version } } } }
"""
LIGHT = """
subscription Follow($after: EventCursor) {
  workspaceStatus(after: $after) {
    __typename
    ... on StreamItem { cursor }
    ... on StreamReady { recovered }
    ... on WorkspaceItem { previousCursor kind entityId matchesFilter workspace { id tier version } }
  }
}
"""


@dataclass(slots=True)
class Client:
    """Reads the list with its cursor and follows from there, keeping its own copy of the list."""

    guest: Guest
    follower: Follower
    cursor: str = ""
    snapshot: dict[str, Any] = field(default_factory=dict)

    async def arrive(self, http: httpx.AsyncClient, url: str) -> None:
        """Snapshot, then tail; returns when the stream stands."""
        headers = {"authorization": f"Bearer {self.guest.key}"}
        answer = (await http.post(f"{url}/graphql", json={"query": SNAPSHOT}, headers=headers)).json()
        assert "errors" not in answer, answer
        self.cursor = answer["data"]["eventCursor"]
        self.snapshot = {edge["node"]["id"]: edge["node"] for edge in answer["data"]["workspaces"]["edges"]}
        self.follower.resume_after(self.cursor)
        self.follower.start()
        await self.follower.until(lambda journal: bool(journal.items), DEADLINE)

    def faults(self, log: Sequence[Event], until_seq: int) -> list[str]:
        """What this client missed, had twice, or had too early."""
        found = list(check(self.follower.journal, log, ALL, until_seq).faults)
        cursor = Cursor.decode(self.cursor)
        assert cursor is not None
        if self.follower.journal.connections[0].after != self.cursor:
            found.append("it did not follow its snapshot")
        for place, version in _versions(log, cursor.seq).items():
            # The list may be newer than the cursor, never older: what it lacks would never be told.
            if place not in self.snapshot:
                found.append(f"{place} was missing from the snapshot at {cursor.seq}")
            elif self.snapshot[place]["version"] < version:
                found.append(f"{place} was older than the cursor at {cursor.seq}")
        return found


def _versions(log: Sequence[Event], until_seq: int) -> Mapping[str, int]:
    """Each workspace's version as of ``until_seq``: every change adds one."""
    versions: dict[str, int] = {}
    for event in log:
        if event.entity_type == "workspace" and event.seq <= until_seq:
            place = encode("workspace", event.entity_id)
            versions[place] = versions.get(place, 0) + 1
    return versions


@pytest.mark.parametrize(
    ("transport", "count"),
    [
        *(pytest.param(one, 100, id=f"{one}-tenth") for one in TRANSPORTS),
        *(pytest.param(one, 1000, id=f"{one}-full", marks=pytest.mark.faults) for one in TRANSPORTS),
    ],
)
async def test_no_change_falls_between_a_snapshot_and_its_tail(stage: Stage, transport: str, count: int) -> None:
    guest = await stage.guest()
    urls = [one.url for one in stage.gateways]
    churn = Churn(guest, PLACES, EVENTS_PER_SECOND)
    clients = [
        Client(guest, Follower(f"{transport} {number}", urls, guest.key, TRANSPORTS[transport], document=LIGHT))
        for number in range(count)
    ]
    await churn.begin()
    try:
        async with writing(churn):
            await _all_arrive(clients, urls)
        marker = await marked(guest)
        for one in clients:
            await one.follower.until_seq(marker, DEADLINE)
    finally:
        await all_stopped([one.follower for one in clients])
    log = await stage.log(guest.tenant_id)
    assert [fault for one in clients for fault in one.faults(log, marker)] == []
    n = sum(len(one.follower.journal.changes) for one in clients)
    starts = {one.cursor for one in clients}
    record(
        3,
        "Clients that read eventCursor with a list, then subscribe after it, miss and repeat nothing",
        n=len(clients),
        figure=f"{transport}, {len(starts)} places to start, {n} changes, 0 lost or twice, so below {3 / n:.1e} (3/N)",
    )


async def _all_arrive(clients: Sequence[Client], urls: Sequence[str]) -> None:
    """A few at a time, at one gateway and the other in turn."""
    places = asyncio.Semaphore(AT_ONCE)

    async def arrive(number: int, client: Client, http: httpx.AsyncClient) -> None:
        async with places:
            await client.arrive(http, urls[number % len(urls)])

    async with (
        httpx.AsyncClient(timeout=DEADLINE, trust_env=False, verify=NO_TLS) as http,
        asyncio.TaskGroup() as group,
    ):
        for number, client in enumerate(clients):
            group.create_task(arrive(number, client, http), name="arrival")
