"""This module is where many words are looked for in one text at once, wherever in it they stand.

Each word is filed under a pair of its letters that is rare in what people write; only words whose pair stands in the
text are looked for. So a text costs its own length and the few words that it might hold, not all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from operator import add
from typing import Final

_COMMON: Final = (
    "th he in er an re on at en nd ti es or te of ed is it al ar st to nt ng se ha as ou io le ve co me de hi ri ro ic "
    "ne ea ra ce li ch ll be ma si om ur ca el ta la ns di fo ho pe ec pr no ct us ac ot il tr ly nc et ut ss so rs un "
    "lo wa ge ie wh ee wi em ad ol rt po we na ul ni ts mo ow pa im mi ai sh ir su id os iv ia am fi ci vi pl ig tu ev "
    "ld ry mp fe bl ab gh ty op wo sa ay ex ke ui fr oo av ag if ap gr od bo sp rd do uc bu ei ov by rm ep tt oc fa ef "
    "cu rn"
)
"""Pairs of letters as English has them, the most frequent first."""

_RANK: Final = {pair: len(_COMMON) - place for place, pair in enumerate(_COMMON.split())}
_RANK_OF_A_GAP: Final = len(_COMMON)


class Words:
    """Folded words, made ready to be looked for."""

    def __init__(self, words: Iterable[str]) -> None:
        self._places = {one: place for place, one in enumerate(dict.fromkeys(words))}
        crowd = Counter(pair for one in self._places for pair in _pairs(one))
        self._filed: dict[str, list[str]] = {}
        self._short = [one for one in self._places if len(one) < 2]
        for one in self._places:
            if len(one) >= 2:
                rarest = min(_pairs(one), key=lambda pair: (_rank(pair), crowd[pair]))
                self._filed.setdefault(rarest, []).append(one)

    def within(self, text: str) -> list[str]:
        """Those that stand in ``text``, in the order in which they were given."""
        pairs = self._filed.keys() & _pairs(text)
        found = [one for pair in pairs for one in self._filed[pair] if one in text]
        found += [one for one in self._short if one in text]
        return sorted(found, key=self._places.__getitem__)


def _rank(pair: str) -> int:
    """How often people write it; what is not known is rare."""
    return _RANK.get(pair, _RANK_OF_A_GAP if " " in pair else 0)


def _pairs(text: str) -> set[str]:
    return set(map(add, text, text[1:]))
