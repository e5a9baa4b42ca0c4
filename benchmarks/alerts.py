"""This module is where alerts are measured: matched against rules by the second of CPU, stored against a bare insert.

The bare insert is one multi-row INSERT of the same rows into the same table, its indexes and row-level security
included; what ingestion does on top of it are rules, links between firings, counts, events and the commit.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from random import Random
from uuid import UUID

from benchmarks.house import House
from dataloaders.alert_ingestion import insert_alerts
from gateway.runtime import running_services
from models import Alert, AlertAction, AlertSeverity, AlertStatus, AnalysisStatus, utcnow
from models.ids import uuid7
from resolvers.alert_ingestion import AlertIntake, SentAlert
from resolvers.alert_matching import Rule, RuleBook, Subject
from resolvers.call import Services

RULES = 200
GROUP = 1_000


def rules(count: int = RULES) -> list[Rule]:
    """Rules of every shape, none of which matches before the last."""
    random = Random(7)
    shapes = ("Team{n}*", "*-{n}-*", "db-??-{n}", "*service{n}", "exact{n}", "a*b*c{n}")
    made = [
        Rule(
            uuid7(),
            (random.choice(shapes).format(n=n), random.choice(("*", "critical", "warn*")), f"*host{n}*", "*"),
            AlertAction.MANUAL,
        )
        for n in range(count - 1)
    ]
    return [*made, Rule(uuid7(), ("*", "*", "*", "*"), AlertAction.MANUAL)]


def subjects(count: int) -> list[Subject]:
    """Alerts with a name and an instance of their own each, so that nothing is at hand from the one before."""
    return [Subject(f"HighCPUUsage{n}", "critical", f"web-{n}.eu.example:9100", "node-exporter") for n in range(count)]


def matched_per_cpu_second(count: int = 20_000) -> float:
    """Alerts matched against 200 rules in a second of CPU time."""
    book, told = RuleBook(rules()), subjects(count)
    start = time.process_time()
    for one in told:
        assert book.first(one) is not None
    return count / (time.process_time() - start)


def group(started: datetime, size: int = GROUP) -> list[SentAlert]:
    """A group of firing alerts, each of another instance."""
    made = []
    for n in range(size):
        labels = {"alertname": "HighCPUUsage", "severity": "critical", "instance": f"web-{n}", "job": "node-exporter"}
        made.append(
            SentAlert(
                fingerprint=f"{n:016x}",
                status=AlertStatus.FIRING,
                starts_at=started,
                ends_at=None,
                labels=labels,
                annotations={"summary": "CPU above 90 %"},
                raw={"labels": labels, "status": "firing", "startsAt": started.isoformat(), "fingerprint": f"{n:016x}"},
            )
        )
    return made


def rows_of(sent: Sequence[SentAlert], tenant_id: UUID, now: datetime) -> list[Alert]:
    """The rows that such a group becomes."""
    return [
        Alert(
            tenant_id=tenant_id,
            id=uuid7(),
            fingerprint=one.fingerprint,
            starts_at=one.starts_at,
            received_at=now,
            alert_name=one.labels["alertname"],
            severity=AlertSeverity.CRITICAL,
            instance=one.labels["instance"],
            job=one.labels["job"],
            status=AlertStatus.FIRING,
            labels=one.labels,
            annotations=one.annotations,
            raw_payload=one.raw,
            action_taken=AlertAction.MANUAL,
            analysis_status=AnalysisStatus.NONE,
        )
        for one in sent
    ]


async def seconds_of_a_bare_insert(services: Services, tenant_id: UUID, started: datetime) -> float:
    """One multi-row INSERT and its COMMIT."""
    rows = rows_of(group(started), tenant_id, utcnow())
    start = time.perf_counter()
    async with services.database.session(tenant_id) as session:
        await insert_alerts(session, rows, utcnow())
        await session.commit()
    return time.perf_counter() - start


async def seconds_of_an_ingestion(intake: AlertIntake, tenant_id: UUID, started: datetime) -> float:
    """All that becomes of a group, to its COMMIT."""
    sent = group(started)
    start = time.perf_counter()
    await intake.receive(tenant_id, sent)
    return time.perf_counter() - start


async def ratios(services: Services, tenant_id: UUID, rounds: int) -> list[float]:
    """What an ingestion takes against a bare insert, interleaved; the first round warms up."""
    intake = AlertIntake(services.database, services.announcer, services.clock)
    found = []
    moment = utcnow()
    for number in range(rounds + 1):
        bare = await seconds_of_a_bare_insert(services, tenant_id, moment + timedelta(seconds=2 * number))
        whole = await seconds_of_an_ingestion(intake, tenant_id, moment + timedelta(seconds=2 * number + 1))
        if number:
            found.append(whole / bare)
    return found


def run(rounds: int) -> None:
    """Measure both and print them."""
    rates = sorted(matched_per_cpu_second() for _ in range(rounds))
    print(f"alerts matched against {RULES} rules: {statistics.median(rates):,.0f} a second of CPU")

    async def measured(house: House) -> list[float]:
        async with running_services(house.settings) as services:
            return await ratios(services, house.tenant_id, rounds)

    with House() as house:
        found = sorted(asyncio.run(measured(house)))
    middle = statistics.median(found)
    print(f"a group of {GROUP:,} ingested: {middle:.2f} times a bare insert ({found[0]:.2f} to {found[-1]:.2f})")
