"""This module is where taking alerts in is specified: one row a firing, exact counts, an event for each real change."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import pytest
from sqlalchemy import func, select, update

from models import (
    Alert,
    AlertAction,
    AlertCount,
    AlertInstanceRollup,
    AlertRollup,
    AlertRule,
    AlertStatus,
    AnalysisStatus,
    Event,
    Tenant,
    utcnow,
)
from models.alert_counts import Standing
from models.database import Database
from models.ids import uuid7
from resolvers.alert_escalation import ESCALATE_AFTER_SECONDS
from resolvers.alert_ingestion import AlertIntake, Reception, SentAlert, severity_of
from tests.conftest import counted
from tests.report import record
from tests.resolvers.people import Announced
from tests.world import Tenants

START: Final = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
FIRING, _, RESOLVED = AlertStatus


def sent(
    fingerprint: str = "5f3a",
    status: AlertStatus = FIRING,
    minutes: float = 0,
    ends: float | None = None,
    **labels: str,
) -> SentAlert:
    """An alert as a sender tells of it; times in minutes after START."""
    said = {"alertname": "HighCPUUsage", "severity": "critical", "instance": "web-1", "job": "node"} | labels
    return SentAlert(
        fingerprint=fingerprint,
        status=status,
        starts_at=START + timedelta(minutes=minutes),
        ends_at=START + timedelta(minutes=ends) if ends is not None else None,
        labels=said,
        annotations={"summary": "busy"},
        raw={"labels": said, "x-unknown": {"kept": True}},
    )


def intake_of(database: Database) -> AlertIntake:
    """An intake of its own, as another gateway's would be."""
    return AlertIntake(database, Announced(), utcnow)


@pytest.fixture
def intake(database: Database) -> AlertIntake:
    return intake_of(database)


async def stored(database: Database, tenant_id: UUID) -> list[Alert]:
    """The tenant's alerts by start."""
    async with database.session(tenant_id) as session:
        statement = select(Alert).where(Alert.tenant_id == tenant_id).order_by(Alert.starts_at, Alert.fingerprint)
        return list(await session.scalars(statement))


async def told(database: Database, tenant_id: UUID) -> list[str]:
    """The kinds of the tenant's events, in their order."""
    async with database.session(tenant_id) as session:
        return list(await session.scalars(select(Event.kind).where(Event.tenant_id == tenant_id).order_by(Event.seq)))


async def make_rules(database: Database, tenant_id: UUID, *rules: tuple[int, str, AlertAction]) -> list[UUID]:
    """Rules for names, each younger than the one before."""
    made = [
        AlertRule(
            tenant_id=tenant_id,
            id=uuid7(),
            name=pattern,
            priority=priority,
            alert_name_pattern=pattern,
            action=action,
            created_at=START + timedelta(seconds=place),
        )
        for place, (priority, pattern, action) in enumerate(rules)
    ]
    async with database.session(tenant_id) as session:
        session.add_all(made)
        await session.commit()
    return [rule.id for rule in made]


async def assert_counts_are_exact(database: Database, tenant_id: UUID) -> None:
    """The kept counts say what the rows say."""
    standings = [Standing.of(one) for one in await stored(database, tenant_id)]
    async with database.session(tenant_id) as session:
        counts = await session.scalars(select(AlertCount).where(AlertCount.tenant_id == tenant_id))
        kept = {(one.is_ignored, one.severity, one.status): one.alerts for one in counts if one.alerts}
        assert kept == Counter((one.is_ignored, one.severity, one.status) for one in standings)
        rollups = list(await session.scalars(select(AlertRollup).where(AlertRollup.tenant_id == tenant_id)))
        shown = [one for one in standings if not one.is_ignored]
        for status in AlertStatus:
            expected = Counter((one.hour, one.severity) for one in shown if one.status is status)
            column = {(one.hour, one.severity): getattr(one, status.value) for one in rollups}
            assert {key: value for key, value in column.items() if value} == expected
        assert sum(one.ignored for one in rollups) == len(standings) - len(shown)
        for noun, count, seconds in (
            ("acknowledge_seconds", "acknowledgements", "acknowledge_seconds"),
            ("resolve_seconds", "resolutions", "resolve_seconds"),
        ):
            values = [getattr(one, noun) for one in shown if getattr(one, noun) is not None]
            assert sum(getattr(one, count) for one in rollups) == len(values)
            assert sum(getattr(one, seconds) for one in rollups) == pytest.approx(sum(values))
        instances = await session.scalars(select(AlertInstanceRollup).where(AlertInstanceRollup.tenant_id == tenant_id))
        found = {(one.hour, one.instance): one.alerts for one in instances if one.alerts}
        assert found == Counter((one.hour, one.instance) for one in shown if one.instance is not None)


