"""This module is where sign-ins begin, go on and end: sessions and their families of refresh tokens.

Security boundary: a refresh token works once. Its successor is derived from it, so whoever repeats the call because
the answer was lost gets the same answer for ten seconds; any other reuse means that two hold the family, and ends it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select, update

from models import RefreshToken, Session, User
from models.credentials import SESSION_IDLE, SESSION_LONGEST
from models.ids import encode, uuid7
from resolvers.bearers import Bearer, hash_of, new_refresh_token, successor_of
from resolvers.networks import network_of
from resolvers.unit_of_work import UnitOfWork

RETRY: Final = timedelta(seconds=10)
_AGENT_LENGTH: Final = 512


@dataclass(frozen=True, slots=True)
class Carried:
    """A session that goes on, with the refresh token that carries it from here."""

    user_id: UUID
    session_id: UUID
    refresh_token: str


async def start_session(work: UnitOfWork, user: User, address: str | None, agent: str | None) -> Carried:
    """A new session and its first refresh token, recorded in ``work``."""
    session = Session(
        id=uuid7(),
        user_id=user.id,
        started_at=work.now,
        last_seen_at=work.now,
        address=_clean(address),
        network=network_of(address),
        agent=_clean(agent),
    )
    work.add(session)
    await work.session.flush()  # the token refers to it
    token = new_refresh_token(work.tenant_id, session.id)
    ends_at = work.now + SESSION_LONGEST
    work.add(_token_row(token, session, None, work.now, ends_at))
    _tell(work, session, "session.started", None)
    return Carried(user.id, session.id, token)


async def carry_on(work: UnitOfWork, token: str, bearer: Bearer, refresh_key: bytes) -> Carried | None:
    """Exchange a refresh token for its successor; None is a refusal.

    A refusal may have ended the family: commit ``work`` either way, and refuse after.
    """
    session = await _family(work, bearer)
    presented = await _presented(work, bearer)
    if session is None or session.revoked_at is not None or presented is None or presented.revoked_at is not None:
        return None
    successor = successor_of(token, bearer, refresh_key)
    if presented.used_at is None:
        if presented.expires_at <= work.now:
            return None
        presented.used_at = session.last_seen_at = work.now
        work.add(_token_row(successor, session, presented.id, work.now, presented.absolute_expires_at))
    elif not await _is_retry(work, presented, successor):
        await end_session(work, session, "session.revoked", reason="token_reused")
        return None
    return Carried(session.user_id, session.id, successor)


async def session_of(work: UnitOfWork, bearer: Bearer) -> Session | None:
    """The locked session one of whose refresh tokens, used or not, this is; None when it is none of ours."""
    session = await _family(work, bearer)
    return session if session is not None and await _presented(work, bearer) is not None else None


async def end_session(work: UnitOfWork, session: Session, kind: str, *, reason: str | None = None) -> None:
    """End one session and its tokens, and tell of it; one that has ended stays as it ended."""
    if session.revoked_at is not None:
        return
    before = session.facets()
    session.revoked_at = work.now
    await _revoke_tokens(work, [session.id])
    _tell(work, session, kind, before, reason)


async def end_sessions_of(work: UnitOfWork, user_id: UUID, *, keep: UUID | None = None) -> int:
    """End every session of a person but ``keep``; how many there were. Telling of it is the caller's."""
    ended = await work.session.scalars(
        update(Session)
        .where(
            Session.tenant_id == work.tenant_id,
            Session.user_id == user_id,
            Session.revoked_at.is_(None),
            *([Session.id != keep] if keep is not None else []),
        )
        .values(revoked_at=work.now)
        .returning(Session.id)
        .execution_options(synchronize_session=False)
    )
    ids = list(ended)
    await _revoke_tokens(work, ids)
    return len(ids)


async def _family(work: UnitOfWork, bearer: Bearer) -> Session | None:
    # Locked first, so that two calls with one token follow each other.
    found: Session | None = await work.session.scalar(
        select(Session)
        .where(Session.tenant_id == work.tenant_id, Session.id == bearer.row_id)
        .with_for_update(key_share=True)
    )
    return found


async def _presented(work: UnitOfWork, bearer: Bearer) -> RefreshToken | None:
    found: RefreshToken | None = await work.session.scalar(
        select(RefreshToken).where(
            RefreshToken.tenant_id == work.tenant_id,
            RefreshToken.token_hash == bearer.hash,
            RefreshToken.family_id == bearer.row_id,
        )
    )
    return found


async def _is_retry(work: UnitOfWork, presented: RefreshToken, successor: str) -> bool:
    if presented.used_at is None or work.now - presented.used_at > RETRY:
        return False
    unused = await work.session.scalar(
        select(RefreshToken.id).where(
            RefreshToken.tenant_id == work.tenant_id,
            RefreshToken.token_hash == hash_of(successor),
            RefreshToken.parent_id == presented.id,
            RefreshToken.used_at.is_(None),
        )
    )
    return unused is not None


async def _revoke_tokens(work: UnitOfWork, families: list[UUID]) -> None:
    if not families:
        return
    await work.session.execute(
        update(RefreshToken)
        .where(
            RefreshToken.tenant_id == work.tenant_id,
            RefreshToken.family_id.in_(families),
            RefreshToken.revoked_at.is_(None),
        )
        .values(revoked_at=work.now)
        .execution_options(synchronize_session=False)
    )


def _token_row(
    token: str, session: Session, parent_id: UUID | None, now: datetime, absolute_expires_at: datetime
) -> RefreshToken:
    return RefreshToken(
        user_id=session.user_id,
        family_id=session.id,
        parent_id=parent_id,
        token_hash=hash_of(token),
        expires_at=min(now + SESSION_IDLE, absolute_expires_at),
        absolute_expires_at=absolute_expires_at,
    )


def _tell(
    work: UnitOfWork, session: Session, kind: str, before: dict[str, Any] | None, reason: str | None = None
) -> None:
    payload = {"user": encode(User.__typeid__, session.user_id)} | ({"reason": reason} if reason else {})
    work.tell(session, kind, before, payload, gone=session.revoked_at is not None)


def _clean(text: str | None) -> str | None:
    return text.replace("\x00", "")[:_AGENT_LENGTH] if text else None
