"""This module is where a person's data is handed over: everything that is theirs, section by section, page by page.

Security boundary: one's own, or with privacy:write anybody's of the tenant; each page leaves a row in the access log,
in the transaction that reads it. Hashes and sealed bytes are nobody's to read.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, LargeBinary, select

from models import (
    AccessType,
    AgentRun,
    ApiKey,
    ApprovalDecision,
    ApprovalRequest,
    AuditEvent,
    AuditLog,
    CanvasViewport,
    Conversation,
    DataAccessLog,
    DataCategory,
    LegalBasis,
    Message,
    QueryEvent,
    Scope,
    Session,
    TerminalSession,
    ToolExecution,
    User,
    UserConsent,
)
from models.changes import REDACTED, redacted
from models.database import TenantSession
from models.errors import invalid, not_found
from models.ids import NIL, encode
from models.sealing import AuditKeys
from resolvers.audit_reading import opened
from resolvers.call import Call
from resolvers.data_access import Access
from resolvers.person_keys import wrapped_keys
from resolvers.unit_of_work import UnitOfWork

PAGE: Final = 100
_UNSAID: Final = frozenset({"tenant_id", "search", "email_key", "email_hash", "password_hash", "seq", "key_id", "mac"})
_CURSOR_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class Section:
    """One part of what is a person's: rows of one table."""

    name: str
    model: Any
    of: Callable[[UUID], ColumnElement[bool]]


SECTIONS: Final = (
    Section("profile", User, lambda user: User.id == user),
    Section("sessions", Session, lambda user: Session.user_id == user),
    Section("consents", UserConsent, lambda user: UserConsent.user_id == user),
    Section("apiKeys", ApiKey, lambda user: ApiKey.created_by == user),
    Section("canvasViewports", CanvasViewport, lambda user: CanvasViewport.user_id == user),
    Section("conversations", Conversation, lambda user: Conversation.user_id == user),
    Section("messages", Message, lambda user: Message.user_id == user),
    Section("agentRuns", AgentRun, lambda user: AgentRun.user_id == user),
    Section("toolExecutions", ToolExecution, lambda user: ToolExecution.user_id == user),
    Section("queryEvents", QueryEvent, lambda user: QueryEvent.user_id == user),
    Section("auditEvents", AuditEvent, lambda user: AuditEvent.user_id == user),
    Section("approvals", ApprovalRequest, lambda user: ApprovalRequest.user_id == user),
    Section("approvalDecisions", ApprovalDecision, lambda user: ApprovalDecision.user_id == user),
    Section("terminalSessions", TerminalSession, lambda user: TerminalSession.user_id == user),
    Section("auditEntriesAbout", AuditLog, lambda user: AuditLog.subject_id == user),
    Section("auditEntriesBy", AuditLog, lambda user: AuditLog.actor_id == user),
    Section("dataAccesses", DataAccessLog, lambda user: DataAccessLog.subject_id == user),
)
"""What is handed over, in this order; a domain that keeps more of people adds its own."""


@dataclass(frozen=True, slots=True)
class ExportPage:
    """Up to 100 items of one section; ``end_cursor`` goes on behind them, in the next section if need be."""

    section: str
    items: list[dict[str, Any]]
    has_next_page: bool
    end_cursor: str | None


async def export_user_data(call: Call, *, id: UUID | None = None, after: str | None = None) -> ExportPage:
    """One page of a person's data; the caller's own when ``id`` is None.

    Raises FORBIDDEN, NOT_FOUND, INVALID for a cursor that is none of this export's. Commits the access it notes.
    """
    user_id = id if id is not None else call.who.member_id or NIL
    if user_id != call.who.member_id:
        # Asked before the look-up, so that a refusal does not tell who exists.
        call.require(Scope.PRIVACY_WRITE)
    number, last = _place(after, user_id)
    async with call.work() as work:
        if await work.session.scalar(_present(work.tenant_id, user_id)) is None:
            raise not_found("user", "input", "id")
        page = await _page(work, user_id, number, last)
        work.note_access(
            Access(
                subject=(User.__typeid__, user_id),
                category=DataCategory.ACCOUNT,
                kind=AccessType.EXPORT,
                purpose="export of personal data",
                legal_basis=LegalBasis.LEGAL_OBLIGATION,
            )
        )
    return page


def _present(tenant_id: UUID, user_id: UUID) -> Any:
    return select(User.id).where(User.tenant_id == tenant_id, User.id == user_id)


async def _page(work: UnitOfWork, user_id: UUID, number: int, last: UUID | None) -> ExportPage:
    section = SECTIONS[number]
    statement = select(section.model).where(section.model.tenant_id == work.tenant_id, section.of(user_id))
    if last is not None:
        statement = statement.where(section.model.id > last)
    rows = (await work.session.scalars(statement.order_by(section.model.id).limit(PAGE + 1))).all()
    more, rows = len(rows) > PAGE, rows[:PAGE]
    items = [_item(row) for row in rows]
    if section.model in (AuditLog, DataAccessLog):
        await _open(work.session, work.keys, section.name, user_id, rows, items)
    if more:
        return ExportPage(section.name, items, True, _cursor(user_id, number, rows[-1].id))
    if number + 1 < len(SECTIONS):
        return ExportPage(section.name, items, True, _cursor(user_id, number + 1, None))
    return ExportPage(section.name, items, False, None)


async def _open(
    session: TenantSession,
    keys: AuditKeys | None,
    section: str,
    user_id: UUID,
    rows: Sequence[Any],
    items: list[dict[str, Any]],
) -> None:
    """Add what is sealed for the person: what was changed about them, and where they acted from. Nobody else's."""
    wrapped = (await wrapped_keys(session, [user_id])).get(user_id)
    for row, item in zip(rows, items, strict=True):
        if keys is None:
            continue
        if section == "auditEntriesAbout" and row.contents is not None:
            item["values"] = opened(keys, row, row.contents, user_id, wrapped, "contents")
        if row.origin is not None and row.actor_id == user_id:
            item["origin"] = opened(keys, row, row.origin, user_id, wrapped, "origin")


def _item(row: Any) -> dict[str, Any]:
    said: dict[str, Any] = {"id": encode(row.__typeid__, row.id)}
    for attribute in row.__mapper__.column_attrs:
        column = attribute.columns[0]
        if attribute.key in _UNSAID or attribute.key == "id" or isinstance(column.type, LargeBinary):
            continue
        value = getattr(row, attribute.key)
        if value is not None:
            shown = redacted(attribute.key, value)
            # Logs keep the beginning of a long text; what is theirs is handed over whole.
            said[_camel(attribute.key)] = value if type(value) is str and shown != REDACTED else shown
    return said


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _cursor(user_id: UUID, number: int, last: UUID | None) -> str:
    place = orjson.dumps([str(user_id), SECTIONS[number].name, str(last) if last else None])
    return base64.urlsafe_b64encode(place).rstrip(b"=").decode()


def _place(cursor: str | None, user_id: UUID) -> tuple[int, UUID | None]:
    if cursor is None:
        return 0, None
    try:
        if len(cursor) > _CURSOR_MAX:
            raise ValueError("too long")
        padded = cursor.encode() + b"=" * (-len(cursor) % 4)
        whose, name, last = orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        if whose != str(user_id):
            raise ValueError("another person's")
        number = [section.name for section in SECTIONS].index(name)
        return number, UUID(last) if last is not None else None
    except (ValueError, TypeError, AttributeError) as error:
        raise invalid("This cursor does not belong to this export.", "input", "after") from error
