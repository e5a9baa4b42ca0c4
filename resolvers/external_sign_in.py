"""This module is where somebody whom the tenant's own identity provider vouches for signs in.

Security boundary: every refusal reads the same, whatever was wrong with the token, the tenant or the account; the
reason stands in our log alone, without a word of the token. A token signs in once.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

import structlog
from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert

from dataloaders.identity_providers import identity_provider_of
from dataloaders.tenants import tenant_by_slug
from dataloaders.users import user_by_email
from models import PLATFORM_TENANT_ID, IdentityProvider, SpentIdToken, TenantStatus, User, UserStatus
from models.errors import LimitExceeded, Refusal, RefusalCode
from models.ids import encode, uuid7
from resolvers.call import Call
from resolvers.credentials import Signed
from resolvers.id_tokens import SKEW, BadIdToken, IdToken, verified
from resolvers.sessions import end_sessions_of
from resolvers.uniqueness import flush_unique
from resolvers.unit_of_work import UnitOfWork
from resolvers.users import NAME_LIMIT, adopt_roles, set_email

_TRIES: Final = 2
_EXPIRED_AT_ONCE: Final = 100
_TAKEN: Final = {
    "uq_users_identity": ("idToken", "Somebody signs in like this at this moment."),
    "uq_users_email_key": ("idToken", "Somebody has this address already."),
}
_log = structlog.get_logger(__name__)


async def login_with_id_token(call: Call, *, tenant_slug: str, id_token: str, nonce: str) -> Signed:
    """A session of whom the token names. Raises INVALID_CREDENTIALS for anything wrong, LIMIT_EXCEEDED, UNAVAILABLE.

    Commits; a person whom the tenant does not know yet is made, if its settings say so.
    """
    if call.password_tried:
        raise LimitExceeded("One operation signs in, or changes a password, once.")
    call.password_tried = True
    tenant_id: UUID | None = None
    try:
        tenant_id, provider = await _provider(call, tenant_slug)
        token = await verified(id_token, nonce, provider, call.services.issuer_keys, call.services.clock)
        user = await _person(call, tenant_id, provider, token)
        return await call.services.accounts.open_session(call, user)
    except BadIdToken as bad:
        tenant = encode("tenant", tenant_id) if tenant_id is not None else None
        _log.info("sign_in.id_token_refused", reason=bad.reason, tenant=tenant)
        raise _refusal() from bad


async def _provider(call: Call, slug: str) -> tuple[UUID, IdentityProvider]:
    found = await tenant_by_slug(call.services.database, slug)
    if found is None or found[0] == PLATFORM_TENANT_ID or found[1] is not TenantStatus.ACTIVE:
        raise BadIdToken("tenant")
    async with call.services.database.session(found[0]) as session:
        provider = await identity_provider_of(session)
    if provider is None or not provider.is_enabled:
        raise BadIdToken("no identity provider")
    return found[0], provider


async def _person(call: Call, tenant_id: UUID, provider: IdentityProvider, token: IdToken) -> User:
    for last in (False, True):
        try:
            async with call.work(tenant_id) as work:
                await _refuse_unless_set(work, provider)
                await _spend(work, token)
                return await _found_or_made(work, provider, token)
        except Refusal as refusal:
            # Two first sign-ins at once: the one that comes second finds whom the other made.
            if last or refusal.code is not RefusalCode.ALREADY_EXISTS:
                raise BadIdToken(refusal.code.value) from refusal
    raise AssertionError("the last try returns or raises")


async def _refuse_unless_set(work: UnitOfWork, provider: IdentityProvider) -> None:
    # The token was believed outside this transaction; meanwhile somebody may have taken the provider away.
    found = await work.session.scalar(
        select(IdentityProvider.id)
        .where(
            IdentityProvider.tenant_id == work.tenant_id,
            IdentityProvider.id == provider.id,
            IdentityProvider.is_enabled,
        )
        .with_for_update(read=True, key_share=True)
    )
    if found is None:
        raise BadIdToken("no identity provider")


async def _spend(work: UnitOfWork, token: IdToken) -> None:
    """Use the token up, and forget some that have expired."""
    expired = (
        select(SpentIdToken.id)
        .where(SpentIdToken.tenant_id == work.tenant_id, SpentIdToken.expires_at < work.now - SKEW)
        .order_by(SpentIdToken.expires_at)
        .limit(_EXPIRED_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    await work.session.execute(
        delete(SpentIdToken)
        .where(SpentIdToken.tenant_id == work.tenant_id, SpentIdToken.id.in_(expired))
        .execution_options(synchronize_session=False)
    )
    spent = insert(SpentIdToken).values(
        tenant_id=work.tenant_id, id=uuid7(), token_hash=token.digest, expires_at=token.expires_at
    )
    if await work.session.scalar(spent.on_conflict_do_nothing().returning(SpentIdToken.id)) is None:
        raise BadIdToken("spent")


async def _found_or_made(work: UnitOfWork, provider: IdentityProvider, token: IdToken) -> User:
    roles = provider.roles_for(token.values(provider.roles_claim) if provider.roles_claim else [])
    if provider.roles_claim is not None and not roles:
        raise BadIdToken("no role")
    email = token.text(provider.email_claim)
    proven = email if email and (provider.trusts_emails or token.is_true("email_verified")) else None
    user_id = await _known(work, provider, token.subject)
    if user_id is None and proven is not None:
        user_id = await _linked(work, provider, token.subject, proven)
    if user_id is None:
        if not provider.creates_users:
            raise BadIdToken("unknown person")
        return await _made(work, provider, token, proven)
    # A deleted person is still found by the subject, so that nobody comes back by signing in once more.
    user = await adopt_roles(work, user_id, roles) if provider.roles_claim else await work.locked(User, user_id)
    if user.status is not UserStatus.ACTIVE:
        raise BadIdToken("account")
    return user


async def _known(work: UnitOfWork, provider: IdentityProvider, subject: str) -> UUID | None:
    found: UUID | None = await work.session.scalar(
        select(User.id).where(
            User.tenant_id == work.tenant_id,
            User.identity_provider_id == provider.id,
            User.external_subject == subject,
        )
    )
    return found


async def _linked(work: UnitOfWork, provider: IdentityProvider, subject: str, email: str) -> UUID | None:
    """Whoever has the proven address already, signed in by the provider from now on; None for nobody."""
    seen = await user_by_email(work.session, email)
    if seen is None:
        return None
    user = await work.locked(User, seen.id)
    if user.identity_provider_id is not None:
        raise BadIdToken("another identity")
    if user.password_hash is not None and not provider.links_by_email:
        raise BadIdToken("account with a password")
    if user.status not in {UserStatus.ACTIVE, UserStatus.PENDING}:
        raise BadIdToken("account")
    before = user.facets()
    if user.password_hash is not None:
        # Who knew the password is not necessarily who has the address now.
        await end_sessions_of(work, user.id)
    user.password_hash = None
    user.identity_provider_id, user.external_subject = provider.id, subject
    user.email_verified, user.status = True, UserStatus.ACTIVE
    await flush_unique(work, _TAKEN)
    work.tell(user, "user.linked", before)
    return user.id


async def _made(work: UnitOfWork, provider: IdentityProvider, token: IdToken, email: str | None) -> User:
    user = User(
        id=uuid7(),
        display_name=_name(token.text(provider.name_claim)),
        roles=[role.value for role in provider.roles_for(token.values(provider.roles_claim or ""))],
        status=UserStatus.ACTIVE,
        email_verified=email is not None,
        identity_provider_id=provider.id,
        external_subject=token.subject,
    )
    if email is not None:
        set_email(user, email)
    work.add(user)
    await flush_unique(work, _TAKEN)
    work.tell(user, "user.created", None)
    return user


def _name(text: str | None) -> str | None:
    printable = "".join(letter for letter in text or "" if letter.isprintable()).strip()
    return printable[:NAME_LIMIT] or None


def _refusal() -> Refusal:
    return Refusal(RefusalCode.INVALID_CREDENTIALS, "The tenant or the ID token is wrong.", field=("input", "idToken"))
