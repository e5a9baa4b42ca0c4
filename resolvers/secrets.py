"""This module is where secrets are set, deleted and used; nobody who calls from outside is ever shown one.

Security boundary: a value leaves this module only to code of ours that uses it, and each use is written down in the
transaction that reads it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import undefer

from dataloaders.secrets import MAX_SECRETS, effective_secret
from models import (
    Agent,
    ForgottenSecret,
    LlmProvider,
    Scope,
    Secret,
    SecretOwner,
    Server,
    Tenant,
    TenantRow,
    Workspace,
    WorkspaceStatus,
)
from models.envelope import DataKey
from models.errors import Forbidden, Refusal, RefusalCode, invalid, not_found
from models.ids import NIL, InvalidId, decode, uuid7
from resolvers.call import Call
from resolvers.opening import open_secret
from resolvers.unit_of_work import UnitOfWork

VALUE_LIMIT_BYTES: Final = 65_536
_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")
_MODELS: Final[dict[type[TenantRow], SecretOwner]] = {
    Workspace: SecretOwner.WORKSPACE,
    Agent: SecretOwner.AGENT,
    LlmProvider: SecretOwner.LLM_PROVIDER,
    Server: SecretOwner.SERVER,
}
"""What can own secrets, besides the tenant; a domain that comes to hold some adds itself."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose secret it is; for an id that names nothing, nobody's."""

    kind: SecretOwner
    id: UUID

    @classmethod
    def named(cls, typeid: str) -> Owner:
        """The owner with this id."""
        try:
            prefix, row_id = decode(typeid)
        except InvalidId:
            prefix, row_id = "", NIL
        kinds = {model.__typeid__: kind for model, kind in _MODELS.items()} | {Tenant.__typeid__: SecretOwner.TENANT}
        return cls(kinds[prefix], row_id) if prefix in kinds else cls(SecretOwner.TENANT, NIL)


async def set_secret(
    call: Call, *, key: str, value: str, owner_id: Owner | None = None, expected_version: int | None = None
) -> Secret:
    """Keep a value under an owner's key, in the place of the one before. Commits.

    Raises FORBIDDEN, INVALID, NOT_FOUND, CONFLICT, LIMIT_EXCEEDED.
    """
    call.require(Scope.SECRETS_WRITE)
    plaintext = _cleaned(key, value)
    owner = owner_id or Owner(SecretOwner.TENANT, call.tenant_id)
    _refuse_foreign_key(call, owner.id)
    async with call.work() as work:
        # Before any row is locked: this may ask a KMS.
        data_key = await call.services.keyring.current(work.session)
        await _lock_owner(work, owner)
        secret = await _found(work, owner, key)
        before = secret.facets() if secret is not None else None
        if expected_version is not None and expected_version != (secret.sealed_version if secret else 0):
            raise Refusal(RefusalCode.CONFLICT, "It has changed.", field=("input", "expectedVersion"), current=secret)
        secret = await _sealed(call, work, secret or owner, key, plaintext, data_key)
        _tell(work, secret, "secret.set", before)
    return secret


async def keep_secret(
    call: Call, work: UnitOfWork, owner: Owner, key: str, plaintext: bytes, data_key: DataKey
) -> Secret:
    """Keep a value of an owner whom this unit of work makes or has locked, in the place of the one before.

    Whoever may change the owner sets it so, without any scope on secrets: it goes in and nobody gets it out. Fetch
    ``data_key`` before any row is locked, as that may ask a KMS. Does not commit.
    """
    found = await _found(work, owner, key)
    before = found.facets() if found is not None else None
    secret = await _sealed(call, work, found or owner, key, plaintext, data_key)
    _tell(work, secret, "secret.set", before)
    return secret


async def forget_secrets(work: UnitOfWork, owner: Owner, key: str | None = None) -> None:
    """Delete the secrets of an owner whom this unit of work has locked, or the one under ``key``. Does not commit."""
    named = () if key is None else (Secret.key == key,)
    rows = list(await work.session.scalars(select(Secret).where(*_of(work, owner), *named).limit(MAX_SECRETS)))
    for secret in rows:
        await work.session.delete(secret)
    await work.session.flush()
    await _remember_gone(work, rows)
    for secret in rows:
        _tell(work, secret, "secret.deleted", secret.facets(), gone=True)


async def _remember_gone(work: UnitOfWork, secrets: Sequence[Secret]) -> None:
    """Keep that what reaches workspaces was there: their runtimes still know it, and must start anew."""
    rows = [
        {
            "tenant_id": work.tenant_id,
            "id": uuid7(),
            "owner_type": one.owner_type,
            "owner_id": one.owner_id,
            "key": one.key,
            "created_at": work.now,
            "updated_at": work.now,
        }
        for one in sorted(secrets, key=lambda one: one.key)
        if one.owner_type in (SecretOwner.WORKSPACE, SecretOwner.TENANT)
    ]
    if rows:
        kept = insert(ForgottenSecret).values(rows)
        await work.session.execute(
            kept.on_conflict_do_update(
                index_elements=["tenant_id", "owner_id", "key", "owner_type"], set_={"updated_at": work.now}
            )
        )


