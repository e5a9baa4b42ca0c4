"""This module is where it is specified how a row takes over what an update says of it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from models.errors import Refusal, RefusalCode
from resolvers.changing import refuse_cleared, take_over


def test_what_cannot_be_cleared_is_refused_by_the_name_that_the_input_has_for_it() -> None:
    refuse_cleared({"hitl_mode": "draft", "description": None}, "hitl_mode", "local_only")
    with pytest.raises(Refusal) as refused:
        refuse_cleared({"hitl_mode": "draft", "is_shared_by_all": None}, "hitl_mode", "is_shared_by_all")
    assert (refused.value.code, refused.value.field) == (RefusalCode.INVALID, ("input", "isSharedByAll"))


def test_what_differs_is_set_and_named_in_order() -> None:
    row = SimpleNamespace(name="old", priority=1, enabled=True)
    assert take_over(row, {"priority": 2, "name": "new", "enabled": True}) == ["name", "priority"]
    assert (row.name, row.priority, row.enabled) == ("new", 2, True)
    assert take_over(row, {"name": "new"}) == []
