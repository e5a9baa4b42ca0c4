"""This module is where people are seen from outside."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import strawberry
from strawberry import ID

import models
from dataloaders.base import by_id
from dataloaders.conversations import conversations
from dataloaders.pages import Direction
from dataloaders.users import users
from models import Role, Scope, UserStatus
from resolvers import users as use_cases
from resolvers.call import Call
from schema.approval_filters import approvals_of
from schema.commands import DeletePayload, UserError, command, payload, user_errors
from schema.common import JSON, Connection, Node, connection, own_without
from schema.conversation_filters import ConversationFilter, ConversationOrder
from schema.declare import column, computed, describe, node, root_fields, to_one
from schema.inputs import form, optional, required
from schema.llm_providers import LlmProvider

if TYPE_CHECKING:
    from schema.approvals import Approval
    from schema.conversations import Conversation
    from schema.tenants import Tenant

describe(
    Role,
    "A named set of scopes.",
    ADMIN="Everything inside the tenant.",
    OPERATOR="Runs the fleet and decides.",
    MEMBER="Works with the agents.",
    VIEWER="Looks.",
    AUDITOR="Looks, and reads the audit log.",
    API_CLIENT="A machine: exactly the scopes of its key.",
)
describe(
    UserStatus,
    "Whether a person may sign in.",
    PENDING="Invited or unverified.",
    ACTIVE="May sign in.",
    SUSPENDED="Locked out by an administrator.",
    DELETED="Gone; kept so that history stays readable.",
)


class UserOrderField(StrEnum):
    """What users can be sorted by."""

    CREATED_AT = "created_at"
    EMAIL = "email"
    LAST_LOGIN_AT = "last_login_at"


describe(
    UserOrderField,
    "What users can be sorted by.",
    CREATED_AT="When the account was created.",
    EMAIL="The address.",
    LAST_LOGIN_AT="When they last signed in; never comes last.",
)


def _oneself(row: Any, call: Call) -> bool:
    return call.principal is not None and call.principal.user_id == row.id


def _private(description: str, attribute: str | None = None) -> Any:
    return column(description, attribute, scope=Scope.USERS_READ, own=_oneself)


async def _default_provider(row: models.User, call: Call) -> Any:
    # Besides what the field demands: what it leads to.
    call.require(Scope.CATALOG_READ)
    chosen = row.default_llm_provider_id
    return await call.load(by_id(models.LlmProvider), chosen) if chosen is not None else None


@node(
    models.User,
    "Whoever may see the thing a person did may see id, displayName, avatarUrl, department and status; the rest needs "
    "users:read or is one's own.",
    scope=Scope.SIGNED_IN,
)
class User(Node):
    """GraphQL type of models.User."""

    tenant: Annotated[Tenant, strawberry.lazy("schema.tenants")] | None = to_one(
        models.Tenant, "Whose account it is.", "tenant_id"
    )
    username: str | None = _private("Short name for signing in elsewhere.")
    email: str | None = _private("The address.")
    display_name: str = column(
        "displayName falls back to username, then to the part of the address before the @.", "shown_name"
    )
    avatar_url: str | None = column("A picture.")
    department: str | None = column("Where in the organisation they work.")
    roles: list[Role] | None = _private("What they may do.", "granted_roles")
    is_platform_admin: bool | None = _private("Whether they run the platform itself.")
    status: UserStatus = column("Whether they may sign in.")
    email_verified: bool | None = _private("Whether the address was proven.")
    signs_in_elsewhere: bool | None = _private("Whether the tenant's identity provider signs them in.")
    preferences: JSON | None = _private("What they set for themselves.")
    default_llm_provider: LlmProvider | None = computed(
        _default_provider, "The model provider that they prefer.", scope=Scope.USERS_READ, own=_oneself
    )
    conversations: Connection[Annotated[Conversation, strawberry.lazy("schema.conversations")]] | None = connection(
        conversations,
        "Their conversations; without conversations:read one's own.",
        filter=ConversationFilter,
        order=ConversationOrder,
        scope=Scope.SIGNED_IN,
        narrow=own_without(Scope.CONVERSATIONS_READ),
        of="user_id",
    )
    approvals: Connection[Annotated[Approval, strawberry.lazy("schema.approvals")]] | None = approvals_of(
        "user_id", "Their requests for approval; without approvals:read one's own."
    )
    locked_until: datetime | None = _private("Until when sign-in is refused.")
    last_login_at: datetime | None = _private("When they last signed in.")
    created_at: datetime = column("When the account was created.")
    updated_at: datetime = column("When it last changed.")


@form("Which users; fields combine with and, lists mean any of.")
class UserFilter:
    """Filter of users."""

    status: list[UserStatus] | None = optional("One of these statuses.")
    roles: list[Role] | None = optional("With one of these roles.")
    department: str | None = optional("Exactly this department.")
    search: str | None = optional("Words of name and address that start so; case does not matter.")


@form("How users are sorted; ties are broken by id.")
class UserOrder:
    """Order of users."""

    field: UserOrderField = required("What to sort by.")
    direction: Direction = required("Which end comes first.")


@form("A new user.")
class CreateUserInput:
    """Input of createUser."""

    email: str = required("The address they sign in with.")
    password: str | None = optional("8 to 128 characters; without one they cannot sign in here yet.")
    username: str | None = optional("Short name, unique in the tenant.")
    display_name: str | None = optional("What people call them.")
    department: str | None = optional("Where in the organisation they work.")
    roles: list[Role] = required("What they may do.")
    idempotency_key: str | None = optional("Makes a retry safe for 24 hours; at most 255 characters.")


@form("Changes of a user; absent stays, null clears.")
class UpdateUserInput:
    """Input of updateUser."""

    id: ID = required("Whom.", of="user")
    username: str | None = optional("Short name, unique in the tenant.")
    display_name: str | None = optional("What people call them.")
    avatar_url: str | None = optional("An http or https address.")
    department: str | None = optional("Where in the organisation they work.")
    roles: list[Role] | None = optional("What they may do; ends their access tokens.")
    status: UserStatus | None = optional("Whether they may sign in; ends their access tokens.")
    preferences: JSON | None = optional("What they set for themselves.")
    default_llm_provider_id: ID | None = optional("The model provider that they prefer.", of="provider")


@form("Who goes.")
class DeleteUserInput:
    """Input of deleteUser."""

    id: ID = required("Whom.", of="user")


@payload("A user after a change.")
class UserPayload:
    """Payload of user mutations."""

    user: User | None = column("The user as it is now.")
    user_errors: list[UserError] = user_errors()


@root_fields
class UserQueries:
    """Root fields over users."""

    users: Connection[User] | None = connection(
        users, "The tenant's users.", filter=UserFilter, order=UserOrder, scope=Scope.USERS_READ
    )


@root_fields
class UserMutations:
    """What can be done to users."""

    create_user: UserPayload | None = command(
        use_cases.create_user,
        "Creates an account.",
        input=CreateUserInput,
        payload=UserPayload,
        scope=Scope.USERS_WRITE,
    )
    update_user: UserPayload | None = command(
        use_cases.update_user,
        "Changes an account; one's own profile without users:write.",
        input=UpdateUserInput,
        payload=UserPayload,
        scope=Scope.SIGNED_IN,
        keep_null=True,
    )
    delete_user: DeletePayload | None = command(
        use_cases.delete_user,
        "Deletes an account: its sessions end, its address is free again, history keeps its name.",
        input=DeleteUserInput,
        payload=DeletePayload,
        scope=Scope.USERS_WRITE,
    )
