"""This module is where graphql-transport-ws messages are read and written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import orjson

from gateway.transports.errors import encode
from gateway.transports.operations import OperationRequest
from gateway.transports.parameters import operation_request
from models.errors import BadRequest

SUBPROTOCOL: Final = "graphql-transport-ws"

PING: Final = b'{"type":"ping"}'
PONG: Final = b'{"type":"pong"}'

_NEXT_HEAD: Final = b'{"type":"next","payload":'
# Ids are the client's and are kept and echoed: long ones would be memory of its choosing.
_LONGEST_ID: Final = 128


class BadMessage(Exception):
    """A message that the protocol does not know; its text is the close reason."""


@dataclass(frozen=True, slots=True)
class ConnectionInit:
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ping:
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Pong:
    pass


@dataclass(frozen=True, slots=True)
class Subscribe:
    id: str
    request: OperationRequest


@dataclass(frozen=True, slots=True)
class Complete:
    id: str


Message = ConnectionInit | Ping | Pong | Subscribe | Complete


def parse(text: str | bytes | None) -> Message:
    """Raises ``BadMessage``, whose text fits a close frame."""
    if not isinstance(text, str):
        raise BadMessage("Only text messages are understood")
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadMessage("The message is not valid JSON") from error
    if not isinstance(message, dict):
        raise BadMessage("The message is not a JSON object")
    match message.get("type"):
        case "connection_init":
            return ConnectionInit(_payload(message))
        case "ping":
            return Ping(_payload(message))
        case "pong":
            _payload(message)
            return Pong()
        case "subscribe":
            return Subscribe(_id(message), _request(message))
        case "complete":
            return Complete(_id(message))
        case _:
            raise BadMessage("The message type is unknown")


def ack(payload: dict[str, Any]) -> bytes:
    return encode({"type": "connection_ack", "payload": payload})


def pong(payload: dict[str, Any]) -> bytes:
    return encode({"type": "pong", "payload": payload})


def next_head(payload: bytes) -> bytes:
    """The part of a ``next`` message that all subscribers of one encoded answer share; ``id_tail`` completes it."""
    return _NEXT_HEAD + payload


def id_tail(operation_id: str) -> bytes:
    """The id stands last, so that N subscribers cost one encoding and N short tails."""
    return b',"id":' + orjson.dumps(operation_id) + b"}"


def error(operation_id: str, errors: list[dict[str, Any]]) -> bytes:
    return encode({"id": operation_id, "type": "error", "payload": errors})


def complete(operation_id: str) -> bytes:
    return encode({"id": operation_id, "type": "complete"})


def _payload(message: dict[str, Any]) -> dict[str, Any]:
    payload = message.get("payload")
    if payload is None:
        return {}
    if not isinstance(payload, dict):
        raise BadMessage("The payload is not an object")
    return payload


def _id(message: dict[str, Any]) -> str:
    operation_id = message.get("id")
    if not isinstance(operation_id, str) or not 0 < len(operation_id) <= _LONGEST_ID:
        raise BadMessage(f"The id is not a string of 1 to {_LONGEST_ID} characters")
    return operation_id


def _request(message: dict[str, Any]) -> OperationRequest:
    try:
        return operation_request(message.get("payload"))
    except BadRequest as error:
        raise BadMessage(error.message) from error
