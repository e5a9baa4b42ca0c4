"""This module is where the two jobs of webhooks stand together: planning what is to be told, and telling it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

from models.database import Database
from resolvers.fetching import Notifies
from resolvers.keyring import Keyring
from resolvers.unit_of_work import Announces
from resolvers.webhook_counters import WebhookCounters
from resolvers.webhook_keys import WebhookKeys
from resolvers.webhook_planning import MOST_PENDING, WebhookPlanning
from resolvers.webhook_rules import WebhookRules
from resolvers.webhook_sending import WebhookSending

_DEFAULT: Final = WebhookRules()


class Webhooks:
    """Tells endpoints of events; any number of workers may, side by side."""

    def __init__(
        self,
        database: Database,
        announcer: Announces,
        clock: Callable[[], datetime],
        keyring: Keyring,
        notices: Notifies,
        epoch: Callable[[], Awaitable[bytes]],
        rules: WebhookRules = _DEFAULT,
        *,
        most_pending: int = MOST_PENDING,
    ) -> None:
        self.counters = WebhookCounters()
        self._notices = notices
        self._planned = asyncio.Event()
        self._planning = WebhookPlanning(database, self.counters, most_pending=most_pending)
        keys = WebhookKeys(keyring)
        self._sending = WebhookSending(database, announcer, clock, keys, notices, epoch, rules, self.counters)

    def refuses(self, url: str) -> bool:
        """Whether it is known without looking any name up that this address is not asked."""
        return self._notices.refuses(url)

    async def plan(self) -> int:
        """Make deliveries of what was committed; how many. Commits. Raises Unavailable, TimeoutError."""
        planned = await self._planning.run()
        if planned:
            self._planned.set()
        return planned

    async def send(self) -> int:
        """Send what is due; how many attempts came to an end. Commits. Raises Unavailable.

        Returns in bounded time, however much is due, and may leave requests under way: call it again, or ``rest``.
        """
        self._planned.clear()
        return await self._sending.run()

    async def rest(self, seconds: float) -> None:
        """Wait for the time to look for due ones again: ``seconds``, or less after planning.

        Cancelled, it ends what is under way: nobody looks after it then.
        """
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._planned.wait()
        except asyncio.CancelledError:
            await self._sending.stop()
            raise
