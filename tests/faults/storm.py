"""This module is where everything that can fail does so, again and again, at times that nobody planned."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Final

from tests.faults.stage import GatewayProcess, Stage

CALM_SECONDS: Final = (0.2, 2.5)
"""Between two faults of one server."""
AWAY_SECONDS: Final = (0.0, 1.0)
"""How long a killed server stays away."""


@dataclass(frozen=True, slots=True)
class Faults:
    """How often each server fails."""

    valkey_kills: int
    kills_per_gateway: int
    postgres_restarts: int


@dataclass(slots=True)
class Storm:
    """Faults of all servers at once, each in its own rhythm."""

    stage: Stage
    faults: Faults
    seed: int = 7
    done: list[str] = field(default_factory=list)

    async def rage(self) -> None:
        """Until every fault has happened and every server is back."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._valkey(), name="storm over valkey")
            group.create_task(self._postgres(), name="storm over postgres")
            for gateway in self.stage.gateways:
                group.create_task(self._gateway(gateway), name=f"storm over {gateway.name}")

    async def _valkey(self) -> None:
        chance = random.Random(f"valkey {self.seed}")
        for _ in range(self.faults.valkey_kills):
            await asyncio.sleep(chance.uniform(*CALM_SECONDS))
            await asyncio.to_thread(self.stage.valkey.kill)
            self.done.append("valkey killed")
            await asyncio.sleep(chance.uniform(*AWAY_SECONDS))
            await asyncio.to_thread(self.stage.valkey.restart)

    async def _gateway(self, gateway: GatewayProcess) -> None:
        chance = random.Random(f"{gateway.name} {self.seed}")
        for _ in range(self.faults.kills_per_gateway):
            await asyncio.sleep(chance.uniform(*CALM_SECONDS))
            gateway.kill()
            self.done.append(f"{gateway.name} killed")
            await asyncio.sleep(chance.uniform(*AWAY_SECONDS))
            await gateway.ready()

    async def _postgres(self) -> None:
        chance = random.Random(f"postgres {self.seed}")
        for number in range(self.faults.postgres_restarts):
            await asyncio.sleep(chance.uniform(2.0, 5.0))
            if number % 2:  # every other time as by a power cut
                await asyncio.to_thread(self.stage.postgres.kill)
            await asyncio.to_thread(self.stage.postgres.restart)
            self.done.append("postgres restarted")
