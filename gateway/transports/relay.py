"""This module is where a subscription under way is ended from outside, with a last word and its place in the log."""

from __future__ import annotations

import asyncio

from gateway.transports.operations import Subscription
from models.errors import RequestError
from resolvers.principal import Principal
from subscriptions.fanout import Sink


class Relay:
    """One run of one subscription."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription
        self._running: asyncio.Timeout | None = None
        self._last_word: RequestError | None = None

    async def run(self, sink: Sink) -> None:
        """Until the subscription ends. Raises what it was ended with, and whatever it or ``sink`` raises."""
        if self._last_word is not None:
            raise self._last_word
        try:
            async with asyncio.timeout(None) as self._running:
                await self._subscription.run(sink)
        except TimeoutError:
            if self._last_word is None:
                raise
            raise told_where(self._last_word, self._subscription.cursor) from None
        finally:
            self._running = None

    def hold_to(self, principal: Principal) -> None:
        """Ends the subscription if these rights do not allow it."""
        failure = self._subscription.refusal(principal)
        if failure is not None:
            self.end(failure)

    def end(self, last_word: RequestError) -> None:
        """Ends the subscription; does not wait for it. The first call decides the last word."""
        if self._last_word is None:
            self._last_word = last_word
            if self._running is not None:
                self._running.reschedule(asyncio.get_running_loop().time())


def told_where(failure: RequestError, cursor: str | None) -> RequestError:
    """The failure, saying from where on its subscriber has to ask again."""
    if cursor is None or "cursor" in failure.extensions:
        return failure
    return type(failure)(failure.message, cursor=cursor, **failure.extensions)
