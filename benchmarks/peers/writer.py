"""This module is where changes are committed beside the gateway, as another gateway would: rows, events, wake-up."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from uuid import UUID

import uvloop

from gateway import settings as configuration
from gateway.runtime import running_services
from models import Scope, Workspace
from resolvers.call import Call
from resolvers.principal import Principal
from resolvers.registry import record


async def main(tenant_id: UUID, workspace_id: UUID, rate: float, burst: int) -> None:
    """``rate`` events a second, ``burst`` in each commit, until ended."""
    settings = configuration.load(data_dir=Path(sys.argv[5]))
    async with running_services(settings) as services:
        call = Call(services=services, principal=Principal(tenant_id=tenant_id, scopes=frozenset(Scope)))
        print("ready", flush=True)
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            async with call.work() as work:
                workspace = await work.locked(Workspace, workspace_id)
                before = workspace.facets()
                workspace.uptime_seconds += 1
                for _ in range(burst):
                    record(work, workspace, "workspace.updated", before)
            due += burst / rate
            await asyncio.sleep(max(0.0, due - loop.time()))


if __name__ == "__main__":
    uvloop.run(main(UUID(sys.argv[1]), UUID(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])))
