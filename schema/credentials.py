"""This module is where callers prove who they are, and see whom they are taken for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from strawberry import ID

import models
from dataloaders.credentials import api_keys
from dataloaders.pages import Direction
from models import Role, Scope
from resolvers.call import Call
from resolvers.principal import Principal
from schema.commands import UserError, command, payload, user_errors
from schema.common import Connection, Node, connection
from schema.declare import column, computed, describe, node, part, root_fields, to_one
from schema.inputs import form, optional, required
from schema.registry import Workspace
from schema.tenants import Tenant
from schema.users import User, UserPayload


class ApiKeyOrderField(StrEnum):
    """What keys can be sorted by."""

    CREATED_AT = "created_at"


describe(ApiKeyOrderField, "What keys can be sorted by.", CREATED_AT="When they were made.")


@node(
    models.ApiKey,
    "A machine's credential; bound to a workspace it is that workspace's machine token.",
    scope=Scope.KEYS_READ,
    own=lambda row, call: call.principal is not None and call.principal.api_key_id == row.id,
)
class ApiKey(Node):
    """GraphQL type of models.ApiKey."""

    name: str = column("What people call it.")
    prefix: str = column("Its first characters, to tell it from others; not secret.")
    scopes: list[str] = column("What it may do.")
    workspace: Workspace | None = to_one(models.Workspace, "Whose machine token it is.", "workspace_id")
    created_by: User | None = to_one(models.User, "Who made it.", "created_by")
    expires_at: datetime | None = column("When it ends by itself.")
    last_used_at: datetime | None = column("When it was last used, to the minute.")
    revoked_at: datetime | None = column("When it was ended.")
    created_at: datetime = column("When it was made.")


@part("Who the presented credentials belong to.")
class Viewer:
    """The caller."""

    user: User | None = to_one(models.User, "The person, when a person calls.", "user_id")
    api_key: ApiKey | None = to_one(models.ApiKey, "The key, when a machine calls.", "api_key_id")
    tenant: Tenant | None = to_one(models.Tenant, "The tenant the credentials name.", "tenant_id")
    roles: list[Role] = computed(lambda who, _: sorted(who.roles), "The caller's roles.", cost=0)
    scopes: list[str] = computed(
        lambda who, _: sorted(scope.value for scope in who.scopes), "What the caller may do.", cost=0
    )


@form("An account and its password.")
class LoginInput:
    """Input of login."""

    tenant_slug: str | None = optional("Only platform administrators leave it out.")
    email: str = required("The address.")
    password: str = required("The password.")


@form("A refresh token.")
class RefreshSessionInput:
    """Input of refreshSession."""

    refresh_token: str = required("The newest one; each is used once.")


@form("Which session ends.")
class LogoutInput:
    """Input of logout."""

    refresh_token: str = required("The session's newest refresh token.")


@form("A change of one's own password.")
class ChangePasswordInput:
    """Input of changePassword."""

    current_password: str = required("The present one.")
    new_password: str = required("8 to 128 characters.")


@form("A new key.")
class CreateApiKeyInput:
    """Input of createApiKey."""

    name: str = required("What people call it.")
    scopes: list[str] = required("What it may do; never more than its creator.")
    workspace_id: ID | None = optional("Makes it a machine token of this workspace.", of="workspace")
    expires_at: datetime | None = optional("When it ends by itself; never when absent.")


@form("Which key gets a successor.")
class RotateApiKeyInput:
    """Input of rotateApiKey."""

    id: ID = required("Which one.", of="key")
    overlap_seconds: int | None = optional("How long the old key goes on; a day when absent, at most 30, 0 ends it.")
    expires_at: datetime | None = optional("When the new key ends by itself; as long a life as the old one's.")


@form("Which keys; fields combine with and.")
class ApiKeyFilter:
    """Filter of API keys."""

    workspace_id: ID | None = optional("Machine tokens of this workspace.", of="workspace")
    created_by: ID | None = optional("Made by this person.", of="user")
    is_active: bool | None = optional("Whether they are neither revoked nor expired.")


@form("How keys are sorted; ties are broken by id.")
class ApiKeyOrder:
    """Order of API keys."""

    field: ApiKeyOrderField = required("What to sort by.")
    direction: Direction = required("Which end comes first.")


@form("Which key ends.")
class RevokeApiKeyInput:
    """Input of revokeApiKey."""

    id: ID = required("Which one.", of="key")


def _viewer(answer: Any, call: Call) -> Principal | None:
    # Who signs in has no credentials yet; the rest of this answer is read with the ones just given.
    principal: Principal | None = answer.principal
    if call.principal is None:
        call.principal = principal
    return principal


@payload("A session's tokens.")
class AuthPayload:
    """Payload of login and refreshSession."""

    access_token: str | None = column("Send it as Authorization: Bearer; lives ten minutes.")
    access_token_expires_at: datetime | None = column("When it ends.")
    refresh_token: str | None = column("Exchange it for the next pair; each is used once.")
    viewer: Viewer | None = computed(_viewer, "Whom the tokens belong to.")
    user_errors: list[UserError] = user_errors()


@payload("The end of a session.")
class LogoutPayload:
    """Payload of logout."""

    user_errors: list[UserError] = user_errors()


@payload("A new key with its secret.")
class CreateApiKeyPayload:
    """Payload of createApiKey."""

    api_key: ApiKey | None = column("The key.")
    secret: str | None = column("Shown once, here.")
    user_errors: list[UserError] = user_errors()


@payload("A key's successor with its secret.")
class RotateApiKeyPayload:
    """Payload of rotateApiKey."""

    api_key: ApiKey | None = column("The new key; the old one when it could not be rotated.")
    secret: str | None = column("Shown once, here.")
    user_errors: list[UserError] = user_errors()


@payload("A key after a change.")
class ApiKeyPayload:
    """Payload of revokeApiKey."""

    api_key: ApiKey | None = column("The key as it is now.")
    user_errors: list[UserError] = user_errors()


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key with the secret that is shown once."""

    api_key: models.ApiKey
    secret: str


