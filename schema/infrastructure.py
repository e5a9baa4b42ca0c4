"""This module is where servers are seen from outside: how each is reached, and never with what."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import strawberry
from strawberry import ID

import models
from dataloaders.infrastructure import servers, terminal_sessions
from dataloaders.pages import Direction
from models import Scope, ServerAuthType
from resolvers import infrastructure as use_cases
from schema.commands import DeletePayload, UserError, command, payload, user_errors
from schema.common import Connection, Node, connection, found, own_without
from schema.declare import column, describe, node, root_fields, to_one
from schema.inputs import form, optional, required
from schema.terminal_filters import TerminalSessionFilter, TerminalSessionOrder
from schema.users import User

if TYPE_CHECKING:
    from schema.terminal_sessions import TerminalSession

describe(
    ServerAuthType,
    "With what one signs in at a server.",
    KEY="With a private key.",
    PASSWORD="With a password.",  # noqa: S106 - a description
)


class ServerOrderField(StrEnum):
    """What servers can be sorted by."""

    CREATED_AT = "created_at"
    NAME = "name"


describe(ServerOrderField, "What servers can be sorted by.", CREATED_AT="When it was created.", NAME="Its name.")

_FINGERPRINT = (
    "SHA256: and 43 characters, as ssh-keygen -l -f /etc/ssh/ssh_host_ed25519_key.pub writes it on the server itself."
)
_SSH_KEY = "A private key, at most 65,536 bytes. Never shown again."
_PASSWORD = "A password, at most 65,536 bytes. Never shown again."  # noqa: S105 - a description


@node(
    models.Server,
    "A machine that people sign in at. Its key and password go in and never come out; the gateway itself connects to "
    "none.",
    scope=Scope.SERVERS_READ,
)
class Server(Node):
    """GraphQL type of models.Server."""

    name: str = column("What people call it; unique in the tenant.")
    hostname: str = column("Its name or address in the network.")
    port: int = column("Where it listens for SSH.")
    username: str = column("As whom one signs in.")
    auth_type: ServerAuthType = column("With what one signs in.")
    has_ssh_key: bool = column("Whether a private key is stored.")
    has_password: bool = column("Whether a password is stored.")
    host_key_fingerprint: str = column("By which host key it is known; whoever connects compares it first.")
    environment: str | None = column("What it is part of, e.g. production.")
    created_by: User | None = to_one(models.User, "Who described it first.", "created_by")
    terminal_sessions: Connection[Annotated[TerminalSession, strawberry.lazy("schema.terminal_sessions")]] | None = (
        connection(
            terminal_sessions,
            "Who was at it, the latest first; without terminals:read one's own sessions.",
            filter=TerminalSessionFilter,
            order=TerminalSessionOrder,
            scope=Scope.SIGNED_IN,
            narrow=own_without(Scope.TERMINALS_READ),
            of="server_id",
        )
    )
    version: int = column("Rises with every change; say it back as expectedVersion.")
    created_at: datetime = column("When it was created.")
    updated_at: datetime = column("When it last changed.")


@form("Which servers; fields combine with and, lists mean any of.")
class ServerFilter:
    """Filter of servers."""

    name: str | None = optional("Exactly this name.")
    hostname: str | None = optional("At exactly this name or address, in lower case.")
    environment: str | None = optional("Part of exactly this environment.")
    auth_type: list[ServerAuthType] | None = optional("With one of these ways to sign in.")


@form("How servers are sorted; ties are broken by id.")
class ServerOrder:
    """Order of servers."""

    field: ServerOrderField = required("What to sort by.")
    direction: Direction = required("Which end comes first.")


@form("A new server.")
class CreateServerInput:
    """Input of createServer."""

    name: str = required("One line of at most 100 characters, unique in the tenant.")
    hostname: str = required("Its name or address, without a port.")
    port: int | None = optional("1 to 65,535; 22 when absent.")
    username: str = required("As whom one signs in; at most 64 characters.")
    auth_type: ServerAuthType = required("With what one signs in; that has to be given with it.")
    ssh_key: str | None = optional(_SSH_KEY, secret=True)
    password: str | None = optional(_PASSWORD, secret=True)
    host_key_fingerprint: str = required(_FINGERPRINT)
    environment: str | None = optional("What it is part of; one line of at most 100 characters.")
    idempotency_key: str | None = optional("Makes a retry safe for 24 hours; at most 255 characters.")


@form("Changes of a server; absent stays, null clears.")
class UpdateServerInput:
    """Input of updateServer."""

    id: ID = required("Which one.", of="server")
    expected_version: int = required("The version these changes were made from.")
    name: str | None = optional("One line of at most 100 characters, unique in the tenant.")
    hostname: str | None = optional("Its name or address, without a port.")
    port: int | None = optional("1 to 65,535.")
    username: str | None = optional("As whom one signs in.")
    auth_type: ServerAuthType | None = optional("With what one signs in; that has to be stored or given with it.")
    ssh_key: str | None = optional("In the place of the key before; null forgets it.", secret=True)
    password: str | None = optional("In the place of the password before; null forgets it.", secret=True)
    host_key_fingerprint: str | None = optional(_FINGERPRINT)
    environment: str | None = optional("What it is part of.")


@form("Which server goes.")
class DeleteServerInput:
    """Input of deleteServer."""

    id: ID = required("Which one.", of="server")
    expected_version: int | None = optional("Refuse when it has changed since this version.")


@payload("A server after a change.")
class ServerPayload:
    """Payload of mutations of servers."""

    server: Server | None = column("The server as it is now.")
    user_errors: list[UserError] = user_errors()


@root_fields
class InfrastructureQueries:
    """Root fields over servers."""

    servers: Connection[Server] | None = connection(
        servers, "The tenant's servers.", filter=ServerFilter, order=ServerOrder
    )
    server: Server | None = found(models.Server, "One server.")


@root_fields
class InfrastructureMutations:
    """What can be done to servers."""

    create_server: ServerPayload | None = command(
        use_cases.create_server,
        "Describes a server: where it is, by which host key it is known, and with what one signs in.",
        input=CreateServerInput,
        payload=ServerPayload,
        scope=Scope.SERVERS_MANAGE,
    )
    update_server: ServerPayload | None = command(
        use_cases.update_server,
        "Changes what is known of a server.",
        input=UpdateServerInput,
        payload=ServerPayload,
        scope=Scope.SERVERS_MANAGE,
        keep_null=True,
    )
    delete_server: DeletePayload | None = command(
        use_cases.delete_server,
        "Forgets a server with its key and password; the sessions on it stay recorded. CONFLICT while one is open.",
        input=DeleteServerInput,
        payload=DeletePayload,
        scope=Scope.SERVERS_MANAGE,
    )
