"""This module is where fan-out is measured: our gateway, stock strawberry, and a broadcast without GraphQL.

Each cell is a fresh server process; what is charged is that process's CPU alone. Ours is charged for reading the
log, executing the document, tenancy and limits; the others have none of these. The writer commits beside each of them,
so that all have the same neighbours on a small machine. Latency counts from publishing: for us that is when the
writer's commit has returned, for the others when they begin to send.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks import load
from benchmarks.house import House, Published, free_port
from subscriptions.cursor import Cursor

DOCUMENT = (
    "subscription { workspaceStatus { __typename ... on WorkspaceItem { cursor previousCursor occurredAt kind "
    "matchesFilter workspace { id name status version } } } }"
)
STOCK_DOCUMENT = (
    "subscription { workspaceStatus { __typename cursor previousCursor occurredAt kind matchesFilter "
    "workspace { id name status version } } }"
)
RATE = 50.0
PEERS = ("gateway", "floor", "stock")
WARM_UP_SECONDS = 1.5


@dataclass(frozen=True, slots=True)
class Case:
    """One question: how many subscribers, events in each commit, distinct groups."""

    subscribers: int
    burst: int
    groups: int

    def __str__(self) -> str:
        how = "evenly" if self.burst == 1 else f"{self.burst} a commit"
        return f"{self.subscribers} subscribers, {how}, {self.groups} group{'s' if self.groups > 1 else ''}"


@dataclass(frozen=True, slots=True)
class Cell:
    """One round of one peer: microseconds of CPU per delivery, latencies in ms, KB per idle subscriber."""

    delivered_per_second: float
    cpu_us: float
    p50_ms: float
    p99_ms: float
    kb: float


def run(subscribers: list[int], rounds: int, seconds: float) -> None:
    """Measure every case and print its table."""
    console = Console()
    with House() as house:
        for count in subscribers:
            for case in (Case(count, 1, 1), Case(count, 10, 1), Case(count, 1, 20)):
                cells: dict[str, list[Cell]] = {peer: [] for peer in PEERS}
                for _ in range(rounds):
                    for peer in PEERS:
                        cells[peer].append(uvloop.run(_cell(house, peer, case, seconds)))
                console.print(_table(case, cells))


async def _cell(house: House, peer: str, case: Case, seconds: float) -> Cell:
    rate = RATE * case.burst
    with _server(house, peer, rate, case.burst) as (pid, port, token, start_writer):
        before_kb = _rss_kb(pid)
        tally = load.Tally()
        document = STOCK_DOCUMENT if peer == "stock" else DOCUMENT
        # An alias makes another document, and so another group.
        documents = [
            document.replace("cursor previous", f"c{number}: cursor cursor previous") for number in range(case.groups)
        ]
        if case.groups == 1:
            documents = [document]
        await load.connect(port, case.subscribers, token, documents, tally)
        await asyncio.sleep(0.5)
        kb = (_rss_kb(pid) - before_kb) / case.subscribers
        with start_writer() as published:
            await asyncio.sleep(WARM_UP_SECONDS)
            tally.arrivals.clear()
            cpu, received = _cpu_seconds(pid), tally.received
            await asyncio.sleep(seconds)
            cpu, received = _cpu_seconds(pid) - cpu, tally.received - received
            arrivals = list(tally.arrivals)
    latencies = sorted(came_at - published.get(_seq_of(cursor), sent_at) for cursor, sent_at, came_at in arrivals)
    return Cell(
        delivered_per_second=received / seconds,
        cpu_us=cpu / max(received, 1) * 1e6,
        p50_ms=latencies[len(latencies) // 2] * 1e3,
        p99_ms=latencies[int(len(latencies) * 0.99)] * 1e3,
        kb=kb,
    )


def _seq_of(cursor: bytes) -> int:
    place = Cursor.decode(cursor.decode())
    return -1 if place is None else place.seq


@contextmanager
def _server(
    house: House, peer: str, rate: float, burst: int
) -> Iterator[tuple[int, int, str, Callable[[], AbstractContextManager[Published]]]]:
    if peer == "gateway":
        with house.gateway() as (pid, port):
            yield pid, port, house.token, lambda: house.writer(rate, burst)
        return
    port = free_port()
    command = [sys.executable, "-m", f"benchmarks.peers.{peer}", str(port), str(rate), str(burst)]
    with process(command) as one:
        yield one.pid, port, "", lambda: _told_to_go(one, house.writer(rate, burst))


@contextmanager
def _told_to_go(one: subprocess.Popen[bytes], neighbour: AbstractContextManager[Published]) -> Iterator[Published]:
    assert one.stdin is not None
    with neighbour:
        one.stdin.write(b"go\n")
        one.stdin.flush()
        yield {}


@contextmanager
def process(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has said it is ready, ended with the block."""
    one = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert one.stdout is not None
        if b"ready" not in one.stdout.readline():
            raise RuntimeError(f"{command} did not start")
        yield one
    finally:
        one.kill()
        one.communicate()


def _cpu_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _rss_kb(pid: int) -> int:
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def _table(case: Case, cells: dict[str, list[Cell]]) -> Table:
    table = Table(title=str(case), title_justify="left")
    for name in (
        "",
        "delivered/s",
        "CPU us/delivery",
        "p50 ms",
        "p99 ms",
        "KB/subscriber",
        "CPU to floor",
        "CPU to stock",
        "p99 to floor",
    ):
        table.add_column(name, justify="right" if name else "left")
    for peer, found in cells.items():
        table.add_row(
            peer,
            f"{_median(found, 'delivered_per_second'):,.0f}",
            f"{_median(found, 'cpu_us'):.2f}",
            f"{_median(found, 'p50_ms'):.1f}",
            f"{_median(found, 'p99_ms'):.1f}",
            f"{_median(found, 'kb'):.1f}",
            f"{_ratio(found, cells['floor'], 'cpu_us'):.2f}x",
            f"{_ratio(found, cells['stock'], 'cpu_us'):.3f}x",
            f"{_ratio(found, cells['floor'], 'p99_ms'):.2f}x",
        )
    return table


def _median(cells: list[Cell], name: str) -> float:
    return statistics.median(getattr(cell, name) for cell in cells)


def _ratio(cells: list[Cell], others: list[Cell], name: str) -> float:
    """The median of the rounds' ratios: what disturbs a round disturbs its neighbours."""
    return statistics.median(getattr(a, name) / getattr(b, name) for a, b in zip(cells, others, strict=True))
