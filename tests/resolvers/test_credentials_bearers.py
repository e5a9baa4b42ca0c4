"""This module is where the text of API keys and refresh tokens is specified."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.ids import suffix, uuid7
from resolvers.bearers import (
    hash_of,
    key_prefix,
    new_api_key,
    new_refresh_token,
    read_api_key,
    read_refresh_token,
    successor_of,
)

TENANT, ROW = uuid7(), uuid7()
KEY = new_api_key("live", TENANT, ROW)
TOKEN = new_refresh_token(TENANT, ROW)


def test_a_key_names_its_environment_tenant_and_row() -> None:
    assert re.fullmatch(rf"sbx_live_{suffix(TENANT)}_{suffix(ROW)}_[0-9A-Za-z]{{43}}_[0-9A-Za-z]{{6}}", KEY)
    assert KEY.startswith(key_prefix("live", TENANT, ROW) + "_")
    bearer = read_api_key(KEY, "live")
    assert bearer is not None
    assert (bearer.tenant_id, bearer.row_id) == (TENANT, ROW)
    assert bearer.proves(hash_of(KEY))
    assert not bearer.proves(hash_of(new_api_key("live", TENANT, ROW)))


def test_a_key_of_another_environment_is_none() -> None:
    assert read_api_key(KEY, "demo") is None


def test_every_single_typo_is_told_by_the_checksum() -> None:
    for place in range(len("sbx_live_"), len(KEY)):
        for wrong in "0a":
            typo = KEY[:place] + wrong + KEY[place + 1 :]
            assert typo == KEY or read_api_key(typo, "live") is None


@pytest.mark.parametrize("environment", ["", "Live", "a_b", "x" * 17, "é"])
def test_an_environment_is_a_short_plain_word(environment: str) -> None:
    with pytest.raises(ValueError):
        new_api_key(environment, TENANT, ROW)


def test_secrets_do_not_repeat() -> None:
    assert len({new_api_key("live", TENANT, ROW) for _ in range(100)}) == 100
    assert len({new_refresh_token(TENANT, ROW) for _ in range(100)}) == 100


def test_a_refresh_token_names_its_tenant_and_family() -> None:
    bearer = read_refresh_token(TOKEN)
    assert bearer is not None
    assert (bearer.tenant_id, bearer.row_id, bearer.hash) == (TENANT, ROW, hash_of(TOKEN))


def test_the_successor_depends_on_the_token_and_on_the_key_and_on_nothing_else() -> None:
    bearer = read_refresh_token(TOKEN)
    assert bearer is not None
    successor = successor_of(TOKEN, bearer, b"k" * 32)
    assert successor == successor_of(TOKEN, bearer, b"k" * 32)
    assert successor != successor_of(TOKEN, bearer, b"l" * 32)
    next_bearer = read_refresh_token(successor)
    assert next_bearer is not None
    assert (next_bearer.tenant_id, next_bearer.row_id) == (TENANT, ROW)
    assert successor_of(successor, next_bearer, b"k" * 32) != successor


@given(st.text() | st.from_regex(r"sb[xr](_[0-9a-zA-Z]{0,45}){0,6}"))
def test_no_text_does_more_than_be_refused(text: str) -> None:
    assert read_api_key(text, "live") is None
    # A family's suffix above 7zz… is no uuid, so even the right shape may be none.
    bearer = read_refresh_token(text)
    assert bearer is None or re.fullmatch(r"sbr_[0-9a-z]{26}_[0-9a-z]{26}_[0-9A-Za-z]{43}", text)
