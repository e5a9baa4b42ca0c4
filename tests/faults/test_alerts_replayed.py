"""This module is where an Alertmanager that tries again meets a database that goes away: nothing twice, nothing lost.

The same payloads are sent again and again, in another order each time, by senders that know nothing of each other.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import httpx
import pytest
from sqlalchemy import select

from models import Alert, AlertStatus, Event, Scope
from tests.faults.stage import Stage
from tests.faults.transports import NO_TLS
from tests.patience import DEADLINE
from tests.report import record

SHOW: Final = "1,000 payloads replayed ten times, shuffled, the database away in the middle, a sender that retries"
START: Final = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
NONE: Final = "0001-01-01T00:00:00Z"
_RETRY_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is sent how often, and how long the database is away."""

    payloads: int
    replays: int
    away_seconds: float
    senders: int = 4


FULL: Final = Scale(1_000, 10, 10.0)
TENTH: Final = Scale(100, 3, 1.0)


def payloads(count: int) -> list[dict[str, Any]]:
    """``count`` deliveries of a few alerts each: firing, repeated, ended, fired again, and one that goes on."""
    made = []
    for number in range(count):
        # Five alerts share each fingerprint's story; the group repeats what the one before it said.
        alerts = [_alert(f"{number // 4 + shift:08x}", step) for shift in range(3) for step in (number % 4,)]
        made.append({"version": "4", "receiver": "signalbox", "groupKey": f"{number}", "alerts": alerts})
    return made


def _alert(fingerprint: str, step: int) -> dict[str, Any]:
    # 0: fires; 1: has ended; 2: fires again; 3: says so once more.
    started = START + timedelta(minutes=10 * (step >= 2))
    return {
        "status": "resolved" if step == 1 else "firing",
        "labels": {"alertname": "HighCPUUsage", "severity": "critical", "instance": fingerprint, "job": "node"},
        "annotations": {"summary": f"step {step}"},
        "startsAt": started.isoformat(),
        "endsAt": (started + timedelta(minutes=5)).isoformat() if step == 1 else NONE,
        "fingerprint": fingerprint,
    }


def expected(sent: list[dict[str, Any]]) -> dict[tuple[str, datetime], AlertStatus]:
    """Each firing that was ever told of, over if that was ever told."""
    found: dict[tuple[str, datetime], AlertStatus] = {}
    for one in (alert for payload in sent for alert in payload["alerts"]):
        firing = (one["fingerprint"], datetime.fromisoformat(one["startsAt"]))
        if one["status"] == "resolved" or firing not in found:
            found[firing] = AlertStatus(one["status"])
    return found


@dataclass(slots=True)
class Sender:
    """Sends until it is taken, as Alertmanager does: again after a 5xx or no answer, never after a 4xx."""

    urls: list[str]
    key: str
    retries: int = 0

    async def send_all(self, sent: list[dict[str, Any]]) -> None:
        """Every payload, one after the other."""
        async with httpx.AsyncClient(trust_env=False, verify=NO_TLS, timeout=DEADLINE) as client:
            for number, payload in enumerate(sent):
                await self._send(client, number, payload)

    async def _send(self, client: httpx.AsyncClient, number: int, payload: dict[str, Any]) -> None:
        async with asyncio.timeout(DEADLINE):
            while True:
                url = f"{self.urls[number % len(self.urls)]}/ingest/alertmanager"
                try:
                    response = await client.post(url, json=payload, headers={"authorization": f"Bearer {self.key}"})
                except httpx.TransportError:
                    response = None
                if response is not None and response.status_code == 200:
                    assert all("error" not in one for one in response.json()["results"]), response.text
                    return
                # Anything else of 4xx would be an alert that is lost.
                assert response is None or response.status_code >= 500, response.text
                self.retries += 1
                await asyncio.sleep(_RETRY_SECONDS)


async def _go_away(stage: Stage, seconds: float) -> None:
    await asyncio.to_thread(stage.postgres.kill)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(stage.postgres.restart)


async def _rows(stage: Stage, tenant_id: UUID) -> list[Any]:
    columns = (Alert.fingerprint, Alert.starts_at, Alert.status)
    async with stage.owner.connect() as connection:
        return list(await connection.execute(select(*columns).where(Alert.tenant_id == tenant_id)))


async def _kinds(stage: Stage, tenant_id: UUID) -> Counter[tuple[UUID, str]]:
    async with stage.owner.connect() as connection:
        rows = await connection.execute(
            select(Event.entity_id, Event.kind).where(Event.tenant_id == tenant_id, Event.entity_type == "alert")
        )
        return Counter((entity, kind) for entity, kind in rows)


async def _replay(stage: Stage, scale: Scale) -> str:
    guest = await stage.guest()
    _, key = await stage.services.accounts.create_api_key(
        guest.call, name="alertmanager", scopes=[Scope.ALERTS_INGEST.value]
    )
    told = payloads(scale.payloads)
    chance = random.Random(7)
    queue: list[dict[str, Any]] = []
    for _ in range(scale.replays):
        chance.shuffle(told)
        queue += told
    senders = [Sender([one.url for one in stage.gateways], key) for _ in range(scale.senders)]
    share = len(queue) // scale.senders
    middle = scale.replays // 2 * len(told) // scale.senders
    parts = [queue[number * share : (number + 1) * share] for number in range(scale.senders)]
    parts[-1] += queue[scale.senders * share :]
    await asyncio.gather(*(one.send_all(part[:middle]) for one, part in zip(senders, parts, strict=True)))
    async with asyncio.TaskGroup() as group:
        group.create_task(_go_away(stage, scale.away_seconds), name="database away")
        for one, part in zip(senders, parts, strict=True):
            group.create_task(one.send_all(part[middle:]), name="sender")
    rows = await _rows(stage, guest.tenant_id)
    assert len(rows) == len({(row.fingerprint, row.starts_at) for row in rows})
    assert {(row.fingerprint, row.starts_at): row.status for row in rows} == expected(told)
    events = await _kinds(stage, guest.tenant_id)
    # Received once each, over once at most: what is told again is no news.
    assert set(events.values()) == {1}
    assert Counter(kind for _, kind in events)["alert.received"] == len(rows)
    retries = sum(one.retries for one in senders)
    assert retries > 0
    return f"{len(queue):,} deliveries, {retries} retries: {len(rows):,} rows, each right; no event twice"


async def test_a_tenth_of_it_ends_right(stage: Stage) -> None:
    await _replay(stage, TENTH)


@pytest.mark.faults
async def test_a_thousand_payloads_replayed_ten_times_end_right(stage: Stage) -> None:
    record(7, SHOW, FULL.payloads * FULL.replays, await _replay(stage, FULL))
