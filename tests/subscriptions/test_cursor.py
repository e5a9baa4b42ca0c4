"""This module is where a place in the log is specified: opaque, of one database, and without any authority."""

from __future__ import annotations

import base64
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from models.database import Database
from subscriptions.cursor import IDENTITY, Cursor, epoch_of, read_epoch

EPOCH = b"database"


@given(epoch=st.binary(min_size=8, max_size=8), seq=st.integers(0, 2**63 - 1))
def test_what_is_written_is_read_again(epoch: bytes, seq: int) -> None:
    assert Cursor.decode(Cursor(epoch, seq).encode()) == Cursor(epoch, seq)


@given(st.integers(0, 2**63 - 1))
def test_a_cursor_is_short_and_fits_a_url(seq: int) -> None:
    written = Cursor(EPOCH, seq).encode()
    assert len(written) == 22
    assert written.replace("-", "").replace("_", "").isalnum()


@given(st.text(max_size=40))
def test_any_other_text_is_none(text: str) -> None:
    found = Cursor.decode(text)
    assert found is None or found.seq >= 0


def _packed(epoch: bytes, seq: int) -> str:
    return base64.urlsafe_b64encode(struct.pack(">8sq", epoch, seq)).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "forged",
    ["", "=", "0", "x" * 10_000, "é" * 22, "A" * 21, "A" * 23, _packed(EPOCH, -1), _packed(EPOCH, 7) + "==", "A A" * 7],
)
def test_what_is_almost_a_cursor_is_none(forged: str) -> None:
    assert Cursor.decode(forged) is None


async def test_the_epoch_stays_until_its_marker_is_renewed(database: Database, owner: AsyncEngine) -> None:
    before = await read_epoch(database)
    assert len(before) == 8
    assert await read_epoch(database) == before
    async with owner.connect() as connection:
        identity = text(f"SELECT {IDENTITY}")
        assert epoch_of(await connection.scalar(identity)) == before
        await connection.execute(text("UPDATE stream_epoch SET marker = 'restored'"))
        # Seen by this transaction alone, or every stream of the session would end.
        assert epoch_of(await connection.scalar(identity)) != before
        await connection.rollback()
    assert await read_epoch(database) == before
