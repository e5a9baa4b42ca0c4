"""This module is where mails that were asked for are written and leave, with tokens that work once.

Security boundary: a mutation only asks for a mail, in its own transaction and whoever it is for, so it tells nobody
who has an account; what is asked for in vain is dropped here. No token is stored, in a mail or elsewhere.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import delete, func, select, update

from dataloaders.mails import claim_mails, tenants_with_due_mails
from models import (
    EventTopic,
    MailKind,
    OneTimePurpose,
    OneTimeToken,
    OutgoingMail,
    Tenant,
    TenantStatus,
    User,
    UserStatus,
)
from models.database import Database
from models.users import email_key
from resolvers.bearers import hash_of, one_time_token
from resolvers.unit_of_work import Announces, UnitOfWork, unit_of_work

LIFETIME: Final = {
    MailKind.PASSWORD_RESET: timedelta(hours=1),
    MailKind.EMAIL_VERIFICATION: timedelta(days=1),
    MailKind.INVITATION: timedelta(days=7),
    MailKind.PASSWORD_CHANGED: timedelta(days=1),
}
"""How long a mail is tried to be sent, and from then on its token works."""

SETS_PASSWORD: Final = frozenset({OneTimePurpose.PASSWORD_RESET, OneTimePurpose.INVITATION})
"""What a token is for that takes a new password."""

MOST_AN_HOUR: Final = 3
"""Mails of one kind to one person: nobody's mailbox is to be filled by whoever knows its address."""

_AT_ONCE: Final = 8
_PATIENCE_SECONDS: Final = 20.0  # less than the first retry, or a mail could be under way twice
_log = logging.getLogger(__name__)


class Undeliverable(Exception):
    """This mail will never be taken; trying again is no use."""


class Postponed(Exception):
    """This mail is not taken now."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One mail, as the sender writes it."""

    id: UUID
    kind: MailKind
    to: str
    name: str
    tenant: str
    token: str | None = None
    expires_at: datetime | None = None


Send = Callable[[Letter], Awaitable[None]]
"""Hands a letter over. Raises Undeliverable or Postponed."""


def ask_for_mail(work: UnitOfWork, kind: MailKind, user_id: UUID | None) -> None:
    """A mail that leaves after ``work`` is committed; nobody's is written and dropped, to take as long."""
    work.add(OutgoingMail(kind=kind, user_id=user_id, due_at=work.now, asked_at=work.now, attempts=0))


def address_hash(user: User) -> str:
    """What tells the person's present address from an earlier one."""
    return hashlib.sha256(email_key(user.email or "").encode()).hexdigest()


async def void_tokens(work: UnitOfWork, user: User) -> None:
    """From now on no mail that was sent before sets the person's password."""
    await work.session.execute(
        update(OneTimeToken)
        .where(
            OneTimeToken.tenant_id == work.tenant_id,
            OneTimeToken.user_id == user.id,
            OneTimeToken.purpose.in_(SETS_PASSWORD),
            OneTimeToken.used_at.is_(None),
        )
        .values(used_at=work.now)
        .execution_options(synchronize_session=False)
    )


