"""This module is where `signalbox export-tenant` is specified as an operator meets it: one file, or one clear line."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import orjson

from gateway.embedded import EmbeddedValkey
from models import Tenant
from models.database import Database
from tests.gateway.production_gateway import ROOT, Deployment
from tests.patience import DEADLINE
from tests.world import Tenants


async def signalbox(deployment: Deployment, data_dir: Path, *arguments: str) -> tuple[int, str, str]:
    """The command's exit code, and what it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gateway",
        *arguments,
        cwd=ROOT,
        env=deployment.environment(data_dir) | {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(DEADLINE):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_an_operator_writes_a_tenants_rows_to_a_file(
    database: Database, tenants: Tenants, app_url: str, valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    deployment = Deployment(app_url, valkey.url)
    async with database.session(tenants.mine) as session:
        slug = (await session.get_one(Tenant, tenants.mine)).slug
    output = tmp_path / "export.jsonl"
    given = ("export-tenant", "--tenant", slug, "--output", str(output))
    code, said, problem = await signalbox(deployment, tmp_path, *given)
    assert (code, problem) == (0, "")
    lines = [orjson.loads(line) for line in output.read_bytes().splitlines()]
    assert (lines[0]["table"], lines[0]["row"]["slug"]) == ("tenants", slug)
    assert f"{len(lines)} rows in {output}" in said
    for arguments, clear in (
        (given, "is there already"),
        (("export-tenant", "--tenant", "nobody", "--output", str(tmp_path / "none")), "There is no such tenant"),
        (("export-tenant", "--tenant", slug, "--output", "/nowhere/at/all"), "cannot be written"),
    ):
        code, _, problem = await signalbox(deployment, tmp_path, *arguments)
        assert code != 0
        assert clear in problem
        assert "Traceback" not in problem
    assert (await signalbox(deployment, tmp_path, "export-tenant", "--help"))[0] == 0
