"""This module is where a request's body is read, inflated and refused, never past its limit."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator

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
    inflate = _inflater(request.headers.get("content-encoding", "identity").strip().lower())
    try:
        async with asyncio.timeout(timeout):
            return await _collect(request.stream(), inflate, limit)
    except TimeoutError as error:
        raise HttpRefusal(408, "The request body did not arrive in time.") from error
    except ClientDisconnect as error:
        raise HttpRefusal(400, "The request body ended early.") from error


async def _collect(chunks: AsyncIterator[bytes], inflate: _Inflate, limit: int) -> bytes:
    body, received = bytearray(), 0
    async for chunk in chunks:
        received += len(chunk)
        body += inflate(chunk, limit + 1 - len(body))
        # Compressed nothings, too, are work: what is sent is held to the limit as what comes of it is.
        if len(body) > limit or received > limit:
            raise _too_large(limit)
    inflate.finish()
    return bytes(body)


class _Inflate:
    """A body that is as it was sent."""

    def __call__(self, chunk: bytes, room: int) -> bytes:
        """What comes of a chunk, at most ``room`` bytes of it where it grows."""
        return chunk

    def finish(self) -> None:
        """Raises 400 when the end is missing."""


class _Inflated(_Inflate):
    """A compressed body: a bomb costs no more memory than an honest one."""

    def __init__(self, window_bits: int) -> None:
        self._stream = zlib.decompressobj(window_bits)

    def __call__(self, chunk: bytes, room: int) -> bytes:
        try:
            return self._stream.decompress(chunk, room)
        except zlib.error as error:
            raise _damaged() from error

    def finish(self) -> None:
        if not self._stream.eof:
            raise _damaged()


def _damaged() -> HttpRefusal:
    return HttpRefusal(400, "The compressed request body is damaged.")


def _inflater(encoding: str) -> _Inflate:
    if encoding in ("", "identity"):
        return _Inflate()
    if encoding not in _WINDOW_BITS:
        raise HttpRefusal(
            415, "The content encoding must be gzip, deflate or none.", headers={"accept-encoding": "gzip, deflate"}
        )
    return _Inflated(_WINDOW_BITS[encoding])


def _charset(parameters: str) -> str:
    for piece in parameters.split(";"):
        name, _, value = piece.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip('"').lower()
    return ""


def _too_large(limit: int) -> HttpRefusal:
    return HttpRefusal(413, f"The request body is larger than {limit // 1024} KiB.", code="LIMIT_EXCEEDED")