class Post:
    """Sends the mails of all tenants; any number of workers may."""

    def __init__(
        self, database: Database, announcer: Announces, clock: Callable[[], datetime], key: bytes, send: Send
    ) -> None:
        self._database = database
        self._announcer = announcer
        self._clock = clock
        self._key = key
        self._send = send

    async def deliver_due(self) -> int:
        """Send what is due; how many left. What fails stays and is tried again. Raises Unavailable."""
        sent = 0
        for tenant_id in await tenants_with_due_mails(self._database, self._clock()):
            async with self._database.session(tenant_id) as session:
                claimed = list(await claim_mails(session, self._clock(), _AT_ONCE))
                await session.commit()
            async with asyncio.TaskGroup() as tasks:
                running = [
                    tasks.create_task(self._deliver(tenant_id, mail), name=f"mail {mail.id}") for mail in claimed
                ]
            sent += sum(one.result() for one in running)
        return sent

    async def _deliver(self, tenant_id: UUID, mail: OutgoingMail) -> bool:
        letter = await self._write(tenant_id, mail)
        sent = False
        if letter is not None:
            try:
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    await self._send(letter)
                sent = True
            except Undeliverable as error:
                _log.warning("mail %s (%s) is undeliverable: %s", mail.id, mail.kind.value, error)
            except (Postponed, TimeoutError) as error:
                _log.warning("mail %s (%s) has to wait: %s", mail.id, mail.kind.value, error or "no answer in time")
                return False
        async with self._database.session(tenant_id) as session:
            await session.execute(
                delete(OutgoingMail).where(OutgoingMail.tenant_id == tenant_id, OutgoingMail.id == mail.id)
            )
            await session.commit()
        return sent

    async def _write(self, tenant_id: UUID, mail: OutgoingMail) -> Letter | None:
        """The letter, its token's hash committed; None for a mail that is not to be sent."""
        if mail.user_id is None:
            return None
        async with self._work(tenant_id) as work:
            if work.now - mail.asked_at >= LIFETIME[mail.kind]:
                _log.warning("mail %s (%s) was given up after %s tries", mail.id, mail.kind.value, mail.attempts)
                return None
            user = await work.session.get(User, (tenant_id, mail.user_id), with_for_update={"key_share": True})
            tenant = (await work.session.scalars(select(Tenant).where(Tenant.id == tenant_id))).one()
            if user is None or tenant.status is not TenantStatus.ACTIVE or not _may_have(user, mail.kind):
                return None
            token = None
            if mail.kind is not MailKind.PASSWORD_CHANGED:
                token = await self._token(work, user, mail)
                if token is None:
                    return None
        assert user.email is not None
        text, expires_at = token or (None, None)
        return Letter(mail.id, mail.kind, user.email, user.shown_name, tenant.name, text, expires_at)

    async def _token(self, work: UnitOfWork, user: User, mail: OutgoingMail) -> tuple[str, datetime] | None:
        """The mail's token and when it ends, the same at every try; None when it may not have one any more."""
        purpose = OneTimePurpose(mail.kind.value)
        text = one_time_token(self._key, purpose.value, work.tenant_id, mail.id)
        row = await work.session.get(OneTimeToken, (work.tenant_id, mail.id))
        if row is not None:
            # Under a new key since the first try its hash is another one.
            row.token_hash = hash_of(text)
            return (text, row.expires_at) if row.used_at is None and row.sent_to == address_hash(user) else None
        if await _had_enough(work, user, purpose):
            return None
        expires_at = work.now + LIFETIME[mail.kind]
        work.add(
            OneTimeToken(
                id=mail.id,
                user_id=user.id,
                purpose=purpose,
                token_hash=hash_of(text),
                sent_to=address_hash(user),
                expires_at=expires_at,
            )
        )
        record(work, user, f"user.{purpose.value}_sent")
        return text, expires_at

    def _work(self, tenant_id: UUID) -> Any:
        return unit_of_work(self._database, self._announcer, self._clock, tenant_id, None)


def record(work: UnitOfWork, user: User, kind: str, payload: dict[str, Any] | None = None) -> None:
    """Tell what happened to a person's credentials; never with what."""
    facets = user.facets()
    work.tell(user, kind, facets, payload, topic=EventTopic.SECURITY)


def _may_have(user: User, kind: MailKind) -> bool:
    if user.email is None or user.deleted_at is not None:
        return False
    if kind in {MailKind.INVITATION, MailKind.PASSWORD_RESET} and user.signs_in_elsewhere:
        return False  # they have no password here
    if kind is MailKind.INVITATION:
        return user.status is UserStatus.PENDING
    if kind is MailKind.EMAIL_VERIFICATION and user.email_verified:
        return False
    return user.status is UserStatus.ACTIVE


async def _had_enough(work: UnitOfWork, user: User, purpose: OneTimePurpose) -> bool:
    lately = work.now + LIFETIME[MailKind(purpose.value)] - timedelta(hours=1)
    count = await work.session.scalar(
        select(func.count())
        .select_from(OneTimeToken)
        .where(
            OneTimeToken.tenant_id == work.tenant_id,
            OneTimeToken.user_id == user.id,
            OneTimeToken.purpose == purpose,
            OneTimeToken.expires_at > lately,
        )
    )
    return (count or 0) >= MOST_AN_HOUR
