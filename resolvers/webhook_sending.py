"""This module is where deliveries leave: taken up for a while, sent with no transaction open, then marked.

A worker that dies under way leaves deliveries that are due again when their time is over. So whatever was sent may
arrive twice, under the same id, and nothing is lost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import structlog

from dataloaders.webhook_queue import DueEndpoint, claim_deliveries, due_endpoints, enabled_endpoint, events_by_seq
from models import Event, WebhookDelivery, WebhookEndpoint, WebhookError
from models.database import Database
from models.errors import Unavailable
from resolvers.fetching import AddressRefused, FetchFailed, Notifies, TookTooLong
from resolvers.unit_of_work import Announces, unit_of_work
from resolvers.webhook_counters import WebhookCounters
from resolvers.webhook_keys import WebhookKeys
from resolvers.webhook_messages import body_of, headers_of
from resolvers.webhook_outcomes import GONE, Outcome, Settling
from resolvers.webhook_rules import WebhookRules

_LOOK_SECONDS: Final = 1.0
_REST_SECONDS: Final = 5.0
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Round:
    """What one endpoint is sent at once."""

    endpoint: WebhookEndpoint
    signing: Sequence[str]
    deliveries: Sequence[WebhookDelivery]
    events: dict[int, Event]


class WebhookSending:
    """Sends the deliveries of all tenants; any number of workers may."""

    def __init__(
        self,
        database: Database,
        announcer: Announces,
        clock: Callable[[], datetime],
        keys: WebhookKeys,
        notices: Notifies,
        epoch: Callable[[], Awaitable[bytes]],
        rules: WebhookRules,
        counters: WebhookCounters,
    ) -> None:
        self._database = database
        self._announcer = announcer
        self._clock = clock
        self._keys = keys
        self._notices = notices
        self._epoch = epoch
        self._rules = rules
        self._counters = counters
        self._settling = Settling(rules, counters)
        self._places = asyncio.Semaphore(rules.places)
        # Those that failed last wait for each other: however many do not answer, the others are not held up.
        self._places_of_failing = asyncio.Semaphore(rules.places)
        self._failing: set[UUID] = set()
        self._running: dict[UUID, asyncio.Task[int]] = {}
        # Due but not to be had: another worker's, or in trouble. Left alone until then.
        self._resting: dict[UUID, float] = {}

    async def run(self) -> int:
        """Send what is due, and what comes due meanwhile; how many attempts came to an end. Raises Unavailable.

        Under constant load something is always due, so it returns after ``run_seconds`` all the same. What is under way
        then goes on, and the next run looks after it; whoever makes none calls ``stop``.
        """
        until = time.monotonic() + self._rules.run_seconds
        self._resting.clear()
        sent = 0
        try:
            while True:
                await self._begin()
                left = until - time.monotonic()
                if not self._running or left <= 0:
                    return sent
                await asyncio.wait(
                    self._running.values(), timeout=min(_LOOK_SECONDS, left), return_when=asyncio.FIRST_COMPLETED
                )
                sent += self._collect()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Cut short what is under way: it is due again when its time is over."""
        running, self._running = list(self._running.values()), {}
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _begin(self) -> None:
        """A task for each endpoint that is due and has none."""
        due = await due_endpoints(self._database)
        self._counters.waited_seconds = max((one.waited_seconds for one in due), default=0.0)
        self._failing &= {one.id for one in due} | self._running.keys()
        for one in due:
            if one.id not in self._running and self._resting.get(one.id, 0.0) <= time.monotonic():
                self._running[one.id] = asyncio.create_task(self._serve(one), name=f"webhook {one.id}")

    def _collect(self) -> int:
        """Forget the tasks that have ended; how many attempts they made."""
        sent = 0
        for endpoint_id in [one for one, task in self._running.items() if task.done()]:
            count = self._running.pop(endpoint_id).result()
            sent += count
            if count == 0:
                self._resting[endpoint_id] = time.monotonic() + _REST_SECONDS
        return sent

    async def _serve(self, due: DueEndpoint) -> int:
        """Rounds until nothing is due; how many attempts, none where the last one was cut short."""
        sent = 0
        try:
            while True:
                async with self._places_of_failing if due.id in self._failing else self._places:
                    count = await self._round(due)
                if count == 0:
                    return sent
                sent += count
        except Exception as error:
            is_passing = isinstance(error, Unavailable | TimeoutError)
            _log.error("webhooks.sending_put_off", endpoint_id=str(due.id), exc_info=not is_passing)
            return 0

    async def _round(self, due: DueEndpoint) -> int:
        taken = await self._take(due)
        if taken is None:
            return 0
        epoch = await self._epoch()
        outcomes = await asyncio.gather(*(self._attempt(taken, one, epoch) for one in taken.deliveries))
        async with unit_of_work(self._database, self._announcer, self._clock, due.tenant_id, None) as work:
            await self._settling.settle(work, taken.endpoint, outcomes)
        has_failed = not any(one.is_delivered for one in outcomes)
        (self._failing.add if has_failed else self._failing.discard)(due.id)
        return len(outcomes)

    async def _take(self, due: DueEndpoint) -> _Round | None:
        """Claim a round's deliveries. Commits, also that the secret was used."""
        async with unit_of_work(self._database, self._announcer, self._clock, due.tenant_id, None) as work:
            endpoint = await enabled_endpoint(work.session, due.id)
            if endpoint is None:
                return None
            # Before any row is locked: this may ask a KMS.
            signing = await self._keys.of(work, endpoint)
            most = 1 if endpoint.consecutive_failures else self._rules.at_once_each
            deliveries = await claim_deliveries(work.session, endpoint.id, most, self._rules.lease)
            if not deliveries:
                return None
            told = [one.event_seq for one in deliveries if one.event_seq is not None and one.event_id is not None]
            taken = _Round(endpoint, signing.secrets, deliveries, await events_by_seq(work.session, told))
        self._keys.remember(signing)
        return taken

    async def _attempt(self, taken: _Round, delivery: WebhookDelivery, epoch: bytes) -> Outcome:
        event = taken.events.get(delivery.event_seq) if delivery.event_seq is not None else None
        if event is not None and not taken.endpoint.may_see(event.required_scope):
            # It was planned when the endpoint was somebody's who may see it.
            return Outcome(delivery, error=WebhookError.OUT_OF_SCOPE, is_final=True)
        if not taken.signing:
            return Outcome(delivery, error=WebhookError.SECRET_MISSING)
        body = body_of(delivery, event, epoch)
        try:
            headers = headers_of(delivery.message_id, self._clock(), body, taken.signing)
        except ValueError:
            return Outcome(delivery, error=WebhookError.SECRET_MISSING)
        started_at = time.monotonic()
        said: dict[str, Any] = {}
        try:
            # The port has a time of its own; this one holds whatever it does, because the lease counts on it.
            async with asyncio.timeout(self._rules.timeout_seconds + 1):
                status = await self._notices.notify(taken.endpoint.url, body, headers)
            arrived = 200 <= status < 300
            said = {"status": status, "error": None if arrived else WebhookError.REFUSED, "is_final": status == GONE}
        except AddressRefused:
            said = {"error": WebhookError.ADDRESS_REFUSED}
        except (TookTooLong, TimeoutError):
            said = {"error": WebhookError.TIMED_OUT}
        except FetchFailed:
            said = {"error": WebhookError.CONNECTION_FAILED}
        return Outcome(delivery, milliseconds=int((time.monotonic() - started_at) * 1000), **said)
