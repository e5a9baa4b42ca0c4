"""This module is where documents and configuration that people copy from the alerts page are held to what is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from graphql import parse, validate

from schema.build import build, core

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "alerts.md").read_text()
DOCUMENTS = [
    line
    for block in re.findall(r"```graphql\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
    if line.strip()
]


def test_the_page_has_documents() -> None:
    assert len(DOCUMENTS) == 4


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_document_of_the_page_is_valid(document: str) -> None:
    assert validate(core(build()), parse(document)) == []


def test_the_configuration_of_the_page_is_the_one_that_is_tried() -> None:
    (shown,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    lines = (ROOT / "deploy" / "alerting" / "alertmanager.yml").read_text().splitlines()
    tried = [line for line in lines if not line.strip().startswith("#")]
    assert shown.strip() == "\n".join(tried[tried.index("receivers:") :]).strip()
