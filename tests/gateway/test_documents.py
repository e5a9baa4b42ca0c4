"""This module is where the reading of documents is specified: once each, told to strangers without hints, bounded."""

from __future__ import annotations

import pytest

from gateway.documents import MAX_ERRORS, Document, Documents
from models.errors import LimitExceeded
from schema.build import build, core
from schema.limits import LIMITS

GOOD = "{ viewer { roles } }"
WRONG = "{ viewr { roles } }"


@pytest.fixture
def documents() -> Documents:
    """An empty store over the real schema."""
    return Documents(core(build()))


def limit_of(document: Document) -> object:
    """Which limit a document broke."""
    (error,) = document.errors
    assert isinstance(error.original_error, LimitExceeded)
    return error.original_error.extensions["limit"]


def test_a_document_is_read_once(documents: Documents) -> None:
    first = documents.read(GOOD, signed_in=True)
    assert documents.read(GOOD, signed_in=True) is first
    assert documents.read(GOOD, signed_in=False) is first
    wrong = documents.read(WRONG, signed_in=True)
    assert documents.read(WRONG, signed_in=True) is wrong


def test_only_the_signed_in_are_helped_with_names(documents: Documents) -> None:
    for _ in range(2):
        assert "Did you mean 'viewer'" in documents.read(WRONG, signed_in=True).errors[0].message
        assert documents.read(WRONG, signed_in=False).errors[0].message == "Cannot query field 'viewr' on type 'Query'."


def test_strangers_and_mistakes_crowd_nobody_out(documents: Documents) -> None:
    kept = documents.read(GOOD, signed_in=True)
    for number in range(300):
        documents.read(f"query Q{number} {{ __typename }}", signed_in=False)
        documents.read(f"query Q{number} {{ nothing }}", signed_in=True)
    assert documents.read(GOOD, signed_in=True) is kept


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("{ " + "a " * LIMITS.tokens + "}", "tokens"),
        (" " * LIMITS.characters + "{ __typename }", "characters"),
        ("{ a " * 400, "depth"),
        ("{ node(id: " + "[" * 400, "depth"),
    ],
    ids=["tokens", "characters", "braces", "brackets"],
)
def test_what_is_too_large_to_be_parsed_names_its_limit(documents: Documents, text: str, limit: str) -> None:
    assert limit_of(documents.read(text, signed_in=True)) == limit


def test_comparing_fields_ends_at_its_budget(documents: Documents) -> None:
    spreads = " ".join(f"...a{number}" for number in range(70))
    text = f"{{ workspaces {{ nodes {{ {spreads} }} }} }}"
    text += "".join(f" fragment a{number} on Workspace {{ parent {{ name tier }} }}" for number in range(70))
    assert limit_of(documents.read(text, signed_in=True)) == "comparisons"


def test_mistakes_are_listed_up_to_a_few(documents: Documents) -> None:
    text = "{ " + " ".join(f"nothing{number}" for number in range(9)) + " }"
    assert len(documents.read(text, signed_in=True).errors) == MAX_ERRORS + 1
