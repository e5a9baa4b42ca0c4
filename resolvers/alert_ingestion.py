"""This module is where what a sender says of alerts becomes rows: the same end whatever the order and the repeats.

One firing is one row, found by fingerprint and start. Deliveries of one tenant are taken one after the other, so two
gateways that are told the same at once do not store it twice.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from dataloaders.alert_ingestion import (
    Firing,
    Neighbours,
    insert_alerts,
    link_alerts,
    lock_firings,
    neighbours_of,
    store_changes,
)
from dataloaders.alert_rules import ground_rules, rules_of
from models import Alert, AlertAction, AlertRule, AlertSeverity, AlertStatus, AnalysisStatus
from models.alert_counts import Standing
from models.database import Database
from models.ids import uuid7
from resolvers.alert_counts import Counting
from resolvers.alert_escalation import escalation_due
from resolvers.alert_matching import Rule, RuleBook, Subject
from resolvers.audit import NOWHERE, Actor, Origin
from resolvers.unit_of_work import Announces, UnitOfWork, unit_of_work

AT_ONCE: Final = 1_000
"""Alerts of one transaction, so that the tenant's event counter is never held for long."""

_TENANTS_KEPT: Final = 1_000
_SEVERITIES: Final = {severity.value: severity for severity in AlertSeverity}


