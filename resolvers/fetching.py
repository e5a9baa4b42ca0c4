"""This module is where use cases say what they need of somebody who asks other servers for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class FetchFailed(Exception):
    """A server that a tenant named could not be asked, or did not answer as it should; the message names no secret."""


class AddressRefused(FetchFailed):
    """Nobody was asked: the address is none that may be."""


class TookTooLong(FetchFailed):
    """No answer came in time."""


class Fetches(Protocol):
    """Asks a server whose address somebody else chose, and only where that is safe."""

    async def get(self, url: str, *, limit_bytes: int) -> bytes:
        """The body of the answer. Raises FetchFailed."""
        ...


class Notifies(Protocol):
    """Tells a server whose address somebody else chose, and only where that is safe."""

    def refuses(self, url: str) -> bool:
        """Whether it is known without looking any name up that this address is not asked."""
        ...

    async def notify(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """The status of the answer, whatever it is; redirects are not followed. Raises FetchFailed without one."""
        ...
