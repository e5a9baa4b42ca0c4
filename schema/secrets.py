"""This module is where secrets are seen from outside: that they exist, and never what they are."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from strawberry import ID

import models
from dataloaders.pages import Direction
from dataloaders.secrets import effective_secrets_by_workspace, secrets
from models import Scope, SecretOwner
from models.errors import Forbidden
from models.ids import parse
from resolvers import secrets as use_cases
from resolvers.call import Call
from resolvers.secrets import Owner
from schema.commands import UserError, command, payload, user_errors
from schema.common import Connection, Node, connection
from schema.declare import Argument, Nodes, column, computed, describe, node, root_fields, to_one
from schema.inputs import form, optional, required
from schema.users import User

describe(
    SecretOwner,
    "What kind of thing a secret belongs to.",
    TENANT="The tenant: it reaches every workspace that has none under the same key.",
    WORKSPACE="One workspace; stands before the tenant's under the same key.",
    AGENT="One agent.",
    LLM_PROVIDER="One model provider.",
    SERVER="One server.",
    CONNECTOR="One connector.",
    WEBHOOK_ENDPOINT="One webhook endpoint: what its deliveries are signed with.",
)


class SecretOrderField(StrEnum):
    """What secrets can be sorted by."""

    CREATED_AT = "created_at"
    KEY = "key"
    UPDATED_AT = "updated_at"


describe(
    SecretOrderField,
    "What secrets can be sorted by.",
    CREATED_AT="When the key was first set.",
    KEY="The name it is kept under.",
    UPDATED_AT="When it was last set.",
)


def _within_reach(secret: models.Secret, call: Call) -> bool:
    return call.who.workspace_id in (None, secret.owner_id)


def _refuse_machines(_: Any, call: Call) -> dict[str, Any]:
    if call.who.workspace_id is not None:
        raise Forbidden("This token belongs to one workspace; ask for effectiveSecrets.")
    return {}


async def _owner(secret: models.Secret, call: Call) -> Any:
    kind = Nodes.by_prefix.get(secret.owner_typeid.rpartition("_")[0])
    if kind is None:
        return None
    call.require(kind.scope)
    row = await call.load(kind.batch, secret.owner_id)
    return row if row is not None and await kind.visible(row, call) else None


@node(
    models.Secret,
    "That a secret exists. Its value goes in by setSecret and never comes out.",
    scope=Scope.SECRETS_READ,
    rule=_within_reach,
)
class Secret(Node):
    """GraphQL type of models.Secret."""

    key: str = column("The name it is kept under.")
    owner_type: SecretOwner = column("What kind of thing it belongs to.")
    owner_id: ID = column("What it belongs to, also when that is gone.", "owner_typeid")
    owner: Node | None = computed(_owner, "What it belongs to; null when gone or not for the caller.", shared=True)
    version: int = column("Counts up each time it is set.", "sealed_version")
    set_by: User | None = to_one(models.User, "Who set it last; null for machines.", "set_by")
    created_at: datetime = column("When the key was first set.")
    updated_at: datetime = column("When it was last set.")


@form("Which secrets; fields combine with and, lists mean any of.")
class SecretFilter:
    """Filter of secrets."""

    key: str | None = optional("Exactly this key.")
    owner_id: ID | None = optional("Belonging to this tenant, workspace or agent.", of=Owner.named)
    owner_type: list[SecretOwner] | None = optional("Belonging to one of these kinds of things.")


@form("How secrets are sorted; ties are broken by id.")
class SecretOrder:
    """Order of secrets."""

    field: SecretOrderField = required("What to sort by.")
    direction: Direction = required("Which end comes first.")


@form("A secret's value.")
class SetSecretInput:
    """Input of setSecret."""

    owner_id: ID | None = optional(
        "The tenant, workspace or agent it belongs to; the caller's tenant when absent.", of=Owner.named
    )
    key: str = required("1 to 128 letters, digits and _ . - that begin with a letter or _, e.g. OPENAI_API_KEY.")
    value: str = required("1 to 65,536 bytes. Never shown again.", secret=True)
    expected_version: int | None = optional("Refuse with CONFLICT unless this is its version; 0: it must be new.")
    idempotency_key: str | None = optional("Makes a retry safe for 24 hours; at most 255 characters.")


@form("A secret to forget.")
class DeleteSecretInput:
    """Input of deleteSecret."""

    id: ID = required("Which one.", of="secret")
    expected_version: int | None = optional("Refuse with CONFLICT unless this is its version.")


@payload("A secret after a change.")
class SecretPayload:
    """Payload of secret mutations."""

    secret: Secret | None = column("The secret as it is now; a deleted one as it was.")
    user_errors: list[UserError] = user_errors()


def _effective(_: Any, call: Call, workspace_id: str) -> Any:
    found = parse(workspace_id, models.Workspace.__typeid__)
    if call.who.workspace_id not in (None, found):
        raise Forbidden("This token belongs to another workspace.")
    return call.load(effective_secrets_by_workspace, found)


@root_fields
class SecretQueries:
    """Root fields over secrets."""

    secrets: Connection[Secret] | None = connection(
        secrets, "The tenant's secrets.", filter=SecretFilter, order=SecretOrder, narrow=_refuse_machines
    )
    effective_secrets: list[Secret] | None = computed(
        _effective,
        "What a workspace finds, by key: its own secrets, and the tenant's where it has none of that key. At most 200.",
        [Argument("workspace_id", ID, "Its TypeID.")],
        cost=5,
    )


@root_fields
class SecretMutations:
    """What can be done with secrets."""

    set_secret: SecretPayload | None = command(
        use_cases.set_secret,
        "Keeps a value under an owner's key, in the place of the one before; the owner's runtime reads it at its next "
        "start.",
        input=SetSecretInput,
        payload=SecretPayload,
        scope=Scope.SECRETS_WRITE,
    )
    delete_secret: SecretPayload | None = command(
        use_cases.delete_secret,
        "Forgets a secret for good.",
        input=DeleteSecretInput,
        payload=SecretPayload,
        scope=Scope.SECRETS_WRITE,
    )
