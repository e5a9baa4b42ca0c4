"""This module is where tests of webhooks make endpoints, events and the workers that tell of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select, text, update

from gateway.egress import Egress
from models import Event, EventTopic, Role, Scope, WebhookDelivery, WebhookDisabledReason, WebhookEndpoint, utcnow
from models.ids import encode, uuid7
from resolvers.call import Call, Services
from resolvers.fetching import Notifies
from resolvers.principal import Principal
from resolvers.unit_of_work import unit_of_work
from resolvers.webhook_rules import WebhookRules
from resolvers.webhook_work import Webhooks
from resolvers.webhooks import NewSecret, create_webhook_endpoint
from subscriptions.log import Envelope
from tests.world import QUICK, call_of, make_tenant, principal

PATIENT: Final = replace(QUICK, delays_seconds=(3600.0,) * 7)
"""As often as by default, but no attempt follows another within a test."""


@dataclass(slots=True)
class Hooks:
    """A tenant, whoever makes its endpoints, and its worker."""

    services: Services
    egress: Egress
    tenant: UUID
    admin: Principal

    @classmethod
    async def start(cls, services: Services, egress: Egress) -> Hooks:
        """A new tenant."""
        tenant = await make_tenant(services.database)
        return cls(services, egress, tenant, principal(tenant, Role.ADMIN))

    def call(self, who: Principal | None = None) -> Call:
        """One operation; the admin's when nobody else is named."""
        return call_of(self.services, who or self.admin)

    def worker(
        self, rules: WebhookRules = QUICK, notices: Notifies | None = None, most_pending: int = 10_000
    ) -> Webhooks:
        """Another worker: nothing shared but the database."""
        services = self.services
        return Webhooks(
            services.database,
            services.announcer,
            utcnow,
            services.keyring,
            notices or self.egress,
            services.tails.epoch,
            rules,
            most_pending=most_pending,
        )

    async def endpoint(self, url: str, *kinds: str, who: Principal | None = None, **said: Any) -> NewSecret:
        """An endpoint of the tenant's that wants ``kinds``, or what ``emit`` makes."""
        return await create_webhook_endpoint(self.call(who), url=url, event_kinds=kinds or ["thing.*"], **said)

    async def emit(self, count: int = 1, kind: str = "thing.happened", scope: Scope = Scope.WORKSPACES_READ) -> None:
        """Commit events about nothing."""
        services = self.services
        async with unit_of_work(services.database, services.announcer, utcnow, self.tenant, None) as work:
            for number in range(count):
                work.record(
                    Envelope(
                        topic=EventTopic.REGISTRY,
                        kind=kind,
                        entity_type="workspace",
                        entity_id=uuid7(),
                        required_scope=scope,
                        before={"number": number},
                        after={"number": number + 1},
                        payload={"changed": ["number"]},
                        audited=False,
                    )
                )

    async def event_ids(self, kind: str = "thing.happened") -> list[str]:
        """The ids of the tenant's events of this kind, oldest first."""
        async with self.services.database.session(self.tenant) as session:
            found = await session.scalars(select(Event.id).where(Event.kind == kind).order_by(Event.seq))
            return [encode("event", one) for one in found]

    async def kinds(self) -> list[str]:
        """The kinds of the tenant's events, oldest first."""
        async with self.services.database.session(self.tenant) as session:
            return list(await session.scalars(text("SELECT kind FROM events ORDER BY seq")))

    async def deliveries(self) -> Sequence[WebhookDelivery]:
        """The tenant's, oldest first."""
        async with self.services.database.session(self.tenant) as session:
            rows = await session.scalars(
                select(WebhookDelivery).where(WebhookDelivery.tenant_id == self.tenant).order_by(WebhookDelivery.id)
            )
            return rows.all()

    async def row(self, made: NewSecret) -> WebhookEndpoint:
        """The endpoint as it stands."""
        async with self.services.database.session(self.tenant) as session:
            return await session.get_one(WebhookEndpoint, (self.tenant, made.webhook_endpoint.id))

    async def set(self, made: NewSecret, **values: Any) -> None:
        """Change the endpoint's row behind everyone's back."""
        async with self.services.database.session(self.tenant) as session:
            await session.execute(
                update(WebhookEndpoint).where(WebhookEndpoint.id == made.webhook_endpoint.id).values(**values)
            )
            await session.commit()

    async def hush(self) -> None:
        """Tell nobody of the tenant's anything more."""
        off = {"is_enabled": False, "disabled_at": utcnow(), "disabled_reason": WebhookDisabledReason.MANUAL}
        async with self.services.database.session(self.tenant) as session:
            await session.execute(update(WebhookEndpoint).where(WebhookEndpoint.is_enabled).values(**off))
            await session.commit()

    async def make_due(self) -> None:
        """Let the time until the next attempt pass, for all that is pending."""
        async with self.services.database.session(self.tenant) as session:
            await session.execute(text("UPDATE webhook_deliveries SET next_attempt_at = now() WHERE state = 'pending'"))
            await session.commit()

    async def trim(self, up_to: str) -> None:
        """Delete what the log holds up to the last event of this kind, as retention does."""
        async with self.services.database.session(self.tenant) as session:
            seq = await session.scalar(text("SELECT max(seq) FROM events WHERE kind = :kind"), {"kind": up_to})
            await session.execute(text("DELETE FROM events WHERE seq <= :seq"), {"seq": seq})
            await session.execute(text("UPDATE stream_floors SET low_water = :seq"), {"seq": seq})
            await session.commit()
