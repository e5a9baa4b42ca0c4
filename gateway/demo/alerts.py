"""This module is where the demo's alerts fire: each severity, status and action, a re-fire and one that goes on.

Senders are served by the same use cases as Alertmanager is; people do the rest as people would.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from random import Random
from typing import Final, NamedTuple
from uuid import UUID

from gateway.demo.together import SharingCall
from models import AlertAction, AlertStatus, ConversationKind
from resolvers.alert_ingestion import SentAlert, take_delivery
from resolvers.alert_rules import create_alert_rule
from resolvers.alerts import acknowledge_alert, resolve_alert, silence_alert
from resolvers.conversations import start_conversation

_RULES: Final = (
    ("Critical DB", 10, "*Postgres*", "critical", AlertAction.AUTO_ANALYZE),
    ("Info noise", 50, "*", "info", AlertAction.IGNORE),
    ("Default", 100, "*", "*", AlertAction.MANUAL),
)
_BYGONE: Final = 40
"""Alerts of the last days that are over, for lists and statistics to have something to show."""


class _Kind(NamedTuple):
    name: str
    severity: str
    instance: str
    job: str
    summary: str


_KINDS: Final = (
    _Kind("HighCPUUsage", "critical", "web-server-1", "node-exporter", "CPU above 90 % for five minutes"),
    _Kind("HighMemoryUsage", "warning", "db-server-2", "node-exporter", "Memory above 85 %"),
    _Kind("DiskSpaceLow", "warning", "storage-1", "node-exporter", "Less than 10 % of the disk is free"),
    _Kind("NetworkLatencyHigh", "info", "router-3", "blackbox-exporter", "Round trips take more than 200 ms"),
    _Kind("ServiceDown", "critical", "api-server-1", "http-probe", "The service does not answer"),
    _Kind("PostgresReplicationLag", "critical", "db-server-1", "postgres-exporter", "The replica is 40 s behind"),
    _Kind("BackupFailed", "error", "storage-1", "backup", "Last night's backup did not finish"),
    _Kind("CertificateExpires", "notice", "edge-1", "blackbox-exporter", "The certificate ends within 20 days"),
)


async def fire(call: SharingCall, slug: str, rng: Random) -> None:
    """Rules, alerts of the last days, and alerts of now in every state."""
    for name, priority, pattern, severity, action in _RULES:
        await create_alert_rule(
            call, name=name, priority=priority, alert_name_pattern=pattern, severity_pattern=severity, action=action
        )
    now = call.shared.now
    await take_delivery(call.shared, [_bygone(slug, number, now, rng) for number in range(_BYGONE)])
    hour = timedelta(hours=1)
    # Those that were acknowledged, resolved by hand, silenced; the rest fires on.
    firing = [_sent(slug, kind, now - hour * (number + 1) / 4) for number, kind in enumerate(_KINDS)]
    receipts = await take_delivery(call.shared, firing)
    ids = {kind.name: receipt.alert_id for kind, receipt in zip(_KINDS, receipts, strict=True)}
    await acknowledge_alert(call, id=ids["HighMemoryUsage"])
    await acknowledge_alert(call, id=ids["ServiceDown"])
    await resolve_alert(call, id=ids["BackupFailed"])
    await silence_alert(call, id=ids["DiskSpaceLow"], until=now + timedelta(days=1))
    # One goes on although somebody resolved it; one has ended meanwhile.
    again = [_sent(slug, kind, one.starts_at) for kind, one in zip(_KINDS, firing, strict=True)]
    await take_delivery(call.shared, [again[6], _ended(again[7], now)])
    await _ask_about(call, ids["HighCPUUsage"])


async def _ask_about(call: SharingCall, alert_id: UUID) -> None:
    await start_conversation(call, kind=ConversationKind.ALERT_CHAT, title="Why is the CPU busy?", alert_id=alert_id)


def _bygone(slug: str, number: int, now: datetime, rng: Random) -> SentAlert:
    kind = _KINDS[number % len(_KINDS)]
    started = now - timedelta(minutes=rng.randint(180, 7 * 24 * 60), seconds=number)
    return _ended(_sent(slug, kind, started), started + timedelta(minutes=rng.randint(2, 90)))


def _sent(slug: str, kind: _Kind, starts_at: datetime) -> SentAlert:
    labels = {"alertname": kind.name, "severity": kind.severity, "instance": kind.instance, "job": kind.job}
    fingerprint = hashlib.sha256(f"{slug}/{kind.name}/{kind.instance}".encode()).hexdigest()[:16]
    annotations = {"summary": kind.summary, "runbook_url": f"https://runbooks.example/{kind.name}"}
    return SentAlert(
        fingerprint=fingerprint,
        status=AlertStatus.FIRING,
        starts_at=starts_at,
        ends_at=None,
        labels=labels,
        annotations=annotations,
        raw={
            "status": "firing",
            "labels": labels,
            "annotations": annotations,
            "startsAt": starts_at.isoformat(),
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": f"https://prometheus.example/graph?g0.expr={kind.name}",
            "fingerprint": fingerprint,
        },
    )


def _ended(one: SentAlert, ends_at: datetime) -> SentAlert:
    raw = {**one.raw, "status": "resolved", "endsAt": ends_at.isoformat()}
    return SentAlert(
        fingerprint=one.fingerprint,
        status=AlertStatus.RESOLVED,
        starts_at=one.starts_at,
        ends_at=ends_at,
        labels=one.labels,
        annotations=one.annotations,
        raw=raw,
    )
