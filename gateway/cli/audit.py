"""This module is where the audit log is proven from a terminal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from dataloaders.audit import PAGE, tenants_after
from dataloaders.tenants import tenant_by_slug
from gateway import settings as configuration
from gateway.anchors import anchor_file
from gateway.keys import audit_keys
from gateway.servers import servers
from gateway.settings import Settings
from models import Tenant
from models.database import Database
from models.errors import not_found
from models.ids import NIL, encode
from resolvers.anchors import read_anchors
from resolvers.verification import Anchor, Verdict, verify_tenant

DataDir = Annotated[Path | None, typer.Option(help="Where embedded servers and demo keys keep their files.")]


def verify_audit(
    tenant: Annotated[str | None, typer.Option(help="Only the tenant with this slug; all when absent.")] = None,
    anchors: Annotated[
        Path | None,
        typer.Option(help="A file of anchors; SIGNALBOX_AUDIT_ANCHOR's when absent and it names a file."),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Prove that no entry of the audit log was edited, deleted, reordered or cut off.

    Names the first bad entry of each tenant and exits with status 1 when there is one. Needs SIGNALBOX_AUDIT_KEYS;
    reads the database as the application's role and changes nothing.
    """
    settings = configuration.load(data_dir=data_dir)
    known = _read(anchors or anchor_file(settings.audit_anchor), asked=anchors is not None)
    with servers(settings, lambda _: None) as ready:
        faulty = asyncio.run(_verify(ready, tenant, known))
    if not known:
        typer.echo("without anchors a log that was cut off together with its head cannot be told from a whole one")
    if faulty:
        raise typer.Exit(1)


def _read(path: Path | None, *, asked: bool) -> list[Anchor]:
    if path is None or (not asked and not path.exists()):
        return []
    try:
        with path.open("rb") as lines:
            return list(read_anchors(lines))
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be read: {error.strerror}", param_hint="--anchors") from error


async def _verify(settings: Settings, slug: str | None, anchors: list[Anchor]) -> bool:
    keys = audit_keys(settings)
    database = Database(settings.database_urls(), settings.pool(), keys)
    faulty = False
    try:
        async for tenant_id in _tenants(database, slug, anchors):
            verdict = await verify_tenant(database, keys, tenant_id, anchors)
            typer.echo(_line(verdict))
            faulty = faulty or verdict.fault is not None
    finally:
        await database.close()
    return faulty


async def _tenants(database: Database, slug: str | None, anchors: list[Anchor]) -> AsyncIterator[UUID]:
    if slug is not None:
        found = await tenant_by_slug(database, slug)
        if found is None:
            raise not_found("tenant")
        yield found[0]
        return
    after = NIL
    gone = {one.tenant_id for one in anchors}
    while page := await tenants_after(database, after):
        for one in page:
            gone.discard(one)
            yield one
        after = page[-1]
        if len(page) < PAGE:
            break
    # A tenant whose very row is gone still has its anchors.
    for one in sorted(gone):
        yield one


def _line(verdict: Verdict) -> str:
    name = encode(Tenant.__typeid__, verdict.tenant_id)
    if verdict.fault is None:
        return f"{name}: {verdict.entries} entries, whole"
    fault = verdict.fault
    row = f" ({fault.entry})" if fault.entry else ""
    return f"{name}: BROKEN: entry {fault.seq}{row} {fault.what}"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("verify-audit")(verify_audit)
