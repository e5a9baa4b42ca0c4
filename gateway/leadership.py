"""This module is where one worker is the leader: a lease on the database's clock that all workers try to take."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Final
from uuid import uuid4

from dataloaders.leases import give_lease_back, is_lease_held, take_lease
from models.database import Database

LEADER_LEASE: Final = "leader"
LEASE_SECONDS: Final = 5.0
RENEWAL_SECONDS: Final = 1.5
_PATIENCE_SECONDS: Final = 1.5


class Leadership:
    """Whether this process leads. A process that was stopped and goes on later finds its epoch gone."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._is_led = asyncio.Event()
        self.holder = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"
        self.epoch: int | None = None

    @property
    def is_leader(self) -> bool:
        """Whether the last renewal succeeded; `holds` asks the database."""
        return self.epoch is not None

    async def until_leader(self) -> int:
        """Wait to lead; the epoch it began with."""
        while self.epoch is None:
            await self._is_led.wait()
        return self.epoch

    async def holds(self, epoch: int) -> bool:
        """Whether the lease is ours and was never lost since ``epoch``. Raises Unavailable."""
        return await is_lease_held(self._database, LEADER_LEASE, self.holder, epoch)

    async def renew(self) -> None:
        """Take or keep the lease; without an answer in time we do not lead. Raises Unavailable, TimeoutError."""
        epoch: int | None = None
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                epoch = await take_lease(self._database, LEADER_LEASE, self.holder, LEASE_SECONDS)
        finally:
            self.epoch = epoch
            if epoch is None:
                self._is_led.clear()
            else:
                self._is_led.set()

    async def resign(self) -> None:
        """Let another worker lead at once."""
        if self.epoch is not None:
            self.epoch = None
            self._is_led.clear()
            await give_lease_back(self._database, LEADER_LEASE, self.holder)
