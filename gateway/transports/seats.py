"""This module is where connections and subscriptions are counted against their user's and tenant's limits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager

from gateway.transports.options import TransportOptions
from models.errors import LimitExceeded
from resolvers.principal import Principal


class Seats:
    """This process's sockets, HTTP streams and subscriptions, by who holds them.

    ``elsewhere`` says how many a holder has at other processes; none until somebody knows.
    """

    def __init__(self, options: TransportOptions) -> None:
        self._options = options
        self._taken: Counter[Hashable] = Counter()
        self.elsewhere: Callable[[Hashable], int] = lambda _: 0

    def counts(self) -> Mapping[Hashable, int]:
        """How many connections each user and each tenant holds here, and how many subscriptions each tenant."""
        return self._taken

    @contextmanager
    def taken(self, principal: Principal) -> Iterator[None]:
        """Holds a seat for as long as the block runs. Raises ``LimitExceeded`` when there is none."""
        self.take(principal)
        try:
            yield
        finally:
            self.give_back(principal)

    @contextmanager
    def following(self, principal: Principal) -> Iterator[None]:
        """Holds one of the tenant's subscriptions while the block runs. Raises ``LimitExceeded`` beyond its plan."""
        key, limit = ("subscriptions", principal.tenant_id), principal.limits.subscriptions
        if limit is not None and self._taken[key] + self.elsewhere(key) >= limit:
            raise LimitExceeded(f"The plan allows {limit:,} subscriptions at once.", retryable=True)
        self._taken[key] += 1
        try:
            yield
        finally:
            self._give_back(key)

    def take(self, principal: Principal) -> None:
        """Takes a seat, to be given back once. Raises ``LimitExceeded`` when there is none."""
        holder, tenant = _holders(principal)
        if (
            self._taken[holder] + self.elsewhere(holder) >= self._options.connections_per_user
            or self._taken[tenant] + self.elsewhere(tenant) >= self._options.connections_per_tenant
        ):
            raise LimitExceeded("Too many connections are open.", retryable=True)
        self._taken.update((holder, tenant))

    def give_back(self, principal: Principal) -> None:
        """Frees the seat that this principal took."""
        for key in _holders(principal):
            self._give_back(key)

    def _give_back(self, key: Hashable) -> None:
        self._taken[key] -= 1
        if not self._taken[key]:
            del self._taken[key]


def _holders(principal: Principal) -> tuple[Hashable, Hashable]:
    return (principal.tenant_id, principal.key), principal.tenant_id
