"""This module is where use cases say what they need of somebody who asks other servers for them."""

from __future__ import annotations

from typing import Protocol


class FetchFailed(Exception):
    """A server that a tenant named could not be asked, or did not answer as it should; the message names no secret."""


class Fetches(Protocol):
    """Asks a server whose address somebody else chose, and only where that is safe."""

    async def get(self, url: str, *, limit_bytes: int) -> bytes:
        """The body of the answer. Raises FetchFailed."""
        ...
