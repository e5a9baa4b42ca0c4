"""This module is where it is looked up which secrets there are; envelopes are fetched only to be opened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, any_, exists, func, or_, select, true
from sqlalchemy.dialects.postgresql import array, distinct_on
from sqlalchemy.orm import aliased, undefer

from dataloaders.pages import Listing, Order, any_of, equals
from models import ForgottenSecret, Secret, SecretOwner, Workspace, WorkspaceStatus
from models.database import TenantSession

MAX_SECRETS: Final = 100
"""Of one owner."""


def _of_owner(owner: Any) -> ColumnElement[bool]:
    return and_(Secret.owner_id == owner.id, Secret.owner_type == owner.kind)


secrets: Final = Listing(
    Secret,
    filters={"key": equals(Secret.key), "owner_id": _of_owner, "owner_type": any_of(Secret.owner_type)},
    orders={
        "created_at": Order(Secret.created_at),
        "key": Order(Secret.key),
        "updated_at": Order(Secret.updated_at),
    },
)


def _reaching(tenant_id: UUID) -> Select[Any]:
    """The secrets that a workspace finds, its own before the tenant's of the same key."""
    return (
        select(Secret)
        .where(
            Secret.tenant_id == tenant_id,
            Secret.owner_id == any_(array([Workspace.id, tenant_id])),
            Secret.owner_type.in_([SecretOwner.WORKSPACE, SecretOwner.TENANT]),
        )
        .order_by(Secret.key, Secret.owner_type.desc())
        .correlate(Workspace)
    )


def _present(tenant_id: UUID, ids: Sequence[UUID]) -> ColumnElement[bool]:
    return and_(
        Workspace.tenant_id == tenant_id,
        Workspace.id == func.any(list(ids)),
        Workspace.status != WorkspaceStatus.REMOVED,
    )


async def effective_secrets_by_workspace(session: TenantSession, ids: Sequence[UUID]) -> list[list[Secret] | None]:
    """What each workspace finds, one secret a key, by key; None where there is no such workspace."""
    first_of_key = _reaching(session.tenant_id).ext(distinct_on(Secret.key)).limit(2 * MAX_SECRETS).lateral("reaching")
    found = aliased(Secret, first_of_key)
    statement = (
        select(Workspace.id, found)
        .select_from(Workspace)
        .outerjoin(first_of_key, true())
        .where(_present(session.tenant_id, ids))
        .order_by(Workspace.id, found.key)
    )
    groups: dict[UUID, list[Secret]] = {}
    for workspace_id, secret in await session.execute(statement):
        groups.setdefault(workspace_id, []).extend([secret] if secret is not None else [])
    return [groups.get(one) for one in ids]


async def effective_secret(session: TenantSession, workspace_id: UUID, key: str) -> Secret | None:
    """What a workspace finds under ``key``, with its envelope."""
    secret = _reaching(session.tenant_id).where(Secret.key == key).limit(1).lateral("reaching")
    found = aliased(Secret, secret)
    statement = (
        select(found).select_from(Workspace).join(secret, true()).where(_present(session.tenant_id, [workspace_id]))
    )
    row = await session.scalar(statement.with_only_columns(found.id))
    if row is None:
        return None
    whole = select(Secret).where(Secret.tenant_id == session.tenant_id, Secret.id == row)
    return (await session.scalars(whole.options(undefer(Secret.sealed)))).one_or_none()


async def restart_needed_by_workspace(session: TenantSession, ids: Sequence[UUID]) -> list[bool]:
    """Whether a secret that reaches the workspace was set or deleted since its runtime last registered.

    What the workspace has a secret of its own for does not count when the tenant's of that key changes. One statement
    for all.
    """
    reached = or_(_changed_since(session.tenant_id, Secret), _changed_since(session.tenant_id, ForgottenSecret))
    statement = select(Workspace.id).where(_present(session.tenant_id, ids), reached)
    found = set(await session.scalars(statement))
    return [one in found for one in ids]


def _changed_since(tenant_id: UUID, changed: type[Secret | ForgottenSecret]) -> ColumnElement[bool]:
    """Whether one of ``changed`` is newer than the runtime of the workspace that it reaches."""
    own = aliased(Secret)
    shadowed = (
        exists()
        .where(
            own.tenant_id == tenant_id,
            own.owner_id == Workspace.id,
            own.owner_type == SecretOwner.WORKSPACE,
            own.key == changed.key,
        )
        .correlate(changed, Workspace)
    )
    of_workspace = and_(changed.owner_id == Workspace.id, changed.owner_type == SecretOwner.WORKSPACE)
    of_tenant = and_(changed.owner_id == tenant_id, changed.owner_type == SecretOwner.TENANT, ~shadowed)
    is_newer = and_(
        changed.tenant_id == tenant_id,
        changed.owner_id == any_(array([Workspace.id, tenant_id])),
        changed.updated_at > Workspace.registered_at,
    )
    return exists().where(is_newer, or_(of_workspace, of_tenant)).correlate(Workspace)
