"""This module is where the page's files are read, hashed, compressed and served."""

from __future__ import annotations

import gzip
import mimetypes
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

DIRECTORY = Path(__file__).parent / "assets"
URL = "/graphql/assets"

_SERVED_SUFFIXES = {".js", ".css", ".svg"}
_ONE_YEAR = 365 * 24 * 3600


@dataclass(frozen=True)
class Asset:
    """One file, in memory: there are a dozen, and they never change while the process lives."""

    name: str
    content: bytes

    @cached_property
    def digest(self) -> str:
        return sha256(self.content).hexdigest()[:16]

    @cached_property
    def compressed(self) -> bytes:
        return gzip.compress(self.content, compresslevel=6, mtime=0)

    @cached_property
    def content_type(self) -> str:
        return f"{mimetypes.guess_type(self.name)[0] or 'application/octet-stream'}; charset=utf-8"

    @property
    def url(self) -> str:
        """An address that changes with the content, so that it may be cached for good."""
        return f"{URL}/{self.name}?v={self.digest}"


class Assets:
    """The files a browser may ask for, and no others in the folder."""

    def __init__(self, directory: Path = DIRECTORY) -> None:
        self._by_name = {
            path.name: Asset(path.name, path.read_bytes())
            for path in sorted(directory.iterdir())
            if path.suffix in _SERVED_SUFFIXES
        }

    def versioned(self, html: str) -> str:
        """The page with every asset's address made to change with its content."""
        for asset in self._by_name.values():
            html = html.replace(f'"{URL}/{asset.name}"', f'"{asset.url}"')
        return html

    async def respond(self, request: Request) -> Response:
        """The file named by the path; 404 for any other name, 304 when the browser has it."""
        asset = self._by_name.get(request.path_params["name"])
        if asset is None:
            return Response("No such file.", 404, media_type="text/plain")
        headers = {
            "etag": f'"{asset.digest}"',
            "vary": "accept-encoding",
            "x-content-type-options": "nosniff",
            "cache-control": _cache_control(request.query_params.get("v") == asset.digest),
        }
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(None, 304, headers)
        headers["content-type"] = asset.content_type
        if "gzip" not in request.headers.get("accept-encoding", ""):
            return Response(asset.content, 200, headers)
        headers["content-encoding"] = "gzip"
        # 3.5 MB take a tenth of a second to compress, once; not on the loop.
        return Response(await run_in_threadpool(lambda: asset.compressed), 200, headers)


def _cache_control(is_versioned: bool) -> str:
    return f"public, max-age={_ONE_YEAR}, immutable" if is_versioned else "no-cache"
