"""This module is where a client's JSON becomes an operation request, or a sentence saying what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from gateway.transports.operations import OperationRequest
from models.errors import BadRequest


def operation_request(parameters: object) -> OperationRequest:
    """Checks the types of the four parameters; unknown ones are ignored, as GraphQL over HTTP asks.

    Raises ``BadRequest``. ``query`` may be absent only when ``extensions`` can name a trusted document.
    """
    if isinstance(parameters, list):
        raise BadRequest("Batching is not supported: send one operation per request.")
    if not isinstance(parameters, dict):
        raise BadRequest("The request must be a JSON object.")
    query = _text(parameters, "query")
    extensions = _object(parameters, "extensions")
    if query is None and not extensions:
        raise BadRequest('The parameter "query" is missing.')
    return OperationRequest(
        query=query,
        operation_name=_text(parameters, "operationName"),
        variables=_object(parameters, "variables"),
        extensions=extensions,
    )


def operation_request_from_url(parameters: Mapping[str, str]) -> OperationRequest:
    """The same from a query string, where ``variables`` and ``extensions`` are JSON texts."""
    decoded: dict[str, Any] = {name: parameters[name] for name in ("query", "operationName") if parameters.get(name)}
    for name in ("variables", "extensions"):
        if text := parameters.get(name):
            decoded[name] = decode_json(text, f'The parameter "{name}"')
    return operation_request(decoded)


def decode_json(data: bytes | str, what: str) -> object:
    """Raises ``BadRequest`` with one line that names ``what``."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"{what} is not valid JSON.") from error


def _text(parameters: dict[str, Any], name: str) -> str | None:
    value = parameters.get(name)
    if value is not None and not isinstance(value, str):
        raise BadRequest(f'The parameter "{name}" must be a string.')
    return value


def _object(parameters: dict[str, Any], name: str) -> dict[str, Any] | None:
    value = parameters.get(name)
    if value is not None and not isinstance(value, dict):
        raise BadRequest(f'The parameter "{name}" must be an object.')
    return value
