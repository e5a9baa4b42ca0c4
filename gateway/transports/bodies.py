"""This module is where a request's body is read, inflated and refused, never past its limit."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from starlette.requests import ClientDisconnect, Request

from gateway.transports.errors import HttpRefusal

# zlib's window bits: 16 more than the window asks for a gzip header.
_WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


def require_json(request: Request) -> None:
    """Raises 415 unless the body is declared as JSON in UTF-8.

    Anything else could be sent cross-site without a preflight, so form posts and text bodies stay out.
    """
    media_type, _, parameters = request.headers.get("content-type", "").partition(";")
    charset = _charset(parameters)
    if media_type.strip().lower() != "application/json" or charset not in ("", "utf-8", "utf8"):
        raise HttpRefusal(
            415, "The content type must be application/json in UTF-8.", headers={"accept": "application/json"}
        )


async def read_body(request: Request, *, limit: int, timeout: float) -> bytes:
    """The body, inflated, at most ``limit`` bytes of it.

    Raises 413 beyond that without reading or inflating the rest, 415 for an unknown encoding, 400 for a damaged
    one, 408 when it does not arrive in time.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    inflate = _inflater(request.headers.get("content-encoding", "identity").strip().lower(), limit)
    try:
        async with asyncio.timeout(timeout):
            return await _collect(request.stream(), inflate, limit)
    except TimeoutError as error:
        raise HttpRefusal(408, "The request body did not arrive in time.") from error
    except ClientDisconnect as error:
        raise HttpRefusal(400, "The request body ended early.") from error


async def _collect(chunks: AsyncIterator[bytes], inflate: _Inflate, limit: int) -> bytes:
    body = bytearray()
    async for chunk in chunks:
        body += inflate(chunk, limit + 1 - len(body))
        if len(body) > limit:
            raise _too_large(limit)
    return bytes(body)


class _Inflate(Protocol):
    def __call__(self, chunk: bytes, room: int, /) -> bytes: ...


def _inflater(encoding: str, limit: int) -> _Inflate:
    if encoding in ("", "identity"):
        return lambda chunk, room: chunk
    if encoding not in _WINDOW_BITS:
        raise HttpRefusal(
            415, "The content encoding must be gzip, deflate or none.", headers={"accept-encoding": "gzip, deflate"}
        )
    decompress: Callable[[bytes, int], bytes] = zlib.decompressobj(_WINDOW_BITS[encoding]).decompress

    def inflate(chunk: bytes, room: int) -> bytes:
        try:
            # At most ``room`` bytes come out, so a bomb costs no more memory than an honest body.
            return decompress(chunk, room)
        except zlib.error as error:
            raise HttpRefusal(400, "The compressed request body is damaged.") from error

    return inflate


def _charset(parameters: str) -> str:
    for piece in parameters.split(";"):
        name, _, value = piece.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip('"').lower()
    return ""


def _too_large(limit: int) -> HttpRefusal:
    return HttpRefusal(413, f"The request body is larger than {limit // 1024} KiB.", code="LIMIT_EXCEEDED")
