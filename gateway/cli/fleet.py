"""This module is where a simulated fleet is started from the command line."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from gateway import settings as configuration
from gateway.demo import read_demo
from gateway.settings import SettingsError
from gateway.simulate import FleetReport, run_fleet, shown_on

DEMO_TENANT, DEMO_KEY = "acme", "fleet"


def simulate(
    agents: Annotated[int, typer.Option(help="How many agents.")] = 12,
    rate: Annotated[float, typer.Option(help="Beats a second of each agent.")] = 0.5,
    url: Annotated[str | None, typer.Option(help="The gateway; the demo's in the data directory when absent.")] = None,
    key: Annotated[str | None, typer.Option(help="An API key with the ingest scopes; the demo's when absent.")] = None,
    seconds: Annotated[float | None, typer.Option(help="How long; until Ctrl-C when absent.", min=0)] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same agents and the same lives.")] = 7,
    data_dir: Annotated[Path | None, typer.Option(help="Where demo.json lies.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing.")] = False,
) -> None:
    """Run a fleet over the public API: it registers, beats, gets busy, fails, falls silent and comes back."""
    where, token = (url, key) if url and key else _demo(data_dir, url, key)
    console = Console(stderr=True, quiet=quiet)
    report = asyncio.run(_until_signal(where, token, agents, rate, seconds, seed, console))
    console.print(report.summary, highlight=False, markup=False)


def _demo(data_dir: Path | None, url: str | None, key: str | None) -> tuple[str, str]:
    folder = configuration.load(data_dir=data_dir, profile="demo").data_dir
    demo = read_demo(folder)
    secret = key or (demo.secret(DEMO_TENANT, DEMO_KEY) if demo else None)
    if demo is None or secret is None:
        raise SettingsError(
            f"SIGNALBOX_DATA_DIR: there is no demo.json in {folder}; start 'signalbox serve --demo' first, or give "
            "--url and --key"
        )
    return url or demo.url, secret


async def _until_signal(
    url: str, key: str, agents: int, rate: float, seconds: float | None, seed: int, console: Console
) -> FleetReport:
    stop = asyncio.Event()
    for one in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(one, stop.set)
    with shown_on(console) as progress:
        return await run_fleet(
            url, key, agents=agents, rate=rate, seed=seed, seconds=seconds, stop=stop, progress=progress
        )


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(simulate)
