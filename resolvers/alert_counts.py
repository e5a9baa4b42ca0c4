"""This module is where a change of alerts becomes a change of their counts, in the same transaction."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from dataloaders.alert_counts import COUNTED, add_counts, add_instances, add_rollups
from models import Alert, AlertSeverity, AlertStatus
from models.alert_counts import Standing
from models.database import TenantSession

_PLACES = {name: place for place, name in enumerate(COUNTED)}


class Counting:
    """What a unit of work does to the counts: one standing less for what an alert was, one more for what it is.

    ``store`` comes once, when all alerts are as they will be: their rows are locked before any count is.
    """

    def __init__(self) -> None:
        self._counts: Counter[tuple[bool, AlertSeverity, AlertStatus]] = Counter()
        self._rollups: dict[tuple[datetime, AlertSeverity], list[float]] = {}
        self._instances: Counter[tuple[datetime, str]] = Counter()

    def count(self, alert: Alert, before: Standing | None) -> None:
        """The alert stands as it does now; it stood as ``before``, or was not there."""
        after = Standing.of(alert)
        if after == before:
            return
        if before is not None:
            self._add(before, -1)
        self._add(after, 1)

    async def store(self, session: TenantSession) -> None:
        """Write what came together: three statements at most. Does not commit."""
        await add_counts(session, self._counts)
        await add_rollups(session, self._rollups)
        await add_instances(session, self._instances)

    def _add(self, one: Standing, times: int) -> None:
        self._counts[one.is_ignored, one.severity, one.status] += times
        amounts = self._rollups.setdefault((one.hour, one.severity), [0.0] * len(COUNTED))
        if one.is_ignored:
            amounts[_PLACES["ignored"]] += times
            return
        amounts[_PLACES[one.status.value]] += times
        if one.acknowledge_seconds is not None:
            amounts[_PLACES["acknowledgements"]] += times
            amounts[_PLACES["acknowledge_seconds"]] += times * one.acknowledge_seconds
        if one.resolve_seconds is not None:
            amounts[_PLACES["resolutions"]] += times
            amounts[_PLACES["resolve_seconds"]] += times * one.resolve_seconds
        if one.instance is not None:
            self._instances[one.hour, one.instance] += times
