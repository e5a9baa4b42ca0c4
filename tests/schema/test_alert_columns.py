"""This module is where every column of the old platform about alerts and their rules is written and read."""

from __future__ import annotations

from typing import Any, Final

import pytest

from models import AlertStatus
from tests.report import record
from tests.schema.alerting import ACKNOWLEDGE, Alerting, sent
from tests.schema.conftest import Gateway
from tests.schema.staff import done
from tests.schema.test_alert_rules import CREATE
from tests.world import Tenants

COLUMNS: Final[dict[str, dict[str, str]]] = {
    "AIOps alerts": {
        "id": "alert.id",
        "fingerprint": "alert.fingerprint",
        "timestamp": "alert.startsAt",
        "received_at": "alert.receivedAt",
        "ends_at": "alert.endsAt",
        "alert_name": "alert.alertName",
        "severity": "alert.severity",
        "instance": "alert.instance",
        "job": "alert.job",
        "status": "alert.status",
        "labels_json": "alert.labels",
        "annotations_json": "alert.annotations",
        "raw_alert_json": "alert.rawPayload",
        "matched_rule_id": "alert.matchedRule.id",
        "action_taken": "alert.actionTaken",
        "analysis_status": "alert.analysisStatus",
        "previous_alert_id": "alert.previousAlert.id",
        "acknowledged_by": "alert.acknowledgedBy.id",
        "acknowledged_at": "alert.acknowledgedAt",
        "resolved_at": "alert.resolvedAt",
        "version": "alert.version",
    },
    "AIOps auto_analyze_rules": {
        "id": "rule.id",
        "name": "rule.name",
        "description": "rule.description",
        "priority": "rule.priority",
        "alert_name_pattern": "rule.alertNamePattern",
        "severity_pattern": "rule.severityPattern",
        "instance_pattern": "rule.instancePattern",
        "job_pattern": "rule.jobPattern",
        "action": "rule.action",
        "enabled": "rule.enabled",
        "created_by": "rule.createdBy.id",
    },
}
"""Where each column of each table is read."""

DEFAULTS: Final = {
    "alert.severity": "UNKNOWN",
    "alert.status": "FIRING",
    "alert.actionTaken": "MANUAL",
    "alert.analysisStatus": "NONE",
    "rule.priority": 100,
    "rule.severityPattern": "*",
    "rule.instancePattern": "*",
    "rule.jobPattern": "*",
}

ALL: Final = """query($alert: ID!, $rule: ID!) {
  alert: node(id: $alert) { ... on Alert { id fingerprint startsAt receivedAt endsAt alertName severity instance job
    status labels annotations rawPayload matchedRule { id } actionTaken analysisStatus previousAlert { id }
    acknowledgedBy { id } acknowledgedAt resolvedAt version } }
  rule: node(id: $rule) { ... on AlertRule { id name description priority alertNamePattern severityPattern
    instancePattern jobPattern action enabled createdBy { id } } } }"""


def _at(data: dict[str, Any], path: str) -> Any:
    value: Any = data
    for name in path.split("."):
        value = value[name]
    return value


@pytest.fixture(scope="module")
async def read(gateway: Gateway) -> dict[str, Any]:
    """All of it, written by an admin, an operator and a sender, read by a viewer, and by nobody next door."""
    tenants = await Tenants.make(gateway.services.database)
    alerting = await Alerting.begin(gateway, tenants.mine)
    rule = await done(
        gateway,
        alerting.admin,
        CREATE,
        name="Critical DB",
        description="Whoever is on call reads what was found.",
        priority=10,
        alertNamePattern="High*",
        severityPattern="crit*",
        instancePattern="web-?",
        jobPattern="node*",
        action="AUTO_ANALYZE",
    )
    await alerting.send(sent(status=AlertStatus.RESOLVED))
    (alert,) = await alerting.send(sent(minutes=30))
    await done(gateway, alerting.operator, ACKNOWLEDGE, id=alert)
    await alerting.send(sent(status=AlertStatus.RESOLVED, minutes=30))
    ids = {"alert": alert, "rule": rule["id"]}
    foreign = await Alerting.begin(gateway, tenants.other)
    assert await gateway.data(foreign.admin, ALL, **ids) == {"alert": None, "rule": None}
    return await gateway.data(alerting.viewer, ALL, **ids)


@pytest.mark.parametrize("table", COLUMNS)
def test_every_column_is_written_and_read_by_another_role(read: dict[str, Any], table: str) -> None:
    for column, path in COLUMNS[table].items():
        value = _at(read, path)
        assert value not in (None, "", {}, [], 0), f"{table}.{column}"
        assert value != DEFAULTS.get(path), f"{table}.{column}"
    record(
        7, "every column of the unified tables is written and read back by a second role", len(COLUMNS[table]), table
    )
