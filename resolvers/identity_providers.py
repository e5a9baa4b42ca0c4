"""This module is where a tenant's admins say whose ID tokens sign its people in.

Security boundary: whoever sets this can become anybody in the tenant, so an admin must, in person; a key with every
scope may not. Another issuer or client is another provider: what the one calls a person means nothing to the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypedDict, Unpack
from urllib.parse import urlsplit
from uuid import UUID

import structlog
from sqlalchemy import select, update

from dataloaders.identity_providers import identity_provider_of
from models import (
    PLATFORM_TENANT_ID,
    IdentityProvider,
    RefreshToken,
    Role,
    Scope,
    Session,
    Tenant,
    User,
)
from models.errors import Refusal, RefusalCode, invalid
from models.ids import uuid7
from resolvers.call import Call
from resolvers.fetching import FetchFailed
from resolvers.issuer_keys import Source
from resolvers.unit_of_work import UnitOfWork
from resolvers.users import require_admin
from resolvers.validation import line, web_address

CLAIM_LIMIT: Final = 200
MOST_MAPPINGS: Final = 100
_log = structlog.get_logger(__name__)


class RoleMapping(TypedDict):
    """Which roles one value of the roles claim gives."""

    claim_value: str
    roles: Sequence[Role]


class ProviderSettings(TypedDict, total=False):
    """How an identity provider is used; absent is the default."""

    jwks_uri: str
    email_claim: str
    name_claim: str
    roles_claim: str
    role_mapping: Sequence[RoleMapping]
    default_roles: Sequence[Role]
    creates_users: bool
    links_by_email: bool
    trusts_emails: bool
    is_enabled: bool


async def set_identity_provider(
    call: Call, *, issuer: str, client_id: str, **settings: Unpack[ProviderSettings]
) -> IdentityProvider:
    """Make this the tenant's identity provider, in the place of what it had; its keys are fetched to see that it is.

    Raises FORBIDDEN, INVALID, IMMUTABLE. Commits; whoever an earlier, other provider signed in is signed out.
    """
    _require(call)
    given = {"issuer": _address(issuer, "issuer"), "client_id": line(client_id, CLAIM_LIMIT, "clientId")}
    cleaned: dict[str, Any] = {**_DEFAULTS, **_cleaned(settings), **given}
    await _check(call, Source(cleaned["issuer"], cleaned["jwks_uri"]))
    async with call.work() as work:
        await _lock_tenant(work)
        provider = await identity_provider_of(work.session)
        before = provider.facets() if provider is not None else None
        if provider is not None and any(getattr(provider, name) != value for name, value in given.items()):
            await _remove(work, provider)
            provider = None
        if provider is None:
            provider = IdentityProvider(id=uuid7(), **cleaned)
            work.add(provider)
        for name, value in cleaned.items():
            setattr(provider, name, value)
        await work.session.flush()
        if not provider.is_enabled:
            await _sign_out(work, provider)
        work.tell(provider, "identity_provider.set", before)
    call.services.accounts.forget(work.tenant_id)
    return provider


async def delete_identity_provider(call: Call, *, id: UUID) -> str:
    """Trust no issuer any more; its TypeID. Its people are signed out, and invited anew to get passwords here.

    Raises FORBIDDEN, NOT_FOUND. Commits.
    """
    _require(call)
    async with call.work() as work:
        provider = await work.locked(IdentityProvider, id, what="identity provider")
        await _remove(work, provider)
        work.tell(provider, "identity_provider.deleted", provider.facets(), gone=True)
    call.services.accounts.forget(work.tenant_id)
    return provider.typeid


def _require(call: Call) -> None:
    call.require(Scope.TENANTS_WRITE)
    require_admin(call.who)
    if call.tenant_id == PLATFORM_TENANT_ID:
        raise Refusal(RefusalCode.IMMUTABLE, "Platform administrators sign in with passwords.", field=("input",))


async def _lock_tenant(work: UnitOfWork) -> None:
    # Two who set one at once must not both find none.
    await work.session.execute(select(Tenant.id).where(Tenant.id == work.tenant_id).with_for_update(key_share=True))


async def _check(call: Call, source: Source) -> None:
    # Before the transaction: a row lock or a connection must not wait for another server.
    try:
        usable = await call.services.issuer_keys.check(source)
    except FetchFailed as error:
        _log.info("identity_provider.not_reached", issuer=source.issuer, error=str(error))
        usable = 0
    if not usable:
        # One sentence for whatever went wrong: this must not tell what answers inside a private network.
        raise invalid("No signing keys can be read there.", "input", "jwksUri" if source.jwks_uri else "issuer")


async def _remove(work: UnitOfWork, provider: IdentityProvider) -> None:
    await _sign_out(work, provider)
    await work.session.delete(provider)
    await work.session.flush()


async def _sign_out(work: UnitOfWork, provider: IdentityProvider) -> None:
    """End the sessions of all whom the provider signs in, in two statements."""
    people = select(User.id).where(User.tenant_id == work.tenant_id, User.identity_provider_id == provider.id)
    for kind in (Session, RefreshToken):
        await work.session.execute(
            update(kind)
            .where(kind.tenant_id == work.tenant_id, kind.revoked_at.is_(None), kind.user_id.in_(people))
            .values(revoked_at=work.now)
            .execution_options(synchronize_session=False)
        )


_DEFAULTS: Final[dict[str, Any]] = {
    "jwks_uri": None,
    "email_claim": "email",
    "name_claim": "name",
    "roles_claim": None,
    "role_mapping": {},
    "default_roles": [],
    "creates_users": True,
    "links_by_email": False,
    "trusts_emails": False,
    "is_enabled": True,
}


def _cleaned(settings: ProviderSettings) -> dict[str, Any]:
    cleaned: dict[str, Any] = dict(settings)
    if "jwks_uri" in cleaned:
        cleaned["jwks_uri"] = _address(cleaned["jwks_uri"], "jwksUri")
    for name, field in (("email_claim", "emailClaim"), ("name_claim", "nameClaim"), ("roles_claim", "rolesClaim")):
        if name in cleaned:
            cleaned[name] = line(cleaned[name], CLAIM_LIMIT, field)
    if "role_mapping" in cleaned:
        cleaned["role_mapping"] = _mapping(cleaned["role_mapping"])
    if "default_roles" in cleaned:
        cleaned["default_roles"] = _roles(cleaned["default_roles"], "defaultRoles")
    return cleaned


def _mapping(mappings: Sequence[RoleMapping]) -> dict[str, list[str]]:
    if len(mappings) > MOST_MAPPINGS:
        raise invalid(f"At most {MOST_MAPPINGS} values are mapped.", "input", "roleMapping")
    made: dict[str, list[str]] = {}
    for one in mappings:
        value = line(one["claim_value"], CLAIM_LIMIT, "roleMapping")
        if value in made:
            raise invalid("Each value is mapped once.", "input", "roleMapping")
        made[value] = _roles(one["roles"], "roleMapping")
    return made


def _roles(roles: Sequence[Role], field: str) -> list[str]:
    if Role.API_CLIENT in roles:
        raise invalid("People are no API clients.", "input", field)
    return [role.value for role in Role if role in roles]


def _address(value: str, field: str) -> str:
    address = web_address(value, field)
    parts = urlsplit(address)
    if parts.query or parts.fragment:
        raise invalid("This is an address without a query.", "input", field)
    return address