def plaintext_of(value: str, *field: str) -> bytes:
    """A secret's value as bytes. Raises INVALID at ``field``."""
    try:
        plaintext = value.encode()
    except UnicodeEncodeError:
        # Half a character: JSON can say it, no encoding can keep it.
        plaintext = b""
    if not 1 <= len(plaintext) <= VALUE_LIMIT_BYTES:
        raise invalid(f"A value is text of 1 to {VALUE_LIMIT_BYTES} bytes.", "input", *field)
    return plaintext


async def _sealed(
    call: Call, work: UnitOfWork, held: Secret | Owner, key: str, plaintext: bytes, data_key: DataKey
) -> Secret:
    if isinstance(held, Owner):
        await _refuse_too_many(work, held)
        secret = Secret(id=uuid7(), owner_type=held.kind, owner_id=held.id, key=key)
        work.add(secret)
    else:
        secret = held
    secret.seal(plaintext, data_key)
    secret.set_by = call.who.member_id
    await work.session.flush()
    return secret


async def delete_secret(call: Call, *, id: UUID, expected_version: int | None = None) -> Secret:
    """Forget a secret; what is returned is how it was. Raises FORBIDDEN, NOT_FOUND, CONFLICT. Commits."""
    call.require(Scope.SECRETS_WRITE)
    async with call.work() as work:
        secret = await work.locked(Secret, id)
        if call.who.workspace_id not in (None, secret.owner_id):
            raise not_found("secret", "input", "id")
        if expected_version not in (None, secret.sealed_version):
            raise Refusal(RefusalCode.CONFLICT, "It has changed.", field=("input", "expectedVersion"), current=secret)
        await work.session.delete(secret)
        await work.session.flush()
        await _remember_gone(work, [secret])
        _tell(work, secret, "secret.deleted", secret.facets(), gone=True)
    return secret


async def use_secret(call: Call, secret_id: UUID, purpose: str) -> str:
    """A secret's value, for our own use of it and never for an answer. Commits that it was used.

    ``purpose`` says for people what it is used for. Raises NOT_FOUND, KeyNotAtHand, Unreadable.
    """
    async with call.work() as work:
        secret = await work.session.scalar(
            select(Secret)
            .where(Secret.tenant_id == work.tenant_id, Secret.id == secret_id)
            .options(undefer(Secret.sealed))
        )
        return await _opened(call, work, secret, purpose)


async def use_workspace_secret(call: Call, workspace_id: UUID, key: str, purpose: str) -> str:
    """What a workspace finds under ``key``: its own value, or else the tenant's. As ``use_secret`` otherwise."""
    async with call.work() as work:
        secret = await effective_secret(work.session, workspace_id, key)
        return await _opened(call, work, secret, purpose)


async def _opened(call: Call, work: UnitOfWork, secret: Secret | None, purpose: str) -> str:
    if secret is None:
        raise not_found("secret")
    return await open_secret(call.services.keyring, work, secret, purpose)


def _cleaned(key: str, value: str) -> bytes:
    if not _KEY.fullmatch(key):
        raise invalid("A key has 1 to 128 letters, digits and _ . - and begins with a letter or _.", "input", "key")
    return plaintext_of(value, "value")


def _refuse_foreign_key(call: Call, owner_id: UUID) -> None:
    if call.who.workspace_id not in (None, owner_id):
        raise Forbidden("This token belongs to another workspace.")


async def _lock_owner(work: UnitOfWork, owner: Owner) -> None:
    """Secrets of one owner are set one after the other. Raises NOT_FOUND."""
    if owner.kind is SecretOwner.TENANT:
        if owner.id != work.tenant_id:
            raise not_found("owner", "input", "ownerId")
        await work.session.execute(select(Tenant.id).where(Tenant.id == owner.id).with_for_update(key_share=True))
        return
    (model,) = (model for model, kind in _MODELS.items() if kind is owner.kind)
    row = await work.locked(model, owner.id, "input", "ownerId", what="owner")
    if isinstance(row, Workspace) and row.status is WorkspaceStatus.REMOVED:
        raise not_found("owner", "input", "ownerId")


async def _found(work: UnitOfWork, owner: Owner, key: str) -> Secret | None:
    found: Secret | None = await work.session.scalar(
        select(Secret)
        .where(*_of(work, owner), Secret.key == key)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    return found


async def _refuse_too_many(work: UnitOfWork, owner: Owner) -> None:
    count = await work.session.scalar(select(func.count()).select_from(Secret).where(*_of(work, owner)))
    if (count or 0) >= MAX_SECRETS:
        raise Refusal(RefusalCode.LIMIT_EXCEEDED, f"An owner holds at most {MAX_SECRETS} secrets.")


def _of(work: UnitOfWork, owner: Owner) -> tuple[Any, ...]:
    return Secret.tenant_id == work.tenant_id, Secret.owner_id == owner.id, Secret.owner_type == owner.kind


def _tell(work: UnitOfWork, secret: Secret, kind: str, before: dict[str, Any] | None, *, gone: bool = False) -> None:
    work.tell(secret, kind, before, {"key": secret.key, "owner": secret.owner_typeid}, gone=gone)
