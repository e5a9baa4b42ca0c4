"""This module is where the documents that an operator trusts are kept, by the SHA-256 of their text.

Security boundary: with ONLY nothing else is ever run, so whoever steals a token can do what the clients do, no more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import orjson

from gateway.transports.operations import OperationRequest
from models.errors import BadRequest, Forbidden

_APOLLO: Final = "apollo-persisted-query-manifest"
_MOST_BYTES: Final = 16 * 1024 * 1024


class TrustedMode(StrEnum):
    """What is answered."""

    OFF = "off"
    PREFER = "prefer"
    ONLY = "only"


class TrustedDocumentsError(Exception):
    """The directory of trusted documents cannot be used; the message names the file and what is wrong."""


class TrustedDocuments:
    """Texts by their digests, and whether other texts are answered as well."""

    def __init__(self, mode: TrustedMode = TrustedMode.OFF, texts: Mapping[str, str] | None = None) -> None:
        self._mode = mode
        self._texts = dict(texts or {})

    def __len__(self) -> int:
        return len(self._texts)

    def resolve(self, request: OperationRequest) -> OperationRequest:
        """The request with the text that it names.

        Raises BAD_REQUEST for a name without a document and for a text that is not what its name says, FORBIDDEN for
        a text where only trusted ones are answered.
        """
        digest = request.document_id
        if digest is None:
            if self._mode is TrustedMode.ONLY and digest_of(request.query or "") not in self._texts:
                raise Forbidden("Only trusted documents are answered here; name one by its documentId.")
            return request
        if self._mode is TrustedMode.OFF:
            return self._without(request, digest)
        text = self._texts.get(digest)
        if text is not None and request.query in (None, text):
            return replace(request, query=text, document_id=None)
        if text is None and request.query is None:
            raise self._unknown(request)
        return self.resolve(self._without(request, digest))

    def _without(self, request: OperationRequest, digest: str) -> OperationRequest:
        """The request by its own text, which must be what the name says: nobody plants one under another's name."""
        if request.query is None:
            raise self._unknown(request)
        if digest_of(request.query) != digest:
            raise BadRequest("The document's SHA-256 is not the one that was named.")
        return replace(request, document_id=None)

    def _unknown(self, request: OperationRequest) -> BadRequest:
        if "persistedQuery" in (request.extensions or {}):
            # Clients of Apollo's kind know these very words, and send the text along or stop trying names.
            found = "NotSupported" if self._mode is TrustedMode.OFF else "NotFound"
            return BadRequest(f"PersistedQuery{found}")
        return BadRequest("There is no trusted document with this documentId.")


def digest_of(text: str) -> str:
    """A document's name: the SHA-256 of its text in UTF-8, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def read_folder(folder: Path) -> dict[str, str]:
    """Every document below ``folder`` by its digest: ``.graphql`` files, and ``.json`` manifests of relay and Apollo.

    Raises TrustedDocumentsError for what cannot be read, and for a text whose name is not its digest.
    """
    if not folder.is_dir():
        raise TrustedDocumentsError(f"{folder}: not a directory")
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix in {".graphql", ".gql"}:
            text = _text(path)
            found[digest_of(text)] = text
            # Clients send what they were built with, editors end a file with a line's end.
            found[digest_of(text.rstrip("\n"))] = text.rstrip("\n")
        elif path.suffix == ".json":
            found.update(_manifest(path))
    return found


def _manifest(path: Path) -> Iterator[tuple[str, str]]:
    try:
        said = orjson.loads(_text(path))
    except orjson.JSONDecodeError as error:
        raise TrustedDocumentsError(f"{path}: not JSON") from error
    for name, text in _entries(path, said):
        digest = str(name).removeprefix("sha256:").lower()
        if not isinstance(text, str) or digest_of(text) != digest:
            raise TrustedDocumentsError(f"{path}: {name!r} is not the SHA-256 of its document")
        yield digest, text


def _entries(path: Path, said: Any) -> list[tuple[Any, Any]]:
    if isinstance(said, dict) and said.get("format") == _APOLLO and isinstance(said.get("operations"), list):
        return [(one.get("id"), one.get("body")) for one in said["operations"] if isinstance(one, dict)]
    if isinstance(said, dict):
        return list(said.items())
    raise TrustedDocumentsError(f"{path}: neither an object of documents by their digests nor Apollo's manifest")


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise TrustedDocumentsError(f"{path}: larger than {_MOST_BYTES // 1024**2} MiB")
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TrustedDocumentsError(f"{path}: cannot be read") from error
