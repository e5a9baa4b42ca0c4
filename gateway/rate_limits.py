"""This module is where callers are held to so many requests a minute, a costly one counting for several.

Token buckets, kept twice: a process decides by its own copy, without waiting, and settles with Redis right after,
where all processes spend from one bucket. What others spent is known a round trip later, and at once where little is
left; without Redis each process goes on with its own copy, so nobody is refused because Redis is away.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from typing import Final, Protocol
from uuid import UUID

import structlog

from gateway.metrics import THROTTLED
from models import PLATFORM_TENANT_ID
from models.errors import Throttled
from resolvers.networks import network_of
from resolvers.principal import Principal

POINTS_A_REQUEST: Final = 50
"""So many points of cost count as one request; a cheaper operation counts as one, too."""
_URGENT_SECONDS: Final = 0.02
_CALM_SECONDS: Final = 1.0
_AWAY_SECONDS: Final = 1.0
_LITTLE: Final = 0.25
_MUCH: Final = 1 / 64
_MOST_KEPT: Final = 50_000
_MOST_AT_ONCE: Final = 500
_IDLE_SECONDS: Final = 120.0
_WINDOW_SECONDS: Final = 60

_SETTLE: Final = b"""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local capacity, spent = tonumber(ARGV[1]), tonumber(ARGV[2])
local kept = redis.call('HMGET', KEYS[1], 'level', 'at')
local level, at = tonumber(kept[1]) or capacity, tonumber(kept[2]) or now
level = math.min(capacity, level + math.max(0, now - at) * capacity / 60000) - spent
level = math.max(level, -capacity)
redis.call('HSET', KEYS[1], 'level', tostring(level), 'at', now)
redis.call('PEXPIRE', KEYS[1], 120000)
return tostring(level)
"""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Rates:
    """Requests a minute: of a tenant whose plan names none, a person, a key, a network."""

    tenant: int = 600_000
    user: int = 12_000
    key: int = 120_000
    stranger: int = 3_000
    """Of one network (/24, /56) without credentials."""
    secrets: int = 60
    """Sign-ins and the like of one network, with credentials or without."""


class RunsScripts(Protocol):
    """What the limits need of a bus."""

    async def run_script(self, script: bytes, calls: Sequence[tuple[str, Sequence[int]]]) -> list[bytes] | None:
        """One answer a call; None when there is nobody to run them."""
        ...


@dataclass(slots=True)
class _Bucket:
    """One caller's requests: how many are left as far as is known here, and how many are not settled yet.

    ``policy`` is the limit's name in docs/limits.md.
    """

    key: str
    policy: str
    capacity: int
    level: float
    at: float
    unsettled: int = 0
    was_settled: bool = False

    def refill(self, now: float) -> None:
        self.level = min(self.capacity, self.level + (now - self.at) * self.capacity / 60)
        self.at = now

    def wait_for(self, weight: int) -> float:
        """Seconds until so much is there; no weight waits for more than a full bucket."""
        missing = min(weight, self.capacity) - self.level
        return missing * 60 / self.capacity if missing > 0 else 0.0

    def refusal(self, seconds: int) -> Throttled:
        """What is said to whoever has to wait so long."""
        limit = {"policy": self.policy, "quota": self.capacity, "windowSeconds": _WINDOW_SECONDS}
        left = max(0, math.floor(self.level))
        return Throttled(retryAfterSeconds=seconds, retryable=True, rateLimit={**limit, "remaining": left})

    @property
    def is_urgent(self) -> bool:
        """Whether others have to know soon what was spent, or may have spent what is thought to be left."""
        return self.unsettled >= self.capacity * _MUCH or self.level < self.capacity * _LITTLE or not self.was_settled


class RateLimits:
    """The buckets of this process, settled with those of all."""

    def __init__(
        self,
        bus: RunsScripts,
        rates: Rates,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bus = bus
        self._rates = rates
        self._timer = timer
        self._buckets: dict[object, _Bucket] = {}
        self._callers: dict[tuple[UUID, UUID | None], tuple[_Bucket, ...]] = {}
        self._unsettled: dict[str, _Bucket] = {}
        self._urgent = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Settle in the background."""
        self._task = asyncio.create_task(self._settle_always(), name="rates settled")

    async def stop(self) -> None:
        """End the task."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=5)

    def check(self, principal: Principal | None, address: str | None) -> None:
        """Raises THROTTLED for a caller who has nothing left, before any work is done for them."""
        self._take(self._of(principal, address), 0)

    def spend(self, principal: Principal | None, address: str | None, cost: int, *, guarded: bool = False) -> None:
        """Take what an operation of ``cost`` points counts for. Raises THROTTLED, and then takes nothing."""
        if guarded:
            self._take((self._bucket(("secrets", network_of(address)), "secrets", self._rates.secrets),), 1)
        weight = 1 if cost <= POINTS_A_REQUEST else -(-cost // POINTS_A_REQUEST)
        self._take(self._of(principal, address), weight)

    def _of(self, principal: Principal | None, address: str | None) -> tuple[_Bucket, ...]:
        if principal is None:
            return (self._bucket(("stranger", network_of(address)), "network", self._rates.stranger),)
        # A platform administrator spends what is the platform's, in whichever tenant.
        tenant_id = PLATFORM_TENANT_ID if principal.is_platform_admin else principal.tenant_id
        caller = (tenant_id, principal.user_id or principal.api_key_id)
        own = principal.limits.requests_per_minute
        capacity = self._rates.tenant if own is None else max(own, 1)
        known = self._callers.get(caller)
        if known is not None and known[0].capacity == capacity:
            return known
        found = [self._bucket(tenant_id, "tenant", capacity)]
        if principal.user_id is not None:
            found.append(self._bucket(caller, "user", self._rates.user))
        elif principal.api_key_id is not None:
            found.append(self._bucket(caller, "key", self._rates.key))
        self._callers[caller] = made = tuple(found)
        return made

    def _bucket(self, holder: object, policy: str, capacity: int) -> _Bucket:
        bucket = self._buckets.get(holder)
        if bucket is None:
            if len(self._buckets) >= _MOST_KEPT:
                # The oldest: whoever still uses theirs gets what Redis says is left of it.
                self._forget(list(islice(self._buckets, _MOST_KEPT // 10)))
            digest = blake2b(repr(holder).encode(), digest_size=12).hexdigest()
            bucket = _Bucket(f"signalbox:rate:{digest}", policy, capacity, float(capacity), self._timer())
            self._buckets[holder] = bucket
        elif bucket.capacity != capacity:
            bucket.level = min(bucket.level * capacity / bucket.capacity, capacity)
            bucket.capacity = capacity
        return bucket

    def _take(self, buckets: tuple[_Bucket, ...], weight: int) -> None:
        wait = 0.0
        emptiest: _Bucket | None = None
        for bucket in buckets:
            # What is enough without what has come in since need not be worked out.
            if bucket.level < (weight or 1):
                bucket.refill(self._timer())
                if (seconds := bucket.wait_for(weight or 1)) > wait:
                    wait, emptiest = seconds, bucket
        if emptiest is not None:
            THROTTLED.inc()
            raise emptiest.refusal(math.ceil(wait))
        if not weight:
            return
        for bucket in buckets:
            bucket.level -= weight
            if not bucket.unsettled:
                self._unsettled[bucket.key] = bucket
            bucket.unsettled += weight
            if bucket.is_urgent:
                bucket.refill(self._timer())
                if bucket.is_urgent:
                    self._urgent.set()

    # ------------------------------------------------------------------ with the others

    async def _settle_always(self) -> None:
        all_settled_at = self._timer()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CALM_SECONDS):
                    await self._urgent.wait()
            self._urgent.clear()
            everything = self._timer() - all_settled_at >= _CALM_SECONDS
            if everything:
                all_settled_at = self._timer()
            try:
                found = await self.settle(everything=everything)
            except Exception:
                _log.exception("the rate limits could not be settled")
                found = False
            if everything:
                self._forget_idle()
            # Requests of the next moment are settled together.
            await asyncio.sleep(_URGENT_SECONDS if found else _AWAY_SECONDS)

    async def settle(self, *, everything: bool = True) -> bool:
        """Tell Redis what was spent here and learn what is left; False when it is away, and the spending forgotten."""
        due = [one for one in self._unsettled.values() if everything or one.is_urgent]
        for start in range(0, len(due), _MOST_AT_ONCE):
            batch = due[start : start + _MOST_AT_ONCE]
            spent = [one.unsettled for one in batch]
            for one in batch:
                self._unsettled.pop(one.key, None)
                one.unsettled = 0
            calls = [(one.key, (one.capacity, count)) for one, count in zip(batch, spent, strict=True)]
            answers = await self._bus.run_script(_SETTLE, calls)
            now = self._timer()
            for index, one in enumerate(batch):
                one.was_settled = True
                if answers is not None:
                    one.level, one.at = min(one.capacity, float(answers[index])) - one.unsettled, now
            if answers is None:
                self._forget_spending()
                return False
        return True

    def _forget_spending(self) -> None:
        for one in self._unsettled.values():
            one.unsettled = 0
        self._unsettled.clear()

    def _forget_idle(self) -> None:
        oldest = self._timer() - _IDLE_SECONDS
        self._forget([holder for holder, one in self._buckets.items() if one.at < oldest and not one.unsettled])

    def _forget(self, holders: Sequence[object]) -> None:
        gone = {self._buckets.pop(holder).key for holder in holders}
        if gone:
            self._callers = {
                caller: one for caller, one in self._callers.items() if gone.isdisjoint(b.key for b in one)
            }
