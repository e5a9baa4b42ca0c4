"""This module is where the bus's tests get their brokers and buses."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.subscriptions.brokers import Broker, Buses, Memory, Valkey, remember_tasks


@pytest.fixture(autouse=True)
async def _tasks_of_others() -> None:
    remember_tasks()


@pytest.fixture(params=["memory", "valkey"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    """Each kind of broker in turn: the same contract holds on all."""
    broker: Broker = Memory() if request.param == "memory" else Valkey(tmp_path)
    yield broker
    broker.close()


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[Valkey]:
    """A server of the test's own, to kill as it likes."""
    server = Valkey(tmp_path)
    yield server
    server.close()


@pytest.fixture
async def buses() -> AsyncIterator[Buses]:
    buses = Buses()
    yield buses
    await buses.stop()
