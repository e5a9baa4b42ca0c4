"""This module is where a tenant takes all that is its own along: every row of every table, a page at a time.

Security boundary: rows are read under the tenant's own row-level security, whoever asks; hashes, keys and whatever is
sealed are never among them.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson
from sqlalchemy import Column, DateTime, Table, Uuid

from dataloaders.tenant_rows import exported_tables, key_of, rows_after
from models import AccessType, DataCategory, EventTopic, Scope, Tenant
from models.database import Database
from models.errors import BadRequest
from resolvers.call import Call
from resolvers.data_access import Access
from resolvers.users import require_admin
from subscriptions.log import Envelope

MOST_LINES: Final = 1000
_CURSOR_MAX: Final = 2048


@dataclass(frozen=True, slots=True)
class ExportPage:
    """Some lines of an export: ``{"table": …, "row": {…}}``; ``next_cursor`` is None at the end."""

    lines: list[dict[str, Any]]
    next_cursor: str | None


async def export_tenant(call: Call, *, after: str | None = None, lines: int = MOST_LINES) -> ExportPage:
    """A page of the caller's tenant, by an admin in person. Raises FORBIDDEN, BAD_REQUEST.

    The first page is told in the tenant's log and in its data-access log; commits then.
    """
    call.require(Scope.TENANTS_WRITE)
    require_admin(call.who)
    if not 1 <= lines <= MOST_LINES:
        raise BadRequest(f"A page holds 1 to {MOST_LINES} lines.")
    page = await _page(call.services.database, call.tenant_id, after, lines)
    if after is None:
        async with call.work() as work:
            work.note_access(
                Access(
                    subject=(Tenant.__typeid__, call.tenant_id),
                    category=DataCategory.TENANT,
                    kind=AccessType.EXPORT,
                    purpose="tenant export",
                )
            )
            work.record(
                Envelope(
                    topic=EventTopic.SECURITY,
                    kind="tenant.exported",
                    entity_type=Tenant.__typeid__,
                    entity_id=call.tenant_id,
                    required_scope=Scope.TENANTS_WRITE,
                    before=None,
                    after=None,
                )
            )
    return page


async def export_lines(database: Database, tenant_id: UUID) -> AsyncIterator[bytes]:
    """The whole export as lines of JSON, for the operator at the machine; one short session a page."""
    cursor: str | None = None
    while True:
        page = await _page(database, tenant_id, cursor, MOST_LINES)
        for line in page.lines:
            yield orjson.dumps(line) + b"\n"
        cursor = page.next_cursor
        if cursor is None:
            return


async def _page(database: Database, tenant_id: UUID, cursor: str | None, limit: int) -> ExportPage:
    tables = exported_tables()
    at, key = _place(tables, cursor)
    lines: list[dict[str, Any]] = []
    async with database.session(tenant_id) as session:
        while at < len(tables) and len(lines) < limit:
            table, wanted = tables[at], limit - len(lines)
            rows = await rows_after(session, table, key, wanted)
            lines += [{"table": table.name, "row": _plain(row)} for row in rows]
            if len(rows) == wanted:
                return ExportPage(lines, _cursor(table, key_of(table, rows[-1])))
            at, key = at + 1, None
    return ExportPage(lines, None)


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    # As JSON says it, so that every form of the export holds the same.
    plain: dict[str, Any] = orjson.loads(orjson.dumps(row, default=str))
    return plain


def _cursor(table: Table, key: list[Any]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([table.name, *key], default=str)).rstrip(b"=").decode()


def _place(tables: list[Table], cursor: str | None) -> tuple[int, list[Any] | None]:
    """Which table comes next, and behind which key of it. Raises BAD_REQUEST."""
    if cursor is None:
        return 0, None
    try:
        if len(cursor) > _CURSOR_MAX:
            raise ValueError("too long")
        padded = cursor.encode() + b"=" * (-len(cursor) % 4)
        name, *key = orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        at = [table.name for table in tables].index(name)
        columns = [one for one in tables[at].primary_key.columns if one.name != "tenant_id"]
        if tables[at].name == "tenants":
            return at + 1, None
        return at, [_typed(column, value) for column, value in zip(columns, key, strict=True)]
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise BadRequest("This cursor does not belong to an export.") from error


def _typed(column: Column[Any], value: Any) -> Any:
    if isinstance(column.type, Uuid):
        return UUID(value)
    if isinstance(column.type, DateTime):
        return datetime.fromisoformat(value)
    kind = column.type.python_type
    if not isinstance(value, kind) or isinstance(value, bool) or (isinstance(value, int) and abs(value) >= 1 << 63):
        raise TypeError("a cursor keeps what its table's keys are")
    if isinstance(value, str) and "\x00" in value:
        raise ValueError("the database holds no NUL")
    return value
