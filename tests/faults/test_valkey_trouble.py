"""This module is where Valkey hangs, is not there yet, or carries lies: streams, mutations and readiness bear it."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from subscriptions.channels import all_events_channels, encode_wakeup
from tests.faults.checker import Audience, check
from tests.faults.journal import Follower, all_stopped
from tests.faults.stage import GatewayProcess, Guest, Stage
from tests.faults.transports import NO_TLS, TRANSPORTS
from tests.faults.writers import CREATE, mutate
from tests.patience import DEADLINE, promised
from tests.report import record

pytestmark = pytest.mark.timed

ALL = Audience(frozenset({"workspaces:read"}))
MUTATION_SECONDS = 2.0
SWEPT_SECONDS = 1.5
FORGED = 2000
SHOW = "Valkey hung, absent at start or full of forged messages: mutations, streams and readiness bear it"


def _client(guest: Guest) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {guest.key}"}
    return httpx.AsyncClient(headers=headers, timeout=DEADLINE, trust_env=False, verify=NO_TLS)


async def _followed(urls: list[str], guest: Guest) -> list[Follower]:
    followers = [Follower(name, urls, guest.key, transport).start() for name, transport in TRANSPORTS.items()]
    for one in followers:
        await one.until(lambda journal: bool(journal.items), DEADLINE)
    return followers


async def _until_readiness_says(gateway: GatewayProcess, status: str) -> None:
    async with asyncio.timeout(DEADLINE), httpx.AsyncClient(trust_env=False, verify=NO_TLS) as client:
        while True:
            answer = await client.get(f"{gateway.url}/readyz")
            assert answer.status_code == 200, answer.text
            if answer.json()["status"] == status:
                return
            await asyncio.sleep(0.05)


async def _all_is_well(
    stage: Stage, guest: Guest, at: GatewayProcess, followers: list[Follower], n: int
) -> list[float]:
    """Mutations are quick and every subscriber has them; their lags behind the answers, in seconds."""
    lags: list[float] = []
    async with _client(guest) as client:
        for _ in range(n):
            started_at = time.monotonic()
            await mutate(client, at.url, CREATE, {"name": "all the same"})
            answered_at = time.monotonic()
            assert answered_at - started_at < promised(MUTATION_SECONDS)
            seq = await stage.head(guest.tenant_id)
            for one in followers:
                await one.until_seq(seq, DEADLINE)
                lags.append(one.journal.items[-1].received_at - answered_at)
    return lags


async def _nothing_lost(stage: Stage, guest: Guest, followers: list[Follower]) -> int:
    await all_stopped(followers)
    log = await stage.log(guest.tenant_id)
    verdicts = [check(one.journal, log, ALL, log[-1].seq) for one in followers]
    assert [fault for verdict in verdicts for fault in verdict.faults] == []
    assert [one.journal.name for one in followers if len(one.journal.connections) != 1] == []
    return sum(verdict.deliveries for verdict in verdicts)


def _record(what: str, n: int, lags: list[float]) -> None:
    figure = f"{what}: 0 lost, so below {3 / n:.1e} (3/N); at most {max(lags) * 1000:.0f} ms behind the answer"
    record(3, SHOW, n=n, figure=figure)


async def test_a_valkey_that_hangs_is_noticed_and_waited_for_by_nobody(stage: Stage) -> None:
    guest = await stage.guest()
    gateway = stage.gateways[0]
    followers = await _followed([gateway.url], guest)
    await _until_readiness_says(gateway, "ready")
    os.kill(stage.valkey.pid, signal.SIGSTOP)
    try:
        lags = await _all_is_well(stage, guest, gateway, followers, 5)
        await _until_readiness_says(gateway, "degraded")
        lags += await _all_is_well(stage, guest, gateway, followers, 5)
    finally:
        os.kill(stage.valkey.pid, signal.SIGCONT)
    await _until_readiness_says(gateway, "ready")
    lags += await _all_is_well(stage, guest, gateway, followers, 5)
    n = await _nothing_lost(stage, guest, followers)
    assert max(lags) < promised(SWEPT_SECONDS)
    _record("hung", n, lags)


async def test_a_gateway_starts_without_valkey_and_finds_it_later(stage: Stage) -> None:
    guest = await stage.guest()
    await asyncio.to_thread(stage.valkey.kill)
    gateway = stage.gateways[1]
    try:
        gateway.kill()
        gateway.start()
        await gateway.ready()
        await _until_readiness_says(gateway, "degraded")
        followers = await _followed([gateway.url], guest)
        lags = await _all_is_well(stage, guest, stage.gateways[0], followers, 5)
    finally:
        await asyncio.to_thread(stage.valkey.restart)
    await _until_readiness_says(gateway, "ready")
    lags += await _all_is_well(stage, guest, stage.gateways[0], followers, 5)
    n = await _nothing_lost(stage, guest, followers)
    assert max(lags) < promised(SWEPT_SECONDS)
    _record("absent at start", n, lags)


@pytest.mark.parametrize("forged", [pytest.param(FORGED, id="forged")])
async def test_forged_messages_wake_and_nothing_more(stage: Stage, forged: int) -> None:
    guest, other = await stage.guest(), await stage.guest()
    followers = await _followed([one.url for one in stage.gateways], guest)
    lies = _lies(guest, other, random.Random("lies"), forged)
    async with Redis.from_url(stage.valkey.url, protocol=2) as valkey:
        flood = asyncio.create_task(_publish(valkey, lies), name="flood")
        try:
            lags = await _all_is_well(stage, guest, stage.gateways[0], followers, 10)
        finally:
            await asyncio.wait_for(flood, DEADLINE)
    lags += await _all_is_well(stage, guest, stage.gateways[1], followers, 5)
    n = await _nothing_lost(stage, guest, followers)
    assert max(lags) < promised(SWEPT_SECONDS)
    _record(f"{forged} forged messages", n, lags)


async def _publish(valkey: Any, lies: list[tuple[str, bytes]]) -> None:
    for channel, lie in lies:
        await valkey.publish(channel, lie)


def _lies(guest: Guest, other: Guest, chance: random.Random, number: int) -> list[tuple[str, bytes]]:
    """Noise, half-truths and wake-ups for events that will never be."""
    channels = list(all_events_channels())
    kinds = (
        lambda: chance.randbytes(chance.randint(0, 2000)),
        lambda: encode_wakeup(guest.tenant_id, 2**62),
        lambda: encode_wakeup(other.tenant_id, chance.randint(1, 50)),
        lambda: encode_wakeup(guest.tenant_id, 1)[: chance.randint(0, 20)],
        lambda: b'{"tenant": null}',
    )
    return [(chance.choice(channels), chance.choice(kinds)()) for _ in range(number)]
