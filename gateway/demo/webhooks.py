"""This module is where the demo gets a webhook endpoint: disabled, as nobody is there, with what became of three."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from sqlalchemy import select

from gateway.demo.samples import TenantSample
from gateway.demo.together import SharingCall
from models import Event, WebhookDelivery, WebhookDeliveryState, WebhookError
from resolvers.webhook_rules import DEAD_KEPT, DELAYS_SECONDS, KEPT
from resolvers.webhooks import create_webhook_endpoint

_KINDS: Final = ("approval.*", "user.*", "workspace.went_offline")


async def listen(call: SharingCall, sample: TenantSample) -> None:
    """An endpoint of the tenant's, and a delivery in each state."""
    made = await create_webhook_endpoint(
        call,
        url=f"https://hooks.{sample.domain}/signalbox",
        event_kinds=_KINDS,
        description="The duty officer's pager. Disabled: nobody is there in a demo.",
        is_enabled=False,
    )
    now, session = call.shared.now, call.shared.session
    # The people came first, in a transaction of their own, so their events have numbers already.
    events = list(
        await session.scalars(
            select(Event)
            .where(Event.tenant_id == call.tenant_id, Event.kind.like("user.%"))
            .order_by(Event.seq)
            .limit(3)
        )
    )
    fates: tuple[dict[str, Any], ...] = (
        {
            "state": WebhookDeliveryState.DELIVERED,
            "attempt_count": 1,
            "last_status_code": 204,
            "last_duration_milliseconds": 38,
            "delivered_at": now - timedelta(hours=2),
            "expires_at": now + KEPT,
        },
        {
            "state": WebhookDeliveryState.DEAD,
            "attempt_count": len(DELAYS_SECONDS) + 1,
            "last_status_code": 503,
            "last_error": WebhookError.REFUSED,
            "last_duration_milliseconds": 1_204,
            "expires_at": now + DEAD_KEPT,
        },
        {
            "state": WebhookDeliveryState.PENDING,
            "attempt_count": 2,
            "last_error": WebhookError.TIMED_OUT,
            "last_duration_milliseconds": 15_000,
            "next_attempt_at": now + timedelta(minutes=5),
        },
    )
    for event, fate in zip(events, fates, strict=True):
        call.shared.add(
            WebhookDelivery(
                endpoint_id=made.webhook_endpoint.id,
                kind=event.kind,
                event_seq=event.seq,
                event_id=event.id,
                **fate,
            )
        )
    await session.flush()
