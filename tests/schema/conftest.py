"""This module is where schema tests get a running gateway in this process and a way to ask it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.operations import GatewayOperations
from gateway.transports.operations import OperationRequest
from models.database import Database
from resolvers.call import Services
from resolvers.principal import Principal
from schema.build import build, core
from tests.world import running


class Gateway:
    """Runs documents as anyone."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.operations = GatewayOperations(core(build()), anonymous_introspection=True)
        self.operations.serve(services)

    async def answer(self, who: Principal | None, query: str, **variables: Any) -> dict[str, Any]:
        """The whole answer, errors included."""
        outcome = await self.operations.execute(OperationRequest(query, variables=variables), who, "test")
        return outcome.payload

    async def data(self, who: Principal | None, query: str, **variables: Any) -> dict[str, Any]:
        """The data of an answer that has no errors."""
        payload = await self.answer(who, query, **variables)
        assert "errors" not in payload, payload["errors"]
        data: dict[str, Any] = payload["data"]
        return data

    async def watch(self, who: Principal | None, query: str, **variables: Any) -> AsyncIterator[dict[str, Any]]:
        """A subscription's items."""
        found = await self.operations.subscribe(OperationRequest(query, variables=variables), who, "test")
        assert isinstance(found, AsyncIterator), found
        return found


@pytest.fixture(scope="session")
async def gateway(database: Database) -> AsyncIterator[Gateway]:
    """A gateway whose bus is this process."""
    async with running(database) as services:
        yield Gateway(services)