async def test_a_firing_is_stored_with_all_that_was_said(
    database: Database, tenants: Tenants, intake: AlertIntake
) -> None:
    (receipt,) = await intake.receive(tenants.mine, [sent()])
    (one,) = await stored(database, tenants.mine)
    assert (receipt.alert_id, receipt.reception) == (one.id, Reception.STORED)
    assert (one.alert_name, one.severity.value, one.instance, one.job) == ("HighCPUUsage", "critical", "web-1", "node")
    assert (one.status, one.action_taken, one.starts_at) == (FIRING, AlertAction.MANUAL, START)
    assert (one.annotations, one.raw_payload["x-unknown"]) == ({"summary": "busy"}, {"kept": True})
    assert one.escalate_at is not None
    assert one.severity_rank == 5
    assert (one.escalate_at - one.received_at).total_seconds() == ESCALATE_AFTER_SECONDS[one.severity]
    assert await stored(database, tenants.other) == []
    await assert_counts_are_exact(database, tenants.mine)


@pytest.mark.parametrize(
    ("label", "severity"),
    [("critical", "critical"), ("CRITICAL", "critical"), (" error ", "error"), ("page", "unknown"), ("", "unknown")],
)
def test_a_severity_that_nobody_knows_is_unknown_and_its_label_stays(label: str, severity: str) -> None:
    assert severity_of({"severity": label}).value == severity


async def test_what_is_told_again_changes_nothing_and_nobody_hears_of_it(
    database: Database, tenants: Tenants, intake: AlertIntake
) -> None:
    group = [sent(), sent("6b", RESOLVED, ends=5)]
    first = await intake.receive(tenants.mine, group)
    before = await stored(database, tenants.mine)
    again = await intake.receive(tenants.mine, group)
    assert [one.alert_id for one in again] == [one.alert_id for one in first]
    assert {one.reception for one in again} == {Reception.UNCHANGED}
    assert [one.version for one in await stored(database, tenants.mine)] == [one.version for one in before] == [1, 1]
    assert await told(database, tenants.mine) == ["alert.received", "alert.received"]


@pytest.mark.parametrize("together", [True, False])
async def test_resolved_before_firing_stays_resolved(
    database: Database, tenants: Tenants, intake: AlertIntake, together: bool
) -> None:
    group = [sent(status=RESOLVED, ends=5), sent()]
    for part in [group] if together else [[one] for one in group]:
        await intake.receive(tenants.mine, part)
    (one,) = await stored(database, tenants.mine)
    assert (one.status, one.ends_at) == (RESOLVED, START + timedelta(minutes=5))
    assert await told(database, tenants.mine) == ["alert.received"]
    await assert_counts_are_exact(database, tenants.mine)


async def test_an_end_is_one_event_with_what_was_before(
    database: Database, tenants: Tenants, intake: AlertIntake
) -> None:
    await intake.receive(tenants.mine, [sent()])
    (receipt,) = await intake.receive(tenants.mine, [sent(status=RESOLVED, ends=5)])
    assert receipt.reception is Reception.UPDATED
    async with database.session(tenants.mine) as session:
        event = (await session.scalars(select(Event).where(Event.kind == "alert.resolved"))).one()
    assert event.before is not None
    assert event.after is not None
    assert (event.before["status"], event.after["status"]) == ("firing", "resolved")
    assert event.required_scope == "alerts:read"
    (one,) = await stored(database, tenants.mine)
    assert (one.escalate_at, one.version) == (None, 2)


async def test_each_firing_of_an_alert_is_a_row_that_leads_to_the_one_before_whatever_came_first(
    database: Database, tenants: Tenants, intake: AlertIntake
) -> None:
    minutes = [50, 10, 30, 20, 40, 0]
    for part in (minutes[:1], minutes[1:3], minutes[3:]):
        await intake.receive(
            tenants.mine, [sent(minutes=one) for one in part] + [sent("other", minutes=one) for one in part]
        )
    for fingerprint in ("5f3a", "other"):
        rows = [one for one in await stored(database, tenants.mine) if one.fingerprint == fingerprint]
        assert [one.previous_alert_id for one in rows] == [None, *(one.id for one in rows[:-1])]


async def test_the_first_rule_by_priority_then_age_decides(
    database: Database, tenants: Tenants, intake: AlertIntake
) -> None:
    ids = await make_rules(
        database,
        tenants.mine,
        (50, "High*", AlertAction.IGNORE),
        (10, "*Postgres*", AlertAction.AUTO_ANALYZE),
        (50, "*", AlertAction.MANUAL),
    )
    group = [sent("a"), sent("b", alertname="PostgresDown"), sent("c", alertname="Else")]
    receipts = await intake.receive(tenants.mine, group)
    assert [one.reception.value for one in receipts] == ["ignored", "analysis_queued", "stored"]
    rows = {one.fingerprint: one for one in await stored(database, tenants.mine)}
    assert [rows[name].matched_rule_id for name in "abc"] == [ids[0], ids[1], ids[2]]
    assert (rows["a"].is_ignored, rows["a"].escalate_at) == (True, None)
    assert rows["b"].analysis_status is AnalysisStatus.QUEUED
    assert rows["b"].analysis_queued_at is not None
    await assert_counts_are_exact(database, tenants.mine)


