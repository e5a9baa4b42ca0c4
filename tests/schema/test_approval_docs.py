"""This module is where the documents that people copy from the page about approvals are held to the schema."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from graphql import parse, validate

from schema.build import build, core

PAGE = Path(__file__).parents[2] / "docs" / "approvals.md"
DOCUMENTS = [
    document
    for block in re.findall(r"```graphql\n(.*?)```", PAGE.read_text(), re.DOTALL)
    for document in re.split(r"\n(?=mutation|query|subscription)", block.strip())
]


def test_the_page_has_documents() -> None:
    assert len(DOCUMENTS) == 2


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_document_of_the_page_is_valid(document: str) -> None:
    assert validate(core(build()), parse(document)) == []
