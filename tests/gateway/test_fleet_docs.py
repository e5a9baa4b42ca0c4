"""This module is where the quick start of docs/fleet.md is run as it stands, and its promises are kept."""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path

import pytest
from sqlalchemy import select

from gateway.demo.file import DemoFile, DemoKey, DemoTenant
from gateway.demo.people import PLATFORM_ADMIN, logins
from gateway.demo.seeding import TENANTS
from gateway.embedded import EmbeddedValkey
from models import Workspace, WorkspaceStatus
from tests.gateway.fleet_gateway import newcomer, serving, settings_for
from tests.patience import DEADLINE

DOCS = Path(__file__).parents[2] / "docs" / "fleet.md"


def _quick_start() -> str:
    found = re.search(r"```sh\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.clients
async def test_the_quick_start_brings_a_workspace_online(app_url: str, valkey: EmbeddedValkey, tmp_path: Path) -> None:
    settings = settings_for(app_url, valkey.url, tmp_path)
    async with serving(settings) as app:
        here = await newcomer(settings, app)
        demo = DemoFile(here.url, [DemoTenant("acme", [], [DemoKey("fleet", here.key, [])])]).write(tmp_path)
        process = await asyncio.create_subprocess_exec(
            "sh",
            "-euc",
            _quick_start(),
            env={"PATH": os.environ["PATH"], "DEMO": str(demo), "no_proxy": "*"},
            stdout=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(DEADLINE):
            said, _ = await process.communicate()
        [result] = json.loads(said)["results"]
        assert result["status"] == "ONLINE"
        assert result["leaseEpoch"] == 1
        async with here.services.database.session(here.tenant_id) as session:
            [place] = await session.scalars(select(Workspace))
    assert place.typeid == result["workspaceId"]
    assert place.status is WorkspaceStatus.ONLINE
    assert place.current_task == "answering a customer"


def test_the_logins_that_the_page_names_are_the_demos() -> None:
    page = DOCS.read_text(encoding="utf-8")
    for sample in TENANTS:
        operator = logins(sample)[1]
        assert f"`{operator.email}` | `{operator.password}`" in page
    assert f"`{PLATFORM_ADMIN.email}` | `{PLATFORM_ADMIN.password}`" in page
