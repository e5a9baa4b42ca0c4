"""This module is where one simulated agent lives: it takes its place, beats as it is told to, and has habits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, TypeVar

from gateway.simulate.approvals import questions_of
from gateway.simulate.behaviour import Mood, Phase, figures, life
from gateway.simulate.habit import Habit, Worker, keep_up
from gateway.simulate.public_api import PublicApi, Refused
from gateway.simulate.report import Silence
from gateway.simulate.run import Run, RunOver
from gateway.simulate.talks import talks_of
from models.base import utcnow

_PAUSED_SLOWER: Final = 5
_LIVE: Final = frozenset({"ONLINE", "DEGRADED"})
_STOPPED: Final = frozenset({"PAUSED", "HIBERNATED"})
_REMOVED: Final = "REMOVED"
_AWAY: Final = frozenset({Mood.SILENT, Mood.WEDGED, "waiting for the gateway"})
_ROLES: Final = ("Marketing", "Frontend", "Backend", "QA", "SEO", "Sales", "Support")

_FAREWELL_SECONDS: Final = 3.0
"""For what an agent has begun to be closed when the run ends; a gateway that stops waits 5 for its fleet."""

HABITS: Final[tuple[Callable[[Worker], Habit | None], ...]] = (talks_of, questions_of)
"""What agents do beside their beats; each decides for itself whether it has anything to do in a run."""

Result = TypeVar("Result")


@dataclass(slots=True)
class SimulatedAgent:
    """One agent with a workspace of its own."""

    run: Run
    api: PublicApi
    number: int
    plan: Random = field(init=False)
    noise: Random = field(init=False)
    """Apart from the plan: how many beats are sent depends on the network, what the agent goes through must not."""
    workspace_id: str = ""
    token: str | None = None
    lease_epoch: int | None = None
    status: str = ""
    answered_at: Any = None
    registered_at: float = 0.0
    next_at: float = 0.0

    def __post_init__(self) -> None:
        self.plan = self.run.random_of(self.number, "plan")
        self.noise = self.run.random_of(self.number, "noise")

    @property
    def name(self) -> str:
        """Its workspace's name."""
        return self.run.name_of(self.number)

    @property
    def credential(self) -> str:
        """Its workspace's token; the fleet's key when that is lost."""
        return self.token or self.run.key

    @property
    def is_working(self) -> bool:
        """Whether it does anything but beat."""
        return self.status in _LIVE and self.run.report.doing.get(self.name) not in _AWAY

    async def live(self, known_id: str | None) -> None:
        """Take the place ``known_id``, or a new one, and live until the run ends or the gateway ends it."""
        report = self.run.report
        try:
            await self._enlist(known_id)
            report.enlisted += 1
            self.next_at = _now() + self.noise.uniform(0, self.run.period_seconds)
            await self.run.rest(self.next_at - _now())
            await self._live_on()
        except RunOver:
            if self.status in _LIVE and report.doing.get(self.name) != Mood.SILENT:
                report.silences.append(Silence(self.workspace_id, self.answered_at))
            return
        except Refused as refusal:
            self._end(refusal)
        report.doing.pop(self.name, None)

    async def _live_on(self) -> None:
        """Go through life, and keep up the habits meanwhile."""
        found = [(habit, number) for number, make in enumerate(HABITS) if (habit := make(self)) is not None]
        habits = [
            asyncio.create_task(
                keep_up(self, habit, self.run.random_of(self.number, f"habit-{number}")), name=f"habit of {self.name}"
            )
            for habit, number in found
        ]
        try:
            for phase in life(self.run.behaviour, self.plan):
                await self._go_through(phase)
        except RunOver:
            if habits:
                await asyncio.wait(habits, timeout=_FAREWELL_SECONDS)
            raise
        finally:
            await _put_down(habits)

    def _end(self, refusal: Refused) -> None:
        if refusal.status == _REMOVED:
            why = "removed"
        else:
            why = refusal.code.lower()
            if refusal.code != "FENCED":
                self.run.report.errors[refusal.code] += 1
        # A fenced agent stops, too: two that took the place from each other would do so for ever.
        self.run.report.ended[why] += 1

    async def _enlist(self, known_id: str | None) -> None:
        if known_id is None:
            known_id = await self._in_turn(self._create)
        self.workspace_id = known_id
        await self._register()

    def _create(self) -> Awaitable[str]:
        return self.api.create_workspace(
            self.run.key,
            name=self.name,
            role=f"Simulated {_ROLES[self.number % len(_ROLES)]}",
            tier=1 + self.number % 3,
            idempotencyKey=f"simulate/{self.name}",
        )

    async def _register(self) -> None:
        card = {
            "name": self.name,
            "version": "1.1.0",
            "skills": [{"id": "generate-seo-page"}, {"id": "audit-seo-page"}],
            "capabilities": {"streaming": True},
        }
        said = {"id": self.workspace_id, "url": f"https://{self.name}.agents.example", "agentCard": card}
        while True:
            try:
                taken = await self._in_turn(lambda: self.api.register(self.credential, **said))
                break
            except Refused as refusal:
                if self._has_lost_its_token(refusal):
                    await self._beat(Mood.IDLE)
                elif refusal.status in _STOPPED:
                    self.status = str(refusal.status)
                    await self._wait_until_resumed()
                else:
                    raise
        # Only the first registration shows the token; an agent that lost it goes on with the fleet's key.
        self.token = taken.token or self.token
        self.lease_epoch, self.status = taken.lease_epoch, taken.status
        self.registered_at, self.answered_at = _now(), utcnow()
        self.run.report.registrations += 1

    async def _go_through(self, phase: Phase) -> None:
        if phase.mood is Mood.SILENT:
            await self._keep_silent(phase)
            return
        ends_at = _now() + phase.seconds
        while _now() < ends_at:
            await self._beat(phase.mood)
            if self.status in _STOPPED:
                await self._wait_until_resumed()
            self.next_at = max(self.next_at + self.run.period_seconds, _now())
            await self.run.rest(self.next_at - _now())

    async def _keep_silent(self, phase: Phase) -> None:
        self._do(Mood.SILENT)
        silence = Silence(self.workspace_id, self.answered_at)
        self.run.report.silences.append(silence)
        await self.run.rest(phase.seconds)
        silence.ended_at = utcnow()
        if phase.new_runtime:
            await self._register()
        self.next_at = _now()

    async def _wait_until_resumed(self) -> None:
        """No work, but a slow beat: it is the only way to hear that the pause is over."""
        while self.status in _STOPPED:
            self._do(self.status.lower())
            await self.run.rest(self.run.period_seconds * _PAUSED_SLOWER)
            await self._beat(Mood.IDLE)
        self.next_at = _now()

    async def _beat(self, mood: Mood) -> None:
        """One answered beat. One that is lost is not sent again: a newer one takes its place."""
        if self.status not in _STOPPED:
            self._do(mood)
        try:
            self.status = await self._insist(lambda: self._say(mood))
        except Refused as refusal:
            if not self._has_lost_its_token(refusal):
                raise
            self.status = await self._insist(lambda: self._say(mood))
        self.answered_at = utcnow()
        self.run.report.beats += 1
        if self.status == _REMOVED:
            raise Refused(_REMOVED, status=_REMOVED)

    def _has_lost_its_token(self, refusal: Refused) -> bool:
        """Whether its own token is dead. With the fleet's key a beat then tells why: removed, or fenced."""
        lost = refusal.code == "UNAUTHENTICATED" and self.token is not None
        self.token = None if lost else self.token
        return lost

    async def _say(self, mood: Mood) -> str:
        beat = {
            "workspaceId": self.workspace_id,
            "leaseEpoch": self.lease_epoch,
            "uptimeSeconds": int(_now() - self.registered_at),
            **figures(mood, self.noise),
        }
        api, token = self.api, self.credential
        by_graphql = self.number % 100 < 100 * self.run.behaviour.graphql_share
        began_at = _now()
        status = await (api.report_heartbeat(token, beat) if by_graphql else api.post_heartbeat(token, beat))
        self.run.report.slowest_seconds = max(self.run.report.slowest_seconds, _now() - began_at)
        return status

    async def insist(self, ask: Callable[[], Awaitable[Result]]) -> Result:
        """Ask until there is an answer. Raises Refused, RunOver."""
        return await self.run.insist(ask, self.noise)

    async def _insist(self, ask: Callable[[], Awaitable[Result]]) -> Result:
        return await self.run.insist(ask, self.noise, lambda: self._do("waiting for the gateway"))

    async def _in_turn(self, ask: Callable[[], Awaitable[Result]]) -> Result:
        async def alone() -> Result:
            async with self.run.gate:
                return await ask()

        return await self._insist(alone)

    def _do(self, what: str) -> None:
        self.run.report.doing[self.name] = str(what)


async def _put_down(habits: list[asyncio.Task[None]]) -> None:
    """End them; what one of them failed with, which is ours to mend, is raised."""
    for one in habits:
        one.cancel()
    for ended in await asyncio.gather(*habits, return_exceptions=True):
        if isinstance(ended, Exception):
            raise ended


def _now() -> float:
    return asyncio.get_running_loop().time()
