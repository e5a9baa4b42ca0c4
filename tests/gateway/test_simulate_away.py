"""This module is where a fleet loses its gateway: it waits, and goes on where it was."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

from gateway.embedded import EmbeddedValkey
from tests.gateway.fleet_gateway import fleet, newcomer, serving, settings_for


async def test_a_fleet_waits_for_a_gateway_that_is_away_and_goes_on(
    app_url: str, valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        settings = settings_for(app_url, valkey.url, tmp_path)
        async with serving(settings) as app:
            running = await stack.enter_async_context(fleet(await newcomer(settings, app), agents=2))
            await running.does("busy", "idle")
        await running.does("waiting for the gateway")
        async with serving(settings):
            await running.does("busy", "idle")
            await running.beats_more(4)
            running.stop.set()
            await stack.aclose()
    assert running.report.errors
    assert set(running.report.errors) <= {"UNREACHABLE", "UNAVAILABLE"}
    assert running.report.ended == {}