async def test_rules_are_compiled_once_and_again_when_one_has_changed(
    database: Database, tenants: Tenants, intake: AlertIntake
) -> None:
    (rule_id,) = await make_rules(database, tenants.mine, (1, "*", AlertAction.IGNORE))
    for number in range(3):
        await intake.receive(tenants.mine, [sent(f"{number}")])
    assert intake.compilations == 1
    async with database.session(tenants.mine) as session:
        changed = {"enabled": False, "version": 2}
        await session.execute(
            update(AlertRule).where(AlertRule.tenant_id == tenants.mine, AlertRule.id == rule_id).values(**changed)
        )
        await session.commit()
    (receipt,) = await intake.receive(tenants.mine, [sent("later")])
    assert (receipt.reception, intake.compilations) == (Reception.STORED, 2)


async def test_a_tenant_says_itself_after_how_long_nobody_may_look_after_an_alert(
    database: Database, tenants: Tenants, intake: AlertIntake
) -> None:
    async with database.session(tenants.mine) as session:
        said = {"alert_escalation_seconds": {"critical": 60, "warning": None}}
        await session.execute(update(Tenant).where(Tenant.id == tenants.mine).values(settings=said))
        await session.commit()
    await intake.receive(tenants.mine, [sent("a"), sent("b", severity="warning"), sent("c", severity="error")])
    rows = {one.fingerprint: one for one in await stored(database, tenants.mine)}
    waits = [(one.escalate_at - one.received_at).total_seconds() if one.escalate_at else None for one in rows.values()]
    assert waits == [60, None, 1800]


async def _statements(database: Database, intake: AlertIntake, tenant_id: UUID, group: Sequence[SentAlert]) -> int:
    with counted(database) as seen:
        await intake.receive(tenant_id, group)
    return len(seen)


async def test_a_group_of_a_thousand_is_as_many_statements_as_one_of_ten(
    database: Database, tenants: Tenants, intake: AlertIntake
) -> None:
    await make_rules(database, tenants.mine, (1, "*", AlertAction.MANUAL))
    await intake.receive(tenants.mine, [sent("warm")])
    few = await _statements(database, intake, tenants.mine, [sent(f"a{n}", instance=f"i{n}") for n in range(10)])
    group = [sent(f"b{n}", instance=f"i{n}") for n in range(1_000)]
    many = await _statements(database, intake, tenants.mine, group)
    ends = [sent(f"b{n}", RESOLVED, ends=5, instance=f"i{n}") for n in range(1_000)]
    ended = await _statements(database, intake, tenants.mine, ends)
    assert many == few <= 12
    assert ended <= 12
    assert await _statements(database, intake, tenants.mine, ends) <= 4
    record(7, "a group of 1,000 alerts is a handful of statements", 1_000, f"{many} to store it, {ended} to end it")
    await assert_counts_are_exact(database, tenants.mine)


async def test_two_gateways_that_are_told_the_same_at_once_store_it_once(database: Database, tenants: Tenants) -> None:
    groups = [[sent(f"{n}", minutes=m) for n in range(20) for m in range(3)] for _ in range(4)]
    for group in groups:
        random.Random(len(group)).shuffle(group)
    await asyncio.gather(*(intake_of(database).receive(tenants.mine, group) for group in groups))
    assert len(await stored(database, tenants.mine)) == 60
    assert (await told(database, tenants.mine)).count("alert.received") == 60
    await assert_counts_are_exact(database, tenants.mine)


async def test_what_people_do_meanwhile_is_counted_too(
    database: Database, tenants: Tenants, intake: AlertIntake
) -> None:
    await intake.receive(tenants.mine, [sent(f"{n}", instance=f"i{n % 3}") for n in range(9)])
    await intake.receive(tenants.mine, [sent(f"{n}", RESOLVED, ends=n, instance=f"i{n % 3}") for n in range(4)])
    await intake.receive(tenants.mine, [sent(f"{n}", minutes=90, instance="") for n in range(2)])
    await assert_counts_are_exact(database, tenants.mine)


async def test_more_than_a_thousand_are_taken_in_parts(
    database: Database, tenants: Tenants, intake: AlertIntake
) -> None:
    receipts = await intake.receive(tenants.mine, [sent(f"{n}") for n in range(1_100)])
    assert len({one.alert_id for one in receipts}) == 1_100
    async with database.session(tenants.mine) as session:
        assert await session.scalar(select(func.count()).where(Alert.tenant_id == tenants.mine)) == 1_100


def test_what_rules_look_at_is_what_labels_say() -> None:
    subject: Any = sent(instance="").subject
    assert subject.parts == ("HighCPUUsage", "critical", "", "node")
