"""This module is where the documents that people copy from the streams page are held to the schema."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from graphql import parse, validate

from gateway.watch import STREAMS
from schema.build import build, core

PAGE = Path(__file__).parents[2] / "docs" / "streams.md"
FENCED = re.findall(r"```graphql\n(.*?)```", PAGE.read_text(), re.DOTALL)
QUOTED = re.findall(r"query: `(.*?)`", PAGE.read_text(), re.DOTALL)


def test_the_page_has_documents() -> None:
    assert len(FENCED) >= 2
    assert len(QUOTED) == 2


@pytest.mark.parametrize("document", [*FENCED, *QUOTED, *(stream.document for stream in STREAMS.values())])
def test_a_document_of_the_page_or_of_the_terminal_is_valid(document: str) -> None:
    assert validate(core(build()), parse(document)) == []
