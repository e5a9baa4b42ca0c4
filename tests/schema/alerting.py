"""This module is where tests of alerts get some: sent by a machine, and people of every role around them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self
from uuid import UUID

from models import Alert, AlertStatus, Role
from models.ids import encode
from resolvers.alert_ingestion import AlertIntake, SentAlert
from resolvers.principal import Principal
from tests.schema.conftest import Gateway
from tests.schema.staff import mutation, person

START: Final = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
WHOLE: Final = """id fingerprint startsAt receivedAt endsAt alertName severity instance job status labels annotations
  rawPayload matchedRule { id } actionTaken previousAlert { id } acknowledgedBy { id } acknowledgedAt resolvedBy { id }
  resolvedAt stillFiring silencedUntil escalateAt escalatedAt analyzed analysisStatus analysisProgress analyzedAt
  aiAnalysis recommendations analysisError version createdAt updatedAt"""

ACKNOWLEDGE: Final = mutation("acknowledgeAlert", "alert", WHOLE)
UNACKNOWLEDGE: Final = mutation("unacknowledgeAlert", "alert", WHOLE)
RESOLVE: Final = mutation("resolveAlert", "alert", WHOLE)
SILENCE: Final = mutation("silenceAlert", "alert", WHOLE)
ACKNOWLEDGE_ALL: Final = mutation(
    "acknowledgeAlerts", "results", "alert { id status version labels } userErrors { code field }"
)
LIST: Final = """query($filter: AlertFilter, $orderBy: AlertOrder, $first: Int, $after: String, $last: Int,
  $before: String) {
  alerts(filter: $filter, orderBy: $orderBy, first: $first, after: $after, last: $last, before: $before) {
    totalCount pageInfo { hasNextPage endCursor startCursor hasPreviousPage } nodes { id alertName } } }"""


def sent(
    fingerprint: str = "5f3a", status: AlertStatus = AlertStatus.FIRING, minutes: float = 0, **labels: str
) -> SentAlert:
    """An alert as a sender tells of it; it starts ``minutes`` after START, and ends five minutes later."""
    starts_at = START + timedelta(minutes=minutes)
    said = {"alertname": "HighCPUUsage", "severity": "critical", "instance": "web-1", "job": "node"} | labels
    return SentAlert(
        fingerprint=fingerprint,
        status=status,
        starts_at=starts_at,
        ends_at=starts_at + timedelta(minutes=5) if status is AlertStatus.RESOLVED else None,
        labels=said,
        annotations={"summary": "busy"},
        raw={"labels": said, "fingerprint": fingerprint},
    )


@dataclass(slots=True)
class Alerting:
    """A tenant whose alerts are sent and looked after."""

    gateway: Gateway
    tenant_id: UUID
    intake: AlertIntake
    admin: Principal
    operator: Principal
    viewer: Principal

    @classmethod
    async def begin(cls, gateway: Gateway, tenant_id: UUID) -> Self:
        """Its people and its sender."""
        services = gateway.services
        intake = AlertIntake(services.database, services.announcer, services.clock)
        roles = [await person(gateway, tenant_id, role) for role in (Role.ADMIN, Role.OPERATOR, Role.VIEWER)]
        return cls(gateway, tenant_id, intake, *roles)

    async def send(self, *alerts: SentAlert) -> list[str]:
        """Hand alerts in; their ids."""
        receipts = await self.intake.receive(self.tenant_id, alerts or [sent()])
        return [encode(Alert.__typeid__, one.alert_id) for one in receipts]

    async def listed(self, who: Principal | None = None, **asked: Any) -> list[str]:
        """The ids of a list's first page; its count agrees where the page is all of it."""
        page = (await self.gateway.data(who or self.viewer, LIST, **asked))["alerts"]
        if not page["pageInfo"]["hasNextPage"] and "after" not in asked:
            assert page["totalCount"] == len(page["nodes"])
        return [one["id"] for one in page["nodes"]]

    async def board(self, who: Principal | None = None, ignored: bool = False) -> dict[tuple[str, str], int]:
        """What the board counts, zeros left out."""
        document = "query($ignored: Boolean!) { alertBoard(includeIgnored: $ignored) { severity status count } }"
        counts = (await self.gateway.data(who or self.viewer, document, ignored=ignored))["alertBoard"]
        assert len(counts) == 15
        return {(one["severity"], one["status"]): one["count"] for one in counts if one["count"]}
