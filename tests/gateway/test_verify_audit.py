"""This module is where `signalbox verify-audit` and the anchors are specified, as operators use them."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from gateway.anchors import AnchorAddress, AnchorFile, anchor_target
from gateway.settings import SettingsError, load
from gateway.worker import Worker
from models.database import Database, role_url
from models.errors import Unavailable
from models.ids import encode, suffix
from models.roles import APP
from resolvers.anchors import read_anchors
from subscriptions.bus import Bus
from tests.gateway.production_gateway import ROOT
from tests.gateway.test_worker import Means, until
from tests.resolvers.chains import Chain, Intruder
from tests.resolvers.fleets import set_lease
from tests.resolvers.people import Announced
from tests.world import Tenants, make_tenant


@pytest.fixture
async def superuser(migrated: str) -> AsyncIterator[AsyncEngine]:
    """Whoever owns the server."""
    engine = create_async_engine(migrated)
    yield engine
    await engine.dispose()


async def verify(migrated: str, folder: Path, *arguments: str, **settings: str) -> tuple[int, str]:
    """What the command answers."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SIGNALBOX_")}
    given = {
        "PROFILE": "demo",
        "DATABASE_URL": role_url(migrated, APP),
        "REDIS_URL": "memory://",
        "AUDIT_KEYS": "61" * 32,
        "DATA_DIR": str(folder),
    } | settings
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "verify-audit", *arguments),
        env=kept | {f"SIGNALBOX_{name}": value for name, value in given.items()},
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(process.communicate(), 100)
    return process.returncode or 0, said.decode()


async def test_the_command_names_the_first_bad_entry_and_fails(
    database: Database, migrated: str, superuser: AsyncEngine, tmp_path: Path
) -> None:
    chain = Chain(database, await make_tenant(database))
    await chain.grow(4)
    slug = f"t-{suffix(chain.tenant_id)}"
    name = encode("tenant", chain.tenant_id)
    code, said = await verify(migrated, tmp_path, "--tenant", slug)
    assert (code, f"{name}: 4 entries, whole" in said) == (0, True), said
    assert "without anchors" in said
    entry = (await chain.rows())[2].typeid
    await Intruder(superuser, chain.tenant_id).run(
        "UPDATE audit_logs SET action = 'x' WHERE tenant_id = :tenant AND seq = 3"
    )
    code, said = await verify(migrated, tmp_path, "--tenant", slug)
    assert (code, f"{name}: BROKEN: entry 3 ({entry}) is not as it was written" in said) == (1, True), said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("--tenant", "nobody"), "no such tenant"), (("--anchors", "/nowhere/anchors"), "cannot be read")],
)
async def test_a_bad_argument_is_one_clear_line(
    migrated: str, tmp_path: Path, arguments: tuple[str, str], said: str
) -> None:
    code, answer = await verify(migrated, tmp_path, *arguments)
    assert code != 0
    assert said in answer
    assert "Traceback" not in answer


async def test_a_worker_anchors_what_grew_and_a_cut_tail_is_missed(
    database: Database, migrated: str, superuser: AsyncEngine, tmp_path: Path, tenants: Tenants
) -> None:
    await set_lease(database, taken_ago=3600, lapses_in=-1, name="leader")
    chain = Chain(database, tenants.mine)
    await chain.grow(3)
    path = tmp_path / "anchors.jsonl"
    bus = Bus.from_url("memory://")
    await bus.start()
    worker = Worker(Means(database, bus, Announced()), anchor=AnchorFile(path), anchor_seconds=0.05)

    def anchored() -> list[int]:
        mine = (one for one in read_anchors(path.read_bytes().splitlines()) if one.tenant_id == tenants.mine)
        return [one.seq for one in mine]

    worker.start()
    try:
        await until(lambda: anchored() == [3])
        await chain.grow(2)
        # It may have looked between the two.
        await until(lambda: anchored()[-1] == 5)
    finally:
        await worker.stop()
        await bus.stop()
    assert worker.states["make-log-months"].failures == 0
    assert path.stat().st_mode & 0o777 == 0o600
    await Intruder(superuser, tenants.mine).run(
        "DELETE FROM audit_logs WHERE tenant_id = :tenant AND seq > 3",
        "UPDATE audit_heads h SET seq = 3, last_id = a.id, mac = a.mac FROM audit_logs a "
        "WHERE h.tenant_id = :tenant AND a.tenant_id = :tenant AND a.seq = 3",
    )
    slug = f"t-{suffix(tenants.mine)}"
    code, said = await verify(migrated, tmp_path, "--tenant", slug, AUDIT_ANCHOR=str(path))
    assert (code, "entry 4 is missing: the log had 5 entries" in said) == (1, True), said
    assert (await verify(migrated, tmp_path, "--tenant", slug))[0] == 0


async def test_anchors_are_posted_and_what_is_not_taken_is_unavailable() -> None:
    taken: list[bytes] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"content-type: application/x-ndjson" in head.lower()
        taken.append(await reader.readexactly(6))
        status = "503 Service Unavailable" if len(taken) == 1 else "204 No Content"
        writer.write(f"HTTP/1.1 {status}\r\nconnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    async with server:
        target = AnchorAddress(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/anchors")
        with pytest.raises(Unavailable, match="503"):
            await target.keep([b"{}", b"[]"])
        await target.keep([b"{}", b"[]"])
    assert taken == [b"{}\n[]\n"] * 2
    with pytest.raises(Unavailable, match="does not answer"):
        await target.keep([b"{}"])


def test_a_setting_names_a_file_an_address_or_nothing(tmp_path: Path) -> None:
    assert anchor_target(None) is None
    assert isinstance(anchor_target("https://elsewhere.example/anchors"), AnchorAddress)
    assert isinstance(anchor_target(str(tmp_path / "anchors")), AnchorFile)
    with pytest.raises(SettingsError, match="SIGNALBOX_AUDIT_ANCHOR"):
        anchor_target("/nowhere/anchors")
    with pytest.raises(SettingsError, match="SIGNALBOX_AUDIT_ANCHOR"):
        load(audit_anchor="ftp://elsewhere.example")
    with pytest.raises(SettingsError, match="SIGNALBOX_AUDIT_KEYS"):
        load(audit_keys=["short"])
