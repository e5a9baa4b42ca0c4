"""This module is where trusted documents are listed and checked before they are deployed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from graphql import OperationDefinitionNode

from gateway.documents import Documents
from gateway.trusted_documents import digest_of, read_folder
from schema.build import build, core


def documents(
    folder: Annotated[Path, typer.Argument(help="The directory: .graphql files, and manifests of relay or Apollo.")],
) -> None:
    """List the trusted documents of a directory; fail when one of them would be refused."""
    reader = Documents(core(build()))
    refused = 0
    found = read_folder(folder)
    for digest, text in sorted(found.items()):
        if text.endswith("\n") and digest_of(text.rstrip("\n")) in found:
            continue  # one document, sent with the line's end or without it
        document = reader.read(text, signed_in=True)
        names = ", ".join(_title(one.node) for one in document.operations.values()) or "no operation"
        problem = next((error.message for error in document.errors), None)
        refused += problem is not None
        typer.echo(f"{digest}  {names}" + (f"  REFUSED: {problem}" if problem else ""))
    if refused:
        typer.echo(f"signalbox: {refused} of these would be refused", err=True)
        raise typer.Exit(1)


def _title(node: OperationDefinitionNode) -> str:
    return f"{node.operation.value} {node.name.value if node.name else '(anonymous)'}"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(documents)
