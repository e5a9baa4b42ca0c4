"""This module is where a person is forgotten: what is theirs is deleted, what must stay no longer knows them.

Security boundary: erasure is the one change that cannot be taken back. Rows that hang on the person, and those kept
under their address, are deleted; the account keeps its id and nothing else; and the key of their part of the audit log
is destroyed. The log's chain, which is over what is sealed, stands.
"""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from sqlalchemy import Table, delete, func, or_, select

from dataloaders.messages import being_answered
from models import AccessType, DataCategory, LegalBasis, Message, Role, Scope, User, UserStatus
from models.base import Base
from models.errors import Refusal, RefusalCode, not_found
from resolvers.call import Call
from resolvers.conversations import end_replies
from resolvers.data_access import Access
from resolvers.person_keys import destroy_key
from resolvers.unit_of_work import UnitOfWork
from resolvers.users import require_admin

KEPT: Final = frozenset({"tenant_id", "id", "created_at", "updated_at", "search"})
"""Columns of a person that erasure leaves alone; ``search`` follows from the others."""

EMPTIED: Final[dict[str, Any]] = {
    "roles": [],
    "is_platform_admin": False,
    "email_verified": False,
    "failed_login_attempts": 0,
    "preferences": {},
    "status": UserStatus.DELETED,
}
"""What stands in columns that must hold something; every other one holds nothing afterwards."""


async def erase_user(call: Call, *, id: UUID) -> User:
    """Forget a person for good; again is no error. What is left of them, which is their id.

    Raises FORBIDDEN, NOT_FOUND, ILLEGAL_TRANSITION for the last active admin. Commits.
    """
    call.require(Scope.PRIVACY_WRITE)
    async with call.work() as work:
        user = await _locked(call, work, id)
        answered = await being_answered(work.session, Message.user_id == user.id)
        deleted = await _delete_what_hangs_on(work, user.id)
        # Kept under a hash of the address, which no foreign key leads to; so while there still is an address.
        if failures := await call.services.accounts.forget_failures(work, user):
            deleted["sign_in_failures"] = failures
        # Before anything is audited: what they were is sealed under a key that is gone, and so is not kept at all.
        await destroy_key(work.session, work.keys, user.id, work.now)
        _empty(user)
        user.deleted_at = user.deleted_at or work.now
        user.authorization_version += 1
        await work.session.flush()
        work.note_access(
            Access(
                subject=(User.__typeid__, user.id),
                category=DataCategory.ACCOUNT,
                kind=AccessType.ERASURE,
                purpose="erasure of personal data",
                legal_basis=LegalBasis.LEGAL_OBLIGATION,
            )
        )
        work.tell(user, "user.erased", None, {"deleted": deleted}, gone=True)
    call.services.accounts.forget(user.tenant_id)
    await end_replies(call, answered)
    return user


async def _locked(call: Call, work: UnitOfWork, user_id: UUID) -> User:
    """The person, deleted or not, locked together with every active admin, in the order of their ids."""
    is_admin = or_(func.array_position(User.roles, Role.ADMIN.value).is_not(None), User.is_platform_admin)
    active = (User.status == UserStatus.ACTIVE) & User.deleted_at.is_(None) & is_admin
    rows = await work.session.scalars(
        select(User)
        .where(User.tenant_id == work.tenant_id, or_(User.id == user_id, active))
        .order_by(User.id)
        .with_for_update(key_share=True)
    )
    found = {row.id: row for row in rows}
    user = found.pop(user_id, None)
    if user is None:
        raise not_found("user", "input", "id")
    if Role.ADMIN in user.granted_roles or user.is_platform_admin:
        require_admin(call.who)
        if not found and user.status is UserStatus.ACTIVE:
            raise Refusal(
                RefusalCode.ILLEGAL_TRANSITION, "The last active admin stays one.", field=("input", "id"), current=user
            )
    return user


async def _delete_what_hangs_on(work: UnitOfWork, user_id: UUID) -> dict[str, int]:
    """How many rows of which tables went; refresh tokens go with their sessions."""
    deleted = {}
    for table, column in hanging_on_people():
        result: Any = await work.session.execute(
            delete(table).where(table.c.tenant_id == work.tenant_id, table.c[column] == user_id)
        )
        if result.rowcount:
            deleted[str(table.name)] = int(result.rowcount)
    return deleted


def hanging_on_people() -> list[tuple[Table, str]]:
    """Tables whose rows end with their person, and the column that names the person: told from their foreign keys."""
    return [
        (table, column.name)
        for table in reversed(Base.metadata.sorted_tables)
        for constraint in table.foreign_key_constraints
        if constraint.referred_table.name == User.__tablename__ and constraint.ondelete == "CASCADE"
        for column in constraint.columns
        if column.name != "tenant_id"
    ]


def _empty(user: User) -> None:
    for column in User.__table__.columns:
        if column.name in KEPT or column.name == "deleted_at":
            continue
        if column.name in EMPTIED:
            setattr(user, column.name, EMPTIED[column.name])
        elif column.nullable:
            setattr(user, column.name, None)
