"""This module is where a simulated fleet meets a whole gateway: it works, suffers, and does as it is told."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import UUID

import pytest
from sqlalchemy import select, update
from starlette.applications import Starlette

from gateway.embedded import EmbeddedValkey
from gateway.settings import Settings
from gateway.simulate import Behaviour, FleetReport, run_fleet
from gateway.simulate.behaviour import STEADY
from models import Workspace, WorkspaceCommand, WorkspaceStatus
from models.errors import BadRequest, Unauthenticated, Unavailable
from models.ids import encode
from resolvers.registry import (
    change_workspace_state,
    issue_workspace_token,
    register_workspace,
    remove_workspace,
)
from tests.gateway.fleet_gateway import FleetGateway, fleet, newcomer, serving, settings_for, until

HASTY = Behaviour(
    calm_seconds=(0.5, 1.0),
    failing_seconds=(0.6, 1.0),
    recovering_seconds=(0.6, 0.8),
    wedged_seconds=(0.6, 1.0),
    silent_weight=0,
)


@pytest.fixture(scope="module")
async def served(
    app_url: str, valkey: EmbeddedValkey, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Settings, Starlette]]:
    """One gateway for this module's tests."""
    settings = settings_for(app_url, valkey.url, tmp_path_factory.mktemp("gateway"))
    async with serving(settings) as app:
        yield settings, app


@pytest.fixture
async def here(served: tuple[Settings, Starlette]) -> FleetGateway:
    """The gateway with a tenant of this test's own."""
    return await newcomer(*served)


async def _places(here: FleetGateway) -> list[Workspace]:
    async with here.services.database.session(here.tenant_id) as session:
        return list(await session.scalars(select(Workspace).order_by(Workspace.name)))


async def _only_id(here: FleetGateway) -> UUID:
    [place] = await _places(here)
    return place.id


async def _status(here: FleetGateway) -> WorkspaceStatus:
    [place] = await _places(here)
    return place.status


@pytest.mark.parametrize("graphql_share", [0.0, 1.0])
async def test_a_fleet_takes_its_places_and_beats_without_an_error(here: FleetGateway, graphql_share: float) -> None:
    script = replace(STEADY, graphql_share=graphql_share)
    stop = asyncio.Event()

    def look(report: FleetReport) -> None:
        if report.enlisted == 6 and report.beats >= 12:
            stop.set()

    report = await run_fleet(
        here.url, here.key, agents=6, rate=4, seconds=30, script=script, stop=stop, progress=look, progress_seconds=0.05
    )
    places = await _places(here)
    assert [place.name for place in places] == [f"sim-7-{number:03}" for number in range(1, 7)]
    assert {place.status for place in places} == {WorkspaceStatus.ONLINE}
    assert report.errors == {}
    assert report.ended == {}
    assert report.registrations == report.enlisted == 6
    assert report.beats >= 12
    assert {silence.workspace_id for silence in report.silences} == {encode("workspace", place.id) for place in places}


async def test_beats_say_what_the_agent_does(here: FleetGateway) -> None:
    async with fleet(here, script=replace(STEADY, busy_share=1.0)) as running:
        await running.beats_more(3)
        [place] = await _places(here)
        assert place.active_tasks > 0
        assert place.current_task


async def test_a_fleet_that_is_started_again_takes_the_same_places(here: FleetGateway) -> None:
    ids = []
    for _ in range(2):
        report = await run_fleet(here.url, here.key, agents=3, rate=4, seconds=5, script=STEADY)
        assert report.errors == {}
        assert report.beats
        ids.append([place.id for place in await _places(here)])
    assert ids[0] == ids[1]
    assert len(ids[0]) == 3


async def test_a_place_that_was_made_but_not_yet_seen_is_not_made_twice(here: FleetGateway) -> None:
    await run_fleet(here.url, here.key, agents=1, rate=4, seconds=1, script=STEADY)
    async with here.services.database.session(here.tenant_id) as session:
        # Out of the search, as after a crash between the mutation and its answer.
        await session.execute(update(Workspace).values(name="renamed", role="renamed"))
        await session.commit()
    await run_fleet(here.url, here.key, agents=1, rate=4, seconds=1, script=STEADY)
    assert len(await _places(here)) == 1


async def test_troubles_are_told_as_degraded_and_pass(here: FleetGateway) -> None:
    report = await run_fleet(here.url, here.key, agents=4, rate=5, seconds=4, script=HASTY)
    assert report.errors == {}
    kinds = [event.kind for event in await here.log()]
    assert kinds.count("workspace.degraded") >= 4
    assert "workspace.came_online" in kinds


