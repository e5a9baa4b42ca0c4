"""This module is where the operator at the machine acts: whoever may start the gateway needs no credentials."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import UUID

from sqlalchemy import select

from dataloaders.tenants import tenant_by_slug
from models import PLATFORM_TENANT_ID, Role, Scope, User, UserStatus
from models.errors import Refusal, RefusalCode, invalid, not_found
from models.users import email_key
from resolvers.call import Call, Services
from resolvers.principal import Principal
from resolvers.tenant_export import export_lines


def operator_call(services: Services, tenant_id: UUID) -> Call:
    """A call that may do everything in one tenant and acts as the gateway itself."""
    return Call(services=services, principal=Principal(tenant_id=tenant_id, scopes=frozenset(Scope)))


async def create_platform_admin(services: Services, email: str, password: str) -> User:
    """A person who runs the platform and signs in without a tenant. Raises INVALID, ALREADY_EXISTS. Commits."""
    key = email_key(email)
    if "@" not in key:
        raise invalid("This is not an e-mail address.", "input", "email")
    user = User(
        email=email.strip(),
        email_key=key,
        password_hash=await services.accounts.hash_password(password, "password"),
        roles=[Role.ADMIN.value],
        is_platform_admin=True,
        status=UserStatus.ACTIVE,
        email_verified=True,
    )
    async with operator_call(services, PLATFORM_TENANT_ID).work() as work:
        taken = await work.session.scalar(
            select(User.id).where(User.tenant_id == work.tenant_id, User.email_key == key, User.deleted_at.is_(None))
        )
        if taken is not None:
            raise Refusal(RefusalCode.ALREADY_EXISTS, f"{email} is a platform administrator already.")
        work.add(user)
        await work.session.flush()
        work.tell(user, "user.created", None)
    return user


async def issue_key(services: Services, tenant_slug: str, name: str, scopes: list[str]) -> str:
    """A new key's text for the tenant. Raises NOT_FOUND, INVALID. Commits."""
    found = await tenant_by_slug(services.database, tenant_slug)
    if found is None:
        raise not_found("tenant")
    _, secret = await services.accounts.create_api_key(operator_call(services, found[0]), name=name, scopes=scopes)
    return secret


async def write_export(services: Services, tenant_slug: str, path: Path) -> int:
    """The tenant's export as a new file that only its owner may read; how many rows. Raises NOT_FOUND, OSError."""
    found = await tenant_by_slug(services.database, tenant_slug)
    if found is None:
        raise not_found("tenant")
    lines = 0
    # Beside its place until it is whole: half an export must not look like one.
    draft = path.with_name(f"{path.name}.part")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        try:
            async for line in export_lines(services.database, found[0]):
                file.write(line)
                lines += 1
            os.link(draft, path)
        finally:
            draft.unlink()
    return lines
