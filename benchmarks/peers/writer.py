"""This module is where changes are committed beside what is measured: rows, events and the counter, then the wake-up.

The same statements as a unit of work, by hand: a writer that took half of a small machine would be what is measured.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Final
from uuid import UUID

import asyncpg
import uvloop
from sqlalchemy.engine import make_url

from gateway import settings as configuration
from gateway.runtime import running_services
from models import Workspace
from resolvers.administration import operator_call

_BIND: Final = "SELECT set_config('app.tenant_id', '{}', true)"
_CHANGE: Final = "UPDATE workspaces SET uptime_seconds = uptime_seconds + 1 WHERE tenant_id = $1 AND id = $2"
_TELL: Final = """
WITH counter AS (UPDATE tenant_streams SET seq = seq + $3 WHERE tenant_id = $1 RETURNING seq)
INSERT INTO events
SELECT one.tenant_id, counter.seq - $3 + n, gen_random_uuid(), one.topic, one.kind, one.entity_type, one.entity_id,
  one.required_scope, one.owner_user_id, one.workspace_id, one.actor_type, one.actor_id, one.before, one.after,
  one.payload, clock_timestamp()
FROM events one, counter, generate_series(1, $3) n WHERE one.tenant_id = $1 AND one.seq = $2
RETURNING seq
"""


async def main(tenant_id: UUID, workspace_id: UUID, rate: float, burst: int) -> None:
    """``rate`` events a second, ``burst`` in each commit, until ended."""
    settings = configuration.load(data_dir=Path(sys.argv[5]))
    async with running_services(settings) as services:
        call = operator_call(services, tenant_id)
        async with call.work() as work:
            workspace = await work.locked(Workspace, workspace_id)
            work.tell(workspace, "workspace.updated", workspace.facets())
        _, template = await services.tails.bounds(tenant_id)
        assert settings.database_url is not None
        url = make_url(settings.database_url).set(drivername="postgresql")
        connection = await asyncpg.connect(url.render_as_string(hide_password=False))
        print("ready", flush=True)
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            async with connection.transaction():
                await connection.execute(_BIND.format(tenant_id))
                await connection.execute(_CHANGE, tenant_id, workspace_id)
                told = await connection.fetch(_TELL, tenant_id, template, burst)
            seqs = [one["seq"] for one in told]
            services.announcer.announce(tenant_id, max(seqs))
            print(min(seqs), max(seqs), time.time(), flush=True)
            due += burst / rate
            await asyncio.sleep(max(0.0, due - loop.time()))


if __name__ == "__main__":
    uvloop.run(main(UUID(sys.argv[1]), UUID(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])))
