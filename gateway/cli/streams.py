"""This module is where streams are followed from a terminal, and told that their log was replaced."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from gateway import settings as configuration
from gateway.demo import read_demo
from gateway.servers import ServerError, one_line, servers
from gateway.watch import STREAMS, Credentials, Follower, KeyCredentials, PasswordCredentials, WatchError
from subscriptions.cursor import renew_epoch

DataDir = Annotated[Path | None, typer.Option(help="Where embedded servers and demo keys keep their files.")]
_DEMO_TENANT = "acme"
_DEMO_ROLE = "operator"


def new_epoch(data_dir: DataDir = None) -> None:
    """Refuse every cursor given out so far: run it after restoring the database from a backup.

    Running gateways notice within a second; streams end, their clients come back and are told to read the state anew.
    """
    settings = configuration.load(data_dir=data_dir, profile="demo")
    if settings.database_url is not None:
        asyncio.run(_renew_epoch(settings.owner_url()))
    else:
        with servers(settings, lambda _: None) as ready:
            asyncio.run(_renew_epoch(ready.owner_url()))
    typer.echo("old cursors are refused from now on")


async def _renew_epoch(url: str) -> None:
    engine = create_async_engine(url)
    try:
        await renew_epoch(engine)
    except (OSError, DBAPIError) as error:
        raise ServerError(f"The epoch cannot be renewed: {one_line(error)}") from error
    finally:
        await engine.dispose()


def watch(
    stream: Annotated[str, typer.Argument(help=f"One of {', '.join(STREAMS)}.")],
    after: Annotated[str | None, typer.Option(help="Go on after this cursor; from now on when absent.")] = None,
    filter: Annotated[
        str | None, typer.Option(help="The stream's filter as JSON; its arguments where it has none.")
    ] = None,
    of: Annotated[str | None, typer.Option(help="Which conversation's stream, or which agent's messages.")] = None,
    url: Annotated[str | None, typer.Option(help="The gateway; the demo's when absent.")] = None,
    token: Annotated[str | None, typer.Option(help="An API key or an access token.")] = None,
    email: Annotated[str | None, typer.Option(help="Sign in as this person; the token is then renewed.")] = None,
    password: Annotated[str | None, typer.Option(help="Asked for when absent.")] = None,
    tenant: Annotated[str | None, typer.Option(help="The person's tenant.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each item as one line of JSON.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Follow a stream: one line an item, resumed by itself, until Ctrl-C. The last cursor is told at the end."""
    settings = configuration.load(data_dir=data_dir, profile="demo")
    wanted = _filter(filter)
    chosen = STREAMS.get(stream)
    if chosen is None:
        raise typer.BadParameter(f"there is no such stream; one of {', '.join(STREAMS)}", param_hint="STREAM")
    if after is not None and not chosen.durable:
        raise typer.BadParameter(f"{stream} has no cursors", param_hint="--after")
    if of is not None and chosen.of is None:
        raise typer.BadParameter(f"{stream} is not of one thing; give --filter", param_hint="--of")
    if chosen.of is not None:
        wanted = wanted | ({chosen.of: of} if of is not None else {})
        if chosen.of not in wanted:
            raise typer.BadParameter(f"{stream} needs its {chosen.of}", param_hint="--of")
    if token is not None and email is not None:
        raise typer.BadParameter("give a token or an e-mail address, not both", param_hint="--token")
    if email is not None and password is None:
        password = typer.prompt("Password", hide_input=True)
    address, credentials = _way_in(settings.data_dir, url, token, tenant, email, password)
    follower = Follower(
        address,
        credentials,
        chosen,
        after=after,
        filter=wanted,
        show=lambda item: _print(json.dumps(item, ensure_ascii=False) if as_json else chosen.line(item)),
        say=lambda line: typer.echo(f"· {line}", err=True),
    )
    asyncio.run(_until_stopped(follower))
    if follower.cursor is not None:
        typer.echo(f"· go on with --after {follower.cursor}", err=True)


def _filter(text: str | None) -> dict[str, Any]:
    try:
        said = json.loads(text) if text else {}
    except ValueError as error:
        raise typer.BadParameter(f"this is not JSON: {error}", param_hint="--filter") from error
    if not isinstance(said, dict):
        raise typer.BadParameter('a filter is a JSON object, e.g. {"topics": ["REGISTRY"]}', param_hint="--filter")
    return said


def _way_in(
    data_dir: Path, url: str | None, token: str | None, tenant: str | None, email: str | None, password: str | None
) -> tuple[str, Credentials]:
    """Where the gateway is and what to show it; what is not said is the demo's in the data directory."""
    demo = read_demo(data_dir)
    address = (url or (demo.url if demo else "")).rstrip("/").removesuffix("/graphql")
    if not address:
        raise WatchError("Give --url, or --data-dir of a running demo: of `make run` it is .signalbox/run.")
    if token is not None:
        return address, KeyCredentials(token)
    if email is not None:
        return address, PasswordCredentials(address, tenant, email, password or "")
    for one in demo.tenants if demo and url is None else ():
        for user in one.users:
            if one.slug == (tenant or _DEMO_TENANT) and _DEMO_ROLE in user.roles:
                return address, PasswordCredentials(address, one.slug, user.email, user.password)
    raise WatchError("Give --token, or --email with --tenant.")


class _NobodyReads(Exception):
    """The pipe that items are printed to was closed."""


def _print(line: str) -> None:
    try:
        # Flushed, so that a pipe sees it now.
        print(line, flush=True)  # noqa: T201 - this is the command's answer
    except BrokenPipeError as error:
        raise _NobodyReads from error


async def _until_stopped(follower: Follower) -> None:
    loop = asyncio.get_running_loop()
    following = asyncio.create_task(follower.run(), name="follower")
    for one in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(one, following.cancel)
    try:
        await asyncio.wait({following})
        with contextlib.suppress(asyncio.CancelledError):
            following.result()
    except _NobodyReads:
        # Whoever read us has read enough; what is still buffered must not fail at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("new-epoch")(new_epoch)
    app.command("watch")(watch)
