"""This module is where tests of credentials get a house of their own, and tests of webhooks somebody to tell."""

from __future__ import annotations

from collections.abc import AsyncIterator
from ipaddress import ip_network

import pytest

from gateway.egress import Egress
from gateway.embedded import EmbeddedPostgres
from models import Role, Tenant, User
from models.database import Database
from resolvers.call import Services
from resolvers.credentials import Accounts
from tests.gateway import demo_house
from tests.resolvers.hooks import Hooks
from tests.resolvers.people import House
from tests.resolvers.receiver import Receiver, receiving
from tests.world import QUICK


@pytest.fixture
async def house(database: Database) -> AsyncIterator[House]:
    """A clock that stands still, cheap passwords, the real database."""
    house = House(database)
    yield house
    house.passwords.close()


@pytest.fixture
async def accounts(house: House) -> AsyncIterator[Accounts]:
    """One gateway's accounts."""
    accounts = house.accounts()
    yield accounts
    await accounts.close()


@pytest.fixture
async def acme(house: House) -> Tenant:
    """A tenant that no other test has touched."""
    return await house.tenant()


@pytest.fixture
async def ada(house: House, acme: Tenant) -> User:
    """An operator of acme."""
    return await house.person(acme.id, Role.OPERATOR)


@pytest.fixture(scope="session")
async def webhook_services(postgres: EmbeddedPostgres) -> AsyncIterator[Services]:
    """A gateway over a database of its own: workers look through every tenant's log."""
    async with demo_house.house(await demo_house.new_database(postgres.url, "webhooks")) as running:
        yield running


@pytest.fixture(scope="session")
async def webhook_egress() -> AsyncIterator[Egress]:
    """A client that is allowed to ask this machine."""
    made = Egress([ip_network("127.0.0.0/8")], timeout_seconds=QUICK.timeout_seconds, connections=64)
    yield made
    await made.close()


@pytest.fixture
async def hooks(webhook_services: Services, webhook_egress: Egress) -> AsyncIterator[Hooks]:
    """A new tenant that makes endpoints, and workers that tell them."""
    made = await Hooks.start(webhook_services, webhook_egress)
    yield made
    # The next test's workers look through every tenant's log.
    await made.hush()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Somebody to tell, who takes everything."""
    async with receiving() as one:
        yield one
