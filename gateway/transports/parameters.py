"""This module is where a client's JSON becomes an operation request, or a sentence saying what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from gateway.transports.operations import OperationRequest
from models.errors import BadRequest
from schema.limits import exceeded

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_DEEPEST: Final = 64
"""Levels of lists and objects in each other; what is stored as JSON is held to less than the encoders bear."""
_NESTING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|([\[{])|[\]}]', re.DOTALL)


def operation_request(parameters: object) -> OperationRequest:
    """Checks the types of the four parameters; unknown ones are ignored, as GraphQL over HTTP asks.

    Raises ``BadRequest``. ``query`` may be absent only when a trusted document is named.
    """
    if isinstance(parameters, list):
        raise BadRequest("Batching is not supported: send one operation per request.")
    if not isinstance(parameters, dict):
        raise BadRequest("The request must be a JSON object.")
    query = _text(parameters, "query")
    extensions = _object(parameters, "extensions")
    document_id = _document_id(parameters, extensions)
    if query is None and document_id is None:
        raise BadRequest('The parameter "query" is missing.')
    return OperationRequest(
        query=query,
        operation_name=_text(parameters, "operationName"),
        variables=_object(parameters, "variables"),
        extensions=extensions,
        document_id=document_id,
    )


def operation_request_from_url(parameters: Mapping[str, str]) -> OperationRequest:
    """The same from a query string, where ``variables`` and ``extensions`` are JSON texts."""
    decoded: dict[str, Any] = {
        name: parameters[name] for name in ("query", "operationName", "documentId") if parameters.get(name)
    }
    for name in ("variables", "extensions"):
        if text := parameters.get(name):
            decoded[name] = decode_json(text, f'The parameter "{name}"')
    return operation_request(decoded)


def decode_json(data: bytes | str, what: str) -> object:
    """Raises ``BadRequest`` with one line that names ``what``, ``LimitExceeded`` for what nests too deeply."""
    raw = data.encode() if isinstance(data, str) else data
    if raw.count(b"[") + raw.count(b"{") > _DEEPEST:
        _hold_nesting(raw)
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"{what} is not valid JSON.") from error


def _hold_nesting(raw: bytes) -> None:
    depth = 0
    for found in _NESTING.finditer(raw):
        if found[1]:
            depth += 1
            if depth > _DEEPEST:
                raise exceeded("nesting", depth, _DEEPEST, at_least=True)
        elif found[0] in (b"]", b"}"):
            depth -= 1


def _document_id(parameters: dict[str, Any], extensions: dict[str, Any] | None) -> str | None:
    """The digest that names a trusted document: the draft's documentId or Apollo's persistedQuery."""
    named: object = _text(parameters, "documentId")
    persisted = (extensions or {}).get("persistedQuery")
    if named is None and isinstance(persisted, dict):
        named = persisted.get("sha256Hash")
    if named is None:
        return None
    digest = named.removeprefix("sha256:").lower() if isinstance(named, str) else ""
    if not _DIGEST.fullmatch(digest):
        raise BadRequest("A document is named by its SHA-256: 64 hex digits.")
    return digest


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
