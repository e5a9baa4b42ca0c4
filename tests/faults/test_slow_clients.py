"""This module is where clients stop reading, and everybody else notices nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from models import Workspace
from models.ids import uuid7
from tests.faults.checker import Audience, check
from tests.faults.dawdlers import SilentClient, StuckClient
from tests.faults.journal import Follower, all_stopped
from tests.faults.stage import GatewayProcess, Guest, Stage
from tests.faults.transports import NO_TLS, TRANSPORTS, Operation
from tests.patience import DEADLINE, promised
from tests.report import record

ALL = Audience(frozenset({"workspaces:read"}))
STUCK_SECONDS = 15.0
SILENT_SECONDS = 35.0
VANISHING = 100
END_SECONDS = 15.0
MOST_BYTES_EACH = 1_000_000
OWN_BYTES = 8_000_000
"""What a process takes for itself once large events flow, whoever reads: a group's answers, the ring."""
CARD_BYTES = 10_000
EVENTS_PER_SECOND = 20.0
AT_ONCE = 10
DOCUMENT = """
subscription Follow($after: EventCursor) {
  workspaceStatus(after: $after) {
    __typename
    ... on StreamItem { cursor }
    ... on StreamReady { recovered }
    ... on WorkspaceItem { previousCursor kind entityId matchesFilter workspace { id agentCard } }
  }
}
"""


