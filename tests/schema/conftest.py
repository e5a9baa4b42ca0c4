"""This module is where schema tests get a running gateway in this process and a way to ask it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import orjson
import pytest

from gateway.operations import GatewayOperations
from gateway.transports.operations import OperationRequest, Outcome, Subscription
from models.database import Database
from resolvers.call import Services
from resolvers.principal import Principal
from schema.build import build, core
from subscriptions.fanout import Batch
from tests.world import running


class Gateway:
    """Runs documents as anyone."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.operations = GatewayOperations(core(build()), anonymous_introspection=True)
        self.operations.serve(services)

    async def answer(self, who: Principal | None, query: str, /, **variables: Any) -> dict[str, Any]:
        """The whole answer, errors included."""
        outcome = await self.operations.execute(OperationRequest(query, variables=variables), who, "test")
        return outcome.payload

    async def data(self, who: Principal | None, query: str, /, **variables: Any) -> dict[str, Any]:
        """The data of an answer that has no errors."""
        payload = await self.answer(who, query, **variables)
        assert "errors" not in payload, payload["errors"]
        data: dict[str, Any] = payload["data"]
        return data

    async def watch(
        self, who: Principal | None, query: str, /, *, sink: QueueSink | None = None, **variables: Any
    ) -> AsyncGenerator[dict[str, Any], None]:
        """A subscription's items; close it to end the subscription. ``sink`` says how many of them may wait."""
        found = await self.operations.subscribe(OperationRequest(query, variables=variables), who, "test")
        assert not isinstance(found, Outcome), found
        return _items(found, sink or QueueSink())


class QueueSink:
    """A reader for whom at most so many payloads wait."""

    def __init__(self, most: int = 1000) -> None:
        self.queue: asyncio.Queue[bytes] = asyncio.Queue(most)
        self._read = asyncio.Event()

    def deliver(self, batch: Batch) -> bool:
        """All or nothing."""
        if self.queue.qsize() + len(batch.payloads) > self.queue.maxsize:
            self._read.clear()
            return False
        for payload in batch.payloads:
            self.queue.put_nowait(payload)
        return True

    async def room(self) -> None:
        """Until something was read."""
        await self._read.wait()

    async def next(self) -> dict[str, Any]:
        """The next item."""
        payload = await self.queue.get()
        self._read.set()
        item: dict[str, Any] = orjson.loads(payload)
        return item


async def _items(subscription: Subscription, sink: QueueSink) -> AsyncGenerator[dict[str, Any], None]:
    running = asyncio.create_task(subscription.run(sink), name="watch")
    try:
        while True:
            item = asyncio.create_task(sink.next(), name="next item")
            await asyncio.wait({item, running}, return_when=asyncio.FIRST_COMPLETED)
            if not item.done():
                item.cancel()
                await running
                return
            yield item.result()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.fixture(scope="session")
async def gateway(database: Database) -> AsyncIterator[Gateway]:
    """A gateway whose bus is this process."""
    async with running(database) as services:
        yield Gateway(services)
