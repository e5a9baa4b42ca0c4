"""This module is where people get in without a password: invited, by a forgotten one's reset, by proof of an address.

Security boundary: asking for a mail takes the same statements and gives the same answer whoever it is for. A token
works once, for what it was made for, for the address it was sent to.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

from sqlalchemy import select

from dataloaders.users import user_by_email
from models import (
    PLATFORM_TENANT_ID,
    MailKind,
    OneTimePurpose,
    OneTimeToken,
    Role,
    Scope,
    Tenant,
    TenantStatus,
    User,
    UserStatus,
)
from models.errors import Forbidden, LimitExceeded, Refusal, RefusalCode, Unavailable
from resolvers.bearers import Bearer, read_one_time_token
from resolvers.call import Call
from resolvers.passwords import refuse_unfit
from resolvers.post import SETS_PASSWORD, address_hash, ask_for_mail, record, void_tokens
from resolvers.sessions import end_sessions_of
from resolvers.sign_in import spend_password, wrong
from resolvers.unit_of_work import UnitOfWork, unit_of_work
from resolvers.users import create_user


async def request_password_reset(call: Call, *, tenant_slug: str | None = None, email: str) -> None:
    """Ask for a mail that lets its reader set a new password. Raises LIMIT_EXCEEDED, UNAVAILABLE. Commits.

    Nothing tells whether anybody has the address; without ``tenant_slug`` only platform administrators do.
    """
    _refuse_without_post(call)
    if "mail" in call.done_once:
        raise LimitExceeded("One operation asks for one mail.")
    call.done_once.add("mail")
    accounts = call.services.accounts
    async with accounts.evenly():
        place = await accounts.place(tenant_slug)
        async with call.services.database.session(place.tenant_id) as session:
            user = await user_by_email(session, email)
        is_meant = (
            user is not None and place.is_open and (user.is_platform_admin or user.tenant_id != PLATFORM_TENANT_ID)
        )
        async with call.work(place.tenant_id) as work:
            ask_for_mail(work, MailKind.PASSWORD_RESET, user.id if user is not None and is_meant else None)


async def reset_password(call: Call, *, token: str, new_password: str) -> None:
    """Set a password by the token of a mail; ends every session of the person. Commits.

    An invitation's token makes the account active. Raises INVALID, INVALID_CREDENTIALS, EXPIRED, LIMIT_EXCEEDED,
    THROTTLED.
    """
    refuse_unfit(new_password, "newPassword")
    spend_password(call)
    bearer, found = await _found(call, token, SETS_PASSWORD)
    # Before the transaction: a row lock or a connection must not wait for argon2.
    fresh = await call.services.accounts.hash_password(new_password, "newPassword")
    async with _used(call, bearer, found) as (work, user):
        _refuse_unless(user, UserStatus.PENDING if found.purpose is OneTimePurpose.INVITATION else UserStatus.ACTIVE)
        user.password_hash = fresh
        user.email_verified = True
        if user.status is UserStatus.PENDING:
            user.status = UserStatus.ACTIVE
            user.authorization_version += 1
        ended = await end_sessions_of(work, user.id)
        await call.services.accounts.unlock(work, user)
        await void_tokens(work, user)
        if found.purpose is OneTimePurpose.INVITATION:
            record(work, user, "user.invitation_accepted")
        else:
            record(work, user, "user.password_reset", {"sessionsEnded": ended})
            ask_for_mail(work, MailKind.PASSWORD_CHANGED, user.id)
    call.services.accounts.forget(bearer.tenant_id)


async def verify_email(call: Call, *, token: str) -> None:
    """Prove an address by the token of a mail to it. Raises INVALID_CREDENTIALS, EXPIRED. Commits."""
    bearer, found = await _found(call, token, {OneTimePurpose.EMAIL_VERIFICATION})
    async with _used(call, bearer, found) as (work, user):
        if user.status is not UserStatus.ACTIVE:
            raise wrong("The token is not valid.", "token")
        if not user.email_verified:
            user.email_verified = True
            record(work, user, "user.email_verified")


async def request_email_verification(call: Call, *, user_id: UUID | None = None) -> None:
    """Ask for a mail that lets its reader prove the address; the caller's own without ``user_id``. Commits.

    Another person's needs users:write. Raises FORBIDDEN, NOT_FOUND, ILLEGAL_TRANSITION, UNAVAILABLE.
    """
    whose = call.who.member_id if user_id is None else user_id
    if whose is None:
        raise Forbidden("Only people have addresses.")
    if whose != call.who.member_id:
        call.require(Scope.USERS_WRITE)
    _refuse_without_post(call)
    async with call.work() as work:
        user = await work.locked(User, whose, "input", "userId")
        if user.email is None or user.email_verified or user.status is not UserStatus.ACTIVE:
            raise Refusal(RefusalCode.ILLEGAL_TRANSITION, "There is no address to prove.", field=("input", "userId"))
        ask_for_mail(work, MailKind.EMAIL_VERIFICATION, user.id)


async def invite_user(
    call: Call,
    *,
    email: str,
    roles: Sequence[Role],
    username: str | None = None,
    display_name: str | None = None,
    department: str | None = None,
) -> User:
    """A new person who is pending until they set a password by the mail they get. Commits.

    Raises FORBIDDEN, INVALID, ALREADY_EXISTS, UNAVAILABLE.
    """
    call.require(Scope.USERS_WRITE)
    _refuse_without_post(call)
    return await create_user(
        call,
        email=email,
        roles=roles,
        username=username,
        display_name=display_name,
        department=department,
        is_invited=True,
    )


async def resend_invitation(call: Call, *, id: UUID) -> User:
    """Another mail to somebody who was invited. Raises FORBIDDEN, NOT_FOUND, ILLEGAL_TRANSITION. Commits."""
    call.require(Scope.USERS_WRITE)
    _refuse_without_post(call)
    async with call.work() as work:
        user = await work.locked(User, id)
        if user.status is not UserStatus.PENDING or user.email is None:
            raise Refusal(
                RefusalCode.ILLEGAL_TRANSITION,
                "Only somebody who is pending can be invited.",
                field=("input", "id"),
                current=user,
            )
        ask_for_mail(work, MailKind.INVITATION, user.id)
        record(work, user, "user.invited")
    return user


def _refuse_without_post(call: Call) -> None:
    if call.services.post is None:
        raise Unavailable("This gateway has no mail server; its operator can set one.")


async def _found(call: Call, text: str, purposes: Collection[OneTimePurpose]) -> tuple[Bearer, OneTimeToken]:
    """The token's row. Raises INVALID_CREDENTIALS, or EXPIRED for one that was good."""
    bearer = read_one_time_token(text)
    row = None
    if bearer is not None:
        async with call.services.database.session(bearer.tenant_id) as session:
            row = await session.get(OneTimeToken, (bearer.tenant_id, bearer.row_id))
    if bearer is None or row is None or not bearer.proves(row.token_hash) or row.purpose not in purposes:
        raise wrong("The token is not valid.", "token")
    _refuse_spent(row, call.services.clock())
    return bearer, row


