"""This module is where the documents that people copy from the pages on analyses and servers are held to the schema."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest
from graphql import parse, validate

from schema.build import build, core

DOCS: Final = Path(__file__).parents[2] / "docs"
PAGES: Final = {"alert-analysis.md": 8, "infrastructure.md": 6}
"""How many documents each page has."""


def documents(page: str) -> list[str]:
    """What stands on a page to be copied."""
    blocks = re.findall(r"```graphql\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_its_documents(page: str) -> None:
    assert len(documents(page)) == PAGES[page]


@pytest.mark.parametrize("document", [one for page in PAGES for one in documents(page)])
def test_a_document_of_a_page_is_valid(document: str) -> None:
    assert validate(core(build()), parse(document)) == []
