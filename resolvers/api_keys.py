"""This module is where machines get their credentials: keys with scopes, and a workspace's own token.

Security boundary: nobody hands out more than they hold. A key's scopes lie within its maker's, a key that is bound
to a workspace makes none beyond it, and a key that expires makes none that outlives it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select, update

from dataloaders.credentials import grantable
from models import ApiKey, Scope, Workspace, WorkspaceStatus
from models.errors import Forbidden, Refusal, RefusalCode, invalid, not_found
from models.ids import uuid7
from models.scopes import WORKSPACE_TOKEN_SCOPES
from resolvers.bearers import hash_of, key_prefix, new_api_key
from resolvers.caller import Caller
from resolvers.principal import Principal
from resolvers.unit_of_work import UnitOfWork
from resolvers.validation import line, within

NAME_LIMIT: Final = 100
OVERLAP_SECONDS: Final = 86_400
MAX_OVERLAP_SECONDS: Final = 30 * 86_400


async def create_key(
    call: Caller,
    environment: str,
    *,
    name: str,
    scopes: Sequence[str],
    workspace_id: UUID | None,
    expires_at: datetime | None,
) -> tuple[ApiKey, str]:
    """A new key and its text, shown only here. Raises FORBIDDEN, INVALID, NOT_FOUND. Commits."""
    call.require(Scope.KEYS_WRITE)
    who = call.who
    if who.workspace_id is not None and who.workspace_id != workspace_id:
        raise Forbidden("This token belongs to another workspace.")
    name = line(name, NAME_LIMIT, "name")
    granted = _granted(who, scopes)
    async with call.work() as work:
        _refuse_expiry(who, expires_at, work.now)
        if workspace_id is not None:
            await _present_workspace(work, workspace_id)
        return _add(work, environment, name, granted, who, workspace_id, expires_at)


async def rotate_key(
    call: Caller, environment: str, key_id: UUID, *, overlap_seconds: int | None, expires_at: datetime | None
) -> tuple[ApiKey, str]:
    """A key like the one that ``key_id`` names, and its text, shown only here; the old one ends after the overlap.

    Without ``expires_at`` it lives as long as the old one was made to. Raises FORBIDDEN, INVALID, NOT_FOUND,
    ILLEGAL_TRANSITION. Commits.
    """
    call.require(Scope.KEYS_WRITE)
    who = call.who
    overlap = OVERLAP_SECONDS if overlap_seconds is None else overlap_seconds
    within(overlap, 0, MAX_OVERLAP_SECONDS, "overlapSeconds")
    async with call.work() as work:
        old = await work.locked(ApiKey, key_id, what="API key")
        if who.workspace_id not in (None, old.workspace_id):
            raise not_found("API key", "input", "id")
        if old.revoked_at is not None or (old.expires_at is not None and old.expires_at <= work.now):
            raise Refusal(RefusalCode.ILLEGAL_TRANSITION, "This key has ended.", field=("input", "id"), current=old)
        granted = _granted(who, [scope.value for scope in grantable(old.scopes)], "id")
        if expires_at is None and old.expires_at is not None:
            expires_at = _no_longer_than(who, work.now + (old.expires_at - old.created_at))
        _refuse_expiry(who, expires_at, work.now)
        if old.workspace_id is not None:
            await _present_workspace(work, old.workspace_id)
        key, secret = _add(work, environment, old.name, granted, who, old.workspace_id, expires_at)
        _retire(work, old, overlap)
        return key, secret


async def revoke_key(call: Caller, key_id: UUID) -> ApiKey:
    """End a key; one that has ended stays as it ended. Raises FORBIDDEN, NOT_FOUND. Commits."""
    call.require(Scope.KEYS_WRITE)
    async with call.work() as work:
        key = await work.locked(ApiKey, key_id, what="API key")
        if call.who.workspace_id not in (None, key.workspace_id):
            raise not_found("API key", "input", "id")
        if key.revoked_at is None:
            before = key.facets()
            key.revoked_at = work.now
            _tell(work, key, "key.revoked", before)
    return key


async def replace_workspace_token(
    work: UnitOfWork, environment: str, workspace: Workspace, who: Principal
) -> tuple[ApiKey, str]:
    """The workspace's new machine token; every key it had before ends. Raising the lease is the caller's."""
    ended = await work.session.scalars(
        update(ApiKey)
        .where(
            ApiKey.tenant_id == work.tenant_id,
            ApiKey.workspace_id == workspace.id,
            ApiKey.revoked_at.is_(None),
        )
        .values(revoked_at=work.now)
        .returning(ApiKey)
    )
    for key in ended.all():
        _tell(work, key, "key.revoked", key.facets() | {"revoked": False})
    name = f"workspace {workspace.name}"[:NAME_LIMIT]
    return _add(work, environment, name, WORKSPACE_TOKEN_SCOPES, who, workspace.id, None)


def _add(
    work: UnitOfWork,
    environment: str,
    name: str,
    scopes: Iterable[Scope],
    who: Principal,
    workspace_id: UUID | None,
    expires_at: datetime | None,
) -> tuple[ApiKey, str]:
    key_id = uuid7()
    secret = new_api_key(environment, work.tenant_id, key_id)
    key = ApiKey(
        id=key_id,
        name=name,
        prefix=key_prefix(environment, work.tenant_id, key_id),
        secret_hash=hash_of(secret),
        scopes=sorted(scope.value for scope in scopes),
        workspace_id=workspace_id,
        created_by=who.member_id,
        expires_at=expires_at,
    )
    work.add(key)
    _tell(work, key, "key.created", None)
    return key, secret


def _retire(work: UnitOfWork, old: ApiKey, overlap_seconds: int) -> None:
    before = old.facets()
    if overlap_seconds == 0:
        old.revoked_at = work.now
        _tell(work, old, "key.revoked", before)
        return
    end = work.now + timedelta(seconds=overlap_seconds)
    old.expires_at = min(end, old.expires_at) if old.expires_at is not None else end
    _tell(work, old, "key.rotated", before)


def _no_longer_than(who: Principal, expires_at: datetime) -> datetime:
    """``expires_at``, or when the key that makes it ends."""
    ends_at = who.expires_at if who.api_key_id is not None else None
    return min(expires_at, ends_at) if ends_at is not None else expires_at


def _granted(who: Principal, scopes: Sequence[str], field: str = "scopes") -> frozenset[Scope]:
    known = grantable(scopes)
    unknown = sorted(set(scopes) - {scope.value for scope in known})
    if unknown or not known:
        raise invalid("A key holds at least one scope, and only scopes that a key can be given.", "input", field)
    beyond = sorted(scope.value for scope in known if not who.allows(scope))
    if beyond:
        raise invalid(f"Nobody grants more than they hold: {', '.join(beyond)}.", "input", field)
    return known


def _refuse_expiry(who: Principal, expires_at: datetime | None, now: datetime) -> None:
    if expires_at is not None and expires_at <= now:
        raise invalid("This time is past.", "input", "expiresAt")
    ends_at = who.expires_at if who.api_key_id is not None else None
    if ends_at is not None and (expires_at is None or expires_at > ends_at):
        raise invalid("A key cannot outlive the key that makes it.", "input", "expiresAt")


async def _present_workspace(work: UnitOfWork, workspace_id: UUID) -> None:
    status = await work.session.scalar(
        select(Workspace.status)
        .where(Workspace.tenant_id == work.tenant_id, Workspace.id == workspace_id)
        .with_for_update(read=True, key_share=True)
    )
    if status is None:
        raise not_found("workspace", "input", "workspaceId")
    if status is WorkspaceStatus.REMOVED:
        raise Refusal(
            RefusalCode.ILLEGAL_TRANSITION,
            "A removed workspace gets no key.",
            field=("input", "workspaceId"),
        )


def _tell(work: UnitOfWork, key: ApiKey, kind: str, before: dict[str, Any] | None) -> None:
    work.tell(key, kind, before, {"scopes": list(key.scopes)})
