"""This module is where a process commits and dies: killed after COMMIT and before anybody was told.

Run as `python -m tests.faults.dies_before_publishing URL TENANT NUMBER`. Prints one line a death: the event's seq
and when it was committed, on the machine's monotonic clock.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from uuid import UUID

from models import Workspace, utcnow
from models.database import Database, DatabaseUrls, PoolOptions
from models.ids import uuid7
from resolvers.unit_of_work import unit_of_work
from tests.world import AUDIT


class Death:
    """What stands where an announcer stands."""

    def announce(self, tenant_id: UUID, seq: int) -> None:
        """The commit is done. Says so and dies by kill -9."""
        os.write(sys.stdout.fileno(), f"{seq} {time.monotonic()}\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)


async def _commit(url: str, tenant_id: UUID) -> None:
    database = Database(DatabaseUrls.for_roles(url), PoolOptions(size=1), AUDIT)
    async with unit_of_work(database, Death(), utcnow, tenant_id, None) as work:
        workspace = Workspace(id=uuid7(), name="last words", tier=1)
        work.add(workspace)
        await work.session.flush()
        work.tell(workspace, "workspace.created", None)


def main(url: str, tenant_id: UUID, number: int) -> None:
    """Fork ``number`` times, one after another: every child commits once and dies of it."""
    for _ in range(number):
        child = os.fork()
        if child == 0:
            asyncio.run(_commit(url, tenant_id))
            os._exit(1)  # it should be dead
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
            sys.exit("a child survived its commit")
        # Sweeps come twice a second: any phase of them must do.
        time.sleep(random.uniform(0.0, 0.5))


if __name__ == "__main__":
    main(sys.argv[1], UUID(sys.argv[2]), int(sys.argv[3]))
