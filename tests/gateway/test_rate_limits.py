"""This module is where rates are specified: who is held to what, what counts for how much."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import pytest

from gateway.embedded import EmbeddedValkey
from gateway.rate_limits import POINTS_A_REQUEST, RateLimits, Rates
from models import TenantLimits
from models.errors import Throttled
from models.ids import uuid7
from resolvers.networks import network_of
from resolvers.principal import Principal
from subscriptions.bus import Bus
from tests.patience import DEADLINE

SMALL = Rates(tenant=100, user=60, key=80, stranger=20, secrets=5)
FAR = "203.0.113.7"


@dataclass(slots=True)
class Clock:
    """Time as the test says."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


class NoBroker:
    """What the bus answers while Redis is away."""

    async def run_script(self, script: bytes, calls: Sequence[tuple[str, Sequence[int]]]) -> list[bytes] | None:
        return None


def person(tenant_id: UUID | None = None) -> Principal:
    """Somebody who signed in."""
    return Principal(tenant_id=tenant_id or uuid7(), user_id=uuid7(), scopes=frozenset())


def machine(tenant_id: UUID) -> Principal:
    """An API key."""
    return Principal(tenant_id=tenant_id, api_key_id=uuid7(), scopes=frozenset())


def alone(clock: Clock, rates: Rates = SMALL) -> RateLimits:
    """The limits of one process without Redis."""
    return RateLimits(NoBroker(), rates, clock)


def spent(limits: RateLimits, who: Principal | None, address: str | None = None, **cost: Any) -> int:
    """How many operations are let through, of at most a thousand."""
    for count in range(1000):
        try:
            limits.spend(who, address, cost.get("points", 1), guarded=cost.get("guarded", False))
        except Throttled:
            return count
    return 1000


async def test_a_person_a_key_and_a_stranger_are_held_to_their_own_rates() -> None:
    limits = alone(Clock())
    assert spent(limits, person()) == 60
    assert spent(limits, machine(uuid7())) == 80
    assert spent(limits, None, FAR) == 20


async def test_a_tenant_is_held_to_its_rate_whoever_spends_it_and_others_are_not() -> None:
    limits, tenant_id = alone(Clock()), uuid7()
    assert spent(limits, person(tenant_id)) == 60
    assert spent(limits, person(tenant_id)) == 40
    assert spent(limits, person()) == 60


async def test_what_is_refused_takes_nothing() -> None:
    limits, tenant_id = alone(Clock()), uuid7()
    one, two = person(tenant_id), person(tenant_id)
    spent(limits, one)
    spent(limits, one)
    assert spent(limits, two) == 40


async def test_a_costly_operation_counts_for_several() -> None:
    limits = alone(Clock())
    assert spent(limits, person(), points=POINTS_A_REQUEST) == 60
    assert spent(limits, person(), points=POINTS_A_REQUEST + 1) == 30
    assert spent(limits, person(), points=5000) == 1, "no operation that is allowed is too costly for ever"


async def test_a_bucket_fills_again_and_the_error_says_when() -> None:
    clock = Clock()
    limits, who = alone(clock), person()
    spent(limits, who)
    with pytest.raises(Throttled) as refused:
        limits.spend(who, None, 10 * POINTS_A_REQUEST)
    limit = {"policy": "user", "quota": 60, "windowSeconds": 60, "remaining": 0}
    assert refused.value.extensions == {"retryAfterSeconds": 10, "retryable": True, "rateLimit": limit}
    clock.now += 10
    limits.spend(who, None, 10 * POINTS_A_REQUEST)
    with pytest.raises(Throttled):
        limits.check(who, None)
    clock.now += 3600
    assert spent(limits, who) == 60, "a bucket holds no more than a minute's worth"


async def test_the_error_names_the_rate_that_ran_out_and_what_is_left_of_it() -> None:
    def refusal(limits: RateLimits, who: Principal | None, cost: int = 1, *, guarded: bool = False) -> tuple[Any, ...]:
        with pytest.raises(Throttled) as refused:
            limits.spend(who, FAR, cost, guarded=guarded)
        limit = refused.value.extensions["rateLimit"]
        assert isinstance(limit, dict)
        return limit["policy"], limit["quota"], limit["remaining"]

    limits, tenant_id = alone(Clock()), uuid7()
    one, two, key = person(tenant_id), person(tenant_id), machine(uuid7())
    spent(limits, one)
    assert refusal(limits, one) == ("user", 60, 0)
    assert refusal(limits, two, 45 * POINTS_A_REQUEST) == ("tenant", 100, 40)
    spent(limits, two)
    assert refusal(limits, two) == ("tenant", 100, 0), "of two that wait, the one that waits longer"
    spent(limits, key)
    assert refusal(limits, key) == ("key", 80, 0)
    spent(limits, None, FAR)
    assert refusal(limits, None) == ("network", 20, 0)
    spent(limits, person(), FAR, guarded=True)
    assert refusal(limits, person(), guarded=True) == ("secrets", 5, 0)


