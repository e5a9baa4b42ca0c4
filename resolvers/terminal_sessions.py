"""This module is where it is recorded who was at which server, and why. The gateway opens no session itself.

Security boundary: a person records their own stay; a machine, which connects for people, says for whom.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from dataloaders.infrastructure import is_there
from models import Alert, Scope, Server, TerminalSession, User
from models.errors import Forbidden, invalid, not_found
from models.ids import uuid7
from resolvers.call import Call
from resolvers.unit_of_work import UnitOfWork
from resolvers.validation import line

PATH_LIMIT: Final = 1_024
LONGEST_AGO: Final = timedelta(days=1)
"""How long after the fact a session is still recorded."""

_AHEAD: Final = timedelta(minutes=5)
"""How far another machine's clock may be ahead of ours."""


async def start_terminal_session(
    call: Call,
    *,
    server_id: UUID,
    alert_id: UUID | None = None,
    user_id: UUID | None = None,
    started_at: datetime | None = None,
) -> TerminalSession:
    """Somebody is at a server: the caller, or whom a machine names. Raises FORBIDDEN, NOT_FOUND, INVALID. Commits."""
    if user_id is not None and user_id != call.who.member_id and call.who.user_id is not None:
        raise Forbidden("A person records their own sessions.")
    async with call.work() as work:
        server = await work.locked(Server, server_id, "input", "serverId")
        session = TerminalSession(
            id=uuid7(),
            server_id=server.id,
            server_name=server.name,
            alert_id=alert_id,
            user_id=user_id or call.who.member_id,
            started_at=_moment(work, started_at, "startedAt"),
        )
        if user_id is not None and not await is_there(work.session, User, user_id):
            raise not_found("user", "input", "userId")
        if alert_id is not None and not await is_there(work.session, Alert, alert_id):
            raise not_found("alert", "input", "alertId")
        work.add(session)
        await work.session.flush()
        work.tell(session, "terminal.started", None)
    return session


async def end_terminal_session(
    call: Call, *, id: UUID, recording_path: str | None = None, ended_at: datetime | None = None
) -> TerminalSession:
    """Somebody has left, and where what they did is recorded. Commits.

    Raises NOT_FOUND, also for another person's session; INVALID; ILLEGAL_TRANSITION when it ended before.
    """
    path = _path(recording_path) if recording_path is not None else None
    async with call.work() as work:
        session = await work.locked(TerminalSession, id, what="terminal session")
        _refuse_stranger(call, session)
        before = session.facets()
        at = _moment(work, ended_at, "endedAt")
        if ended_at is not None and at < session.started_at:
            raise invalid("A session ends after it began.", "input", "endedAt")
        session.end(at)
        session.recording_path = path
        seconds = int((at - session.started_at).total_seconds())
        work.tell(session, "terminal.ended", before, {"seconds": max(seconds, 0), "recorded": path is not None})
    return session


def _refuse_stranger(call: Call, session: TerminalSession) -> None:
    is_person = call.who.user_id is not None
    if is_person and session.user_id != call.who.member_id and not call.allows(Scope.SERVERS_MANAGE):
        raise not_found("terminal session", "input", "id")


def _moment(work: UnitOfWork, said: datetime | None, field: str) -> datetime:
    if said is None:
        return work.now
    if not work.now - LONGEST_AGO <= said <= work.now + _AHEAD:
        raise invalid("This is a moment of the last 24 hours.", "input", field)
    return min(said, work.now)


def _path(value: str) -> str:
    path = line(value, PATH_LIMIT, "recordingPath")
    if ".." in path.replace("\\", "/").split("/"):
        raise invalid("A path does not lead upwards.", "input", "recordingPath")
    return path
