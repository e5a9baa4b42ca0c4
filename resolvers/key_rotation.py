"""This module is where data keys are replaced: what the old one sealed is sealed anew, a batch at a time.

It may be cut off anywhere. A retiring key stays until the database itself agrees that nothing refers to it, so whoever
starts again finds where it stopped, and whoever writes meanwhile is never left with an envelope that no key opens.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import undefer

from models import Base, EventTopic, Scope, SealedRow, Tenant, TenantKey, TenantKeyState
from models.database import Database
from models.envelope import Unreadable, seal
from models.ids import NIL, encode
from resolvers.administration import operator_call
from resolvers.call import Call, Services
from resolvers.unit_of_work import UnitOfWork
from subscriptions.log import Envelope

BATCH: Final = 100
_ROUNDS: Final = 10
"""Of looking for what was sealed under the old key while it was being replaced."""


@dataclass(slots=True)
class Rotation:
    """What a rotation has done so far."""

    tenants: int = 0
    keys: int = 0
    rows: int = 0
    unreadable: list[str] = field(default_factory=list)
    """``table id`` of what no key opens; their data keys stay."""


async def rotate_keys(services: Services, made_before: datetime | None = None) -> AsyncIterator[Rotation]:
    """Replace each data key that the provider's first key did not wrap, or that is older than ``made_before``.

    Yields what is done after each tenant. Commits batch by batch; raises KeyNotAtHand, Unavailable, and may then be
    started again.
    """
    done = Rotation()
    async for tenant_id in _tenants(services.database):
        await _rotate_tenant(operator_call(services, tenant_id), made_before, done)
        done.tenants += 1
        yield done


async def _tenants(database: Database) -> AsyncIterator[UUID]:
    after = NIL
    while True:
        async with database.connection(database.platform) as connection:
            page = select(Tenant.id).where(Tenant.id > after).order_by(Tenant.id).limit(1000)
            ids = list(await connection.scalars(page))
        for one in ids:
            yield one
        if not ids:
            return
        after = ids[-1]


async def _rotate_tenant(call: Call, made_before: datetime | None, done: Rotation) -> None:
    for key in await _retiring(call, made_before):
        rows, unreadable = 0, len(done.unreadable)
        for _ in range(_ROUNDS):
            for model in _sealed():
                rows += await _seal_anew(call, model, key, done)
            if len(done.unreadable) > unreadable or await _ended(call, key, rows):
                break
        done.rows += rows
        done.keys += 1


async def _retiring(call: Call, made_before: datetime | None) -> list[TenantKey]:
    """The tenant's keys that only open any more, after its sealing key has become one if its time has come."""
    keyring = call.services.keyring
    async with call.work() as work:
        # The tenant's row first: two rotations at once take turns, and the second sees what the first did.
        await work.session.execute(select(Tenant.id).where(Tenant.id == work.tenant_id).with_for_update(key_share=True))
        keys = list(
            await work.session.scalars(
                select(TenantKey).where(TenantKey.tenant_id == work.tenant_id).order_by(TenantKey.version)
            )
        )
        retiring = [key for key in keys if key.state is TenantKeyState.RETIRING]
        for key in keys:
            is_old = made_before is not None and key.created_at < made_before
            if key.state is TenantKeyState.ACTIVE and (is_old or key.key_encryption_key != keyring.provider.name):
                await keyring.renew(work.session, key)
                retiring.append(key)
        work.session.expunge_all()
    return retiring


async def _seal_anew(call: Call, model: type[SealedRow], key: TenantKey, done: Rotation) -> int:
    """Seal what ``key`` sealed under the tenant's present key; returns how many rows."""
    sealed, after = 0, NIL
    while True:
        async with call.work() as work:
            rows = await _batch(work, model, key, after)
            if not rows:
                return sealed
            old = await call.services.keyring.of(work.session, key.id)
            new = await call.services.keyring.current(work.session)
            for row in rows:
                try:
                    envelope = seal(row.unseal(old), new, row.binding)
                except Unreadable:
                    done.unreadable.append(f"{model.__tablename__} {row.typeid}")
                    continue
                # Compared and swapped: a value that was set in the meantime stays.
                swapped = await work.session.execute(
                    update(model)
                    .where(
                        model.tenant_id == work.tenant_id,
                        model.id == row.id,
                        model.key_id == key.id,
                        model.sealed_version == row.sealed_version,
                    )
                    .values(key_id=new.id, sealed=envelope, updated_at=model.updated_at)
                    .execution_options(synchronize_session=False)
                    .returning(model.id)
                )
                sealed += len(swapped.all())
            after = rows[-1].id
            work.session.expunge_all()


async def _batch(work: UnitOfWork, model: type[SealedRow], key: TenantKey, after: UUID) -> list[SealedRow]:
    statement = (
        select(model)
        .where(model.tenant_id == work.tenant_id, model.key_id == key.id, model.id > after)
        .order_by(model.id)
        .limit(BATCH)
        .options(undefer(model.sealed))
    )
    return list(await work.session.scalars(statement))


async def _ended(call: Call, key: TenantKey, rows: int) -> bool:
    """Whether the key is gone; not while an envelope refers to it, which only the database can say for sure."""
    try:
        async with call.work() as work:
            gone = await work.session.scalar(
                delete(TenantKey)
                .where(
                    TenantKey.tenant_id == work.tenant_id,
                    TenantKey.id == key.id,
                    TenantKey.state == TenantKeyState.RETIRING,
                )
                .returning(TenantKey.id)
            )
            if gone is not None:
                _record(work, key, rows)
    except IntegrityError:
        return False
    return True


def _record(work: UnitOfWork, key: TenantKey, rows: int) -> None:
    work.record(
        Envelope(
            topic=EventTopic.SECURITY,
            kind="secrets.rotated",
            entity_type=Tenant.__typeid__,
            entity_id=work.tenant_id,
            required_scope=Scope.SECRETS_READ,
            before=None,
            after=None,
            payload={"endedKey": encode(TenantKey.__typeid__, key.id), "keyVersion": key.version, "sealedAnew": rows},
        )
    )


def _sealed() -> list[type[SealedRow]]:
    models = [one.class_ for one in Base.registry.mappers if issubclass(one.class_, SealedRow)]
    return sorted(models, key=lambda one: one.__tablename__)
