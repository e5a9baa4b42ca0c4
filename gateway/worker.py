"""This module is where a process does what no caller asks for: it notices silence and deletes what is too old."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Protocol

import structlog

from gateway.leadership import RENEWAL_SECONDS, Leadership
from models.database import Database
from models.errors import Unavailable
from resolvers.alert_escalation import Escalation
from resolvers.anchors import Anchoring, AnchorTarget
from resolvers.approval_deadlines import ApprovalDeadlines
from resolvers.liveness import Liveness
from resolvers.log_months import LogMonths
from resolvers.lost_analyses import LostAnalyses
from resolvers.offboarding import Offboarding
from resolvers.post import Post
from resolvers.retention import (
    MayGoOn,
    RetentionRules,
    delete_activity,
    delete_conversations,
    delete_keys,
    delete_spent,
    trim_logs,
)
from resolvers.unit_of_work import Announces
from resolvers.webhook_work import Webhooks
from subscriptions.beat_publisher import LIVENESS_PREFIX
from subscriptions.bus import Bus
from subscriptions.keyspace import expired_keys

_FIRST_BACKOFF_SECONDS: Final = 0.5
_MAX_BACKOFF_SECONDS: Final = 30.0
_RESIGN_SECONDS: Final = 0.5
_STOP_SECONDS: Final = 1.0
_log = structlog.get_logger(__name__)


class Means(Protocol):
    """What a worker works with; the gateway's services have it all."""

    @property
    def database(self) -> Database:
        """Where the work is found and done."""
        ...

    @property
    def bus(self) -> Bus:
        """Where hints come from."""
        ...

    @property
    def announcer(self) -> Announces:
        """Where commits are made known."""
        ...

    @property
    def clock(self) -> Callable[[], datetime]:
        """When events happen."""
        ...


@dataclass(slots=True)
class JobState:
    """How a job fares; ``failures`` counts those since its last success."""

    runs: int = 0
    failures: int = 0
    last_success_at: datetime | None = None
    last_error: str | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """Something done again and again, by every worker."""

    name: str
    run: Callable[[], Awaitable[object]]
    rest: Callable[[], Awaitable[None]]
    """Waits for the next run's time."""
    max_backoff_seconds: float = _MAX_BACKOFF_SECONDS
    state: JobState = field(default_factory=JobState)


