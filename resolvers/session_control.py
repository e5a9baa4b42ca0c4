"""This module is where people end sessions, their own or as admins those of others, and where accounts are unlocked.

Security boundary: without users:write another person's session does not exist.
"""

from __future__ import annotations

from uuid import UUID

from models import Scope, Session, User
from models.errors import Forbidden, not_found
from resolvers.call import Call
from resolvers.post import record
from resolvers.sessions import end_session, end_sessions_of


async def revoke_session(call: Call, *, id: UUID) -> Session:
    """End one session; one that has ended stays as it ended. Raises UNAUTHENTICATED, NOT_FOUND. Commits."""
    who = call.who
    async with call.work() as work:
        session = await work.locked(Session, id, what="session")
        if session.user_id != who.member_id and not call.allows(Scope.USERS_WRITE):
            raise not_found("session", "input", "id")
        reason = "by_owner" if session.user_id == who.member_id else "by_admin"
        await end_session(work, session, "session.revoked", reason=reason)
    call.services.accounts.forget(work.tenant_id)
    return session


async def revoke_other_sessions(call: Call, *, user_id: UUID | None = None) -> int:
    """End every session of a person but the caller's present one; how many. Raises FORBIDDEN, NOT_FOUND. Commits.

    Without ``user_id`` the caller's own; another person's all end, for whoever has users:write.
    """
    who = call.who
    whose = who.member_id if user_id is None else user_id
    if whose is None:
        raise Forbidden("Only people have sessions.")
    if whose != who.member_id:
        call.require(Scope.USERS_WRITE)
    async with call.work() as work:
        user = await work.locked(User, whose, "input", "userId")
        ended = await end_sessions_of(work, user.id, keep=who.session_id)
        if ended:
            record(work, user, "user.sessions_revoked", {"sessionsEnded": ended})
    call.services.accounts.forget(work.tenant_id)
    return ended


async def unlock_user(call: Call, *, id: UUID) -> User:
    """Forget a person's wrong passwords and lift their locks. Raises FORBIDDEN, NOT_FOUND. Commits."""
    call.require(Scope.USERS_WRITE)
    async with call.work() as work:
        user = await work.locked(User, id)
        if await call.services.accounts.unlock(work, user):
            record(work, user, "user.unlocked")
    return user
