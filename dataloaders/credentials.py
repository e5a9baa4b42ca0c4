"""This module is where credentials are fetched: what a session or a key is worth now, and the list of keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, func, or_, select

from dataloaders.pages import Direction, Listing, Order, equals
from models import (
    PLATFORM_TENANT_ID,
    ApiKey,
    CredentialVersion,
    Role,
    Scope,
    Session,
    Tenant,
    TenantLimits,
    TenantStatus,
    User,
    UserStatus,
)
from models.credentials import SESSION_IDLE, SESSION_LONGEST
from models.database import Database, TenantSession
from models.scopes import GRANTABLE_SCOPES


def _key_is_active(wanted: bool) -> ColumnElement[bool]:
    ended = or_(ApiKey.revoked_at.is_not(None), ApiKey.expires_at <= func.now())
    return ended.is_not(True) if wanted else ended.is_(True)


def _session_is_active(wanted: bool) -> ColumnElement[bool]:
    ended = or_(
        Session.revoked_at.is_not(None),
        Session.last_seen_at <= func.now() - SESSION_IDLE,
        Session.started_at <= func.now() - SESSION_LONGEST,
    )
    return ended.is_not(True) if wanted else ended.is_(True)


api_keys: Final = Listing(
    ApiKey,
    filters={
        "workspace_id": equals(ApiKey.workspace_id),
        "created_by": equals(ApiKey.created_by),
        "is_active": _key_is_active,
    },
    orders={"created_at": Order(ApiKey.created_at)},
)

sessions: Final = Listing(
    Session,
    filters={"user_id": equals(Session.user_id), "is_active": _session_is_active},
    orders={"started_at": Order(Session.started_at), "last_seen_at": Order(Session.last_seen_at)},
    default=("started_at", Direction.DESC),
)


@dataclass(frozen=True, slots=True)
class SessionStanding:
    """What a session's person may do, as the database says."""

    user_id: UUID
    roles: frozenset[Role]
    is_platform_admin: bool
    authorization_version: int
    alive: bool
    tenant_slug: str
    limits: TenantLimits
    version: int
    """The version of its tenant's credentials when this was so."""


@dataclass(frozen=True, slots=True)
class KeyStanding:
    """What an API key is worth, as the database says."""

    secret_hash: bytes
    scopes: frozenset[Scope]
    workspace_id: UUID | None
    expires_at: datetime | None
    last_used_at: datetime | None
    alive: bool
    tenant_slug: str
    limits: TenantLimits
    version: int
    """The version of its tenant's credentials when this was so."""


def known_roles(words: Sequence[str]) -> frozenset[Role]:
    """The roles among ``words``; an unknown word grants nothing."""
    return frozenset(role for role in Role if role.value in words)


def grantable(words: Sequence[str]) -> frozenset[Scope]:
    """The scopes among ``words`` that a key may hold; anything else in the column grants nothing."""
    return frozenset(scope for scope in GRANTABLE_SCOPES if scope.value in words)


_TENANT_ALIVE: Final = and_(Tenant.status == TenantStatus.ACTIVE, Tenant.deleted_at.is_(None))

_SESSIONS: Final = (
    select(
        Session.id,
        Session.user_id,
        User.roles,
        User.is_platform_admin,
        User.authorization_version,
        and_(
            Session.revoked_at.is_(None),
            User.status == UserStatus.ACTIVE,
            User.deleted_at.is_(None),
            _TENANT_ALIVE,
        ).label("alive"),
        Tenant.slug,
        Tenant.plan,
        Tenant.limits,
        func.coalesce(CredentialVersion.version, -1).label("version"),
    )
    .join(User, and_(User.tenant_id == Session.tenant_id, User.id == Session.user_id))
    .join(Tenant, Tenant.id == Session.tenant_id)
    .outerjoin(CredentialVersion, CredentialVersion.tenant_id == Tenant.id)
)

_KEYS: Final = (
    select(
        ApiKey.id,
        ApiKey.secret_hash,
        ApiKey.scopes,
        ApiKey.workspace_id,
        ApiKey.expires_at,
        ApiKey.last_used_at,
        and_(ApiKey.revoked_at.is_(None), _TENANT_ALIVE).label("alive"),
        Tenant.slug,
        Tenant.plan,
        Tenant.limits,
        func.coalesce(CredentialVersion.version, -1).label("version"),
    )
    .join(Tenant, Tenant.id == ApiKey.tenant_id)
    .outerjoin(CredentialVersion, CredentialVersion.tenant_id == Tenant.id)
)


async def session_standings(database: Database, tenant_id: UUID, ids: Sequence[UUID]) -> dict[UUID, SessionStanding]:
    """The standing of each session that exists, in one statement."""
    statement = _SESSIONS.where(Session.tenant_id == tenant_id, Session.id == func.any(list(ids)))
    return {
        row.id: SessionStanding(
            row.user_id,
            known_roles(row.roles),
            # The flag counts in the reserved tenant only: a row of another tenant cannot make itself one.
            row.is_platform_admin and tenant_id == PLATFORM_TENANT_ID,
            row.authorization_version,
            row.alive,
            row.slug,
            TenantLimits.of(row.plan, row.limits),
            row.version,
        )
        for row in await _rows(database, tenant_id, statement)
    }


async def key_standings(database: Database, tenant_id: UUID, ids: Sequence[UUID]) -> dict[UUID, KeyStanding]:
    """The standing of each API key that exists, in one statement."""
    statement = _KEYS.where(ApiKey.tenant_id == tenant_id, ApiKey.id == func.any(list(ids)))
    return {
        row.id: KeyStanding(
            row.secret_hash,
            grantable(row.scopes),
            row.workspace_id,
            row.expires_at,
            row.last_used_at,
            row.alive,
            row.slug,
            TenantLimits.of(row.plan, row.limits),
            row.version,
        )
        for row in await _rows(database, tenant_id, statement)
    }


async def maker_of_key(session: TenantSession, key_id: UUID) -> UUID | None:
    """Who made an API key of the tenant's; None of one that no person made, or whose maker is gone."""
    made = select(ApiKey.created_by).where(ApiKey.tenant_id == session.tenant_id, ApiKey.id == key_id)
    found: UUID | None = await session.scalar(made)
    return found


async def credential_versions(database: Database, tenant_ids: Sequence[UUID]) -> dict[UUID, int]:
    """The version of what each tenant's credentials are worth, in one statement for all of them."""
    statement = select(CredentialVersion).where(CredentialVersion.tenant_id == func.any(list(tenant_ids)))
    async with database.connection(database.tail) as connection:
        return {row.tenant_id: row.version for row in await connection.execute(statement)}


async def _rows(database: Database, tenant_id: UUID, statement: Select[*tuple[Any, ...]]) -> Sequence[Any]:
    async with database.session(tenant_id) as session:
        rows: Sequence[Any] = (await session.execute(statement)).all()
        return rows
