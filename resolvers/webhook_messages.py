"""This module is where a webhook is written and signed, as the Standard Webhooks specification has it.

Specification: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

Security boundary: what is sent is the event's envelope, in which nobody writes free text, and nothing of any row.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import orjson

from models import Event, WebhookDelivery
from models.ids import encode
from models.webhooks import GAP, PING
from subscriptions.cursor import Cursor

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - what secrets begin with
_SECRET_BYTES: Final = 32  # the specification: between 24 and 64
_VERSION: Final = "v1"


def new_signing_secret() -> str:
    """A secret that an endpoint's receiver and we share."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The version and the base64 of HMAC-SHA-256 over ``id.timestamp.body``. Raises ValueError for no such secret."""
    if not secret.startswith(SECRET_PREFIX):
        raise ValueError(f"a secret begins with {SECRET_PREFIX}")
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    signed = f"{message_id}.{timestamp}.".encode() + body
    return f"{_VERSION},{base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()}"


def headers_of(message_id: str, at: datetime, body: bytes, signing: Sequence[str]) -> dict[str, str]:
    """What goes with ``body``: one signature for each of ``signing``, the newest first. Raises ValueError."""
    timestamp = int(at.timestamp())
    return {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signature(one, message_id, timestamp, body) for one in signing),
    }


def body_of(delivery: WebhookDelivery, event: Event | None, epoch: bytes) -> bytes:
    """The same for every attempt. Without ``event`` it tells that what it would tell of is not in the log any more."""
    if delivery.kind == PING:
        return _written(PING, delivery.created_at, {})
    if event is None:
        last = delivery.event_seq or 0
        first = last if delivery.gap_start is None else delivery.gap_start
        missing = {
            "after": Cursor(epoch, first - 1).encode(),
            "cursor": Cursor(epoch, last).encode(),
            "missed": last - first + 1,
        }
        return _written(GAP, delivery.created_at, missing)
    actor = encode(event.actor_type, event.actor_id) if event.actor_type and event.actor_id else None
    told = {
        "id": event.typeid,
        "cursor": Cursor(epoch, event.seq).encode(),
        "topic": event.topic.name,
        "entityId": event.entity_typeid,
        "actorId": actor,
        "before": event.before,
        "after": event.after,
        "payload": event.payload,
    }
    return _written(event.kind, event.occurred_at, told)


def _written(kind: str, at: datetime, told: dict[str, Any]) -> bytes:
    return orjson.dumps({"type": kind, "timestamp": at, "data": told}, option=orjson.OPT_UTC_Z)
