"""This module is where an operator prepares a database, makes the first accounts, and asks what is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from sqlalchemy.ext.asyncio import create_async_engine

from gateway import doctor as examination
from gateway import settings as configuration
from gateway.runtime import running_services
from gateway.servers import ServerError, one_line, servers
from gateway.settings import Settings
from models import Scope
from models.migrate import ensure_roles, migrate
from models.roles import create_roles
from resolvers.administration import create_platform_admin, issue_key, write_export
from resolvers.call import Services

DataDir = Annotated[Path | None, typer.Option(help="Where embedded servers and demo keys keep their files.")]
Result = TypeVar("Result")


def migrate_database(
    make_roles: Annotated[
        bool, typer.Option("--create-roles", help="Make the database roles first; needs a superuser.")
    ] = False,
    print_sql: Annotated[bool, typer.Option("--print-sql", help="Print the roles' SQL and do nothing.")] = False,
    database: Annotated[str, typer.Option(help="The database's name, for the grants.")] = "signalbox",
) -> None:
    """Bring the database at SIGNALBOX_DATABASE_OWNER_URL to the newest schema. Concurrent runs wait for each other."""
    if print_sql:
        typer.echo(";\n".join(create_roles(database)) + ";")
        return
    settings = configuration.load(profile="demo")
    if settings.database_url is None:
        raise ServerError("SIGNALBOX_DATABASE_URL is not set; embedded databases are migrated by 'serve'.")
    try:
        asyncio.run(_migrate(settings.owner_url(), database if make_roles else None))
    except OSError as error:
        raise ServerError(f"The database cannot be reached: {one_line(error)}") from error
    typer.echo("the database is at the newest schema")


async def _migrate(url: str, roles_in: str | None) -> None:
    engine = create_async_engine(url)
    try:
        if roles_in is not None:
            await ensure_roles(engine, roles_in)
        await migrate(engine)
    finally:
        await engine.dispose()


def create_admin(
    email: Annotated[str, typer.Option(help="The address to sign in with.")],
    password: Annotated[str, typer.Option(prompt=True, hide_input=True, confirmation_prompt=True)],
    data_dir: DataDir = None,
) -> None:
    """Make a platform administrator, who signs in without a tenant."""
    user = _with_services(data_dir, lambda services: create_platform_admin(services, email, password))
    typer.echo(f"{user.typeid} may sign in as {email}")


def issue(
    tenant: Annotated[str, typer.Option(help="The tenant's slug.")],
    name: Annotated[str, typer.Option(help="What people call the key.")],
    scope: Annotated[list[str], typer.Option(help="A scope; give the option once for each.")],
    data_dir: DataDir = None,
) -> None:
    """Make an API key and print its secret, once."""
    unknown = [one for one in scope if one not in [known.value for known in Scope]]
    if unknown:
        raise typer.BadParameter(f"unknown: {', '.join(unknown)}", param_hint="--scope")
    secret = _with_services(data_dir, lambda services: issue_key(services, tenant, name, scope))
    typer.echo(secret)


def export(
    tenant: Annotated[str, typer.Option(help="The tenant's slug; one that is suspended or cancelled, too.")],
    output: Annotated[Path, typer.Option(help="Where the export is written; it must not be there yet.")],
    data_dir: DataDir = None,
) -> None:
    """Write all that a tenant has to a file, a line of JSON for each row. Hashes, keys and secrets stay here."""
    try:
        lines = _with_services(data_dir, lambda services: write_export(services, tenant, output))
    except FileExistsError as error:
        raise typer.BadParameter(f"{output} is there already", param_hint="--output") from error
    except OSError as error:
        raise typer.BadParameter(f"{output} cannot be written: {error.strerror}", param_hint="--output") from error
    typer.echo(f"{lines} rows in {output}")


def doctor(data_dir: DataDir = None) -> None:
    """Say what is wrong with this machine and its servers, in words."""
    settings = configuration.load(data_dir=data_dir, profile="demo")
    console = Console()
    findings = asyncio.run(
        examination.diagnose(
            database_url=settings.database_url,
            redis_url=settings.redis_url,
            data_dir=settings.data_dir,
            host=settings.host,
            port=settings.port,
        )
    )
    for one in findings:
        console.print(f"{'[green]ok  [/]' if one.ok else '[red]FAIL[/]'} {one.what}", highlight=False)
        if not one.ok:
            console.print(f"     {one.advice}", highlight=False)
    if not all(one.ok for one in findings):
        raise typer.Exit(1)


def _with_services(data_dir: Path | None, action: Callable[[Services], Coroutine[Any, Any, Result]]) -> Result:
    settings = configuration.load(data_dir=data_dir)
    with servers(settings, lambda _: None) as ready:
        return asyncio.run(_acting(ready, action))


async def _acting(settings: Settings, action: Callable[[Services], Coroutine[Any, Any, Result]]) -> Result:
    async with running_services(settings) as services:
        return await action(services)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("migrate")(migrate_database)
    app.command("create-admin")(create_admin)
    app.command("issue-key")(issue)
    app.command("export-tenant")(export)
    app.command("doctor")(doctor)
