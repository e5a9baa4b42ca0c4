"""This module is where a log that was replaced is specified: no cursor of the old one goes on in the new one."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from gateway.cli import main
from gateway.embedded import EmbeddedPostgres
from models.database import Database, DatabaseUrls, PoolOptions, role_url
from models.errors import Unavailable
from models.roles import APP, OWNER
from subscriptions.cursor import read_epoch, renew_epoch
from tests.gateway.demo_house import new_database
from tests.gateway.test_worker import until
from tests.patience import DEADLINE
from tests.schema.conftest import Gateway
from tests.schema.test_activity import envelope, tell, viewer
from tests.schema.test_activity_stream import FEED
from tests.world import AUDIT, Tenants, running


@pytest.fixture(scope="module")
async def url(postgres: EmbeddedPostgres) -> str:
    """A database whose epoch no other test minds."""
    return await new_database(postgres.url, "epochs")


@pytest.fixture
async def own_gateway(url: str) -> AsyncIterator[Gateway]:
    """A gateway over it."""
    database = Database(DatabaseUrls.for_roles(url), PoolOptions(), AUDIT)
    async with running(database) as services:
        yield Gateway(services)
    await database.close()


@pytest.fixture
async def own_owner(url: str) -> AsyncIterator[AsyncEngine]:
    """The owner's engine."""
    engine = create_async_engine(role_url(url, OWNER))
    yield engine
    await engine.dispose()


async def _first(items: AsyncIterator[dict[str, Any]]) -> dict[str, Any]:
    item: dict[str, Any] = (await anext(items))["data"]["activityFeed"]
    return item


async def test_a_new_epoch_ends_streams_and_their_clients_learn_that_they_must_read_anew(
    own_gateway: Gateway, own_owner: AsyncEngine
) -> None:
    tenants = await Tenants.make(own_gateway.services.database)
    who, tails = viewer(tenants.mine), own_gateway.services.tails
    async with asyncio.timeout(DEADLINE):
        idle, busy = await own_gateway.watch(who, FEED), await own_gateway.watch(viewer(tenants.other), FEED)
        await _first(idle)
        last = (await _first(busy))["cursor"]
        await renew_epoch(own_owner)
        with pytest.raises(Unavailable) as ended:
            await anext(busy)
        assert ended.value.extensions == {"cursor": last, "retryable": True}
        with pytest.raises(Unavailable):
            await anext(idle)
        assert (tails.followed, own_gateway.services.fanout.groups) == (0, 0)
        again = await own_gateway.watch(viewer(tenants.other), FEED, after=last)
        ready = await _first(again)
        assert ready["recovered"] is False
        await tell(own_gateway, tenants.other, envelope("after.renewal"))
        item = await _first(again)
        assert (item["event"]["kind"], item["previousCursor"]) == ("after.renewal", ready["cursor"])
        await again.aclose()
        resumed = await own_gateway.watch(viewer(tenants.other), FEED, after=ready["cursor"])
        assert (await _first(resumed))["recovered"] is True
        await resumed.aclose()


async def test_without_any_stream_the_next_cursors_are_the_new_logs_within_a_second(
    own_gateway: Gateway, own_owner: AsyncEngine
) -> None:
    tenants = await Tenants.make(own_gateway.services.database)

    async def place() -> str:
        cursor: str = (await own_gateway.data(viewer(tenants.mine), "{ eventCursor }"))["eventCursor"]
        return cursor

    async def has_moved() -> bool:
        return await place() != before

    before = await place()
    await renew_epoch(own_owner)
    await until(has_moved, 2.0)


def _command(*arguments: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["signalbox", *arguments])
        main()


def test_the_command_renews_the_epoch_as_the_owner(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def epoch() -> bytes:
        database = Database(DatabaseUrls.for_roles(url), PoolOptions(), AUDIT)
        try:
            return await read_epoch(database)
        finally:
            await database.close()

    monkeypatch.setenv("SIGNALBOX_DATABASE_URL", role_url(url, APP))
    before = asyncio.run(epoch())
    with pytest.raises(SystemExit) as ended:
        _command("new-epoch")
    assert ended.value.code == 0
    assert asyncio.run(epoch()) != before


def test_a_database_that_is_away_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SIGNALBOX_DATABASE_URL", "postgresql://signalbox_app@127.0.0.1:1/signalbox")
    with pytest.raises(SystemExit) as ended:
        _command("new-epoch")
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("signalbox: The epoch cannot be renewed")
    assert said.count("\n") == 1
