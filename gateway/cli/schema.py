"""This module is where the schema is exported, and checked against what is committed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from schema.build import build

FILE = Path(__file__).parents[2] / "schema" / "schema.graphql"


def export_schema(
    check: Annotated[bool, typer.Option("--check", help="Fail when the file is stale instead of writing it.")] = False,
    output: Annotated[Path, typer.Option(help="Where the schema is written; - is the terminal.")] = FILE,
) -> None:
    """Write the schema in GraphQL's schema language."""
    text = build().as_str().rstrip() + "\n"
    if str(output) == "-":
        typer.echo(text, nl=False)
    elif not check:
        output.write_text(text)
        typer.echo(f"wrote {output}")
    elif not output.exists() or output.read_text() != text:
        typer.echo(f"signalbox: {output} is stale; run 'signalbox export-schema'", err=True)
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("export-schema")(export_schema)