async def test_secrets_are_tried_at_their_own_rate_by_a_network_not_by_an_address() -> None:
    limits = alone(Clock())
    assert spent(limits, None, "198.51.100.1", guarded=True) == 5
    assert spent(limits, None, "198.51.100.200", guarded=True) == 0
    assert spent(limits, person(), "198.51.100.9", guarded=True) == 0, "signed in or not"
    assert spent(limits, None, "198.51.101.1", guarded=True) == 5
    assert spent(limits, None, "198.51.100.1") > 0, "other operations go on"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("203.0.113.7", "203.0.113.254", True),
        ("203.0.113.7", "203.0.114.7", False),
        ("203.0.113.7", "::ffff:203.0.113.9", True),
        ("2001:db8:0:1200::1", "2001:db8:0:12ff:9::1", True),
        ("2001:db8:0:1200::1", "2001:db8:0:1300::1", False),
        ("nonsense", None, True),
    ],
)
def test_a_network_is_what_one_customer_has(one: str | None, other: str | None, same: bool) -> None:
    assert (network_of(one) == network_of(other)) is same


async def test_a_tenants_own_limit_stands_before_the_gateways_and_may_change() -> None:
    limits, who = alone(Clock(), Rates(user=1000)), replace(person(), limits=TenantLimits(requests_per_minute=10))
    for _ in range(5):
        limits.spend(who, None, 1)
    more = replace(who, limits=TenantLimits(requests_per_minute=100))
    assert spent(limits, more) == 50, "what was left is left, in proportion"


async def test_a_platform_administrator_spends_nothing_of_the_tenant_that_is_looked_into() -> None:
    limits, tenant_id = alone(Clock()), uuid7()
    assert spent(limits, replace(person(tenant_id), is_platform_admin=True)) == 60
    assert spent(limits, person(tenant_id)) == 60
    assert spent(limits, person(tenant_id)) == 40


@asynccontextmanager
async def processes(url: str, count: int) -> AsyncIterator[list[RateLimits]]:
    """The limits of several processes over one Redis."""
    buses = [Bus.from_url(url) for _ in range(count)]
    for bus in buses:
        await bus.start()
    made = [RateLimits(bus, SMALL) for bus in buses]
    for one in made:
        one.start()
    try:
        yield made
    finally:
        for one in made:
            await one.stop()
        for bus in buses:
            await bus.stop()


async def test_processes_spend_from_one_bucket(valkey: EmbeddedValkey) -> None:
    who = person()
    async with processes(valkey.url, 3) as made:
        allowed = 0
        for number in range(300):
            try:
                made[number % 3].spend(who, None, 1)
                allowed += 1
            except Throttled:
                pass
            # As requests come: each gives what others spent the time to be heard of.
            await made[number % 3].settle()
        assert 60 <= allowed <= 63, "one request a process may be let through before it is known, and a second's refill"


async def test_what_others_spent_is_heard_of_without_asking(valkey: EmbeddedValkey) -> None:
    who = person()
    async with processes(valkey.url, 2) as (one, other), asyncio.timeout(DEADLINE):
        assert spent(one, who) == 60
        other.spend(who, None, 1)
        while True:
            try:
                other.check(who, None)
            except Throttled:
                break
            await asyncio.sleep(0.01)


async def test_a_new_process_learns_what_is_left(valkey: EmbeddedValkey) -> None:
    who = person()
    async with processes(valkey.url, 1) as (one,):
        assert spent(one, who) == 60
        await one.settle()
    async with processes(valkey.url, 1) as (one,):
        one.spend(who, None, 1)
        await one.settle()
        with pytest.raises(Throttled):
            one.check(who, None)


async def test_nobody_is_refused_because_redis_is_away_and_nobody_pays_for_it_later(valkey: EmbeddedValkey) -> None:
    clock, who = Clock(), person()
    bus = Bus.from_url(valkey.url)
    await bus.start()

    class Sometimes:
        is_away = True

        async def run_script(self, script: bytes, calls: Sequence[tuple[str, Sequence[int]]]) -> list[bytes] | None:
            return None if self.is_away else await bus.run_script(script, calls)

    link = Sometimes()
    limits = RateLimits(link, SMALL, clock)
    for _ in range(5):
        assert spent(limits, who) == 60
        assert not await limits.settle()
        clock.now += 60
    link.is_away = False
    limits.spend(who, None, 1)
    assert await limits.settle()
    assert spent(limits, who) == 59
    await bus.stop()


async def test_a_script_over_a_broker_that_is_not_there_is_no_error() -> None:
    bus = Bus.from_url("unix:///nowhere/valkey.sock")
    assert await bus.run_script(b"return 1", [("a", (1,))]) is None
    await bus.stop()


async def test_no_more_buckets_are_kept_than_there_is_room_for() -> None:
    limits = alone(Clock())
    for _ in range(25_100):
        limits.spend(person(), None, 1)
    assert 45_000 <= len(limits._buckets) <= 50_000
    assert len(limits._callers) <= 25_000
    assert not await limits.settle()
    assert not limits._unsettled
