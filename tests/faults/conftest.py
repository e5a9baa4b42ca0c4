"""This module is where fault tests share one stage: each has tenants of its own and leaves every server running."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.faults.stage import Stage, staged


@pytest.fixture(scope="package")
async def house() -> AsyncIterator[Stage]:
    """PostgreSQL, Valkey and two gateways."""
    with TemporaryDirectory(prefix="sbf-") as folder:
        async with staged(Path(folder)) as stage:
            yield stage


@pytest.fixture
async def stage(house: Stage) -> AsyncIterator[Stage]:
    """The shared stage, all of it running before and after, and without defects in the gateways' logs."""
    await house.all_ready()
    for gateway in house.gateways:
        gateway.forget_log()
    yield house
    await house.all_ready()
    defects = house.defects()
    if defects:
        pytest.fail("\n\n".join(defects))
