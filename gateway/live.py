"""This module is where a subscription runs: durable ones in a group, ephemeral ones alone, sharing their answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from gateway.metrics import SUBSCRIPTIONS
from gateway.shared_answers import SharedAnswers
from models import Scope
from models.errors import Forbidden, Internal, RequestError
from resolvers.call import Call
from resolvers.principal import Principal
from schema.streams import DurableSource
from subscriptions.fanout import Batch, Question, Sink
from subscriptions.streams import Delivery, Item, Place

_log = structlog.get_logger(__name__)

Answer = Callable[[Call, Any], Awaitable[bytes]]
"""Executes the operation's document over one event and encodes what came of it."""


@dataclass(frozen=True, slots=True)
class _Subscription:
    """What every subscriber has: who asked, how an item is answered, the scope that the stream demands, its name."""

    call: Call
    answer: Answer
    scope: Scope | None
    stream: str

    def refusal(self, principal: Principal) -> RequestError | None:
        """Why a caller of these rights is sent no more of it: each right it was begun with may count in its items."""
        if self.call.who.scopes <= principal.scopes:
            return None
        if self.scope is not None and not principal.allows(self.scope):
            return Forbidden(f"This needs the scope {self.scope.value}.", retryable=False)
        return Forbidden("What these credentials may do has changed; subscribe again.", retryable=True)


@dataclass(frozen=True, slots=True)
class DurableSubscription(_Subscription):
    """A subscriber of the event log."""

    source: DurableSource
    key: Hashable
    chained: bool
    place: Place = field(default_factory=Place)

    @property
    def cursor(self) -> str | None:
        """Where its subscriber stood when it ended."""
        return self.place.cursor

    async def run(self, sink: Sink) -> None:
        """Serve until cancelled. Raises LIMIT_EXCEEDED with its cursor, and what ``sink`` raises."""
        question = Question(
            key=self.key,
            tenant_id=self.call.tenant_id,
            interest=self.source.interest,
            render=self._render,
            chained=self.chained,
        )
        with SUBSCRIPTIONS.labels(self.stream).track_inprogress():
            await self.call.services.fanout.serve(question, self.source.after, sink, self.place)

    async def _render(self, items: Sequence[Item]) -> list[bytes]:
        # One fresh scope for all items: an entity is read once a batch, and never from an earlier one.
        call = self.call.live()
        deliveries = [one for one in items if isinstance(one, Delivery)]
        changes = iter(await self.source.changes(call, deliveries) if deliveries else ())
        events = [next(changes) if isinstance(one, Delivery) else one for one in items]
        return list(await asyncio.gather(*(self.answer(call, event) for event in events)))


@dataclass(frozen=True, slots=True)
class EphemeralSubscription(_Subscription):
    """A subscriber of what is only now: it reads on when there is room, and its source forgets what is old."""

    source: Any
    key: Hashable
    """Equal for subscribers who are answered alike."""
    shared: SharedAnswers

    @property
    def cursor(self) -> None:
        """There is no place to go back to."""
        return

    async def run(self, sink: Sink) -> None:
        """Serve until the source ends. Raises INTERNAL when it breaks, and what ``sink`` raises."""
        with SUBSCRIPTIONS.labels(self.stream).track_inprogress():
            await self._follow(sink)

    async def _follow(self, sink: Sink) -> None:
        events: AsyncIterator[Any] = aiter(self.source)
        try:
            while True:
                try:
                    event = await anext(events)
                except StopAsyncIteration:
                    return
                except RequestError:
                    raise
                except Exception as error:
                    _log.exception("subscription_failed", request_id=self.call.request_id)
                    raise Internal from error
                batch = await self._answered(event)
                while not sink.deliver(batch):
                    await sink.room()
        finally:
            aclose = getattr(self.source, "aclose", None)
            if aclose is not None:
                await aclose()

    async def _answered(self, event: Any) -> Batch:
        what = tuple(event) if isinstance(event, list) else event
        return await self.shared.of((self.key, what), lambda: self.answer(self.call.live(), event))
