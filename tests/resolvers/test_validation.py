"""This module is where values that are well-typed but unacceptable are specified."""

from __future__ import annotations

from typing import Any

import pytest

from models.errors import Refusal
from resolvers import validation

LIMIT = 100


@pytest.mark.parametrize("text", ["C:\\u0000", "\\\\u0000", "\\", 'a"\\u0000"'])
def test_a_text_that_only_looks_like_an_escaped_nul_is_kept(text: str) -> None:
    assert validation.document({text: text}, LIMIT) == {text: text}
    assert validation.anything([text], LIMIT) == [text]


@pytest.mark.parametrize("value", [{"a": "\x00"}, {"\x00": 1}, {"a": ["\\\x00"]}, {"a": "\\\\\x00"}, {"a": "\ud800"}])
def test_json_that_the_database_cannot_hold_is_refused(value: Any) -> None:
    for check in (validation.document, validation.anything):
        with pytest.raises(Refusal, match="without NUL"):
            check(value, LIMIT, "config")


def test_json_may_be_as_large_as_said_and_no_larger() -> None:
    value = {"a": "x" * (LIMIT - 8)}
    assert validation.document(value, LIMIT) == value
    with pytest.raises(Refusal, match="at most 100 bytes"):
        validation.document({"a": "x" * (LIMIT - 7)}, LIMIT)
    with pytest.raises(Refusal, match="JSON object"):
        validation.document([], LIMIT)
