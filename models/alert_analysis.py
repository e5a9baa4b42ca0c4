"""This module is where an alert's analysis moves: asked for, claimed under a lease, reported on, done or given up.

A worker holds the analysis for as long as its lease; whoever holds none changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final
from uuid import UUID

from sqlalchemy.orm import Mapped, mapped_column

from models.errors import Refusal, RefusalCode

MOST_RECOMMENDATIONS: Final = 5
"""Of one analysis."""

MOST_ATTEMPTS: Final = 5
"""So many workers may fall silent over an alert; then it is given up."""

GIVEN_UP: Final = f"{MOST_ATTEMPTS} workers took it and fell silent."

_ID: Final = ("input", "id")


class AnalysisStatus(StrEnum):
    """Where the analysis stands: none → queued → running → completed or failed; queued again when asked anew."""

    NONE = "none"
    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Worker:
    """Who analyses: the id of a user or an API key, and the name by which one of several under that key is known."""

    id: UUID
    name: str | None = None


class AnalyzedRow:
    """What an alert's row does for its analysis. Every method needs the row's lock.

    The last analysis there was stays readable while another one is on its way. ``analysis_attempts`` counts the
    workers that took the present one.
    """

    if TYPE_CHECKING:
        analyzed: Mapped[bool]
        analysis_status: Mapped[AnalysisStatus]
        analysis_queued_at: Mapped[datetime | None]
        analysis_started_at: Mapped[datetime | None]
        analysis_claimed_by: Mapped[UUID | None]
        analysis_lease_expires_at: Mapped[datetime | None]
        analysis_progress: Mapped[int]
        analysis_attempts: Mapped[int]
        analysis_error: Mapped[str | None]
        analysis_count: Mapped[int]
        analyzed_at: Mapped[datetime | None]
        analyzed_by: Mapped[UUID | None]
        ai_analysis: Mapped[str | None]
        recommendations: Mapped[list[str]]

    analysis_worker: Mapped[str | None] = mapped_column()

    @property
    def is_analysis_under_way(self) -> bool:
        """Whether somebody will come for it, or has."""
        return self.analysis_status in (AnalysisStatus.QUEUED, AnalysisStatus.RUNNING)

    def queue_analysis(self, now: datetime) -> bool:
        """Let a worker come for it; whether that changes anything: one that is under way stays as it is."""
        if self.is_analysis_under_way:
            return False
        self.analysis_status = AnalysisStatus.QUEUED
        self.analysis_queued_at = now
        self.analysis_started_at = self.analysis_error = None
        self.analysis_attempts = self.analysis_progress = 0
        self._let_go()
        return True

    def claim_analysis(self, worker: Worker, now: datetime, until: datetime) -> bool:
        """Take it until ``until``, or hold it that much longer; whether it was taken anew.

        Raises FENCED when another holds it, or when the worker's own lease ran out; ILLEGAL_TRANSITION when there is
        nothing to take, with this row.
        """
        if self.analysis_status is AnalysisStatus.RUNNING:
            self.require_lease(worker, now)
            self.analysis_lease_expires_at = until
            return False
        if self.analysis_status is not AnalysisStatus.QUEUED:
            raise Refusal(
                RefusalCode.ILLEGAL_TRANSITION,
                f"There is nothing to analyse: the analysis is {self.analysis_status.value.upper()}.",
                field=_ID,
                current=self,
            )
        self.analysis_status = AnalysisStatus.RUNNING
        self.analysis_started_at = now
        self.analysis_progress = 0
        self.analysis_attempts += 1
        self.analysis_claimed_by, self.analysis_worker = worker.id, worker.name
        self.analysis_lease_expires_at = until
        return True

    def require_lease(self, worker: Worker, now: datetime) -> None:
        """Raises FENCED with this row unless the worker holds it and its lease lasts."""
        held_by = self.analysis_claimed_by, self.analysis_worker
        lease = self.analysis_lease_expires_at
        is_held = self.analysis_status is AnalysisStatus.RUNNING and held_by == (worker.id, worker.name)
        if not is_held or lease is None or lease <= now:
            words = "The lease on this analysis ran out." if is_held else "This worker holds no lease on the analysis."
            raise Refusal(RefusalCode.FENCED, words, field=_ID, current=self)

    def report_progress(self, percent: int, until: datetime) -> bool:
        """Its worker is still at it; whether it got further. Progress never falls back."""
        self.analysis_lease_expires_at = until
        if percent <= self.analysis_progress:
            return False
        self.analysis_progress = percent
        return True

    def complete_analysis(self, analysis: str, recommendations: Sequence[str], worker: Worker, now: datetime) -> None:
        """It is done, and takes the place of the one before."""
        self.analysis_status = AnalysisStatus.COMPLETED
        self.analysis_progress = 100
        self.analysis_error = None
        self.analyzed, self.analyzed_at, self.analyzed_by = True, now, worker.id
        self.ai_analysis, self.recommendations = analysis, list(recommendations)
        self.analysis_count += 1
        self._let_go()

    def fail_analysis(self, error: str) -> None:
        """It could not be done; asking again queues it anew."""
        self.analysis_status = AnalysisStatus.FAILED
        self.analysis_error = error
        self._let_go()

    def lose_lease(self) -> bool:
        """Its worker fell silent: another may come, in its old place; whether one may, or it is given up."""
        if self.analysis_attempts >= MOST_ATTEMPTS:
            self.fail_analysis(GIVEN_UP)
            return False
        self.analysis_status = AnalysisStatus.QUEUED
        self.analysis_progress = 0
        self._let_go()
        return True

    def _let_go(self) -> None:
        self.analysis_claimed_by = self.analysis_worker = self.analysis_lease_expires_at = None
