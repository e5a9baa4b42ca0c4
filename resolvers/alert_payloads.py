"""This module is where what senders say of alerts is read: Alertmanager's webhook, version 4, one alert at a time.

One that cannot be read says why and fails no other. What is not known here is kept as it came.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import orjson

from models import AlertStatus
from models.errors import Refusal, invalid
from resolvers.alert_ingestion import SentAlert

MOST_ALERTS: Final = 5_000
"""Of one payload."""

FINGERPRINT_LIMIT: Final = 128
NAME_LIMIT: Final = 500
"""Characters of what lists filter by: alertname, severity, instance and job."""

TEXT_LIMIT: Final = 16_384
MOST_TEXTS: Final = 200
ALERT_LIMIT_BYTES: Final = 131_072
MOST_LEVELS: Final = 64
"""Of lists and objects in each other, as in an operation's variables: less than the encoders bear."""

_NEVER: Final = datetime.min.replace(tzinfo=UTC)
"""How Go writes a time that is none: 0001-01-01T00:00:00Z."""

_STATUSES: Final = {"firing": AlertStatus.FIRING, "resolved": AlertStatus.RESOLVED}
_NAMED: Final = ("alertname", "severity", "instance", "job")


def read_alert(value: Any) -> SentAlert | Refusal:
    """The alert that ``value`` holds, or why it is none."""
    if not isinstance(value, dict):
        return invalid("An alert is a JSON object.")
    try:
        return _read(value)
    except Refusal as refusal:
        return refusal


def _read(value: dict[str, Any]) -> SentAlert:
    labels = _texts(value.get("labels"), "labels")
    if not labels.get("alertname"):
        raise invalid("An alert has labels, alertname among them.", "labels", "alertname")
    for name in _NAMED:
        if len(labels.get(name, "")) > NAME_LIMIT:
            raise invalid(f"This has at most {NAME_LIMIT} characters.", "labels", name)
    annotations = _texts(value.get("annotations") or {}, "annotations")
    starts_at = _time(value.get("startsAt"), "startsAt")
    if starts_at is None:
        raise invalid("An alert says when it started.", "startsAt")
    ends_at = _time(value.get("endsAt"), "endsAt")
    if ends_at is not None and ends_at < starts_at:
        raise invalid("It ends before it starts.", "endsAt")
    _require_storable(value)
    return SentAlert(
        fingerprint=_fingerprint(value.get("fingerprint")),
        status=_status(value.get("status")),
        starts_at=starts_at,
        ends_at=ends_at,
        labels=labels,
        annotations=annotations,
        raw=value,
    )


def _require_storable(value: dict[str, Any]) -> None:
    """Raises INVALID for what the database could not hold, or nobody could read again."""
    level: list[Any] = [value]
    for _ in range(MOST_LEVELS):
        level = [inner for one in level for inner in _within(one)]
        if not level:
            break
        if any(isinstance(one, str) and "\0" in one for one in level):
            raise invalid("An alert has no character that is zero.")
    if any(isinstance(one, dict | list) for one in level):
        raise invalid(f"An alert has at most {MOST_LEVELS} levels of lists and objects.")
    if len(orjson.dumps(value)) > ALERT_LIMIT_BYTES:
        raise invalid(f"An alert has at most {ALERT_LIMIT_BYTES:,} bytes.")


def _within(value: Any) -> list[Any]:
    """What stands in a list, or in an object, names included."""
    if isinstance(value, dict):
        return [*value, *value.values()]
    return value if isinstance(value, list) else []


def _fingerprint(value: Any) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= FINGERPRINT_LIMIT or not value.isprintable():
        raise invalid(f"An alert has a fingerprint of 1 to {FINGERPRINT_LIMIT} characters.", "fingerprint")
    return value


def _status(value: Any) -> AlertStatus:
    found = _STATUSES.get(value) if isinstance(value, str) else None
    if found is None:
        raise invalid("This is firing or resolved.", "status")
    return found


def _time(value: Any, field: str) -> datetime | None:
    """A time in UTC; None for none. Raises INVALID."""
    if value is None or value == "":
        return None
    try:
        said = datetime.fromisoformat(value) if isinstance(value, str) else None
        # A day has no hour: a date alone is no time.
        moment = said.astimezone(UTC) if said is not None and said.tzinfo is not None else None
    except (ValueError, OverflowError):
        moment = None
    if moment is None:
        raise invalid("This is a time with its offset, e.g. 2026-01-31T12:00:00Z.", field)
    return None if moment == _NEVER else moment


def _texts(value: Any, field: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise invalid("This is an object of texts.", field)
    if len(value) > MOST_TEXTS:
        raise invalid(f"This has at most {MOST_TEXTS} members.", field)
    for name, text in value.items():
        if not isinstance(text, str) or max(len(text), len(name)) > TEXT_LIMIT:
            raise invalid(f"This is a text of at most {TEXT_LIMIT:,} characters.", field, name[:100])
    return value