async def test_a_silence_is_told_as_offline_and_its_end_as_online(here: FleetGateway) -> None:
    script = replace(STEADY, silent_weight=1, calm_seconds=(1.0, 1.5), silent_seconds=(4.0, 4.0), new_runtime_share=0.0)
    await run_fleet(here.url, here.key, agents=2, rate=5, seconds=0.5, script=STEADY)
    async with here.services.database.session(here.tenant_id) as session:
        await session.execute(update(Workspace).values(heartbeat_ttl_seconds=2))
        await session.commit()
    report = await run_fleet(here.url, here.key, agents=2, rate=5, seconds=7, script=script)
    assert report.errors == {}
    assert sum(silence.ended_at is not None for silence in report.silences) >= 2
    kinds = [event.kind for event in await here.log()]
    assert kinds.count("workspace.went_offline") >= 2
    assert kinds.count("workspace.came_online") >= 2


async def test_a_paused_agent_stops_its_work_and_hears_that_it_may_go_on(here: FleetGateway) -> None:
    async with fleet(here) as running:
        await running.does("busy", "idle")
        place = await _only_id(here)
        await change_workspace_state(here.admin, id=place, command=WorkspaceCommand.PAUSE)
        await running.does("paused")
        await running.beats_more(2)
        assert (await _places(here))[0].active_tasks == 0
        assert await _status(here) is WorkspaceStatus.PAUSED
        await change_workspace_state(here.admin, id=place, command=WorkspaceCommand.RESUME)
        await running.does("busy", "idle")
        assert await _status(here) is WorkspaceStatus.ONLINE
    assert running.report.errors == {}


async def test_an_agent_that_starts_while_its_place_is_paused_waits(here: FleetGateway) -> None:
    await run_fleet(here.url, here.key, agents=1, rate=4, seconds=1, script=STEADY)
    place = await _only_id(here)
    await change_workspace_state(here.admin, id=place, command=WorkspaceCommand.PAUSE)
    async with fleet(here) as running:
        await running.does("paused")
        assert running.report.registrations == 0
        await change_workspace_state(here.admin, id=place, command=WorkspaceCommand.RESUME)
        await running.does("busy", "idle")
    assert running.report.registrations == 1


async def test_a_removed_agent_stops(here: FleetGateway) -> None:
    async with fleet(here) as running:
        await running.does("busy", "idle")
        await remove_workspace(here.admin, id=await _only_id(here))
        # Otherwise its token is good for up to another second.
        here.services.accounts.forget(here.tenant_id)
        await until(lambda: bool(running.report.ended))
    assert running.report.ended == {"removed": 1}
    assert running.report.errors == {}


async def test_an_agent_whose_token_was_given_to_another_stops(here: FleetGateway) -> None:
    async with fleet(here) as running:
        await running.does("busy", "idle")
        await issue_workspace_token(here.admin, id=await _only_id(here))
        here.services.accounts.forget(here.tenant_id)
        await until(lambda: bool(running.report.ended))
    assert running.report.ended == {"fenced": 1}
    assert running.report.errors == {}


async def test_an_agent_that_was_replaced_is_fenced_and_stops(here: FleetGateway) -> None:
    async with fleet(here) as running:
        await running.does("busy", "idle")
        place = await _only_id(here)
        await register_workspace(here.admin, id=place)
        await until(lambda: bool(running.report.ended))
    assert running.report.ended == {"fenced": 1}
    assert running.report.errors == {}
    assert running.report.silences == []


async def test_a_wrong_key_is_one_clear_error(here: FleetGateway) -> None:
    with pytest.raises(Unauthenticated, match="does not take this key"):
        await run_fleet(here.url, "sbx_demo_nonsense", agents=1, rate=1)


async def test_no_gateway_is_one_clear_error(here: FleetGateway) -> None:
    with pytest.raises(Unavailable, match=r"No gateway is ready at http://127\.0\.0\.1:1"):
        await run_fleet("http://127.0.0.1:1", here.key, agents=1, rate=1, ready_seconds=0.5)


@pytest.mark.parametrize(("agents", "rate"), [(0, 1.0), (10_001, 1.0), (1, 0.0), (1, -1.0), (1, math.nan), (1, 1e9)])
async def test_a_fleet_that_cannot_be_is_refused(agents: int, rate: float) -> None:
    with pytest.raises(BadRequest):
        await run_fleet("http://127.0.0.1:1", "key", agents=agents, rate=rate)


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://127.0.0.1", "http://", "http://[::1"])
async def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(BadRequest, match="address"):
        await run_fleet(url, "key", agents=1, rate=1)
