"""This module is where the database that a gateway is given is looked at before anything is served from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway import servers
from gateway import settings as configuration
from gateway.servers import ServerError, check
from gateway.settings import Settings
from models.database import role_url
from models.roles import APP
from tests.relay import relayed


def settings(url: str) -> Settings:
    return configuration.load(profile="demo", database_url=url, redis_url="redis://127.0.0.1:1")


async def test_one_that_is_starting_up_is_waited_for(migrated: str, tmp_path: Path) -> None:
    said: list[str] = []
    async with relayed(role_url(migrated, APP), tmp_path) as (through, relay):
        relay.refuses = 2
        await check(settings(through), said.append)
        assert relay.refuses == 0
    # Told once, however often it was looked.
    assert [line.partition(": ")[2] for line in said] == ["the database system is starting up"]


async def test_one_that_does_not_come_up_is_named_in_the_end(
    migrated: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "STARTING_SECONDS", 0.2)
    said: list[str] = []
    async with relayed(role_url(migrated, APP), tmp_path) as (through, relay):
        relay.refuses = 1000
        with pytest.raises(ServerError, match="cannot be reached: the database system is starting up"):
            await check(settings(through), said.append)
        assert relay.refuses < 1000 - 1
    assert len(said) == 1


async def test_one_that_is_away_is_refused_at_once(tmp_path: Path) -> None:
    said: list[str] = []
    with pytest.raises(ServerError, match=r"cannot be reached: .*No such file"):
        await check(settings(f"postgresql+asyncpg://signalbox_app@/signalbox?host={tmp_path}"), said.append)
    assert said == []


async def test_a_role_that_sees_every_tenant_is_refused(migrated: str) -> None:
    with pytest.raises(ServerError, match="bypasses row-level security; connect as signalbox_app"):
        await check(settings(migrated), print)
