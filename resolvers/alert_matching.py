"""This module is where rules meet alerts: globs, compiled once, matched in time that grows with the text alone.

A pattern is matched from end to end and without regard to case; ``*`` is any run of characters, ``?`` any one. What an
alert does not name, or names emptily, matches nothing but a bare ``*``. Nothing here backtracks: a text of n characters
costs n steps, whatever the pattern.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from models import AlertAction

PATTERN_LIMIT: Final = 255
"""Characters of one pattern."""

ANYTHING: Final = "*"
_REMEMBERED: Final = 4_096
"""Texts whose rules are kept at hand, for each of the four parts."""

Matches = Callable[[str], bool]
_Glob = tuple[Matches, int]
"""A pattern, compiled, and the places of the rules that have it."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What rules look at, as the labels say it."""

    alert_name: str | None
    severity: str | None
    instance: str | None
    job: str | None

    @property
    def parts(self) -> tuple[str | None, str | None, str | None, str | None]:
        """In the order of a rule's patterns."""
        return self.alert_name, self.severity, self.instance, self.job


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as far as matching needs it; ``patterns`` stand in the order of ``Subject.parts``."""

    id: UUID
    patterns: tuple[str, str, str, str]
    action: AlertAction


def folded(text: str) -> str:
    """``text`` without regard to case, letter by letter, so that none becomes two."""
    if text.isascii():
        return text.lower()
    return "".join(low if len(low := letter.lower()) == 1 else letter for letter in text)


def glob(pattern: str) -> Matches:
    """Whether a folded text, not empty, is what ``pattern`` says."""
    wanted = _collapsed(folded(pattern))
    if wanted == ANYTHING:
        return lambda _: True
    if "?" in wanted:
        return _by_states(wanted)
    if "*" not in wanted:
        return lambda text: text == wanted
    return _by_pieces(wanted.split("*"))


def _collapsed(pattern: str) -> str:
    made: list[str] = []
    for letter in pattern:
        if letter != "*" or made[-1:] != ["*"]:
            made.append(letter)
    return "".join(made)


def _by_pieces(pieces: list[str]) -> Matches:
    """The first piece begins the text, the last ends it, those between are found one after the other."""
    first, *middle, last = pieces
    shortest = sum(map(len, pieces))

    def matches(text: str) -> bool:
        if len(text) < shortest or not text.startswith(first) or not text.endswith(last):
            return False
        place, end = len(first), len(text) - len(last)
        for piece in middle:
            place = text.find(piece, place, end)
            if place < 0:
                return False
            place += len(piece)
        return True

    return matches


def _by_states(pattern: str) -> Matches:
    """All places of the pattern at once, as the bits of a number: one step for each character of the text."""
    runs = sum(1 << place for place, letter in enumerate(pattern) if letter == "*")
    ones = sum(1 << place for place, letter in enumerate(pattern) if letter == "?")
    letters: dict[str, int] = {}
    for place, letter in enumerate(pattern):
        if letter not in "*?":
            letters[letter] = letters.get(letter, ones) | 1 << place
    end = 1 << len(pattern)
    start = 1 | (1 & runs) << 1

    def matches(text: str) -> bool:
        states = start
        for letter in text:
            states = (states & letters.get(letter, ones)) << 1 | states & runs
            states |= (states & runs) << 1
            if not states:
                return False
        return bool(states & end)

    return matches


class RuleBook:
    """A tenant's enabled rules, compiled; the first in the order of evaluation that matches decides."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        """``rules`` stand in the order of evaluation."""
        self._rules = tuple(rules)
        self._parts = tuple(_Part([rule.patterns[number] for rule in rules]) for number in range(4))

    def __len__(self) -> int:
        return len(self._rules)

    def first(self, subject: Subject) -> Rule | None:
        """The rule that decides; None when none matches."""
        matching = -1
        for part, text in zip(self._parts, subject.parts, strict=True):
            matching &= part.matching(text)
            if not matching:
                return None
        return self._rules[(matching & -matching).bit_length() - 1]


class _Part:
    """One part's patterns of all rules. Which rules a text satisfies is a number with a bit for each.

    Most patterns cannot match a text, and what they say literally tells it at once: patterns without a wildcard are
    looked up, those that begin or end literally are found by their beginning or end, and the others by the longest
    run of letters in them. Only what is left is matched.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        bits: dict[str, int] = {}
        for place, pattern in enumerate(patterns):
            bits[pattern] = bits.get(pattern, 0) | 1 << place
        # A bare one only: to what is empty, ** is a run of nothing that has to be somewhere.
        self._always = bits.pop(ANYTHING, 0)
        self._exact: dict[str, int] = {}
        self._by_start: dict[int, dict[str, list[_Glob]]] = {}
        self._by_end: dict[int, dict[str, list[_Glob]]] = {}
        self._by_run: list[tuple[str, _Glob]] = []
        for pattern, places in bits.items():
            self._file(folded(pattern), (glob(pattern), places))
        self._any = bool(bits)
        self._known: dict[str, int] = {}

    def _file(self, pattern: str, one: _Glob) -> None:
        runs = pattern.replace("?", "*").split("*")
        start, end = runs[0], runs[-1]
        if len(runs) == 1:
            self._exact[pattern] = self._exact.get(pattern, 0) | one[1]
        elif start:
            self._by_start.setdefault(len(start), {}).setdefault(start, []).append(one)
        elif end:
            self._by_end.setdefault(len(end), {}).setdefault(end, []).append(one)
        else:
            self._by_run.append((max(runs, key=len), one))

    def matching(self, text: str | None) -> int:
        if not text or not self._any:
            return self._always
        found = self._known.get(text)
        if found is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            found = self._known[text] = self._look(folded(text))
        return found

    def _look(self, text: str) -> int:
        found = self._always | self._exact.get(text, 0)
        for matches, places in self._likely(text):
            if matches(text):
                found |= places
        return found

    def _likely(self, text: str) -> list[_Glob]:
        likely = [one for run, one in self._by_run if run in text]
        for length, globs in self._by_start.items():
            likely += globs.get(text[:length], ())
        for length, globs in self._by_end.items():
            likely += globs.get(text[-length:], ())
        return likely
