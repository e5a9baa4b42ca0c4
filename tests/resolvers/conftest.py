"""This module is where tests of credentials get a house of their own: accounts, a tenant, and Ada who operates it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from models import Role, Tenant, User
from models.database import Database
from resolvers.credentials import Accounts
from tests.resolvers.people import House


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