class Worker:
    """Liveness on every worker, retention on the leader. A failing job is tried again, and ends nothing else."""

    def __init__(
        self,
        means: Means,
        *,
        event_days: float = 7,
        event_count: int = 1_000_000,
        key_hours: float = 24,
        activity_days: float = 7,
        conversation_days: float = 90,
        tenant_days: float = 30,
        sweep_seconds: float = 1.0,
        retention_seconds: float = 60.0,
        anchor: AnchorTarget | None = None,
        anchor_seconds: float = 60.0,
        months_seconds: float = 3600.0,
        spent_seconds: float = 600.0,
        post: Post | None = None,
        mail_seconds: float = 1.0,
        approval_seconds: float = 1.0,
        escalation_seconds: float = 2.0,
        webhooks: Webhooks | None = None,
        webhook_seconds: float = 1.0,
    ) -> None:
        rules = RetentionRules(
            timedelta(hours=key_hours),
            timedelta(days=event_days),
            event_count,
            timedelta(days=activity_days),
            timedelta(days=conversation_days),
        )
        database = means.database
        self._means = means
        self._tasks: list[asyncio.Task[None]] = []
        self.leadership = Leadership(database)
        self.liveness = Liveness(database, means.announcer, means.clock)
        self.deadlines = ApprovalDeadlines(database, means.announcer, means.clock)
        escalation = Escalation(database, means.announcer, means.clock)
        lost = LostAnalyses(database, means.announcer, means.clock)
        offboarding = Offboarding(database, means.announcer, means.clock, timedelta(days=tenant_days))
        self.jobs = (
            Job("leadership", self.leadership.renew, _every(RENEWAL_SECONDS), RENEWAL_SECONDS),
            # Silence must be told within 5 s, so the sweep never backs off further than that allows.
            Job("liveness", self.liveness.sweep, lambda: self.liveness.rest(sweep_seconds), 2.0),
            Job("liveness-hints", self._listen, _every(sweep_seconds)),
            # Told within 3 s, too.
            Job("approval-deadlines", self.deadlines.run, _every(approval_seconds), 2.0),
            Job("escalation", escalation.sweep, _every(escalation_seconds)),
            Job("lost-analyses", lost.sweep, _every(sweep_seconds), 2.0),
            self._led("delete-keys", lambda go_on: delete_keys(database, rules, go_on), retention_seconds),
            self._led("trim-logs", lambda go_on: trim_logs(database, rules, go_on), retention_seconds),
            self._led("delete-activity", lambda go_on: delete_activity(database, rules, go_on), retention_seconds),
            self._led(
                "delete-conversations", lambda go_on: delete_conversations(database, rules, go_on), retention_seconds
            ),
            *self._of_the_audit_log(anchor, anchor_seconds, months_seconds),
            self._led("delete-spent", lambda go_on: delete_spent(database, go_on), spent_seconds),
            *([Job("mail", post.deliver_due, _every(mail_seconds))] if post is not None else []),
            *_of_webhooks(webhooks, webhook_seconds),
            self._led("delete-tenants", offboarding.run, retention_seconds),
        )

    @property
    def states(self) -> dict[str, JobState]:
        """How every job fares, by name."""
        return {job.name: job.state for job in self.jobs}

    def start(self) -> None:
        """Begin every job in a task of its own; ``stop`` ends them."""
        _log.info("worker.started", jobs=len(self.jobs))
        self._tasks = [asyncio.create_task(self._keep_doing(job), name=f"worker-{job.name}") for job in self.jobs]

    async def stop(self) -> None:
        """End all within two seconds. What was in a transaction is rolled back; the next worker does it."""
        tasks, self._tasks = self._tasks, []
        if not tasks:
            return
        for task in tasks:
            task.cancel()
        _, late = await asyncio.wait(tasks, timeout=_STOP_SECONDS)
        if late:
            _log.warning("worker.slow_to_stop", jobs=[task.get_name() for task in late])
        with contextlib.suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(_RESIGN_SECONDS):
                await self.leadership.resign()

    async def _keep_doing(self, job: Job) -> None:
        while True:
            try:
                await job.run()
            except Exception as error:
                await self._back_off(job, error)
                continue
            if job.state.failures:
                _log.info("worker.job_recovered", job=job.name, failures=job.state.failures)
            job.state.runs += 1
            job.state.failures = 0
            job.state.last_error = None
            job.state.last_success_at = self._means.clock()
            await job.rest()

    async def _back_off(self, job: Job, error: Exception) -> None:
        job.state.failures += 1
        job.state.last_error = type(error).__name__
        # Trouble that passes needs no traceback; anything else is ours to mend.
        is_passing = isinstance(error, Unavailable | TimeoutError)
        _log.error("worker.job_failed", job=job.name, failures=job.state.failures, exc_info=not is_passing)
        await asyncio.sleep(min(job.max_backoff_seconds, _FIRST_BACKOFF_SECONDS * 2 ** min(job.state.failures - 1, 10)))

    def _of_the_audit_log(
        self, anchor: AnchorTarget | None, anchor_seconds: float, months_seconds: float
    ) -> Iterator[Job]:
        database, clock = self._means.database, self._means.clock
        if database.audit is None:
            return
        months = LogMonths(database, database.audit, clock)
        yield self._led("make-log-months", months.make, months_seconds, said="worker.made")
        yield self._led("drop-log-months", months.drop, months_seconds)
        if anchor is not None:
            anchoring = Anchoring(database, database.audit, anchor, clock)
            yield self._led("anchor-audit-logs", anchoring.run, anchor_seconds, said="worker.anchored")

    def _led(
        self, name: str, run: Callable[[MayGoOn], Awaitable[int]], seconds: float, *, said: str = "worker.deleted"
    ) -> Job:
        async def lead() -> None:
            epoch = await self.leadership.until_leader()
            started_at = time.monotonic()
            if count := await run(lambda: self.leadership.holds(epoch)):
                took = round(time.monotonic() - started_at, 3)
                _log.info(said, job=name, rows=count, seconds=took)

        return Job(name, lead, _every(seconds))

    async def _listen(self) -> None:
        """Every hint, and every gap in them, lets the next sweep come at once. Ends when the bus does."""
        async with contextlib.aclosing(expired_keys(self._means.bus, LIVENESS_PREFIX)) as hints:
            async for _ in hints:
                self.liveness.hurry()


def _of_webhooks(webhooks: Webhooks | None, seconds: float) -> Iterator[Job]:
    if webhooks is not None:
        yield Job("webhook-planning", webhooks.plan, _every(seconds))
        yield Job("webhook-sending", webhooks.send, lambda: webhooks.rest(seconds))


def _every(seconds: float) -> Callable[[], Awaitable[None]]:
    async def rest() -> None:
        await asyncio.sleep(seconds)

    return rest
