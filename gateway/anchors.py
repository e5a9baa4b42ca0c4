"""This module is where anchors of the audit log leave the house: appended to a file, or posted to an address."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Final

import httpx

from gateway.settings import SettingsError
from models.errors import Unavailable
from resolvers.anchors import AnchorTarget

_PATIENCE_SECONDS: Final = 10.0


def anchor_target(text: str | None) -> AnchorTarget | None:
    """What SIGNALBOX_AUDIT_ANCHOR names; None for nothing."""
    if text is None:
        return None
    return AnchorAddress(text) if text.startswith(("http://", "https://")) else AnchorFile(Path(text))


def anchor_file(text: str | None) -> Path | None:
    """The file that SIGNALBOX_AUDIT_ANCHOR names, if it names one."""
    return Path(text) if text is not None and "://" not in text else None


class AnchorFile:
    """One line an anchor, on the disk before the run counts as done."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._append([])
        except OSError as error:
            raise SettingsError(f"SIGNALBOX_AUDIT_ANCHOR: {path} cannot be written: {error.strerror}") from error

    async def keep(self, lines: list[bytes]) -> None:
        """Append ``lines``. Raises OSError."""
        await asyncio.to_thread(self._append, lines)

    def _append(self, lines: list[bytes]) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            # One write, so that two gateways' lines do not mingle.
            os.write(descriptor, b"".join(line + b"\n" for line in lines))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class AnchorAddress:
    """One POST a run: a line of JSON for each anchor. Anything but 2xx is tried again."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def keep(self, lines: list[bytes]) -> None:
        """Post ``lines``. Raises Unavailable."""
        try:
            async with (
                asyncio.timeout(_PATIENCE_SECONDS),
                httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=_PATIENCE_SECONDS) as client,
            ):
                answer = await client.post(
                    self._address,
                    content=b"".join(line + b"\n" for line in lines),
                    headers={"content-type": "application/x-ndjson"},
                )
        except (httpx.HTTPError, TimeoutError) as error:
            raise Unavailable("The audit anchor's address does not answer.") from error
        if not answer.is_success:
            raise Unavailable(f"The audit anchor's address answers {answer.status_code}.")
