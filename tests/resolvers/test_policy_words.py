"""This module is where it is specified that looking for many words at once finds what looking for each would."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from resolvers.policy_words import Words

_LETTERS = st.text("abthe 1é", min_size=1, max_size=4)


@given(words=st.lists(_LETTERS, max_size=20), text=st.text("abthe 1é", max_size=40))
@settings(max_examples=300, deadline=None)
def test_what_is_found_is_what_stands_in_the_text_in_the_order_of_the_words(words: list[str], text: str) -> None:
    assert Words(words).within(text) == [one for one in dict.fromkeys(words) if one in text]
