"""This module is where alerts are analysed by workers: one asks, one comes for it under a lease, and says how it went.

Security boundary: what a worker does is decided by the lease it holds. Who lost it, or never had one, changes nothing,
whatever they send; an analysis is text of theirs, and is nothing but shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from dataloaders.alert_analysis import oldest_queued
from models import Alert
from models.alert_analysis import MOST_RECOMMENDATIONS, AnalysisStatus, Worker
from models.errors import Forbidden, invalid
from resolvers.call import Call
from resolvers.unit_of_work import UnitOfWork
from resolvers.validation import line, speech, within

LEASE_SECONDS: Final = 120
SHORTEST_LEASE_SECONDS: Final = 5
LONGEST_LEASE_SECONDS: Final = 3_600
WORKER_LIMIT: Final = 100
ANALYSIS_LIMIT_BYTES: Final = 65_536
RECOMMENDATION_LIMIT_BYTES: Final = 4_096
ERROR_LIMIT_BYTES: Final = 8_192


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a worker has taken; nothing when there is nothing to do."""

    alert: Alert | None
    lease_expires_at: datetime | None


async def request_analysis(call: Call, *, id: UUID, force: bool = False) -> Alert:
    """The alert with its analysis: the one that is stored, or with ``force`` a new one on its way. Commits.

    One that is under way already is not asked for twice. Raises NOT_FOUND.
    """
    async with call.work() as work:
        alert = await work.locked(Alert, id)
        before = alert.facets()
        is_stored = alert.analysis_status is AnalysisStatus.COMPLETED
        if (force or not is_stored) and alert.queue_analysis(work.now):
            work.tell(alert, "alert.analysis_queued", before, {"forced": is_stored})
    return alert


async def claim_analysis(
    call: Call, *, id: UUID | None = None, lease_seconds: int = LEASE_SECONDS, worker: str | None = None
) -> Claimed:
    """Take a queued analysis, the oldest without ``id``; with that of one's own, hold it longer. Commits.

    Raises INVALID, NOT_FOUND, FENCED for another's, ILLEGAL_TRANSITION when the alert's is not queued.
    """
    lease = _lease(lease_seconds)
    who = _worker(call, worker)
    async with call.work() as work:
        alert = await (oldest_queued(work.session) if id is None else work.locked(Alert, id))
        if alert is None:
            return Claimed(None, None)
        before = alert.facets()
        if alert.claim_analysis(who, work.now, work.now + lease):
            work.tell(alert, "alert.analysis_started", before, {"attempt": alert.analysis_attempts})
    return Claimed(alert, alert.analysis_lease_expires_at)


async def report_progress(
    call: Call, *, id: UUID, percent: int, lease_seconds: int = LEASE_SECONDS, worker: str | None = None
) -> Alert:
    """How far an analysis of one's own is, from 0 to 100; its lease begins anew. Commits.

    What is not above what was said before only renews. Raises INVALID, NOT_FOUND, FENCED.
    """
    lease = _lease(lease_seconds)
    within(percent, 0, 100, "percent")
    async with call.work() as work:
        alert, _ = await _held(call, work, id, worker)
        before = alert.facets()
        if alert.report_progress(percent, work.now + lease):
            # What a worker says all the time is no change that anybody has to be able to prove.
            work.tell(alert, "alert.analysis_progressed", before, {"percent": percent}, audited=False)
    return alert


async def submit_analysis(
    call: Call, *, id: UUID, analysis: str, recommendations: list[str], worker: str | None = None
) -> Alert:
    """What a worker found, with at most five recommendations. Raises INVALID, NOT_FOUND, FENCED. Commits."""
    text = _text(analysis, ANALYSIS_LIMIT_BYTES, "analysis")
    if len(recommendations) > MOST_RECOMMENDATIONS:
        raise invalid(f"There are at most {MOST_RECOMMENDATIONS} recommendations.", "input", "recommendations")
    given = [
        _text(one, RECOMMENDATION_LIMIT_BYTES, "recommendations", str(number))
        for number, one in enumerate(recommendations)
    ]
    async with call.work() as work:
        alert, who = await _held(call, work, id, worker)
        before = alert.facets()
        alert.complete_analysis(text, given, who, work.now)
        told = {"recommendations": len(given), "attempt": alert.analysis_attempts}
        work.tell(alert, "alert.analysis_completed", before, told)
    return alert


async def fail_analysis(call: Call, *, id: UUID, error: str, worker: str | None = None) -> Alert:
    """A worker could not analyse it, and says why. Raises INVALID, NOT_FOUND, FENCED. Commits."""
    text = _text(error, ERROR_LIMIT_BYTES, "error")
    async with call.work() as work:
        alert, _ = await _held(call, work, id, worker)
        before = alert.facets()
        alert.fail_analysis(text)
        work.tell(alert, "alert.analysis_failed", before, {"attempt": alert.analysis_attempts})
    return alert


async def _held(call: Call, work: UnitOfWork, alert_id: UUID, worker: str | None) -> tuple[Alert, Worker]:
    """The alert whose analysis the caller holds, locked. Raises NOT_FOUND, FENCED."""
    who = _worker(call, worker)
    alert = await work.locked(Alert, alert_id)
    alert.require_lease(who, work.now)
    return alert, who


def _worker(call: Call, name: str | None) -> Worker:
    id = call.who.user_id or call.who.api_key_id
    if id is None:
        raise Forbidden("A worker has credentials of its own.")
    return Worker(id, line(name, WORKER_LIMIT, "worker") if name is not None else None)


def _lease(seconds: int) -> timedelta:
    return timedelta(seconds=within(seconds, SHORTEST_LEASE_SECONDS, LONGEST_LEASE_SECONDS, "leaseSeconds"))


def _text(value: str, limit_bytes: int, *field: str) -> str:
    text = speech(value, limit_bytes, *field)
    if not text.strip():
        raise invalid("This says something.", "input", *field)
    return text
