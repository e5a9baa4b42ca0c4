"""This module is where terminal sessions are seen from outside: who was where, since when, because of what."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from strawberry import ID

import models
from dataloaders.infrastructure import terminal_sessions
from models import Scope
from resolvers import terminal_sessions as use_cases
from resolvers.call import Call
from resolvers.conversation_access import is_owner
from schema.alerts import Alert
from schema.commands import UserError, command, payload, user_errors
from schema.common import Connection, Node, connection, found, own_without
from schema.declare import column, node, root_fields, to_one
from schema.infrastructure import Server
from schema.inputs import form, optional, required
from schema.terminal_filters import TerminalSessionFilter, TerminalSessionOrder
from schema.users import User


def _own(row: models.TerminalSession, call: Call) -> Any:
    return is_owner(call.principal, row.user_id)


@node(
    models.TerminalSession,
    "One stay at a server, kept as evidence. The gateway opens no session itself: whoever does tells it.",
    scope=Scope.TERMINALS_READ,
    own=_own,
)
class TerminalSession(Node):
    """GraphQL type of models.TerminalSession."""

    user: User | None = to_one(
        models.User, "Who was there; null for a machine, and when the account is gone.", "user_id"
    )
    server: Server | None = to_one(models.Server, "Where; null when the server is no longer known.", "server_id")
    server_name: str = column("What the server was called then.")
    alert: Alert | None = to_one(models.Alert, "Because of which alert.", "alert_id")
    started_at: datetime = column("When it began.")
    ended_at: datetime | None = column("When it ended; null while somebody is there.")
    is_open: bool = column("Whether somebody is still there.")
    recording_path: str | None = column("Where what was done is recorded, as whoever keeps recordings calls it.")
    created_at: datetime = column("When it was recorded first.")
    updated_at: datetime = column("When the record last changed.")


@form("Somebody is at a server.")
class StartTerminalSessionInput:
    """Input of startTerminalSession."""

    server_id: ID = required("Where.", of="server")
    alert_id: ID | None = optional("Because of which alert.", of="alert")
    user_id: ID | None = optional("Who; the caller when absent. Only a machine names somebody else.", of="user")
    started_at: datetime | None = optional("Since when, at most 24 hours ago; now when absent.")
    idempotency_key: str | None = optional("Makes a retry safe for 24 hours; at most 255 characters.")


@form("Somebody has left a server.")
class EndTerminalSessionInput:
    """Input of endTerminalSession."""

    id: ID = required("Which session.", of="terminal")
    recording_path: str | None = optional("Where what was done is recorded; one line of at most 1,024 characters.")
    ended_at: datetime | None = optional("When, at most 24 hours ago; now when absent.")


@payload("A terminal session after a change.")
class TerminalSessionPayload:
    """Payload of mutations of terminal sessions."""

    terminal_session: TerminalSession | None = column("The session as it is now.")
    user_errors: list[UserError] = user_errors()


@root_fields
class TerminalSessionQueries:
    """Root fields over terminal sessions."""

    terminal_sessions: Connection[TerminalSession] | None = connection(
        terminal_sessions,
        "Who was at which server, the latest first; without terminals:read one's own sessions.",
        filter=TerminalSessionFilter,
        order=TerminalSessionOrder,
        scope=Scope.SIGNED_IN,
        narrow=own_without(Scope.TERMINALS_READ),
    )
    terminal_session: TerminalSession | None = found(models.TerminalSession, "One terminal session.")


@root_fields
class TerminalSessionMutations:
    """What is told of terminal sessions."""

    start_terminal_session: TerminalSessionPayload | None = command(
        use_cases.start_terminal_session,
        "Records that somebody is at a server: the caller, or whom a machine names.",
        input=StartTerminalSessionInput,
        payload=TerminalSessionPayload,
        scope=Scope.TERMINALS_WRITE,
    )
    end_terminal_session: TerminalSessionPayload | None = command(
        use_cases.end_terminal_session,
        "Records that they have left, and where the recording is. A person ends their own sessions, machines and "
        "whoever manages servers any.",
        input=EndTerminalSessionInput,
        payload=TerminalSessionPayload,
        scope=Scope.TERMINALS_WRITE,
    )
