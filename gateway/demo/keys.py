"""This module is where the demo's tenants get their API keys.

The fleet's key is made by the ordinary use case and its text kept in ``demo.json``, from where the next start takes
it again. Deriving it from a key file instead would need a second way to make keys, one that is told the secret, and
a second secret file; this way a lost or revoked key is simply replaced by a new one.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import select

from gateway.demo.file import DemoKey
from gateway.demo.together import SharingCall
from models import ApiKey, Scope
from models.errors import Unauthenticated
from models.scopes import INGEST_SCOPES
from resolvers.call import Call, Services
from resolvers.principal import Principal

FLEET: Final = "fleet"


async def fleet_key(services: Services, admin: Principal, known: str | None) -> DemoKey:
    """The tenant's key for its fleet: ``known`` if it still does, else a new one in the place of any other."""
    scopes = sorted(scope.value for scope in INGEST_SCOPES)
    if known is None or not await _still_does(services, admin.tenant_id, known):
        call = Call(services=services, principal=admin, request_id="demo")
        for old in await _live_fleet_keys(services, admin.tenant_id):
            await services.accounts.revoke_api_key(call, id=old)
        _, known = await services.accounts.create_api_key(call, name=FLEET, scopes=scopes)
    return DemoKey(FLEET, known, scopes)


async def bygone_keys(call: SharingCall) -> None:
    """A key that was revoked and one that has expired, for lists to show."""
    accounts = call.services.accounts
    revoked, _ = await accounts.create_api_key(call, name="old CRM export", scopes=[Scope.AGENTS_READ.value])
    await accounts.revoke_api_key(call, id=revoked.id)
    expired, _ = await accounts.create_api_key(
        call,
        name="trade fair",
        scopes=[Scope.WORKSPACES_READ.value],
        expires_at=call.shared.now + timedelta(days=1),
    )
    # Nobody can ask for a key that has expired already: this one's time passes here.
    expired.expires_at = call.shared.now - timedelta(days=1)
    await call.shared.session.flush()


async def _still_does(services: Services, tenant_id: UUID, secret: str) -> bool:
    try:
        principal = await services.accounts.authenticate(f"Bearer {secret}")
    except Unauthenticated:
        return False
    return principal is not None and principal.tenant_id == tenant_id and principal.scopes >= INGEST_SCOPES


async def _live_fleet_keys(services: Services, tenant_id: UUID) -> list[UUID]:
    async with services.database.session(tenant_id) as session:
        found = await session.scalars(
            select(ApiKey.id).where(
                ApiKey.tenant_id == tenant_id,
                ApiKey.name == FLEET,
                ApiKey.workspace_id.is_(None),
                ApiKey.revoked_at.is_(None),
            )
        )
    return list(found)
