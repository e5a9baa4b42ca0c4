"""This module is where stock strawberry stands: its own ASGI view and broadcaster, as its documentation shows."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import strawberry
import uvicorn
from broadcaster import Broadcast
from starlette.applications import Starlette
from starlette.routing import Route, WebSocketRoute
from strawberry.asgi import GraphQL

bus = Broadcast("memory://")
RATE, BURST = float(sys.argv[2]), int(sys.argv[3])


@strawberry.type
class Workspace:
    id: str
    name: str
    status: str
    version: int


@strawberry.type
class Item:
    cursor: str
    previous_cursor: str
    occurred_at: datetime
    kind: str
    matches_filter: bool
    workspace: Workspace


@strawberry.type
class Query:
    hello: str = "hello"


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def workspace_status(self) -> AsyncGenerator[Item, None]:
        """Every change."""
        async with bus.subscribe("changes") as events:
            async for event in events:
                stamp, number = event.message.split()
                place = Workspace(
                    id="workspace_01h455vb4pex5vsknk084sn02q", name="place 000", status="ONLINE", version=int(number)
                )
                yield Item(
                    cursor=f"wOZhzHkJ4poAAA{number:>08}",
                    previous_cursor=f"wOZhzHkJ4poAAA{number:>08}",
                    occurred_at=datetime.fromisoformat(stamp),
                    kind="workspace.updated",
                    matches_filter=True,
                    workspace=place,
                )


async def _publish() -> None:
    loop = asyncio.get_running_loop()
    # The word that everyone has subscribed: an overloaded server would let nobody in.
    await loop.run_in_executor(None, sys.stdin.readline)
    number, due = 0, loop.time()
    while True:
        for _ in range(BURST):
            number += 1
            await bus.publish("changes", f"{datetime.now(UTC).isoformat()} {number}")
        due += BURST / RATE
        await asyncio.sleep(max(0.0, due - loop.time()))


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    """Publish while serving."""
    async with bus:
        publisher = asyncio.create_task(_publish(), name="publisher")
        print("ready", flush=True)
        yield
        publisher.cancel()


view: Any = GraphQL(strawberry.Schema(Query, subscription=Subscription))
app = Starlette(lifespan=lifespan, routes=[Route("/graphql", view), WebSocketRoute("/graphql", view)])

if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", loop="uvloop")
