"""This module is where messages are read by number: a page of each conversation from either end, in one statement."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

import orjson
from sqlalchemy import ARRAY, ColumnElement, Integer, Select, Uuid, bindparam, func, select, true
from sqlalchemy.orm import aliased

from dataloaders.base import ReadBatch
from dataloaders.pages import PageEdge, Window
from models import Message, MessageState
from models.database import Database, TenantSession
from models.errors import BadRequest
from models.reads import Read

_CURSOR_MAX: Final = 64
_LAST: Final = 2**31 - 1
_MOST_ANSWERED: Final = 1_000


@dataclass(slots=True)
class MessagePage:
    """Some messages of one conversation, oldest first. ``count`` is the conversation's own."""

    rows: list[Message] = field(default_factory=list)
    has_next: bool = False
    has_previous: bool = False
    count: int = 0

    @property
    def edges(self) -> list[PageEdge]:
        """The messages with their cursors."""
        return [PageEdge(_encode(row.seq), row) for row in self.rows]

    @property
    def info(self) -> MessagePage:
        """The page is its own page info."""
        return self

    @property
    def start_cursor(self) -> str | None:
        """Cursor of the first message; None on an empty page."""
        return _encode(self.rows[0].seq) if self.rows else None

    @property
    def end_cursor(self) -> str | None:
        """Cursor of the last message; None on an empty page."""
        return _encode(self.rows[-1].seq) if self.rows else None

    async def total_count(self) -> int:
        """How many messages the conversation has; no statement."""
        return self.count


def _of_each_conversation(*, backward: bool) -> Select[Any]:
    conversation = func.unnest(bindparam("keys", type_=ARRAY(Uuid))).table_valued("id", name="of").render_derived()
    order = Message.seq.desc() if backward else Message.seq.asc()
    some = (
        select(Message)
        .where(
            Message.tenant_id == bindparam("tenant", type_=Uuid()),
            Message.conversation_id == conversation.c.id,
            Message.seq > bindparam("after", type_=Integer()),
            Message.seq < bindparam("before", type_=Integer()),
        )
        .order_by(order)
        .limit(bindparam("most", type_=Integer()))
        .lateral("page")
    )
    row = aliased(Message, some)
    return select(row).select_from(conversation.join(some, true())).order_by(row.conversation_id, row.seq)


_FORWARD: Final[Read[Any]] = Read(_of_each_conversation(backward=False))
_BACKWARD: Final[Read[Any]] = Read(_of_each_conversation(backward=True))


class MessagePages(ReadBatch[UUID, MessagePage]):
    """The batch "the same page of each conversation"; empty for one that has none or is not there."""

    __slots__ = ("_after", "_before", "_size", "_window")

    _after: int
    _before: int
    _size: int
    _window: Window

    def __init__(self, window: Window) -> None:
        super().__init__("messages_by_conversation", _BACKWARD if window.backward else _FORWARD, _unarranged)
        # A window that asks for too much is refused here, before anything waits for it.
        object.__setattr__(self, "_size", window.size)
        object.__setattr__(self, "_window", window)
        object.__setattr__(self, "_after", _decode(window.after, 0))
        object.__setattr__(self, "_before", _decode(window.before, _LAST))

    async def __call__(self, database: Database, tenant_id: UUID, keys: Sequence[UUID]) -> Sequence[MessagePage]:
        """One page for each key, in their order; one statement."""
        rows: Sequence[Message] = ()
        if self._size:
            bounds = {"after": self._after, "before": self._before, "most": self._size + 1}
            rows = await self.read.rows(database, tenant_id, tenant=tenant_id, keys=list(keys), **bounds)
        found: dict[UUID, list[Message]] = {one: [] for one in keys}
        for row in rows:
            found[row.conversation_id].append(row)
        return [_page(found[one], self._window) for one in keys]


@lru_cache(maxsize=1024)
def message_pages(window: Window) -> MessagePages:
    """The batch for ``window``, the same one each time. Raises BAD_REQUEST for a bad window or cursor."""
    return MessagePages(window)


def _page(rows: list[Message], window: Window) -> MessagePage:
    size = window.size
    more = len(rows) > size
    page = MessagePage(rows[-size:] if window.backward and size else rows[:size])
    page.has_next = window.before is not None if window.backward else more
    page.has_previous = more if window.backward else window.after is not None
    return page


def _unarranged(_: Sequence[Any], __: Sequence[UUID]) -> Sequence[MessagePage]:
    raise AssertionError("pages are put together where their window is known")


def _encode(seq: int) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(["seq", seq])).rstrip(b"=").decode()


def _decode(cursor: str | None, absent: int) -> int:
    if cursor is None:
        return absent
    try:
        if len(cursor) > _CURSOR_MAX:
            raise ValueError("too long")
        padded = cursor.encode() + b"=" * (-len(cursor) % 4)
        name, seq = orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        if name != "seq" or type(seq) is not int or not 0 < seq <= _LAST:
            raise ValueError("no number of a message")
        return seq
    except (ValueError, TypeError) as error:
        raise BadRequest("This cursor does not belong to this list and order.") from error


async def is_said_in(session: TenantSession, message_id: UUID, conversation_id: UUID | None) -> bool:
    """Whether there is such a message in that conversation."""
    found = await session.scalar(
        select(Message.id).where(
            Message.tenant_id == session.tenant_id,
            Message.id == message_id,
            Message.conversation_id == conversation_id,
        )
    )
    return found is not None


async def being_answered(session: TenantSession, whose: ColumnElement[bool]) -> list[UUID]:
    """Conversations with a reply that is being written, among the messages that ``whose`` says; at most 1,000."""
    found = await session.scalars(
        select(Message.conversation_id)
        .where(Message.tenant_id == session.tenant_id, Message.state == MessageState.WRITING, whose)
        .distinct()
        .limit(_MOST_ANSWERED)
    )
    return list(found)
