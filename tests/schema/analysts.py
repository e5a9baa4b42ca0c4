"""This module is where tests of analyses get alerts that wait for one, and workers that come for them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final, Protocol
from uuid import UUID

from sqlalchemy import select, update

from models import Alert, AlertSeverity, AlertStatus, AnalysisStatus, Event, Scope, utcnow
from models.ids import encode, parse, uuid7
from resolvers.alert_ingestion import AlertIntake, SentAlert
from resolvers.call import Services
from resolvers.principal import Principal
from tests.schema.staff import mutation

FIELDS: Final = """id version analyzed analysisStatus analyzedAt aiAnalysis recommendations analysisError"""
REQUEST: Final = mutation("requestAlertAnalysis", "alert", FIELDS)
PROGRESS: Final = mutation("reportAlertAnalysisProgress", "alert", FIELDS)
SUBMIT: Final = mutation("submitAlertAnalysis", "alert", FIELDS)
FAIL: Final = mutation("failAlertAnalysis", "alert", FIELDS)
CLAIM: Final = f"""mutation($input: ClaimAlertAnalysisInput!) {{ claimAlertAnalysis(input: $input) {{
  alert {{ {FIELDS} alertName labels }} leaseExpiresAt userErrors {{ code message field }} }} }}"""

FOUND: Final = "The disk fills with logs since Friday."
ADVICE: Final = ["Rotate the logs.", "Give the volume 20 GB more."]


class Serving(Protocol):
    """A gateway in this process, or what stands beside those that are processes."""

    @property
    def services(self) -> Services:
        """What it serves with."""
        ...


def worker(tenant_id: UUID, *more: Scope) -> Principal:
    """A key that analyses."""
    scopes = frozenset({Scope.SIGNED_IN, Scope.ALERTS_READ, Scope.ALERTS_ANALYZE, *more})
    return Principal(tenant_id=tenant_id, scopes=scopes, api_key_id=uuid7())


async def fire(gateway: Serving, tenant_id: UUID, count: int = 1, *, queued: bool = True, **said: Any) -> list[str]:
    """Alerts put straight into the database, the first of them waiting longest; their ids."""
    now = utcnow()
    given: dict[str, Any] = {"alert_name": "DiskFull", "severity": AlertSeverity.CRITICAL, "instance": "db-1:9100"}
    rows = [
        Alert(
            **{
                "tenant_id": tenant_id,
                "id": uuid7(),
                "fingerprint": uuid7().hex[:16],
                "starts_at": now,
                "labels": {"alertname": "DiskFull", "volume": "/var"},
                "annotations": {"summary": "The disk is full."},
                **given,
                **said,
            }
        )
        for _ in range(count)
    ]
    async with gateway.services.database.session(tenant_id) as session:
        session.add_all(rows)
        await session.flush()
        for number, one in enumerate(rows if queued else ()):
            one.queue_analysis(now - timedelta(seconds=count - number))
        await session.commit()
    return [encode("alert", one.id) for one in rows]


async def receive(gateway: Serving, tenant_id: UUID, count: int = 1, **said: Any) -> list[str]:
    """Alerts that a sender tells of; their ids."""
    labels = {"alertname": "DiskFull", "severity": "critical", "instance": "db-1:9100"}
    sent = [
        SentAlert(
            **{
                "fingerprint": uuid7().hex[:16],
                "status": AlertStatus.FIRING,
                "starts_at": utcnow(),
                "ends_at": None,
                "labels": labels,
                "annotations": {},
                "raw": {},
                **said,
            }
        )
        for _ in range(count)
    ]
    services = gateway.services
    receipts = await AlertIntake(services.database, services.announcer, utcnow).receive(tenant_id, sent)
    return [encode("alert", one.alert_id) for one in receipts]


async def row(gateway: Serving, tenant_id: UUID, id: str) -> Alert:
    """An alert's row."""
    async with gateway.services.database.session(tenant_id) as session:
        return await session.get_one(Alert, (tenant_id, parse(id, "alert")))


async def lapse(gateway: Serving, tenant_id: UUID, id: str) -> None:
    """Let the lease on an alert's analysis have run out a minute ago."""
    async with gateway.services.database.session(tenant_id) as session:
        await session.execute(
            update(Alert)
            .where(Alert.tenant_id == tenant_id, Alert.id == parse(id, "alert"))
            .values(analysis_lease_expires_at=utcnow() - timedelta(minutes=1))
        )
        await session.commit()


async def told(gateway: Serving, tenant_id: UUID, id: str) -> list[Event]:
    """The events about an alert, oldest first."""
    async with gateway.services.database.session(tenant_id) as session:
        found = await session.scalars(
            select(Event).where(Event.tenant_id == tenant_id, Event.entity_id == parse(id, "alert")).order_by(Event.seq)
        )
        return list(found)


async def statuses(gateway: Serving, tenant_id: UUID) -> set[AnalysisStatus]:
    """Where the tenant's analyses stand."""
    async with gateway.services.database.session(tenant_id) as session:
        return set(await session.scalars(select(Alert.analysis_status).where(Alert.tenant_id == tenant_id)))
