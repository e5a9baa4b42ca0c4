"""This module is where the floor stands: websockets.broadcast of ready-made messages, no GraphQL, no database."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from typing import Any

import orjson
import uvloop
from websockets.asyncio.server import broadcast, serve
from websockets.typing import Subprotocol

_PADDING = "workspace_01h455vb4pex5vsknk084sn02q"


def message(number: int) -> str:
    """As long as what the gateway sends for the benchmark's document."""
    cursor = f"wOZhzHkJ4poAAA{number:08}"
    item = {
        "__typename": "WorkspaceItem",
        "cursor": cursor,
        "previousCursor": cursor,
        "occurredAt": datetime.now(UTC).isoformat(),
        "kind": "workspace.updated",
        "matchesFilter": True,
        "workspace": {"id": _PADDING, "name": "place 000", "status": "ONLINE", "version": number},
    }
    return orjson.dumps({"type": "next", "payload": {"data": {"workspaceStatus": item}}, "id": "0000"}).decode()


async def main(port: int, rate: float, burst: int) -> None:
    """Broadcast ``rate`` messages a second in commits of ``burst`` to everyone who subscribed."""
    clients: set[Any] = set()

    async def session(connection: Any) -> None:
        await connection.recv()
        await connection.send('{"type":"connection_ack"}')
        await connection.recv()
        clients.add(connection)
        await connection.wait_closed()
        clients.discard(connection)

    async with serve(
        session,
        "127.0.0.1",
        port,
        subprotocols=[Subprotocol("graphql-transport-ws")],
        compression=None,
        ping_interval=None,
    ):
        print("ready", flush=True)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, sys.stdin.readline)
        number, due = 0, loop.time()
        while True:
            for _ in range(burst):
                number += 1
                broadcast(clients, message(number))
            due += burst / rate
            await asyncio.sleep(max(0.0, due - loop.time()))


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])))
