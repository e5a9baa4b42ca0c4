"""This package is where the command ``signalbox`` is defined: one module per group of commands."""

from __future__ import annotations

import sys

import typer

from gateway.cli import administration, audit, documents, fleet, keys, schema, serving, streams
from gateway.embedded import EmbeddedServerError
from gateway.servers import ServerError
from gateway.settings import SettingsError
from gateway.trusted_documents import TrustedDocumentsError
from gateway.watch import WatchError
from models.errors import Refusal, RequestError

app = typer.Typer(
    name="signalbox",
    help="A GraphQL gateway with real-time subscriptions for fleets of AI agents.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
serving.register(app)
administration.register(app)
schema.register(app)
fleet.register(app)
streams.register(app)
documents.register(app)
audit.register(app)
keys.register(app)


def main() -> None:
    """Run a command; whatever a user can mend is one line on stderr and exit status 1."""
    try:
        app()
    except (
        SettingsError,
        TrustedDocumentsError,
        ServerError,
        EmbeddedServerError,
        WatchError,
        Refusal,
        RequestError,
    ) as error:
        print(f"signalbox: {error}", file=sys.stderr)  # noqa: T201 - this is the command's answer
        sys.exit(1)
