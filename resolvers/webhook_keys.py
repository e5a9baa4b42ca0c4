"""This module is where the secrets that sign an endpoint's deliveries are opened, and remembered for a few minutes.

Security boundary: a secret that was replaced, deleted or whose overlap is over signs nothing from the next delivery on;
each opening leaves a row in the data-access log, in the transaction that reads it.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import structlog

from dataloaders.webhook_queue import secrets_by_id
from models import Secret, WebhookEndpoint
from models.envelope import Unreadable
from resolvers.keyring import REMEMBERED_SECONDS, Keyring
from resolvers.opening import open_secret
from resolvers.unit_of_work import UnitOfWork

PURPOSE: Final = "signing of webhooks"
_MOST_REMEMBERED: Final = 1_000
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Signing:
    """What signs for an endpoint now, the newest first; nothing where its secret is gone."""

    secrets: Sequence[str]
    opened: Sequence[tuple[Secret, str]] = ()
    """Those that were opened for it, to be remembered once that is committed."""


class WebhookKeys:
    """Signing secrets of every tenant, opened when first needed."""

    def __init__(self, keyring: Keyring, seconds: Callable[[], float] = time.monotonic) -> None:
        self._keyring = keyring
        self._seconds = seconds
        self._known: OrderedDict[UUID, tuple[int, str, float]] = OrderedDict()

    async def of(self, work: UnitOfWork, endpoint: WebhookEndpoint) -> Signing:
        """What signs for ``endpoint``; ``work`` commits that it was opened. Raises KeyNotAtHand."""
        wanted = [one for one in (endpoint.secret_id, _previous(work, endpoint)) if one is not None]
        if not wanted:
            return Signing(())
        rows = await secrets_by_id(work.session, wanted, sealed=False)
        found = {id: self._remembered(row) for id, row in rows.items()}
        unknown = [id for id, value in found.items() if value is None]
        opened = []
        if unknown:
            for id, row in (await secrets_by_id(work.session, unknown, sealed=True)).items():
                found[id] = await self._open(work, row)
                opened += [(row, value)] if (value := found[id]) is not None else []
        return Signing([value for one in wanted if (value := found.get(one)) is not None], opened)

    def remember(self, signing: Signing) -> None:
        """Keep what was opened, now that it is committed that it was."""
        for row, value in signing.opened:
            self._known[row.id] = (row.sealed_version, value, self._seconds() + REMEMBERED_SECONDS)
        while len(self._known) > _MOST_REMEMBERED:
            self._known.popitem(last=False)

    async def _open(self, work: UnitOfWork, row: Secret) -> str | None:
        try:
            return await open_secret(self._keyring, work, row, PURPOSE)
        except Unreadable:
            _log.error("webhooks.secret_unreadable", secret_id=str(row.id))
            return None

    def _remembered(self, row: Secret) -> str | None:
        version, value, until = self._known.get(row.id, (0, "", 0.0))
        return value if version == row.sealed_version and self._seconds() < until else None


def _previous(work: UnitOfWork, endpoint: WebhookEndpoint) -> UUID | None:
    until = endpoint.previous_secret_expires_at
    return endpoint.previous_secret_id if until is not None and until > work.now else None
