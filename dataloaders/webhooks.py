"""This module is where webhook endpoints and deliveries are listed, and what mutations of them have to know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from sqlalchemy import func, select, update

from dataloaders.pages import Listing, Order, any_of, any_text_of, equals
from dataloaders.webhook_queue import DEAD, MAX_ENDPOINTS
from models import Event, Secret, TenantStream, WebhookDelivery, WebhookDeliveryState, WebhookEndpoint
from models.database import TenantSession

webhook_endpoints: Final = Listing(
    WebhookEndpoint,
    filters={"is_enabled": equals(WebhookEndpoint.is_enabled)},
    orders={"created_at": Order(WebhookEndpoint.created_at)},
)

webhook_deliveries: Final = Listing(
    WebhookDelivery,
    filters={
        "endpoint_id": equals(WebhookDelivery.endpoint_id),
        "state": any_of(WebhookDelivery.state),
        "kind": any_text_of(WebhookDelivery.kind),
    },
    orders={"created_at": Order(WebhookDelivery.created_at)},
)


async def count_endpoints(session: TenantSession) -> int:
    """How many endpoints the tenant has, as far as that matters."""
    some = select(WebhookEndpoint.id).where(WebhookEndpoint.tenant_id == session.tenant_id).limit(MAX_ENDPOINTS)
    return int(await session.scalar(select(func.count()).select_from(some.subquery())) or 0)


async def log_head(session: TenantSession) -> int:
    """The seq of the tenant's last committed event."""
    return int(await session.scalar(select(TenantStream.seq).where(TenantStream.tenant_id == session.tenant_id)) or 0)


async def log_holds(session: TenantSession, seq: int) -> bool:
    """Whether this event can still be read."""
    found = await session.scalar(select(Event.seq).where(Event.tenant_id == session.tenant_id, Event.seq == seq))
    return found is not None


async def dead_deliveries(session: TenantSession, endpoint_id: UUID, most: int) -> list[UUID]:
    """Deliveries of an endpoint that were given up, oldest first."""
    rows = await session.scalars(
        select(WebhookDelivery.id)
        .where(
            WebhookDelivery.tenant_id == session.tenant_id,
            WebhookDelivery.endpoint_id == endpoint_id,
            WebhookDelivery.state == DEAD,
        )
        .order_by(WebhookDelivery.id)
        .limit(most)
    )
    return list(rows)


async def begin_again(session: TenantSession, ids: Sequence[UUID]) -> None:
    """Let those of ``ids`` that were given up be sent again, from the first attempt on; one statement.

    Does not commit.
    """
    await session.execute(
        update(WebhookDelivery)
        .where(
            WebhookDelivery.tenant_id == session.tenant_id,
            WebhookDelivery.id == func.any(list(ids)),
            WebhookDelivery.state == WebhookDeliveryState.DEAD,
        )
        .values(state=WebhookDeliveryState.PENDING, attempt_count=0, next_attempt_at=func.now(), expires_at=None)
        .execution_options(synchronize_session=False)
    )


async def endpoint_of(session: TenantSession, delivery: WebhookDelivery) -> WebhookEndpoint:
    """Where a delivery goes; it is there as long as the delivery is."""
    return await session.get_one(WebhookEndpoint, (session.tenant_id, delivery.endpoint_id))


async def secret_of(session: TenantSession, endpoint: WebhookEndpoint) -> Secret | None:
    """The secret that signs for an endpoint, without its envelope; None where somebody deleted it."""
    return await session.get(Secret, (session.tenant_id, endpoint.secret_id)) if endpoint.secret_id else None
