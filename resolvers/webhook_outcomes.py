"""This module is where it is written down how a delivery fared, and what follows for its endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import func

from dataloaders.webhook_queue import count_attempts, endpoint_as_it_stands, in_seconds, mark_delivery
from models import WebhookDelivery, WebhookDeliveryState, WebhookDisabledReason, WebhookEndpoint, WebhookError
from resolvers.unit_of_work import UnitOfWork
from resolvers.webhook_counters import WebhookCounters
from resolvers.webhook_rules import DEAD_KEPT, KEPT, WebhookRules

GONE: Final = 410
"""A receiver's word for: tell me no more."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One attempt; without an error it arrived."""

    delivery: WebhookDelivery
    status: int | None = None
    error: WebhookError | None = None
    milliseconds: int | None = None
    is_final: bool = False
    """Whether trying again is no use."""

    @property
    def is_delivered(self) -> bool:
        """Whether it arrived."""
        return self.error is None

    @property
    def is_receivers(self) -> bool:
        """Whether the outcome says something about the receiver."""
        return self.error is not WebhookError.OUT_OF_SCOPE


class Settling:
    """Marks what was sent."""

    def __init__(self, rules: WebhookRules, counters: WebhookCounters) -> None:
        self._rules = rules
        self._counters = counters

    async def settle(self, work: UnitOfWork, endpoint: WebhookEndpoint, outcomes: Sequence[Outcome]) -> None:
        """Mark a round's deliveries, count for ``endpoint``, and disable it where that follows. Does not commit."""
        said = [one for one in outcomes if one.is_receivers]
        arrived = any(one.is_delivered for one in said)
        # The endpoint first: whoever deletes it takes it and its deliveries in this order.
        if said:
            await count_attempts(work.session, endpoint.id, len(said), arrived=arrived)
        for one in outcomes:
            await self._mark(work, one)
        reason = self._reason(work, endpoint, said, arrived=arrived)
        if reason is not None:
            await self._disable(work, endpoint, reason)

    async def _mark(self, work: UnitOfWork, one: Outcome) -> None:
        delivery = one.delivery
        attempt: int | None = None
        values: dict[str, Any] = {
            "last_status_code": one.status,
            "last_error": one.error,
            "last_duration_milliseconds": one.milliseconds,
        }
        if one.is_delivered:
            self._counters.delivered += 1
            values |= _finished(WebhookDeliveryState.DELIVERED, KEPT.total_seconds()) | {"delivered_at": func.now()}
        else:
            self._counters.failed += 1
            # Of two that sent it, as one took longer than its time, a failure must not undo what the other brought.
            attempt = delivery.attempt_count
            if one.is_final or self._rules.is_last(delivery.attempt_count):
                self._counters.dead += 1
                values |= _finished(WebhookDeliveryState.DEAD, DEAD_KEPT.total_seconds())
            else:
                values["next_attempt_at"] = func.now() + in_seconds(self._rules.delay(delivery.attempt_count))
        await mark_delivery(work.session, delivery.id, values, attempt=attempt)

    def _reason(
        self, work: UnitOfWork, endpoint: WebhookEndpoint, said: Sequence[Outcome], *, arrived: bool
    ) -> WebhookDisabledReason | None:
        if any(one.status == GONE for one in said):
            return WebhookDisabledReason.GONE
        since = endpoint.failing_since
        is_over = said and not arrived and since is not None and work.now - since >= self._rules.disabled_after
        return WebhookDisabledReason.FAILING if is_over else None

    async def _disable(self, work: UnitOfWork, endpoint: WebhookEndpoint, reason: WebhookDisabledReason) -> None:
        """Tell it nothing more, with an event of its own; unless somebody has changed it since."""
        row = await endpoint_as_it_stands(work.session, endpoint.id)
        if row is None or not row.is_enabled or row.version != endpoint.version:
            return
        before = row.facets()
        row.disable(reason, work.now)
        self._counters.disabled += 1
        work.tell(row, "webhook.disabled", before, {"reason": reason.value})


def _finished(state: WebhookDeliveryState, kept_seconds: float) -> dict[str, Any]:
    expires_at = func.now() + func.make_interval(0, 0, 0, 0, 0, 0, kept_seconds)
    return {"state": state, "next_attempt_at": None, "expires_at": expires_at}
