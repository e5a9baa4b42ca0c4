"""This module is where the documents that people copy from the page about policies are held to the schema."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from graphql import parse, validate

from resolvers.risk_signals import DOMAINS, SIGNALS
from schema.build import build, core

PAGE = Path(__file__).parents[2] / "docs" / "governance.md"
DOCUMENTS = [
    part
    for block in re.findall(r"```graphql\n(.*?)```", PAGE.read_text(), re.DOTALL)
    for part in re.split(r"\n(?=query|mutation)", block.strip())
]


def test_the_page_has_documents() -> None:
    assert len(DOCUMENTS) == 3


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_document_of_the_page_is_valid(document: str) -> None:
    assert validate(core(build()), parse(document)) == []


def test_the_page_names_every_domain_and_every_risk() -> None:
    text = PAGE.read_text()
    assert [one for one in (*DOMAINS, *SIGNALS) if one not in text] == []