@root_fields
class CredentialQueries:
    """Root fields over credentials."""

    viewer: Viewer | None = computed(
        lambda _, call: call.principal, "Null when the request carries no credentials.", scope=Scope.PUBLIC, cost=0
    )
    api_keys: Connection[ApiKey] | None = connection(
        api_keys, "The tenant's keys.", filter=ApiKeyFilter, order=ApiKeyOrder
    )


async def _login(call: Call, **said: Any) -> Any:
    return await call.services.accounts.login(call, **said)


async def _refresh(call: Call, **said: Any) -> Any:
    return await call.services.accounts.refresh_session(call, **said)


async def _logout(call: Call, **said: Any) -> Any:
    return await call.services.accounts.logout(call, **said)


async def _change_password(call: Call, **said: Any) -> Any:
    return await call.services.accounts.change_password(call, **said)


async def _create_key(call: Call, **said: Any) -> Any:
    return NewKey(*await call.services.accounts.create_api_key(call, **said))


async def _rotate_key(call: Call, **said: Any) -> Any:
    return NewKey(*await call.services.accounts.rotate_api_key(call, **said))


async def _revoke_key(call: Call, **said: Any) -> Any:
    return await call.services.accounts.revoke_api_key(call, **said)


@root_fields
class CredentialMutations:
    """What can be done with credentials."""

    login: AuthPayload | None = command(
        _login,
        "Signs in with a password. One answer to everything that is wrong; at most one login an operation.",
        input=LoginInput,
        payload=AuthPayload,
        scope=Scope.PUBLIC,
        cost=100,
        guarded=True,
    )
    refresh_session: AuthPayload | None = command(
        _refresh,
        "Exchanges a refresh token for the next pair.",
        input=RefreshSessionInput,
        payload=AuthPayload,
        scope=Scope.PUBLIC,
    )
    logout: LogoutPayload | None = command(
        _logout, "Ends a session.", input=LogoutInput, payload=LogoutPayload, scope=Scope.PUBLIC
    )
    change_password: UserPayload | None = command(
        _change_password,
        "Ends every other session of the user.",
        input=ChangePasswordInput,
        payload=UserPayload,
        scope=Scope.SIGNED_IN,
        cost=100,
        guarded=True,
    )
    create_api_key: CreateApiKeyPayload | None = command(
        _create_key,
        "Makes a key; its secret is shown once.",
        input=CreateApiKeyInput,
        payload=CreateApiKeyPayload,
        scope=Scope.KEYS_WRITE,
    )
    rotate_api_key: RotateApiKeyPayload | None = command(
        _rotate_key,
        "Makes a key like another one, which ends after an overlap; the new secret is shown once.",
        input=RotateApiKeyInput,
        payload=RotateApiKeyPayload,
        scope=Scope.KEYS_WRITE,
    )
    revoke_api_key: ApiKeyPayload | None = command(
        _revoke_key, "Ends a key.", input=RevokeApiKeyInput, payload=ApiKeyPayload, scope=Scope.KEYS_WRITE
    )
