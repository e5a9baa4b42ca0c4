"""This module is where an operator replaces the keys that secrets are sealed under."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from gateway import settings as configuration
from gateway.runtime import running_services
from gateway.servers import servers
from gateway.settings import Settings
from resolvers.key_rotation import Rotation, rotate_keys

DataDir = Annotated[Path | None, typer.Option(help="Where embedded servers and demo keys keep their files.")]


def rotate(
    everything: Annotated[
        bool, typer.Option("--all", help="Replace every data key, whatever wraps it: after a leak, or once a year.")
    ] = False,
    made_before: Annotated[
        datetime | None,
        typer.Option(
            help="Replace every data key made before this time (UTC): goes on with an --all that was cut off.",
            formats=["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d"],
        ),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Make new data keys and seal every secret anew, while gateways run; may be cut off and started again.

    Without options it replaces the data keys that another key than the first of SIGNALBOX_SECRETS_KEYS (or the KMS
    key) wraps. Afterwards that other key opens nothing any more and may be thrown away.
    """
    if everything and made_before is not None:
        raise typer.BadParameter("give --all or --made-before, not both", param_hint="--all")
    limit = made_before.replace(tzinfo=UTC) if made_before is not None else None
    if everything:
        limit = datetime.now(UTC).replace(microsecond=0)
        typer.echo(f"should this be cut off, go on with --made-before {limit:%Y-%m-%dT%H:%M:%SZ}", err=True)
    settings = configuration.load(data_dir=data_dir)
    with servers(settings, lambda _: None) as ready:
        done = asyncio.run(_rotate(ready, limit))
    typer.echo(f"{done.keys:,} keys of {done.tenants:,} tenants replaced, {done.rows:,} secrets sealed anew")
    for one in done.unreadable:
        typer.echo(f"no key opens {one}", err=True)
    if done.unreadable:
        raise typer.Exit(1)


async def _rotate(settings: Settings, made_before: datetime | None) -> Rotation:
    done = Rotation()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("beginning", total=None)
        async with running_services(settings) as services:
            async for done in rotate_keys(services, made_before):
                progress.update(task, description=f"{done.tenants:,} tenants, {done.rows:,} secrets sealed anew")
    return done


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("rotate-keys")(rotate)