class Reception(StrEnum):
    """What became of an alert that was sent."""

    STORED = "stored"
    IGNORED = "ignored"
    ANALYSIS_QUEUED = "analysis_queued"
    UPDATED = "updated"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of one alert, and which row it is."""

    alert_id: UUID
    reception: Reception


@dataclass(frozen=True, slots=True, kw_only=True)
class SentAlert:
    """One alert as a sender tells of it; ``status`` is firing or resolved."""

    fingerprint: str
    status: AlertStatus
    starts_at: datetime
    ends_at: datetime | None
    labels: dict[str, str]
    annotations: dict[str, str]
    raw: dict[str, Any]

    @property
    def firing(self) -> Firing:
        """What names the row."""
        return self.fingerprint, self.starts_at

    @property
    def subject(self) -> Subject:
        """What rules look at."""
        return subject_of(self.labels)


def subject_of(labels: Mapping[str, str]) -> Subject:
    """What rules look at, as labels say it."""
    return Subject(labels.get("alertname"), labels.get("severity"), labels.get("instance"), labels.get("job"))


def severity_of(labels: Mapping[str, str]) -> AlertSeverity:
    """What the label severity says; UNKNOWN where it says nothing that we know."""
    return _SEVERITIES.get(labels.get("severity", "").strip().lower(), AlertSeverity.UNKNOWN)


def compiled(rules: Sequence[AlertRule]) -> RuleBook:
    """The enabled ones of ``rules``, which stand in the order of evaluation, ready to match."""
    return RuleBook([Rule(rule.id, rule.patterns, rule.action) for rule in rules if rule.enabled])


async def take_delivery(work: UnitOfWork, sent: Sequence[SentAlert]) -> list[Receipt]:
    """Store what was sent, in its order, within ``work``; receipts stand in the same. Does not commit."""
    await work.lock_name("alerts")
    settings, _ = await ground_rules(work.session)
    return await _Delivery(work, settings, compiled(await rules_of(work.session))).take(sent)


class AlertIntake:
    """Takes deliveries of all tenants. Rules are compiled once for a tenant, and again when one of them has changed."""

    def __init__(self, database: Database, announcer: Announces, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._announcer = announcer
        self._clock = clock
        self._books: OrderedDict[UUID, tuple[str, RuleBook]] = OrderedDict()
        self.compilations = 0

    async def receive(
        self, tenant_id: UUID, sent: Sequence[SentAlert], actor: Actor = None, origin: Origin = NOWHERE
    ) -> list[Receipt]:
        """Store what was sent, in its order; receipts stand in the same. Commits every thousand.

        Raises Unavailable: then some may be stored, and sending all of it again is right.
        """
        receipts: list[Receipt] = []
        for start in range(0, len(sent), AT_ONCE):
            async with unit_of_work(
                self._database, self._announcer, self._clock, tenant_id, actor, origin=origin
            ) as work:
                await work.lock_name("alerts")
                settings, book = await self._ground(work)
                receipts += await _Delivery(work, settings, book).take(sent[start : start + AT_ONCE])
        return receipts

    async def _ground(self, work: UnitOfWork) -> tuple[Mapping[str, Any], RuleBook]:
        settings, edition = await ground_rules(work.session)
        known = self._books.get(work.tenant_id)
        if known is None or known[0] != edition:
            known = edition, compiled(await rules_of(work.session))
            self.compilations += 1
            self._books[work.tenant_id] = known
        self._books.move_to_end(work.tenant_id)
        if len(self._books) > _TENANTS_KEPT:
            self._books.popitem(last=False)
        return settings, known[1]


class _Delivery:
    """What one transaction takes in."""

    def __init__(self, work: UnitOfWork, settings: Mapping[str, Any], book: RuleBook) -> None:
        self._work = work
        self._settings = settings
        self._book = book
        self._known: dict[Firing, Alert] = {}
        self._new: dict[Firing, Alert] = {}
        self._before: dict[Firing, tuple[dict[str, Any], Standing]] = {}

    async def take(self, sent: Sequence[SentAlert]) -> list[Receipt]:
        """Store all of it; a handful of statements."""
        work = self._work
        firings = list(dict.fromkeys(one.firing for one in sent))
        self._known = await lock_firings(work.session, firings)
        unknown = [one for one in firings if one not in self._known]
        neighbours = dict(zip(unknown, await neighbours_of(work.session, unknown), strict=True))
        receipts = [self._hear(one) for one in sent]
        changed = [self._known[firing] for firing in self._before]
        counting = Counting()
        relinked = self._link(neighbours)
        await insert_alerts(work.session, list(self._new.values()), work.now)
        await link_alerts(work.session, relinked)
        await store_changes(work.session, changed, work.now)
        self._tell(counting)
        await counting.store(work.session)
        return receipts

    def _hear(self, one: SentAlert) -> Receipt:
        alert = self._known.get(one.firing)
        if alert is None:
            alert = self._known[one.firing] = self._new[one.firing] = self._made(one)
            return Receipt(alert.id, _RECEIVED.get(alert.action_taken, Reception.STORED))
        before = (alert.facets(), Standing.of(alert)) if one.firing not in self._new else None
        if not alert.hear(one.status, one.ends_at, self._work.now):
            return Receipt(alert.id, Reception.UNCHANGED)
        if before is not None:
            # What it was before the delivery: of several changes within it one event is told.
            self._before.setdefault(one.firing, before)
        return Receipt(alert.id, Reception.UPDATED)

    def _made(self, one: SentAlert) -> Alert:
        now, subject, severity = self._work.now, one.subject, severity_of(one.labels)
        rule = self._book.first(subject)
        alert = Alert(
            tenant_id=self._work.tenant_id,
            id=uuid7(),
            fingerprint=one.fingerprint,
            starts_at=one.starts_at,
            received_at=now,
            alert_name=subject.alert_name or "",
            severity=severity,
            instance=subject.instance or None,
            job=subject.job or None,
            status=AlertStatus.FIRING,
            labels=one.labels,
            annotations=one.annotations,
            raw_payload=one.raw,
            matched_rule_id=rule.id if rule is not None else None,
            action_taken=rule.action if rule is not None else AlertAction.MANUAL,
            still_firing=False,
            analyzed=False,
            analysis_status=AnalysisStatus.NONE,
        )
        if one.status is AlertStatus.RESOLVED:
            alert.hear(one.status, one.ends_at, now)
        alert.watch(escalation_due(self._settings, severity, now))
        if alert.action_taken is AlertAction.AUTO_ANALYZE:
            alert.analysis_status, alert.analysis_queued_at = AnalysisStatus.QUEUED, now
        return alert

    def _link(self, neighbours: Mapping[Firing, Neighbours]) -> dict[UUID, UUID]:
        """Tell new firings what fired before them; which stored ones have another one before them now."""
        relinked: dict[UUID, UUID] = {}
        last: Firing | None = None
        for firing in sorted(self._new):
            found, alert = neighbours[firing], self._new[firing]
            follows = last is not None and last[0] == firing[0] and neighbours[last].before == found.before
            # Between two new ones of the same alert lies nothing that is stored, unless they follow different ones.
            alert.previous_alert_id = self._new[last].id if last is not None and follows else found.before
            if found.after is not None:
                relinked[found.after] = alert.id
            last = firing
        return relinked

    def _tell(self, counting: Counting) -> None:
        for alert in self._new.values():
            said = {
                "status": alert.status.value,
                "severity": alert.severity.value,
                "action": alert.action_taken.value,
                "analysis_status": alert.analysis_status.value,
            }
            counting.count(alert, None)
            self._work.tell(alert, "alert.received", None, said, audited=False)
        for firing, (facets, standing) in self._before.items():
            alert = self._known[firing]
            counting.count(alert, standing)
            was = {"status": alert.status.value, "previous_status": standing.status.value}
            self._work.tell(alert, _kind(alert, standing), facets, was, audited=False)


_RECEIVED: Final = {
    AlertAction.IGNORE: Reception.IGNORED,
    AlertAction.AUTO_ANALYZE: Reception.ANALYSIS_QUEUED,
}


def _kind(alert: Alert, before: Standing) -> str:
    if alert.status is not before.status:
        return "alert.resolved"
    return "alert.still_firing" if alert.still_firing else "alert.ended"
