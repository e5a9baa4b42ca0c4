"""This module is where limits on connections are specified: per person and per tenant, over all processes together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from uuid import uuid4

import pytest

from gateway import seat_ledger
from gateway.embedded import EmbeddedValkey
from gateway.seat_ledger import BELIEVE_SECONDS, SeatLedger
from gateway.transports.options import TransportOptions
from gateway.transports.seats import Seats
from models import TenantLimits
from models.errors import LimitExceeded
from resolvers.principal import Principal
from subscriptions.bus import Bus
from tests.gateway.fleet_gateway import until
from tests.gateway.toy import TENANT

OPTIONS = TransportOptions(connections_per_user=3, connections_per_tenant=5)


def somebody() -> Principal:
    """A person of the one tenant."""
    return Principal(tenant_id=TENANT, scopes=frozenset(), user_id=uuid4())


class Bystander:
    """A bus that keeps what is published and hands it to nobody."""

    def __init__(self) -> None:
        self.published: list[bytes] = []

    async def publish(self, _: str, data: bytes) -> bool:
        """Keep it."""
        self.published.append(data)
        return True

    def subscribe(self, *_: str, queue_size: int = 1024) -> object:
        """Not asked for here."""
        raise AssertionError


class Process:
    """One gateway's seats and ledger."""

    def __init__(self) -> None:
        self.seats = Seats(OPTIONS)
        self.bus = Bystander()
        self.seconds = 0.0
        self.ledger = SeatLedger(self.bus, self.seats, lambda: self.seconds)  # type: ignore[arg-type]
        self.seats.elsewhere = self.ledger.elsewhere

    async def tell(self, other: Process) -> None:
        """Let the other hear what this one holds."""
        self.bus.published.clear()
        await self.ledger.tell()
        for message in self.bus.published:
            assert len(message) <= 16 * 1024
            other.ledger.hear(message)


async def test_a_persons_connections_at_other_processes_count() -> None:
    one, two, ada = Process(), Process(), somebody()
    one.seats.take(ada)
    one.seats.take(ada)
    await one.tell(two)
    two.seats.take(ada)
    with pytest.raises(LimitExceeded):
        two.seats.take(ada)
    one.seats.give_back(ada)
    await one.tell(two)
    two.seats.take(ada)


async def test_a_tenants_connections_at_other_processes_count() -> None:
    one, two = Process(), Process()
    for _ in range(4):
        one.seats.take(somebody())
    await one.tell(two)
    two.seats.take(somebody())
    with pytest.raises(LimitExceeded):
        two.seats.take(somebody())


async def test_a_tenants_subscriptions_at_all_processes_count_against_its_plan() -> None:
    one, two = Process(), Process()
    ada, eve = (replace(somebody(), limits=TenantLimits(subscriptions=2)) for _ in range(2))
    with one.seats.following(ada):
        await one.tell(two)
        with two.seats.following(eve):
            with pytest.raises(LimitExceeded, match="allows 2 subscriptions"), two.seats.following(eve):
                raise AssertionError("there was no room")
            with two.seats.following(somebody()):
                assert two.seats.counts()[("subscriptions", TENANT)] == 2
    await one.tell(two)
    with two.seats.following(ada), two.seats.following(eve):
        pass
    assert not two.seats.counts()


async def test_what_a_process_says_twice_counts_once_and_its_own_words_do_not_count() -> None:
    one, two, ada = Process(), Process(), somebody()
    one.seats.take(ada)
    await one.tell(two)
    await one.tell(two)
    await one.tell(one)
    for process in (one, two):
        process.seats.take(ada)
    assert two.ledger.elsewhere((TENANT, ada.key)) == 1
    assert one.ledger.elsewhere((TENANT, ada.key)) == 0


async def test_a_process_that_has_died_is_believed_no_longer_than_five_seconds() -> None:
    one, two, ada = Process(), Process(), somebody()
    for _ in range(3):
        one.seats.take(ada)
    await one.tell(two)
    two.seconds += BELIEVE_SECONDS + 0.1
    two.seats.take(ada)


async def test_holders_of_any_number_are_told_in_messages_that_the_bus_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seat_ledger, "_HOLDERS_A_MESSAGE", 2)
    one, two = Process(), Process()
    people = [somebody() for _ in range(4)]
    for person in people:
        one.seats.take(person)
    await one.tell(two)
    assert len(one.bus.published) == 3
    assert [two.ledger.elsewhere((TENANT, person.key)) for person in people] == [1] * 4
    for person in people:
        one.seats.give_back(person)
    await one.tell(two)
    assert [two.ledger.elsewhere((TENANT, person.key)) for person in people] == [0] * 4


@pytest.mark.parametrize(
    "forged",
    [
        b"",
        b"nonsense",
        b"[]",
        b'["p",0]',
        b'["p",0,[]]',
        b'["p",-1,{"a":1}]',
        b'["p",9999,{"a":1}]',
        b'["p",true,{"a":1}]',
        b'["p",0,{"a":-1}]',
        b'["p",0,{"a":1e99}]',
        b'["p",0,{"a":"1"}]',
        b"[" * 100_000,
    ],
)
async def test_whatever_else_is_on_the_bus_is_not_believed(forged: bytes) -> None:
    process = Process()
    process.ledger.hear(forged)
    assert process.ledger.elsewhere("a") == 0
    assert process.ledger._heard == {}


@asynccontextmanager
async def telling(url: str) -> AsyncIterator[Seats]:
    """One gateway's seats, told over a broker."""
    bus = Bus.from_url(url)
    await bus.start()
    seats = Seats(OPTIONS)
    ledger = SeatLedger(bus, seats)
    ledger.start()
    try:
        yield seats
    finally:
        await ledger.stop()
        await bus.stop()


async def test_processes_hear_of_each_other_over_the_broker_within_seconds(valkey: EmbeddedValkey) -> None:
    ada = somebody()
    async with telling(valkey.url) as one, telling(valkey.url) as two:
        with ExitStack() as held:
            for _ in range(3):
                held.enter_context(one.taken(ada))
            await until(lambda: two.elsewhere((TENANT, ada.key)) == 3)
            with pytest.raises(LimitExceeded):
                two.take(ada)
        await until(lambda: two.elsewhere((TENANT, ada.key)) == 0)
        two.take(ada)
