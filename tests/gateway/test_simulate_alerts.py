"""This module is where simulated alerts are tried: the same each time, all of them taken, sent again when not."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.simulate.alerts import PATH, AlertStorm
from gateway.simulate.public_api import Away
from models import AlertStatus
from models.database import Database
from resolvers.alert_ingestion import SentAlert
from resolvers.alert_payloads import read_alert
from tests.resolvers.test_alert_ingestion import intake_of, stored, told
from tests.world import Tenants

START = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


class Clock:
    """A minute passes each time it is looked at."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        self.now += timedelta(minutes=1)
        return self.now


class Recorded:
    """A gateway that only listens; ``away`` for so many times first."""

    def __init__(self, away: int = 0) -> None:
        self.bodies: list[Mapping[str, Any]] = []
        self._away = away

    async def post(self, path: str, token: str, body: Mapping[str, Any]) -> dict[str, Any]:
        assert (path, token) == (PATH, "key")
        if self._away:
            self._away -= 1
            raise Away("UNREACHABLE")
        self.bodies.append(body)
        return {}


async def _storm(steps: int = 60, seed: str = "7") -> tuple[AlertStorm, Recorded]:
    storm, api = AlertStorm(seed, Clock()), Recorded()
    for _ in range(steps):
        await storm.step(api, "key")
    return storm, api


async def test_the_same_seed_tells_the_same_and_another_tells_otherwise() -> None:
    first, again, other = await _storm(), await _storm(), await _storm(seed="8")
    assert first[1].bodies == again[1].bodies != other[1].bodies


async def test_it_raises_flaps_and_resolves_and_never_too_much_at_once() -> None:
    storm, api = await _storm(300)
    assert min(storm.raised, storm.flapped, storm.resolved) > 0
    assert max(len(body["alerts"]) for body in api.bodies) <= 25


async def test_what_was_not_taken_is_sent_again() -> None:
    storm, api = AlertStorm("7", Clock()), Recorded(away=3)
    for _ in range(3):
        with pytest.raises(Away):
            await storm.step(api, "key")
    await storm.step(api, "key")
    assert len(api.bodies[0]["alerts"]) > 0


async def test_no_end_is_lost_however_long_the_gateway_is_away() -> None:
    storm, api = AlertStorm("7", Clock()), Recorded(away=1_000)
    for _ in range(1_000):
        with pytest.raises(Away):
            await storm.step(api, "key")
    await storm.step(api, "key")
    (body,) = api.bodies
    told = [(one["fingerprint"], one["startsAt"], one["status"]) for one in body["alerts"]]
    assert [status for _, _, status in told].count("resolved") == storm.resolved > 0
    # One word of each firing, and no more of them than one delivery holds.
    assert len({firing[:2] for firing in told}) == len(told) <= 250


async def test_the_gateway_takes_all_of_it(database: Database, tenants: Tenants) -> None:
    storm, api = await _storm()
    intake = intake_of(database)
    for body in api.bodies:
        read = [read_alert(one) for one in body["alerts"]]
        sent = [one for one in read if isinstance(one, SentAlert)]
        assert len(sent) == len(read)
        await intake.receive(tenants.mine, sent)
    rows = await stored(database, tenants.mine)
    ended = [one for one in rows if one.status is AlertStatus.RESOLVED]
    assert len(ended) == storm.resolved
    assert any(one.previous_alert_id is not None for one in rows)
    kinds = await told(database, tenants.mine)
    assert (kinds.count("alert.received"), set(kinds)) == (len(rows), {"alert.received", "alert.resolved"})
