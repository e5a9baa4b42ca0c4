"""This module is where text search meets row-level security.

Under RLS only leak-proof operators reach an index, and ``@@`` is not one. So each searchable table has one
SECURITY DEFINER function that adds the current tenant itself and returns ids; the ids are then loaded under RLS.
The tenant is a lexeme of the vector: without btree_gin that is what keeps other tenants' rows from being fetched
and thrown away. Their words with the same beginning are still read in the index (docs/decisions/0009).
What a word is, the database alone decides, for rows and for queries alike; ``words`` is its twin for events.
"""

from __future__ import annotations

import unicodedata
from functools import reduce
from typing import Final

from models.errors import BadRequest

SEARCH_LIMIT: Final = 10_000
"""No search looks further than this many ids."""

SEARCH_CHARACTERS: Final = 1_000
"""No search is longer; nothing that is searched is either."""

_BETWEEN_WORDS: Final = r"[\x01-\x2f\x3a-\x40\x5b-\x60\x7b-\x7f]"


def lexemes(text: str) -> str:
    """SQL for the words of ``text``, folded by the simple dictionary."""
    # The parser would keep an address, a host name or a number with a point as one word, so it sees no ASCII but
    # letters and digits. What lies beyond ASCII it breaks well, marks and joiners of Hindi or Arabic included.
    return f"to_tsvector('simple'::regconfig, regexp_replace({text}, '{_BETWEEN_WORDS}+', ' ', 'g'))"


def search_vector(*columns: str) -> str:
    """SQL for a generated tsvector over text ``columns``: simple dictionary, with the tenant as a lexeme."""
    # Bracketed as PostgreSQL shows it, because alembic compares the two as text.
    first, *others = (f"coalesce({column}, '')" for column in columns)
    text = reduce(lambda held, one: f"({_bracketed(held)} || ' ') || {one}", others, first)
    # No word begins with a colon, so no search reaches the tenant's lexeme, not even by a prefix.
    return f"{lexemes(text)} || array_to_tsvector(ARRAY[':' || tenant_id::text])"


def _bracketed(text: str) -> str:
    return f"({text})" if "||" in text else text


def create_search_function(table: str, vector: str = "search", key: str = "uuid") -> list[str]:
    """Statements that make ``search_<table>(text)``, owned by signalbox_search.

    It returns the ids of the current tenant's rows that hold, for each word of the text, a word starting with it.
    ``vector`` is the column that holds the words, or what their index is made over; ``key`` is the type of the ids.
    """
    name = f"search_{table}(text)"
    return [
        f"""
CREATE OR REPLACE FUNCTION search_{table}(wanted text) RETURNS SETOF {key}
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 100 SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
  tenant text := NULLIF(current_setting('app.tenant_id', true), '');
  starts tsquery;
BEGIN
  IF tenant IS NULL THEN RAISE EXCEPTION 'no tenant is bound' USING ERRCODE = '42501'; END IF;
  SELECT string_agg(quote_literal(word) || ':*', ' & ')::tsquery INTO starts
    FROM unnest(tsvector_to_array({lexemes("wanted")})) AS word;
  RETURN QUERY SELECT id FROM {table}
    WHERE ({vector}) @@ (quote_literal(':' || tenant)::tsquery && starts)
      AND tenant_id = tenant::uuid
    LIMIT {SEARCH_LIMIT};
END $$
""",
        f"ALTER FUNCTION {name} OWNER TO signalbox_search",
        f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC",
        f"GRANT EXECUTE ON FUNCTION {name} TO signalbox_app",
    ]


def sought(text: str) -> str | None:
    """What of a search the database is given; None when no word is in it. Raises BAD_REQUEST for too long a text."""
    if len(text) > SEARCH_CHARACTERS:
        raise BadRequest(f"A search holds at most {SEARCH_CHARACTERS} characters.")
    # The database cannot hold a NUL; to a search it is one more thing between words.
    return text.replace("\x00", " ") if words(text) else None


def words(text: str) -> list[str]:
    """The words of ``text`` as the database breaks and folds them."""
    # Letter by letter, as the database does it: Python's casefold writes ss for ß, its lower a final sigma by context.
    return "".join(letter.lower() if _is_of_word(letter) else " " for letter in text).split()


def _is_of_word(letter: str) -> bool:
    category = unicodedata.category(letter)
    return category[0] in "LM" or category in {"Nd", "Nl", "Cf"}
