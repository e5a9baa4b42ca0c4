"""This module is where people are managed: created, given roles, suspended, and where they edit their own profile.

Security boundary: only an admin gives roles, and a tenant keeps at least one active admin whatever is done at once.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any, Final, TypedDict, Unpack
from uuid import UUID

from sqlalchemy import func, or_, select

from models import PLATFORM_TENANT_ID, MailKind, Role, Scope, User, UserStatus
from models.errors import Forbidden, Refusal, RefusalCode, invalid, not_found
from models.ids import uuid7
from models.users import email_key
from resolvers.agent_links import check_provider
from resolvers.call import Call
from resolvers.changing import refuse_cleared
from resolvers.post import ask_for_mail
from resolvers.principal import Principal
from resolvers.sessions import end_sessions_of
from resolvers.shapes import preferences
from resolvers.uniqueness import flush_unique
from resolvers.unit_of_work import UnitOfWork
from resolvers.validation import line, web_address

NAME_LIMIT: Final = 100
EMAIL_LIMIT: Final = 254
OWN_PROFILE: Final = frozenset({"display_name", "avatar_url", "preferences", "default_llm_provider_id"})

# No quoted local parts and no address literals: nobody signs in with them, and they break what is shown.
_EMAIL: Final = re.compile(
    r"[^\s@\x00-\x1f\x7f\"(),:;<>\[\]\\]{1,64}@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+[^\W\d_][\w-]{1,62}"
)
# Without an @, so that a name that is searched and logged is never an address.
_USERNAME: Final = re.compile(r"[^\W_][\w.-]{1,99}")

_TAKEN: Final = {
    "uq_users_email_key": ("email", "Somebody has this address already."),
    "uq_users_username": ("username", "Somebody has this name already."),
}
_LEGAL: Final = {
    UserStatus.PENDING: {UserStatus.ACTIVE, UserStatus.SUSPENDED, UserStatus.DELETED},
    UserStatus.ACTIVE: {UserStatus.SUSPENDED, UserStatus.DELETED},
    UserStatus.SUSPENDED: {UserStatus.ACTIVE, UserStatus.DELETED},
    UserStatus.DELETED: set[UserStatus](),
}


class UserChanges(TypedDict, total=False):
    """What an update may say; absent stays, None clears."""

    username: str | None
    display_name: str | None
    avatar_url: str | None
    department: str | None
    roles: Sequence[Role]
    status: UserStatus
    preferences: dict[str, Any] | None
    default_llm_provider_id: UUID | None


async def create_user(
    call: Call,
    *,
    email: str,
    roles: Sequence[Role],
    password: str | None = None,
    username: str | None = None,
    display_name: str | None = None,
    department: str | None = None,
    is_invited: bool = False,
) -> User:
    """A new person: active with a password, pending without; who ``is_invited`` gets a mail that takes one. Commits.

    Raises FORBIDDEN, INVALID, ALREADY_EXISTS.
    """
    call.require(Scope.USERS_WRITE)
    if roles:
        require_admin(call.who)
    said = UserChanges(username=username, display_name=display_name, department=department, roles=roles)
    user = User(id=uuid7(), **_cleaned(said))
    set_email(user, email)
    if password is not None:
        # Before the transaction: a row lock or a connection must not wait for argon2.
        user.password_hash = await call.services.accounts.hash_password(password, "password")
    user.status = UserStatus.ACTIVE if password is not None else UserStatus.PENDING
    async with call.work() as work:
        work.add(user)
        _crown(user)
        await flush_unique(work, _TAKEN)
        work.tell(user, "user.created", None)
        if is_invited:
            ask_for_mail(work, MailKind.INVITATION, user.id)
    return user


async def update_user(call: Call, *, id: UUID, **changes: Unpack[UserChanges]) -> User:
    """Change a person. Without users:write one changes only one's own profile.

    New roles or a new status end the person's access tokens; suspension and deletion end the sessions too.
    Raises FORBIDDEN, NOT_FOUND, INVALID, ALREADY_EXISTS, ILLEGAL_TRANSITION. Commits.
    """
    who = call.who
    if id != who.member_id or not OWN_PROFILE.issuperset(changes):
        # Asked before the look-up, so that a refusal does not tell who exists.
        call.require(Scope.USERS_WRITE)
    if "roles" in changes:
        require_admin(who)
    cleaned = _cleaned(changes)
    async with call.work() as work:
        # Before the person is locked: whoever deletes a provider locks it first, and then those who prefer it.
        await check_provider(work, cleaned.get("default_llm_provider_id"), "defaultLlmProviderId")
        user = await _locked(work, id, cleaned)
        if "status" in cleaned and Role.ADMIN in user.granted_roles:
            require_admin(who)
        before = user.facets()
        changed = sorted(name for name, value in cleaned.items() if getattr(user, name) != value)
        if "status" in changed:
            _refuse_transition(user, cleaned["status"])
        for name in changed:
            setattr(user, name, cleaned[name])
        if changed:
            await _apply(work, user, changed)
            await flush_unique(work, _TAKEN)
            gone = user.status is UserStatus.DELETED
            kind = "user.deleted" if gone else "user.updated"
            work.tell(user, kind, before, {"changed": changed}, gone=gone)
    call.services.accounts.forget(user.tenant_id)
    return user


async def delete_user(call: Call, *, id: UUID) -> str:
    """End a person's account; its TypeID. History still names them, their address is free again.

    Raises FORBIDDEN, NOT_FOUND, ILLEGAL_TRANSITION for the last active admin. Commits.
    """
    return (await update_user(call, id=id, status=UserStatus.DELETED)).typeid


def require_admin(who: Principal) -> None:
    """Only an admin gives roles, and what gives roles. Raises FORBIDDEN."""
    if not who.is_platform_admin and Role.ADMIN not in who.roles:
        raise Forbidden("Only an admin gives and takes roles.")


async def adopt_roles(work: UnitOfWork, user_id: UUID, roles: Sequence[Role]) -> User:
    """The person, locked, with these roles, which their identity provider says; the last active admin stays one."""
    cleaned = _cleaned(UserChanges(roles=roles))
    try:
        user = await _locked(work, user_id, cleaned)
    except Refusal as refusal:
        if refusal.code is not RefusalCode.ILLEGAL_TRANSITION:
            raise
        return await work.locked(User, user_id)
    if user.roles != cleaned["roles"]:
        before = user.facets()
        user.roles = cleaned["roles"]
        await _apply(work, user, ["roles"])
        work.tell(user, "user.updated", before, {"changed": ["roles"]})
    return user


def set_email(user: User, email: str) -> None:
    """Give the person an address, with what it is found by. Raises INVALID."""
    user.email = email_address(email)
    user.email_key = email_key(user.email)
    user.email_hash = hashlib.sha256(user.email_key.encode()).hexdigest()


def email_address(value: str, field: str = "email") -> str:
    """An address as it was given, trimmed. Raises INVALID for what cannot be one."""
    trimmed = value.strip()
    if len(trimmed) > EMAIL_LIMIT or not _EMAIL.fullmatch(trimmed):
        raise invalid("This is an e-mail address.", "input", field)
    return trimmed


async def _locked(work: UnitOfWork, user_id: UUID, cleaned: dict[str, Any]) -> User:
    """The person, locked; when an admin may be lost, together with every active admin, in the order of their ids."""
    demoted = Role.ADMIN.value not in cleaned.get("roles", [Role.ADMIN.value])
    stopped = cleaned.get("status", UserStatus.ACTIVE) is not UserStatus.ACTIVE
    if not demoted and not stopped:
        return await work.locked(User, user_id)
    # Two admins who demote each other must not both find the other one still there.
    rows = await work.session.scalars(
        select(User)
        .where(
            User.tenant_id == work.tenant_id,
            User.deleted_at.is_(None),
            or_(User.id == user_id, (User.status == UserStatus.ACTIVE) & _is_admin()),
        )
        .order_by(User.id)
        .with_for_update(key_share=True)
    )
    admins = {row.id: row for row in rows}
    user = admins.pop(user_id, None)
    if user is None:
        raise not_found("user", "input", "id")
    was_admin = user.status is UserStatus.ACTIVE and (user.is_platform_admin or Role.ADMIN in user.granted_roles)
    if was_admin and not admins:
        raise Refusal(
            RefusalCode.ILLEGAL_TRANSITION,
            "The last active admin stays one.",
            field=("input", "roles" if demoted else "status"),
            current=user,
        )
    return user


def _is_admin() -> Any:
    return or_(func.array_position(User.roles, Role.ADMIN.value).is_not(None), User.is_platform_admin)


def _refuse_transition(user: User, target: UserStatus) -> None:
    if target not in _LEGAL[user.status]:
        raise Refusal(
            RefusalCode.ILLEGAL_TRANSITION,
            f"A user who is {user.status.value.upper()} cannot become {target.value.upper()}.",
            field=("input", "status"),
            current=user,
        )


async def _apply(work: UnitOfWork, user: User, changed: list[str]) -> None:
    if "roles" in changed:
        _crown(user)
    if "roles" in changed or "status" in changed:
        user.authorization_version += 1
    if "status" in changed and user.status is not UserStatus.ACTIVE:
        await end_sessions_of(work, user.id)
    if user.status is UserStatus.DELETED:
        user.deleted_at = work.now


def _crown(user: User) -> None:
    # Nobody but platform administrators lives in the platform's tenant, and nobody is one elsewhere.
    user.is_platform_admin = user.tenant_id == PLATFORM_TENANT_ID and Role.ADMIN in user.granted_roles


def _cleaned(changes: UserChanges) -> dict[str, Any]:
    cleaned: dict[str, Any] = dict(changes)
    if cleaned.get("username") is not None:
        cleaned["username"] = _username(cleaned["username"])
    for name, field in (("display_name", "displayName"), ("department", "department")):
        if cleaned.get(name) is not None:
            cleaned[name] = line(cleaned[name], NAME_LIMIT, field)
    if cleaned.get("avatar_url") is not None:
        cleaned["avatar_url"] = web_address(cleaned["avatar_url"], "avatarUrl")
    refuse_cleared(cleaned, "roles", "status")
    if "roles" in cleaned:
        cleaned["roles"] = [role.value for role in Role if role in cleaned["roles"]]
    if "preferences" in cleaned:
        cleaned["preferences"] = preferences(cleaned["preferences"] or {})
    return cleaned


def _username(value: str) -> str:
    if not _USERNAME.fullmatch(value):
        raise invalid("A name has 2 to 100 letters, digits, dots, hyphens and underscores.", "input", "username")
    return value
