"""This module is where servers are described: how each is reached, and by which host key it is known.

Security boundary: a key and a password go in and never come out; only what connects, inside the gateway, opens them.
The gateway itself connects to no server.
"""

from __future__ import annotations

import base64
import re
from ipaddress import ip_address
from typing import Any, Final, TypedDict, Unpack
from uuid import UUID

from dataloaders.infrastructure import open_session_on
from models import SecretOwner, Server, ServerAuthType
from models.envelope import DataKey
from models.errors import Refusal, RefusalCode, invalid
from models.ids import uuid7
from models.infrastructure import LAST_PORT
from resolvers.call import Call
from resolvers.changing import refuse_cleared
from resolvers.secrets import Owner, forget_secrets, keep_secret, plaintext_of
from resolvers.uniqueness import flush_unique
from resolvers.unit_of_work import UnitOfWork
from resolvers.validation import line, within

NAME_LIMIT: Final = 100
USERNAME_LIMIT: Final = 64
HOSTNAME_LIMIT: Final = 253
SSH_PORT: Final = 22
FINGERPRINT_BYTES: Final = 32

SECRETS: Final = {"ssh_key": ("SSH_KEY", "sshKey"), "password": ("PASSWORD", "password")}
"""Under which of the server's secrets each is kept, and what the input calls it."""

_NEEDED: Final = {ServerAuthType.KEY: "ssh_key", ServerAuthType.PASSWORD: "password"}
_LABEL: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_TAKEN: Final = {"uq_servers_name": ("name", "There is a server of this name already.")}


class ServerFields(TypedDict, total=False):
    """What can be said of a server when it is made and later; absent stays, None clears."""

    port: int
    environment: str | None
    ssh_key: str | None
    password: str | None


class ServerChanges(ServerFields, total=False):
    """What an update may say besides."""

    name: str
    hostname: str
    username: str
    auth_type: ServerAuthType
    host_key_fingerprint: str


async def create_server(
    call: Call,
    *,
    name: str,
    hostname: str,
    username: str,
    auth_type: ServerAuthType,
    host_key_fingerprint: str,
    **fields: Unpack[ServerFields],
) -> Server:
    """A new server with what one signs in with. Raises INVALID, ALREADY_EXISTS. Commits."""
    said = {
        **fields,
        "name": name,
        "hostname": hostname,
        "username": username,
        "auth_type": auth_type,
        "host_key_fingerprint": host_key_fingerprint,
    }
    columns, secrets = _cleaned(said)
    server = Server(**{"id": uuid7(), "port": SSH_PORT, "created_by": call.who.member_id, **columns})
    _refuse_locked_out(auth_type, _held_after(server, secrets))
    async with call.work() as work:
        data_key = await _data_key(call, work, secrets)
        # Told before its secrets are: a retry under the same key is answered with what was told first.
        work.tell(server, "server.created", None)
        _set(server, await _kept(call, work, server.id, secrets, data_key))
        work.add(server)
        await flush_unique(work, _TAKEN)
    return server


async def update_server(call: Call, *, id: UUID, expected_version: int, **changes: Unpack[ServerChanges]) -> Server:
    """Change a server. Raises INVALID, NOT_FOUND, CONFLICT, ALREADY_EXISTS. Commits."""
    refuse_cleared(changes, "port", "auth_type")
    columns, secrets = _cleaned(dict(changes))
    async with call.work() as work:
        # Before any row is locked: this may ask a KMS.
        data_key = await _data_key(call, work, secrets)
        server = await work.locked(Server, id, expected_version=expected_version)
        before = server.facets()
        changed = sorted(name for name, value in columns.items() if getattr(server, name) != value)
        _refuse_locked_out(columns.get("auth_type", server.auth_type), _held_after(server, secrets))
        # First the secrets, then the row, once: each is flushed, and a row that is flushed twice has two versions.
        kept = await _kept(call, work, id, secrets, data_key)
        _set(server, {name: columns[name] for name in changed} | kept)
        if secrets:
            # A key in the place of another changes no column, and is a change all the same.
            server.updated_at = work.now
            changed += sorted(secrets)
        if changed:
            await flush_unique(work, _TAKEN)
            work.tell(server, "server.updated", before, {"changed": changed})
    return server


async def delete_server(call: Call, *, id: UUID, expected_version: int | None = None) -> str:
    """Forget a server with its key and password; its TypeID. What was done on it stays recorded. Commits.

    Raises NOT_FOUND, CONFLICT when it has changed, or while a terminal session on it is open.
    """
    async with call.work() as work:
        server = await work.locked(Server, id, expected_version=expected_version)
        if await open_session_on(work.session, id) is not None:
            raise Refusal(
                RefusalCode.CONFLICT, "A terminal session on it is open.", field=("input", "id"), current=server
            )
        before = server.facets()
        await work.session.delete(server)
        await work.session.flush()
        work.tell(server, "server.deleted", before, gone=True)
        await forget_secrets(work, Owner(SecretOwner.SERVER, id))
    return server.typeid


