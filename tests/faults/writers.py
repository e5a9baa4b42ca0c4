"""This module is where tenants change: transactions of any length in the database, and mutations through gateways."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import httpx

from models import Event, Workspace
from models.errors import RequestError, Unavailable
from models.ids import encode, uuid7
from resolvers.unit_of_work import UnitOfWork
from tests.faults.stage import Guest
from tests.faults.transports import NO_TLS

LENGTHS_SECONDS: Final = (0.0, 0.0, 0.002, 0.02, 0.1, 0.4)
"""How long a transaction stays open; drawn anew for each, so that they commit in another order than they began."""
MOST_CHANGES: Final = 24
MOST_DEBT_SECONDS: Final = 10.0
"""How much of an outage a writer makes up for afterwards."""
ABANDONED: Final = 0.05
"""Share of transactions that are rolled back after all their work."""

CREATE: Final = """
mutation Create($input: CreateWorkspaceInput!) {
  createWorkspace(input: $input) { workspace { id } userErrors { code message } }
}
"""


class Abandoned(Exception):
    """The writer changed its mind."""


@dataclass(slots=True)
class Pace:
    """Keeps a writer at its rate, whatever its work takes."""

    per_second: float
    due_at: float = 0.0

    async def spend(self, events: int) -> None:
        """Waits until ``events`` more may be made."""
        now = asyncio.get_running_loop().time()
        self.due_at = max(self.due_at, now - MOST_DEBT_SECONDS) + events / self.per_second
        await asyncio.sleep(max(0.0, self.due_at - now))


@dataclass(slots=True)
class DatabaseWriter:
    """Transactions of random length and size over workspaces of its own, as a resolver would make them."""

    guest: Guest
    pace: Pace
    seed: str
    committed: int = 0
    rolled_back: int = 0
    failed: int = 0
    _own: list[UUID] = field(default_factory=list)
    _random: random.Random = field(default_factory=random.Random)

    async def run(self) -> None:
        """Write until cancelled."""
        self._random.seed(self.seed)
        while True:
            changes = self._random.randint(2, MOST_CHANGES)
            try:
                await self._transaction(changes)
            except Abandoned:
                self.rolled_back += 1
            except Unavailable:
                self.failed += 1  # whether it was committed only the log knows
                await asyncio.sleep(self._random.uniform(0, 0.3))
            else:
                self.committed += changes
                await self.pace.spend(changes)

    async def _transaction(self, changes: int) -> None:
        made = [Workspace(id=uuid7(), name=f"place {self.seed}", tier=self._tier()) for _ in range(changes - 1)]
        async with self.guest.call.work() as work:
            for workspace in made:
                work.add(workspace)
            await work.session.flush()
            for workspace in made:
                work.tell(workspace, "workspace.created", None)
            if self._own:
                await self._change_one(work)
            await asyncio.sleep(self._random.choice(LENGTHS_SECONDS))
            if self._random.random() < ABANDONED:
                raise Abandoned
        self._own = [*self._own, *(one.id for one in made)][-20:]

    async def _change_one(self, work: UnitOfWork) -> None:
        workspace = await work.locked(Workspace, self._random.choice(self._own))
        before = workspace.facets()
        workspace.tier = workspace.tier % 4 + 1
        work.tell(workspace, "workspace.updated", before, {"changed": ["tier"]})

    def _tier(self) -> int:
        return self._random.randint(1, 4)


@dataclass(slots=True)
class ApiWriter:
    """Creates workspaces through any gateway; a key makes every retry the same request."""

    guest: Guest
    urls: Sequence[str]
    pace: Pace
    seed: str
    acknowledged: dict[str, str] = field(default_factory=dict)
    retries: int = 0
    _random: random.Random = field(default_factory=random.Random)

    async def run(self) -> None:
        """Write until cancelled."""
        self._random.seed(self.seed)
        headers = {"authorization": f"Bearer {self.guest.key}"}
        async with httpx.AsyncClient(headers=headers, timeout=10, trust_env=False, verify=NO_TLS) as client:
            number = 0
            while True:
                number += 1
                key = f"{self.seed} {number}"
                self.acknowledged[key] = await self._create(client, key)
                await self.pace.spend(1)

    def missing_from(self, log: Sequence[Event]) -> list[str]:
        """Acknowledged creations that the log does not tell of exactly once."""
        created = Counter(encode("workspace", one.entity_id) for one in log if one.kind == "workspace.created")
        return [key for key, made in self.acknowledged.items() if created[made] != 1]

    async def _create(self, client: httpx.AsyncClient, key: str) -> str:
        given = {"name": key, "tier": self._random.randint(1, 4), "idempotencyKey": key}
        while True:
            try:
                answer = await mutate(client, self._random.choice(self.urls), CREATE, given)
                return str(answer["createWorkspace"]["workspace"]["id"])
            except (httpx.HTTPError, Unavailable):
                self.retries += 1
                await asyncio.sleep(self._random.uniform(0, 0.3))


async def mutate(client: httpx.AsyncClient, url: str, document: str, given: dict[str, Any]) -> Any:
    """The data of one mutation. Raises Unavailable, or RequestError with any other code as its message."""
    body = {"query": document, "variables": {"input": given}}
    payload = (await client.post(f"{url}/graphql", json=body)).json()
    if payload.get("errors"):
        code = payload["errors"][0]["extensions"]["code"]
        raise Unavailable if code == Unavailable.code else RequestError(code)
    return payload["data"]


@asynccontextmanager
async def writing(*writers: DatabaseWriter | ApiWriter | Churn) -> AsyncIterator[None]:
    """All of them write while the block lasts; one that breaks fails the test."""
    tasks = [asyncio.create_task(one.run(), name=f"writer {one.seed}") for one in writers]
    try:
        yield
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def marked(guest: Guest) -> int:
    """One last event that every filter here matches; its seq. Whoever has it has come to the end."""
    while True:
        try:
            async with guest.call.work() as work:
                workspace = Workspace(id=uuid7(), name="the end", tier=1)
                work.add(workspace)
                await work.session.flush()
                work.tell(workspace, "workspace.created", None)
            return (await guest.call.services.tails.bounds(guest.tenant_id))[1]
        except Unavailable:
            await asyncio.sleep(0.2)


@dataclass(slots=True)
class Churn:
    """A fixed set of workspaces that change all the time, each change one more version."""

    guest: Guest
    places: int
    per_second: float
    seed: str = "churn"
    _own: list[UUID] = field(default_factory=list)

    async def begin(self) -> None:
        """Make them."""
        async with self.guest.call.work() as work:
            for number in range(self.places):
                place = Workspace(id=uuid7(), name=f"place {number}", tier=1)
                work.add(place)
                await work.session.flush()
                work.tell(place, "workspace.created", None)
                self._own.append(place.id)

    async def run(self) -> None:
        """Change one after another until cancelled."""
        pace = Pace(self.per_second)
        for place in itertools.cycle(self._own):
            async with self.guest.call.work() as work:
                found = await work.locked(Workspace, place)
                before = found.facets()
                found.tier = found.tier % 4 + 1
                work.tell(found, "workspace.updated", before, {"changed": ["tier"]})
            await pace.spend(1)
