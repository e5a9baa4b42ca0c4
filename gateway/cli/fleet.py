"""This module is where a simulated fleet is started from the command line."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from gateway import settings as configuration
from gateway.demo import read_demo
from gateway.settings import SettingsError
from gateway.simulate import FleetReport, TalkScript, run_fleet, shown_on
from gateway.watch import Credentials, KeyCredentials, PasswordCredentials

DEMO_TENANT, DEMO_KEY, DEMO_ROLE = "acme", "fleet", "operator"


def simulate(
    agents: Annotated[int, typer.Option(help="How many agents.")] = 12,
    rate: Annotated[float, typer.Option(help="Beats a second of each agent.")] = 0.5,
    talk_rate: Annotated[
        float, typer.Option(help="Questions a minute that each agent is asked, at most 600; 0 for none.")
    ] = 1.0,
    alert_seconds: Annotated[
        float, typer.Option(help="Between two deliveries of an Alertmanager beside the fleet; 0 for none.", min=0)
    ] = 15.0,
    url: Annotated[str | None, typer.Option(help="The gateway; the demo's in the data directory when absent.")] = None,
    key: Annotated[str | None, typer.Option(help="An API key with the ingest scopes; the demo's when absent.")] = None,
    operator: Annotated[
        str | None, typer.Option(help="Address of the person who asks; the demo's operator for the demo's gateway.")
    ] = None,
    password: Annotated[str | None, typer.Option(help="The person's; asked for when absent.")] = None,
    tenant: Annotated[str | None, typer.Option(help="The person's tenant.")] = None,
    operator_key: Annotated[
        str | None, typer.Option(help="In the place of a person: an API key with an operator's scopes.")
    ] = None,
    seconds: Annotated[float | None, typer.Option(help="How long; until Ctrl-C when absent.", min=0)] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same agents and the same lives.")] = 7,
    data_dir: Annotated[Path | None, typer.Option(help="Where demo.json lies.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing.")] = False,
) -> None:
    """Run a fleet over the public API: it registers, beats, gets busy, fails, falls silent and comes back.

    Where there is somebody to ask them, its agents also talk: each gets a definition and a conversation, answers
    questions piece by piece, asks people for approval, and tells of its runs, tools and activity. An Alertmanager
    beside them raises alerts, lets them flap and resolves them.
    """
    if operator is not None and operator_key is not None:
        raise typer.BadParameter("give a person or a key, not both", param_hint="--operator-key")
    where, token, asker = (url, key, None) if url and key else _demo(data_dir, url, key)
    if operator_key is not None:
        asker = KeyCredentials(operator_key)
    elif operator is not None:
        password = password or typer.prompt("Password", hide_input=True)
        asker = PasswordCredentials(_address(where), tenant, operator, password or "")
    console = Console(stderr=True, quiet=quiet)
    report = asyncio.run(
        _until_signal(
            console,
            url=where,
            api_key=token,
            agents=agents,
            rate=rate,
            operator=asker if talk_rate else None,
            talk=TalkScript(questions_a_minute=talk_rate) if talk_rate else None,
            alert_seconds=alert_seconds or None,
            seconds=seconds,
            seed=seed,
        )
    )
    console.print(report.summary, highlight=False, markup=False)


def _address(url: str) -> str:
    return url.rstrip("/").removesuffix("/graphql")


def _demo(data_dir: Path | None, url: str | None, key: str | None) -> tuple[str, str, Credentials | None]:
    """Where the demo's gateway is, the fleet's key, and the operator for a gateway that is the demo's own."""
    folder = configuration.load(data_dir=data_dir, profile="demo").data_dir
    demo = read_demo(folder)
    secret = key or (demo.secret(DEMO_TENANT, DEMO_KEY) if demo else None)
    if demo is None or secret is None:
        raise SettingsError(
            f"SIGNALBOX_DATA_DIR: there is no demo.json in {folder}; start 'signalbox serve --demo' first, or give "
            "--url and --key"
        )
    users = [user for one in demo.tenants if one.slug == DEMO_TENANT for user in one.users if DEMO_ROLE in user.roles]
    if url or key or not users:
        # Another gateway, or another tenant's key: the demo's people are not to be tried there.
        return url or demo.url, secret, None
    person = users[0]
    return demo.url, secret, PasswordCredentials(_address(demo.url), DEMO_TENANT, person.email, person.password)


async def _until_signal(console: Console, **options: Any) -> FleetReport:
    stop = asyncio.Event()
    for one in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(one, stop.set)
    with shown_on(console) as progress:
        return await run_fleet(**options, stop=stop, progress=progress)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(simulate)
