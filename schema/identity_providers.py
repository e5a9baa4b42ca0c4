"""This module is where a tenant's identity provider is set, and where its people sign in by it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from strawberry import ID

import models
from dataloaders.identity_providers import identity_provider_of
from models import Role, Scope
from resolvers import external_sign_in
from resolvers import identity_providers as use_cases
from resolvers.call import Call
from schema.commands import DeletePayload, UserError, command, payload, user_errors
from schema.common import Node
from schema.credentials import AuthPayload
from schema.declare import column, computed, node, part, root_fields
from schema.inputs import form, optional, required


@part("Which roles one value of the roles claim gives.")
class RoleMapping:
    """One entry of an identity provider's mapping."""

    claim_value: str = computed(lambda one, _: one["claim_value"], "The value, exactly.", cost=1)
    roles: list[Role] = computed(lambda one, _: one["roles"], "What it gives.", cost=1)


@node(
    models.IdentityProvider,
    "An OpenID Connect issuer whose ID tokens sign the tenant's people in.",
    scope=Scope.TENANTS_WRITE,
)
class IdentityProvider(Node):
    """GraphQL type of models.IdentityProvider."""

    issuer: str = column("Its address, exactly as its tokens say it.")
    client_id: str = column("What the application is called there; tokens must be for it.")
    jwks_uri: str | None = column("Where its keys are, when not where its discovery document says.")
    email_claim: str = column("The claim that holds the address.")
    name_claim: str = column("The claim that holds what people call them.")
    roles_claim: str | None = column(
        "The claim, or the path to it, that decides on roles at each sign-in; null leaves them to administrators."
    )
    role_mapping: list[RoleMapping] = column("What values of the roles claim give.", "mappings")
    default_roles: list[Role] = column("What everybody gets whom it signs in.", "granted_default_roles")
    creates_users: bool = column("Whether it lets in whom no administrator has created.")
    links_by_email: bool = column("Whether it takes over accounts with a password, by their proven address.")
    trusts_emails: bool = column("Whether addresses count as proven without email_verified.")
    is_enabled: bool = column("Whether it signs anybody in.")
    created_at: datetime = column("When it was set.")
    updated_at: datetime = column("When it last changed.")


@form("Which roles one value of the roles claim gives.")
class RoleMappingInput:
    """Input of one mapping."""

    claim_value: str = required("The value, exactly.")
    roles: list[Role] = required("What it gives.")


@form("The tenant's identity provider, whole: what is absent is as it is by default.")
class SetIdentityProviderInput:
    """Input of setIdentityProvider."""

    issuer: str = required("Its address, exactly as its tokens say it; https.")
    client_id: str = required("What the application is called there; tokens must be for it.")
    jwks_uri: str | None = optional("Where its keys are; where its discovery document says when absent.")
    email_claim: str | None = optional("The claim that holds the address; email when absent.")
    name_claim: str | None = optional("The claim that holds what people call them; name when absent.")
    roles_claim: str | None = optional(
        "The claim that decides on roles at each sign-in, e.g. groups or realm_access.roles; who gets none is refused."
    )
    role_mapping: list[RoleMappingInput] | None = optional("What values of the roles claim give; at most 100.")
    default_roles: list[Role] | None = optional("What everybody gets whom it signs in; nothing when absent.")
    creates_users: bool | None = optional("Whether it lets in whom no administrator has created; yes when absent.")
    links_by_email: bool | None = optional(
        "Whether it takes over accounts with a password, by their proven address; their passwords go. No when absent."
    )
    trusts_emails: bool | None = optional("Whether addresses count as proven without email_verified; no when absent.")
    is_enabled: bool | None = optional("Whether it signs anybody in; yes when absent.")


@form("Which identity provider goes.")
class DeleteIdentityProviderInput:
    """Input of deleteIdentityProvider."""

    id: ID = required("Which one.", of="issuer")


@form("What the identity provider answered to a client that signed somebody in by it.")
class LoginWithIdTokenInput:
    """Input of loginWithIdToken."""

    tenant_slug: str = required("Whose identity provider it is.")
    id_token: str = required("The ID token, at most ten minutes old; it signs in once.")
    nonce: str = required("The nonce that the client made for this sign-in; 8 to 256 characters.")


@payload("An identity provider after a change.")
class IdentityProviderPayload:
    """Payload of setIdentityProvider."""

    identity_provider: IdentityProvider | None = column("The identity provider as it is now.")
    user_errors: list[UserError] = user_errors()


async def _identity_provider(_: Any, call: Call) -> models.IdentityProvider | None:
    async with call.services.database.session(call.tenant_id) as session:
        return await identity_provider_of(session)


@root_fields
class IdentityProviderQueries:
    """Root fields over identity providers."""

    identity_provider: IdentityProvider | None = computed(_identity_provider, "The tenant's own; null without one.")


@root_fields
class IdentityProviderMutations:
    """What can be done with identity providers."""

    login_with_id_token: AuthPayload | None = command(
        external_sign_in.login_with_id_token,
        "Signs in by the tenant's identity provider. One answer to everything that is wrong; once an operation.",
        input=LoginWithIdTokenInput,
        payload=AuthPayload,
        scope=Scope.PUBLIC,
        cost=100,
        guarded=True,
    )
    set_identity_provider: IdentityProviderPayload | None = command(
        use_cases.set_identity_provider,
        "Sets the tenant's identity provider, in the place of what it had; by an administrator in person.",
        input=SetIdentityProviderInput,
        payload=IdentityProviderPayload,
        scope=Scope.TENANTS_WRITE,
        cost=100,
    )
    delete_identity_provider: DeletePayload | None = command(
        use_cases.delete_identity_provider,
        "Trusts no issuer any more; whom it signed in is signed out.",
        input=DeleteIdentityProviderInput,
        payload=DeletePayload,
        scope=Scope.TENANTS_WRITE,
    )
