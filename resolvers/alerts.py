"""This module is where people move alerts: acknowledge, take back, resolve by hand, silence.

Security boundary: what another tenant has is answered like what never was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from dataloaders.alert_ingestion import store_changes
from dataloaders.alert_rules import settings_of
from dataloaders.alerts import lock_alerts
from dataloaders.base import by_id
from models import Alert
from models.alert_counts import Standing
from models.errors import Refusal, invalid, not_found
from resolvers.alert_counts import Counting
from resolvers.alert_escalation import escalation_due
from resolvers.call import Call
from resolvers.unit_of_work import UnitOfWork

MOST_AT_ONCE: Final = 100
LONGEST_SILENCE: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What became of one of several alerts: the alert as it is now, and why nothing changed."""

    alert: Alert | None
    refusal: Refusal | None

    @property
    def user_errors(self) -> list[Refusal]:
        """As payloads hold them."""
        return [self.refusal] if self.refusal is not None else []


async def acknowledge_alert(call: Call, *, id: UUID, expected_version: int | None = None) -> Alert:
    """The caller looks after it. Raises NOT_FOUND, CONFLICT, ILLEGAL_TRANSITION unless it is firing. Commits."""

    def acknowledge(alert: Alert, now: datetime) -> None:
        alert.acknowledge(by=call.who.member_id, now=now)

    return await _change(call, id, expected_version, "alert.acknowledged", acknowledge)


async def acknowledge_alerts(call: Call, *, ids: list[UUID]) -> list[Acknowledged]:
    """The caller looks after all of them; each on its own, in the order of ``ids``. Raises INVALID. Commits.

    The number of statements does not grow with theirs.
    """
    if not 1 <= len(ids) <= MOST_AT_ONCE:
        raise invalid(f"Name 1 to {MOST_AT_ONCE} alerts at once.", "input", "ids")
    async with call.work() as work:
        locked = {alert.id: alert for alert in await lock_alerts(work.session, ids)}
        outcomes: dict[UUID, Acknowledged] = {}
        changed: list[Alert] = []
        counting = Counting()
        for alert_id in dict.fromkeys(ids):
            alert = locked.get(alert_id)
            if alert is None:
                outcomes[alert_id] = Acknowledged(None, not_found("alert", "input", "ids"))
                continue
            before, standing = alert.facets(), Standing.of(alert)
            try:
                alert.acknowledge(by=call.who.member_id, now=work.now)
            except Refusal as refusal:
                outcomes[alert_id] = Acknowledged(alert, _at(refusal, "input", "ids"))
                continue
            changed.append(alert)
            counting.count(alert, standing)
            work.tell(alert, "alert.acknowledged", before, {"status": alert.status.value})
            outcomes[alert_id] = Acknowledged(alert, None)
        await store_changes(work.session, changed, work.now)
        await counting.store(work.session)
    return await _read_again(call, [outcomes[alert_id] for alert_id in ids])


async def unacknowledge_alert(call: Call, *, id: UUID, expected_version: int | None = None) -> Alert:
    """Nobody looks after it any more, so its time to be escalated begins anew.

    Raises NOT_FOUND, CONFLICT, ILLEGAL_TRANSITION unless it is acknowledged. Commits.
    """
    return await _watched(
        call, id, expected_version, "alert.unacknowledged", lambda alert, _, due_at: alert.unacknowledge(due_at)
    )


async def resolve_alert(call: Call, *, id: UUID, expected_version: int | None = None) -> Alert:
    """It is over, whatever the sender says. Raises NOT_FOUND, CONFLICT, ILLEGAL_TRANSITION when it was. Commits."""

    def resolve(alert: Alert, now: datetime) -> None:
        alert.resolve(by=call.who.member_id, now=now)

    return await _change(call, id, expected_version, "alert.resolved", resolve)


async def silence_alert(
    call: Call, *, id: UUID, until: datetime | None = None, expected_version: int | None = None
) -> Alert:
    """Escalate it not before ``until``, at most thirty days from now; None ends the silence.

    Raises INVALID, NOT_FOUND, CONFLICT, ILLEGAL_TRANSITION when it is over. Commits.
    """

    def silence(alert: Alert, now: datetime, due_at: datetime | None) -> None:
        if until is not None and not now < until <= now + LONGEST_SILENCE:
            raise invalid(f"This is a time within {LONGEST_SILENCE.days} days from now.", "input", "until")
        alert.silence(until, due_at)

    kind = "alert.silenced" if until is not None else "alert.unsilenced"
    return await _watched(call, id, expected_version, kind, silence)


async def _watched(
    call: Call,
    alert_id: UUID,
    expected_version: int | None,
    kind: str,
    change: Callable[[Alert, datetime, datetime | None], None],
) -> Alert:
    async with call.work() as work:
        settings = await settings_of(work.session)
        alert = await work.locked(Alert, alert_id, expected_version=expected_version, what="alert")
        due_at = escalation_due(settings, alert.severity, work.now)
        await _tell(work, alert, kind, lambda: change(alert, work.now, due_at))
    return alert


async def _change(
    call: Call,
    alert_id: UUID,
    expected_version: int | None,
    kind: str,
    change: Callable[[Alert, datetime], None],
) -> Alert:
    async with call.work() as work:
        alert = await work.locked(Alert, alert_id, expected_version=expected_version, what="alert")
        await _tell(work, alert, kind, lambda: change(alert, work.now))
    return alert


async def _tell(work: UnitOfWork, alert: Alert, kind: str, change: Callable[[], None]) -> None:
    before, standing = alert.facets(), Standing.of(alert)
    change()
    counting = Counting()
    counting.count(alert, standing)
    payload: dict[str, Any] = {"status": alert.status.value, "previous_status": standing.status.value}
    work.tell(alert, kind, before, payload)
    # The alert's row first, its counts after it: as everybody else does it.
    await work.session.flush()
    await counting.store(work.session)


def _at(refusal: Refusal, *field: str) -> Refusal:
    return Refusal(refusal.code, refusal.message, field=field, current=refusal.current)


async def _read_again(call: Call, outcomes: Sequence[Acknowledged]) -> list[Acknowledged]:
    """The same with whole rows: what was locked was read without what was sent."""
    wanted = list(dict.fromkeys(one.alert.id for one in outcomes if one.alert is not None))
    loader = call.fresh().loaders.of(by_id(Alert))
    rows = dict(zip(wanted, await loader.load_many(wanted), strict=True))
    return [Acknowledged(rows[one.alert.id] if one.alert is not None else None, one.refusal) for one in outcomes]