@asynccontextmanager
async def _used(call: Call, bearer: Bearer, found: OneTimeToken) -> AsyncIterator[tuple[UnitOfWork, User]]:
    """A unit of work in which the token has just been used, with the locked person. Raises like ``_found``."""
    services, actor = call.services, (User.__typeid__, found.user_id)
    tenant_id = bearer.tenant_id
    async with unit_of_work(
        services.database, services.announcer, services.clock, tenant_id, actor, origin=call.origin(tenant_id)
    ) as work:
        # The person first, as everywhere, so that two who use it at once follow each other.
        user = await work.session.get(User, (work.tenant_id, found.user_id), with_for_update={"key_share": True})
        row = await work.session.get(OneTimeToken, (work.tenant_id, found.id), with_for_update={"key_share": True})
        tenant = await work.session.scalar(select(Tenant.status).where(Tenant.id == work.tenant_id))
        if user is None or row is None or row.sent_to != address_hash(user) or tenant is not TenantStatus.ACTIVE:
            raise wrong("The token is not valid.", "token")
        _refuse_spent(row, work.now)
        row.used_at = work.now
        yield work, user


def _refuse_spent(row: OneTimeToken, now: datetime) -> None:
    if row.used_at is not None or row.expires_at <= now:
        raise Refusal(RefusalCode.EXPIRED, "The token was used, or its time is over.", field=("input", "token"))


def _refuse_unless(user: User, status: UserStatus) -> None:
    # Whom the tenant's identity provider signs in has no password here.
    if user.status is not status or user.deleted_at is not None or user.signs_in_elsewhere:
        raise wrong("The token is not valid.", "token")