@dataclass(slots=True)
class Memory:
    """The most a process held while it was watched."""

    gateway: GatewayProcess
    before: int = 0
    most: int = field(default=0)

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Looks again and again while the block lasts."""
        self.before = self.most = self.gateway.resident_bytes
        task = asyncio.create_task(self._look(), name="memory")
        try:
            yield
        finally:
            task.cancel()

    async def _look(self) -> None:
        while True:
            self.most = max(self.most, self.gateway.resident_bytes)
            await asyncio.sleep(0.1)

    @property
    def growth(self) -> int:
        """Bytes more than before, at the worst moment."""
        return self.most - self.before


@asynccontextmanager
async def changing(guest: Guest) -> AsyncIterator[None]:
    """A workspace with a large card changes, twenty times a second, while the block lasts."""
    async with guest.call.work() as work:
        place = Workspace(id=uuid7(), name="large", agent_card={"text": "x" * CARD_BYTES})
        work.add(place)
        await work.session.flush()
        work.tell(place, "workspace.created", None)

    async def change() -> None:
        while True:
            async with guest.call.work() as work:
                found = await work.locked(Workspace, place.id)
                before = found.facets()
                found.tier = found.tier % 4 + 1
                work.tell(found, "workspace.updated", before)
            await asyncio.sleep(1 / EVENTS_PER_SECOND)

    task = asyncio.create_task(change(), name="changing")
    try:
        yield
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def stuck_at(
    gateway: GatewayProcess, guest: Guest, transport: str, number: int
) -> AsyncIterator[list[StuckClient]]:
    """So many clients that have stopped reading."""
    clients = [StuckClient(gateway.url, guest.key, transport) for _ in range(number)]
    try:
        for start in range(0, number, AT_ONCE):
            await asyncio.gather(*(one.subscribe(Operation(DOCUMENT, {})) for one in clients[start : start + AT_ONCE]))
        yield clients
    finally:
        for one in clients:
            one.close()


async def _reading(gateway: GatewayProcess, guest: Guest, transport: str, number: int) -> list[Follower]:
    followers = [
        Follower(f"reader {one}", [gateway.url], guest.key, TRANSPORTS[transport], document=DOCUMENT).start()
        for one in range(number)
    ]
    for one in followers:
        await one.until(lambda journal: bool(journal.items), DEADLINE)
    return followers


async def _missed_nothing(stage: Stage, guest: Guest, followers: Sequence[Follower]) -> int:
    """How much they received, all of it at first hand."""
    log = await stage.log(guest.tenant_id)
    for one in followers:
        await one.until_seq(log[-1].seq, DEADLINE)
    await all_stopped(followers)
    verdicts = [check(one.journal, log, ALL, log[-1].seq) for one in followers]
    assert [fault for verdict in verdicts for fault in verdict.faults] == []
    assert [one.journal.ends for one in followers if one.journal.ends] == []
    return sum(one.deliveries for one in verdicts)


@pytest.mark.parametrize(
    ("transport", "stuck", "readers"),
    [
        *(pytest.param(name, 10, 5, id=f"{name}-tenth") for name in TRANSPORTS),
        *(pytest.param(name, 100, 50, id=f"{name}-full", marks=pytest.mark.faults) for name in TRANSPORTS),
    ],
)
async def test_clients_that_stop_reading_are_cut_off_and_cost_little(
    stage: Stage, transport: str, stuck: int, readers: int
) -> None:
    gateway = stage.gateways[0]
    guest = await stage.guest()
    followers = await _reading(gateway, guest, transport, readers)
    memory = Memory(gateway)
    async with changing(guest):
        for one in followers:
            await one.until(lambda journal: len(journal.changes) > 5, DEADLINE)
        async with memory.watched(), stuck_at(gateway, guest, transport, stuck) as clients:
            lasted = await asyncio.gather(*(one.cut_after(promised(2 * STUCK_SECONDS)) for one in clients))
    n = await _missed_nothing(stage, guest, followers)
    assert max(lasted) < promised(STUCK_SECONDS)
    assert memory.growth < MOST_BYTES_EACH * stuck + OWN_BYTES
    record(
        3,
        "Clients that stop reading are gone within 15 s, at most 1 MB each; readers miss nothing",
        n=n,
        figure=f"{transport}: {stuck} stuck gone after {min(lasted):.1f} to {max(lasted):.1f} s, "
        f"{memory.growth / stuck / 1000:.0f} KB each; {readers} readers, 0 lost (below {3 / n:.1e})",
    )


@pytest.mark.faults
async def test_clients_that_never_answer_a_ping_are_cut_off(stage: Stage) -> None:
    gateway = stage.gateways[0]
    guest = await stage.guest()
    followers = await _reading(gateway, guest, "websocket", 5)
    silent = [SilentClient(gateway.url, guest.key) for _ in range(100)]
    async with changing(guest), asyncio.timeout(2 * SILENT_SECONDS):
        await asyncio.gather(*(one.subscribe_until_cut(Operation(DOCUMENT, {})) for one in silent))
    n = await _missed_nothing(stage, guest, followers)
    lasted = [one.lasted_seconds for one in silent]
    assert max(lasted) < SILENT_SECONDS
    record(
        3,
        "Clients that answer no ping are gone within 35 s",
        n=n,
        figure=f"{len(silent)} silent gone after {min(lasted):.1f} to {max(lasted):.1f} s; readers lost 0",
    )


@pytest.mark.faults
@pytest.mark.parametrize("transport", list(TRANSPORTS))
async def test_clients_that_vanish_without_a_word_are_cut_off_though_nothing_fills_their_buffers(
    stage: Stage, transport: str
) -> None:
    gateway = stage.gateways[0]
    guest = await stage.guest()
    before = await _connections(gateway, transport)
    async with stuck_at(gateway, guest, transport, VANISHING) as clients:
        for one in clients:
            one.vanish()
        vanished_at = time.monotonic()
        assert await _connections(gateway, transport) == before + VANISHING
        async with asyncio.timeout(2 * SILENT_SECONDS):
            while await _connections(gateway, transport) > before:  # noqa: ASYNC110 - nobody says when they go
                await asyncio.sleep(0.1)
    lasted = time.monotonic() - vanished_at
    assert lasted < SILENT_SECONDS
    record(
        3,
        "Clients that vanished without a word are gone within 35 s",
        n=VANISHING,
        figure=f"{transport}: all gone after {lasted:.1f} s, with nothing to send but signs of life",
    )


async def _connections(gateway: GatewayProcess, transport: str) -> float:
    """How many of the kind the gateway holds."""
    name = "signalbox_sockets" if transport == "websocket" else "signalbox_http_streams"
    async with httpx.AsyncClient(trust_env=False, verify=NO_TLS, timeout=DEADLINE) as client:
        text = (await client.get(f"{gateway.url}/metrics")).text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    return float(families[name].samples[0].value)


@pytest.mark.parametrize("transport", list(TRANSPORTS))
async def test_a_client_that_has_stopped_reading_does_not_keep_a_gateway_from_ending(
    stage: Stage, transport: str
) -> None:
    gateway = stage.gateways[0]
    guest = await stage.guest()
    async with changing(guest), stuck_at(gateway, guest, transport, 1):
        await asyncio.sleep(1.0)  # so much that its buffers are full
        status, seconds = await gateway.terminate()
    assert (status, seconds < promised(END_SECONDS)) == (0, True)