async def _data_key(call: Call, work: UnitOfWork, secrets: dict[str, bytes | None]) -> DataKey | None:
    wanted = any(value is not None for value in secrets.values())
    return await call.services.keyring.current(work.session) if wanted else None


async def _kept(
    call: Call, work: UnitOfWork, server_id: UUID, secrets: dict[str, bytes | None], data_key: DataKey | None
) -> dict[str, Any]:
    """Keep or forget each; the server's columns that say so."""
    owner = Owner(SecretOwner.SERVER, server_id)
    columns: dict[str, Any] = {}
    for name, value in secrets.items():
        kept: UUID | None = None
        if value is None:
            await forget_secrets(work, owner, SECRETS[name][0])
        elif data_key is not None:
            kept = (await keep_secret(call, work, owner, SECRETS[name][0], value, data_key)).id
        columns[f"{name}_secret_id"] = kept
    return columns


def _set(server: Server, columns: dict[str, Any]) -> None:
    for name, value in columns.items():
        setattr(server, name, value)


def _held_after(server: Server, secrets: dict[str, bytes | None]) -> set[str]:
    held = {name for name in SECRETS if getattr(server, f"{name}_secret_id") is not None}
    return (held | {one for one, value in secrets.items() if value is not None}) - {
        one for one, value in secrets.items() if value is None
    }


def _refuse_locked_out(auth_type: ServerAuthType, held: set[str]) -> None:
    """Raises INVALID unless what one signs in with is among what is ``held``."""
    needed = _NEEDED[auth_type]
    if needed not in held:
        words = f"With {auth_type.value.upper()} this is needed."
        raise invalid(words, "input", SECRETS[needed][1])


def _cleaned(said: dict[str, Any]) -> tuple[dict[str, Any], dict[str, bytes | None]]:
    columns = {name: value for name, value in said.items() if name not in SECRETS}
    if "name" in columns:
        columns["name"] = line(columns["name"] or "", NAME_LIMIT, "name")
    if "hostname" in columns:
        columns["hostname"] = hostname_of(columns["hostname"] or "", "hostname")
    if "username" in columns:
        columns["username"] = _username(columns["username"] or "")
    if "port" in columns:
        columns["port"] = within(columns["port"], 1, LAST_PORT, "port")
    if "host_key_fingerprint" in columns:
        columns["host_key_fingerprint"] = fingerprint_of(columns["host_key_fingerprint"] or "", "hostKeyFingerprint")
    if columns.get("environment") is not None:
        columns["environment"] = line(columns["environment"], NAME_LIMIT, "environment")
    return columns, {name: _secret(name, said[name]) for name in SECRETS if name in said}


def _secret(name: str, value: str | None) -> bytes | None:
    if value is None:
        return None
    field = SECRETS[name][1]
    if name == "ssh_key" and not (value.startswith("-----BEGIN ") and "PRIVATE KEY-----" in value):
        raise invalid("A private key begins with -----BEGIN … PRIVATE KEY-----.", "input", field)
    return plaintext_of(value, field)


def _username(value: str) -> str:
    name = line(value, USERNAME_LIMIT, "username")
    if any(letter.isspace() or letter in "@:/" for letter in name) or name.startswith("-"):
        raise invalid("A name to sign in with has no spaces and none of @ : /.", "input", "username")
    return name


def hostname_of(value: str, *field: str) -> str:
    """A host's name in lower case, or an address of either family. Raises INVALID."""
    host = value.strip().lower().removesuffix(".")
    try:
        return str(ip_address(host))
    except ValueError:
        labels = host.split(".")
    if len(host) > HOSTNAME_LIMIT or not all(_LABEL.fullmatch(one) for one in labels):
        raise invalid("This is a host's name or an address, without a port.", "input", *field)
    return host


def fingerprint_of(value: str, *field: str) -> str:
    """A host key's fingerprint as ``ssh-keygen -l`` writes it: SHA256: and 43 characters of base64. Raises INVALID."""
    kind, _, digest = value.strip().partition(":")
    try:
        known = base64.b64decode(f"{digest}=", validate=True)
    except ValueError:
        known = b""
    # Encoded anew: of the last character's bits some are spare, and two spellings would be one fingerprint.
    canonical = base64.b64encode(known).decode().rstrip("=")
    if kind != "SHA256" or len(known) != FINGERPRINT_BYTES or canonical != digest:
        raise invalid("This is a fingerprint as ssh-keygen -l writes it: SHA256: and 43 characters.", "input", *field)
    return f"SHA256:{digest}"
