"""This module is where the documents that people copy from the conversations page are held to the schema."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from graphql import parse, validate

from schema.build import build, core

PAGE = Path(__file__).parents[2] / "docs" / "conversations.md"
DOCUMENTS = [
    line
    for block in re.findall(r"```graphql\n(.*?)```", PAGE.read_text(), re.DOTALL)
    for line in block.splitlines()
    if line.strip()
]


def test_the_page_has_documents() -> None:
    assert len(DOCUMENTS) == 6


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_document_of_the_page_is_valid(document: str) -> None:
    assert validate(core(build()), parse(document)) == []
