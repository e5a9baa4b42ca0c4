"""This module is where the watchman is specified: what it asks, what it costs, and what it never ends."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from dataclasses import replace
from uuid import UUID

import pytest

from gateway.transports.open_connections import OpenConnections
from gateway.watchman import Watchman
from models import Role, Scope, TenantStatus
from models.database import Database
from models.errors import Unauthenticated, Unavailable
from resolvers.principal import Principal
from resolvers.tokens import TokenExpired
from tests.conftest import counted
from tests.gateway.served import serving
from tests.gateway.toy import ToyOperations, person
from tests.patience import DEADLINE
from tests.resolvers.people import House
from tests.world import principal


class Open:
    """A connection that remembers what it was told."""

    def __init__(self, whose: Principal | None) -> None:
        self.principal = whose
        self.heard: list[object] = []

    def drain(self) -> None:
        """Not asked for here."""
        raise AssertionError

    drop = drain

    def expel(self, failure: Unauthenticated) -> None:
        """Note it."""
        self.heard.append(failure)

    def hold_to(self, principal: Principal) -> None:
        """Note it."""
        self.heard.append(principal)


async def looked(whose: Principal | None, answer: Principal | Exception) -> list[object]:
    """What an open connection is told when its principal is worth ``answer``."""

    async def recheck(_: Principal) -> Principal:
        if isinstance(answer, Exception):
            raise answer
        return answer

    connections, one = OpenConnections(), Open(whose)
    with connections.holding(one, "socket"):
        await Watchman(connections, recheck).look()
    return one.heard


async def test_who_is_as_before_is_left_alone() -> None:
    ada = person()
    assert await looked(ada, replace(ada)) == []
    assert await looked(None, Unauthenticated()) == []


async def test_who_is_nobody_any_more_is_expelled_and_who_may_do_less_is_held_to_it() -> None:
    ada = principal(person().tenant_id, Role.VIEWER, api_key_id=person().user_id)
    less = replace(ada, scopes=frozenset({Scope.ACTIVITY_READ}))
    for failure in (Unauthenticated(), TokenExpired()):
        assert await looked(ada, failure) == [failure]
    assert await looked(ada, less) == [less]


async def test_a_database_that_is_away_ends_nothing() -> None:
    assert await looked(person(), Unavailable()) == []


async def test_a_defect_does_not_end_the_watch() -> None:
    connections, one = OpenConnections(), Open(person())
    looks = 0
    expelled = asyncio.Event()

    async def recheck(_: Principal) -> Principal:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise RuntimeError("a defect")
        expelled.set()
        raise Unauthenticated

    watchman = Watchman(connections, recheck, look_seconds=0.01)
    with connections.holding(one, "stream"):
        watchman.start()
        async with asyncio.timeout(DEADLINE):
            await expelled.wait()
        await watchman.stop()
    assert one.heard


@pytest.mark.parametrize(("failure", "code"), [(Unauthenticated(), 4401), (TokenExpired(), 4403)])
async def test_a_socket_is_closed_with_the_code_that_says_whether_to_come_back(
    failure: Unauthenticated, code: int
) -> None:
    async with serving() as served, served.ready_peer() as peer:
        await peer.subscribe("1", "subscription { forever }")
        await peer.receive()

        async def recheck(_: Principal) -> Principal:
            raise failure

        await Watchman(served.endpoint.connections, recheck).look()
        assert (await peer.closed())[0] == code
        await served.all_closed()


async def test_a_renewal_with_fewer_rights_ends_the_streams_that_need_more() -> None:
    operations = ToyOperations()
    async with serving(operations) as served, served.ready_peer() as peer:
        await peer.subscribe("1", "subscription { forever }")
        await peer.receive()
        # Of the toy schema's streams none is for those who hold this scope.
        operations.principals["less"] = replace(operations.principals["ada"], scopes=frozenset({Scope.PUBLIC}))
        await peer.send(type="ping", payload={"authorization": "Bearer less"})
        answers = {message["type"]: message for message in [await peer.receive(), await peer.receive()]}
        assert answers["error"]["payload"][0]["extensions"]["code"] == "FORBIDDEN"
        assert "pong" in answers
        await peer.subscribe("2", "{ hello }")
        assert (await peer.receive())["type"] == "next"


@pytest.mark.parametrize("count", [1, 40])
async def test_a_look_costs_a_tenant_one_statement_for_its_people_and_one_for_its_keys(
    database: Database, count: int
) -> None:
    house = House(database)
    accounts = house.accounts()
    tenant = await house.tenant()
    whose: list[Principal] = []
    for _ in range(count):
        signed = await house.signed_in(accounts, tenant, await house.person(tenant.id, Role.OPERATOR))
        whose.append(signed.principal)
    admin = house.call(principal(tenant.id, api_key_id=UUID(int=1)), accounts)
    for number in range(count):
        row, _ = await accounts.create_api_key(admin, name=f"{number}", scopes=[Scope.ACTIVITY_READ.value])
        whose.append(principal(tenant.id, Role.API_CLIENT, scopes=frozenset({Scope.ACTIVITY_READ}), api_key_id=row.id))
    connections = OpenConnections()
    opened = [Open(one) for one in whose]
    watchman = Watchman(connections, accounts.recheck)
    with ExitStack() as held:
        for one in opened:
            held.enter_context(connections.holding(one, "socket"))
        accounts.forget(tenant.id)
        with counted(database) as statements:
            await watchman.look()
            await watchman.look()
        assert len(statements) == 2
        assert not any(one.heard for one in opened)
        await house.set_tenant_status(tenant.id, TenantStatus.SUSPENDED)
        accounts.forget(tenant.id)
        await watchman.look()
    assert all(isinstance(one.heard[0], Unauthenticated) for one in opened)
    await accounts.close()
