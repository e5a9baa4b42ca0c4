"""This module is where gateways say that beats are being taken, so that an outage of ours kills no fleet.

The lease is shared by every gateway that takes beats. When it lapses nobody took any, silence proves nothing, and
the sweep waits one TTL after it was taken up again.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Final

import structlog

from dataloaders.heartbeats import store_beats
from dataloaders.leases import renew_shared_lease
from models.database import Database
from models.errors import Unavailable

INTAKE_LEASE: Final = "heartbeat-intake"
LEASE_SECONDS: Final = 5.0
RENEWAL_SECONDS: Final = 1.5
_PATIENCE_SECONDS: Final = 4.0
_log = structlog.get_logger(__name__)


class IntakeLease:
    """Renews the lease for as long as beats can really be stored."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._holder = f"{socket.gethostname()}:{os.getpid()}"
        self._has_failed = False
        self._task: asyncio.Task[None] | None = None
        self.failures = 0

    def start(self) -> None:
        """Begin renewing; ``stop`` ends it."""
        self._task = asyncio.create_task(self._run(), name="heartbeat-lease")

    async def stop(self) -> None:
        """Stop renewing. The lease lapses by itself: other gateways may hold it too."""
        if self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            await asyncio.wait({task})

    def note_success(self) -> None:
        """A batch was stored."""
        self._has_failed = False

    def note_failure(self) -> None:
        """Beats were not stored; the next renewal must prove that they could be."""
        self._has_failed = True

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    await self._renew()
            except Exception as error:
                self.failures += 1
                is_passing = isinstance(error, Unavailable | TimeoutError)
                _log.error("heartbeats.lease_not_renewed", failures=self.failures, exc_info=not is_passing)
            await asyncio.sleep(RENEWAL_SECONDS)

    async def _renew(self) -> None:
        if self._has_failed:
            # Perhaps nobody beats any more, so waiting for a batch to succeed could take forever.
            self._has_failed = False
            try:
                await store_beats(self._database, [])
            except BaseException:
                self._has_failed = True
                raise
        await renew_shared_lease(self._database, INTAKE_LEASE, self._holder, LEASE_SECONDS)
