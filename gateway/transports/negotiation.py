"""This module is where a request's Accept header decides the form of its answer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from gateway.transports.operations import OperationKind

# A longer header is nobody's honest one; parsing stays linear and small.
_LONGEST_ACCEPT = 4096


class Form(Enum):
    """The forms an answer can take; the value is its media type."""

    JSON = "application/json"
    GRAPHQL_RESPONSE = "application/graphql-response+json"
    EVENT_STREAM = "text/event-stream"
    MULTIPART = "multipart/mixed"
    HTML = "text/html"

    @property
    def is_stream(self) -> bool:
        return self in (Form.EVENT_STREAM, Form.MULTIPART)


@dataclass(frozen=True, slots=True)
class _Range:
    media_type: str
    parameters: dict[str, str]
    quality: float


@dataclass(frozen=True, slots=True)
class Acceptable:
    """What a client takes, by form; forms it refuses are absent."""

    json: Form | None
    stream: Form | None

    def form_for(self, kind: OperationKind | None) -> Form | None:
        """JSON wins where it can carry the answer: clients list streams on every request just in case."""
        if kind == "subscription":
            return self.stream
        return self.json or self.stream


def acceptable(accept: str | None) -> Acceptable:
    """Of equals, GraphQL's own type goes before plain JSON and event streams before multipart.

    A wildcard or no header at all means plain JSON (audits 47DE and 80D8), and never a stream: whoever forgot to
    ask for one would wait for its end.
    """
    if accept is None or not accept.strip():
        return Acceptable(json=Form.JSON, stream=None)
    ranges = _ranges(accept)
    json = _best_named(ranges, (Form.GRAPHQL_RESPONSE, Form.JSON))
    if json is None and _quality(ranges, Form.JSON) > 0:
        json = Form.JSON
    return Acceptable(json=json, stream=_best_named(ranges, (Form.EVENT_STREAM, Form.MULTIPART)))


def wants_page(accept: str | None) -> bool:
    """Whether a browser navigated here: it names text/html, which no GraphQL client does."""
    return any(r.media_type == Form.HTML.value and r.quality > 0 for r in _ranges(accept or ""))


def _best_named(ranges: list[_Range], forms: tuple[Form, ...]) -> Form | None:
    quality = {form: _quality(ranges, form) for form in forms if any(r.media_type == form.value for r in ranges)}
    return max((form for form in quality if quality[form] > 0), key=lambda form: quality[form], default=None)


def _quality(ranges: list[_Range], form: Form) -> float:
    """The quality of the most specific range that covers the form; 0 when none does."""
    group = form.value.partition("/")[0] + "/*"
    for pattern in (form.value, group, "*/*"):
        found = [r.quality for r in ranges if r.media_type == pattern and _understood(r, form)]
        if found:
            return max(found)
    return 0.0


def _understood(media_range: _Range, form: Form) -> bool:
    # multipart/mixed also means incremental delivery (deferSpec), which is not what our parts are.
    if form is not Form.MULTIPART:
        return True
    return "subscriptionspec" in media_range.parameters


def _ranges(accept: str) -> list[_Range]:
    return [_range(part) for part in accept[:_LONGEST_ACCEPT].split(",") if part.strip()]


def _range(text: str) -> _Range:
    media_type, *rest = (piece.strip() for piece in text.split(";"))
    parameters = {}
    for piece in rest:
        name, _, value = piece.partition("=")
        parameters[name.strip().lower()] = value.strip().strip('"')
    return _Range(media_type.lower(), parameters, _parse_quality(parameters.get("q")))


def _parse_quality(text: str | None) -> float:
    if text is None:
        return 1.0
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 0.0
