"""This module is where text search meets row-level security.

Under RLS only leak-proof operators reach an index, and ``@@`` is not one. So each searchable table has one
SECURITY DEFINER function that adds the current tenant itself and returns ids; the ids are then loaded under RLS.
The tenant is a lexeme of the vector: without btree_gin that is what keeps one tenant's words out of the
posting lists another tenant's search has to read.
"""

from __future__ import annotations

from typing import Final

SEARCH_LIMIT: Final = 10_000
"""No search looks further than this many ids."""


def search_vector(*columns: str) -> str:
    """SQL for a generated tsvector over text ``columns``: simple dictionary, with the tenant as a lexeme."""
    text = " || ' ' || ".join(f"coalesce({column}, '')" for column in columns)
    # The parser would keep an address or a host name as one word; every run of letters and digits is a word here.
    words = f"regexp_replace({text}, '[^[:alnum:]]+', ' ', 'g')"
    return f"to_tsvector('simple'::regconfig, {words}) || array_to_tsvector(ARRAY['tenant:' || tenant_id::text])"


def create_search_function(table: str) -> list[str]:
    """Statements that make ``search_<table>(query tsquery-text)``, owned by signalbox_search."""
    name = f"search_{table}(text)"
    return [
        f"""
CREATE OR REPLACE FUNCTION search_{table}(words text) RETURNS SETOF uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE tenant text := NULLIF(current_setting('app.tenant_id', true), '');
BEGIN
  IF tenant IS NULL THEN RAISE EXCEPTION 'no tenant is bound' USING ERRCODE = '42501'; END IF;
  RETURN QUERY SELECT id FROM {table}
    WHERE search @@ (quote_literal('tenant:' || tenant)::tsquery && words::tsquery)
      AND tenant_id = tenant::uuid
    LIMIT {SEARCH_LIMIT};
END $$
""",
        f"ALTER FUNCTION {name} OWNER TO signalbox_search",
        f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC",
        f"GRANT EXECUTE ON FUNCTION {name} TO signalbox_app",
    ]


def prefix_query(text: str) -> str | None:
    """A tsquery for rows that hold, for each word of ``text``, a word starting with it; None without words."""
    # Broken into words as search_vector breaks them, or a search for "web-server" would find nothing.
    words = "".join(letter if letter.isalnum() else " " for letter in text.casefold()).split()
    return " & ".join(f"'{word}':*" for word in words) or None
