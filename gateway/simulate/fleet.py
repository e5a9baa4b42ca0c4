"""This module is where a fleet is started, kept going and ended."""

from __future__ import annotations

import asyncio
import logging
import math
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import httpx

from gateway.simulate.agent import SimulatedAgent
from gateway.simulate.alerts import AlertStorm
from gateway.simulate.behaviour import Behaviour
from gateway.simulate.progress import Progress
from gateway.simulate.public_api import Away, PublicApi, Refused
from gateway.simulate.report import FleetReport
from gateway.simulate.run import Run, RunOver
from gateway.simulate.talking import Operator, Talking, TalkScript
from gateway.watch.credentials import Credentials
from models.base import utcnow
from models.errors import BadRequest, Unauthenticated, Unavailable

MAX_AGENTS: Final = 10_000
MAX_RATE: Final = 100.0
MAX_TALK_RATE: Final = 600.0
_LOOK_SECONDS: Final = 0.25
_ENLISTING_AT_ONCE: Final = 8
_AGENTS_OF_A_CLIENT: Final = 4  # a request costs 1.3 ms then; 3 ms with 16, 6.6 ms with 96 on one pool
_MAX_CONNECTIONS: Final = 800  # processes usually may open 1,024 files
# Shorter than a server keeps an idle connection (uvicorn: 5 s), or a beat now and then meets one just closed.
_KEEPALIVE_SECONDS: Final = 4.0
_TIMEOUT: Final = httpx.Timeout(15.0, pool=60.0)


async def run_fleet(
    url: str,
    api_key: str,
    *,
    agents: int,
    rate: float,
    seed: int = 7,
    seconds: float | None = None,
    script: Behaviour | None = None,
    operator: Credentials | None = None,
    talk: TalkScript | None = None,
    alert_seconds: float | None = None,
    stop: asyncio.Event | None = None,
    progress: Progress | None = None,
    progress_seconds: float = 5.0,
    ready_seconds: float = 60.0,
) -> FleetReport:
    """``agents`` agents that each beat ``rate`` times a second, until ``stop`` is set or ``seconds`` have passed.

    Each waits for a beat's answer before the next, so above 3 a second the answers set the pace. ``seconds`` count
    from the first contact. A fleet with the same seed and key takes the same workspaces. An ``operator`` gives the
    agents definitions and asks them questions, as ``talk`` says; without one they only beat. With ``alert_seconds`` an
    Alertmanager beside them sends what fires, so often. Raises BAD_REQUEST,
    UNAVAILABLE when no gateway is ready within ``ready_seconds``, UNAUTHENTICATED when it does not take the key.
    """
    talk = talk or TalkScript()
    _refuse_nonsense(agents, rate, talk.questions_a_minute)
    # Its INFO line for every request would bury everything else.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    report = FleetReport(agents)
    stop = stop or asyncio.Event()
    gate = asyncio.Semaphore(_ENLISTING_AT_ONCE)
    talking = Talking(Operator(operator), talk) if operator is not None else None
    run = Run(api_key, seed, 1 / rate, script or Behaviour(), report, stop, gate, talking)
    async with _clients(url, agents) as clients:
        apis = [PublicApi(client) for client in clients]
        try:
            known = await _known_places(run, apis[0], url, ready_seconds)
        except RunOver:
            return report
        async with asyncio.TaskGroup() as group:
            helpers = [group.create_task(_stop_after(stop, seconds), name="fleet-clock")]
            if progress is not None:
                helpers.append(group.create_task(_tell(report, progress, progress_seconds), name="fleet-progress"))
            if alert_seconds is not None:
                helpers.append(group.create_task(_fire(run, apis[0], alert_seconds), name="fleet-alerts"))
            fleet = [SimulatedAgent(run, apis[number % len(apis)], number) for number in range(1, agents + 1)]
            await asyncio.wait(
                [group.create_task(one.live(known.get(one.name)), name=f"agent {one.name}") for one in fleet]
            )
            for helper in helpers:
                helper.cancel()
    return report


def _refuse_nonsense(agents: int, rate: float, talk_rate: float) -> None:
    if not 1 <= agents <= MAX_AGENTS:
        raise BadRequest(f"A fleet has 1 to {MAX_AGENTS:,} agents.")
    if not 0 < rate <= MAX_RATE:
        raise BadRequest(f"An agent beats more than 0 and at most {MAX_RATE:.0f} times a second.")
    if not 0 < talk_rate <= MAX_TALK_RATE:
        raise BadRequest(f"An agent is asked more than 0 and at most {MAX_TALK_RATE:.0f} questions a minute.")


@asynccontextmanager
async def _clients(url: str, agents: int) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Clients that share the agents among them: one pool's cost rises with the square of its connections."""
    base = _address(url)
    count = min(math.ceil(agents / _AGENTS_OF_A_CLIENT), _MAX_CONNECTIONS)
    connections = max(1, min(_AGENTS_OF_A_CLIENT, _MAX_CONNECTIONS // count))
    limits = httpx.Limits(
        max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=_KEEPALIVE_SECONDS
    )
    certificates = ssl.create_default_context()
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                # Only the settings read the environment, so a proxy named there is not ours to use.
                httpx.AsyncClient(base_url=base, timeout=_TIMEOUT, limits=limits, verify=certificates, trust_env=False)
            )
            for _ in range(count)
        ]


def _address(url: str) -> httpx.URL:
    try:
        base = httpx.URL(url.rstrip("/").removesuffix("/graphql"))
    except httpx.InvalidURL as error:
        raise BadRequest(f"{url} is no address.") from error
    if base.scheme not in {"http", "https"} or not base.host:
        raise BadRequest(f"{url} is no http or https address.")
    return base


async def _known_places(run: Run, api: PublicApi, url: str, ready_seconds: float) -> dict[str, str]:
    """Ids by name of the workspaces that an earlier run of this fleet left, once the gateway is ready."""
    try:
        async with asyncio.timeout(ready_seconds):
            while True:
                try:
                    if await api.is_ready():
                        return await api.find_workspaces(run.key, f"sim-{run.seed}")
                except Away as away:
                    run.report.errors[away.code] += 1
                await run.rest(_LOOK_SECONDS)
    except TimeoutError as error:
        raise Unavailable(f"No gateway is ready at {url}.") from error
    except Refused as refusal:
        raise Unauthenticated(f"The gateway at {url} does not take this key: {refusal}") from refusal


async def _stop_after(stop: asyncio.Event, seconds: float | None) -> None:
    if seconds is not None:
        await asyncio.sleep(seconds)
        stop.set()


async def _fire(run: Run, api: PublicApi, every_seconds: float) -> None:
    storm = AlertStorm(f"{run.seed}/alerts", utcnow)

    async def rest() -> None:
        run.report.alerts = storm.raised
        await run.rest(every_seconds)

    try:
        await storm.run(api, run.key, rest)
    except RunOver:
        return
    except Refused as refusal:
        # A key that may not send alerts, most of all: the fleet goes on without.
        run.report.errors[refusal.code] += 1


async def _tell(report: FleetReport, progress: Progress, every_seconds: float) -> None:
    while True:
        await asyncio.sleep(every_seconds)
        progress(report)
