"""This module is where a rule's conditions are held to their shape: what could never match is never stored.

Stored as ``{"domain": text, "riskSignals": [text], "keywords": [text], "minConfidence": 0 to 1, "match": "any"}``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from models.errors import invalid
from resolvers.risk_signals import SIGNALS, folded
from resolvers.validation import line

MOST_KEYWORDS: Final = 50
KEYWORD_LIMIT: Final = 200
DOMAIN_LIMIT: Final = 100

# V2 wrote the names with underscores; both are read, one is kept.
_KNOWN_AS: Final[Mapping[str, str]] = {"risk_signals": "riskSignals", "min_confidence": "minConfidence"}


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a rule asks of a request: any of these, or all of those that are given."""

    domain: str | None = None
    risk_signals: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    """Folded, as texts are compared."""
    min_confidence: float | None = None
    all_of_them: bool = False

    @classmethod
    def of(cls, stored: Any) -> Conditions:
        """What is stored; what is not as it should be is left out, and conditions without any never match."""
        said = stored if isinstance(stored, Mapping) else {}
        domain, least = said.get("domain"), said.get("minConfidence")
        return cls(
            domain=domain if isinstance(domain, str) and domain else None,
            risk_signals=_texts(said.get("riskSignals")),
            keywords=tuple(filter(None, map(folded, _texts(said.get("keywords"))))),
            min_confidence=float(least) if isinstance(least, int | float) else None,
            all_of_them=said.get("match") == "all",
        )


def _texts(value: Any) -> tuple[str, ...]:
    found = value if isinstance(value, list) else []
    return tuple(dict.fromkeys(one for one in found if isinstance(one, str)))


def conditions(value: Any, *field: str) -> dict[str, Any]:
    """``value`` as it is stored. Raises INVALID with the path of the first thing that is wrong."""
    path = field or ("conditions",)
    if not isinstance(value, dict):
        raise invalid("This is a JSON object.", "input", *path)
    said: dict[str, Any] = {}
    for name, one in value.items():
        known: str = _KNOWN_AS.get(name, name)
        if known not in _READERS:
            raise invalid(f"Conditions are {', '.join(_READERS)}; this is none.", "input", *path, _shown(name))
        if known in said:
            raise invalid("This is said twice.", "input", *path, _shown(name))
        said[known] = _READERS[known](one, (*path, name))
    if not said.keys() - {"match"}:
        raise invalid("Conditions that are empty never match.", "input", *path)
    return said


def _shown(name: str) -> str:
    return name[:64].encode(errors="replace").decode()


def _domain(value: Any, path: tuple[str, ...]) -> str:
    if not isinstance(value, str):
        raise invalid("This is a text.", "input", *path)
    return _text(line(value, DOMAIN_LIMIT, *path), path)


def _signals(value: Any, path: tuple[str, ...]) -> list[str]:
    for place, one in enumerate(_listed(value, len(SIGNALS), path)):
        if one not in SIGNALS:
            raise invalid(f"A risk is one of {', '.join(SIGNALS)}.", "input", *path, str(place))
    return list(dict.fromkeys(value))


def _keywords(value: Any, path: tuple[str, ...]) -> list[str]:
    found = []
    for place, one in enumerate(_listed(value, MOST_KEYWORDS, path)):
        where = (*path, str(place))
        if not isinstance(one, str):
            raise invalid("This is a text.", "input", *where)
        word = _text(line(one, KEYWORD_LIMIT, *where), where)
        if not folded(word):
            raise invalid("This holds nothing that can be seen.", "input", *where)
        found.append(word)
    return list(dict.fromkeys(found))


def _confidence(value: Any, path: tuple[str, ...]) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise invalid("This is a number above 0, below which no confidence is, up to 1.", "input", *path)
    return float(value)


def _match(value: Any, path: tuple[str, ...]) -> str:
    if value not in ("any", "all"):
        raise invalid("This is any or all.", "input", *path)
    return str(value)


_READERS: Final[Mapping[str, Callable[[Any, tuple[str, ...]], Any]]] = {
    "domain": _domain,
    "riskSignals": _signals,
    "keywords": _keywords,
    "minConfidence": _confidence,
    "match": _match,
}


def _listed(value: Any, most: int, path: tuple[str, ...]) -> list[Any]:
    if not isinstance(value, list) or not 1 <= len(value) <= most:
        raise invalid(f"This is a list of 1 to {most}.", "input", *path)
    return value


def _text(value: str, path: tuple[str, ...]) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        # Half a character: JSON can say it, no encoding can keep it.
        raise invalid("This is a text.", "input", *path) from error
    return value
