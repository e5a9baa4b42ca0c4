"""This module is where rules are tried out: on a payload that never came, and on what came in the last days.

Nothing is stored and nobody is told.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypedDict, Unpack
from uuid import UUID

from dataloaders.alert_rules import rules_of
from dataloaders.alert_trials import past_alerts
from dataloaders.base import by_id
from models import Alert, AlertAction, AlertRule
from models.alerts import DEFAULT_PRIORITY
from models.errors import Refusal, invalid, not_found
from models.ids import NIL
from resolvers.alert_ingestion import SentAlert
from resolvers.alert_matching import ANYTHING, PATTERN_LIMIT, Rule, RuleBook, Subject
from resolvers.alert_payloads import read_alert
from resolvers.call import Call
from resolvers.validation import document, line, within

MOST_TRIED: Final = 100
PAYLOAD_LIMIT_BYTES: Final = 262_144
MOST_EXAMINED: Final = 5_000
MOST_SHOWN: Final = 20
LONGEST_PAST: Final = timedelta(days=31)
_WEEK: Final = timedelta(days=7)
_AT_ONCE: Final = 250


@dataclass(frozen=True, slots=True)
class Trial:
    """What the rules would do with one alert of a payload; ``refusal`` where it cannot be read."""

    fingerprint: str | None
    alert_name: str | None
    action: AlertAction | None
    rule: AlertRule | None
    refusal: Refusal | None


@dataclass(frozen=True, slots=True)
class ActionChange:
    """How many alerts would have met another end."""

    action_taken: AlertAction
    action: AlertAction
    count: int


@dataclass(frozen=True, slots=True)
class History:
    """What a rule would have done. ``matched`` are those that its patterns fit, ``decided`` those that it decides."""

    started_after: datetime
    examined: int
    is_complete: bool
    matched: int
    decided: int
    changes: Sequence[ActionChange]
    alerts: Sequence[Alert]


class Draft(TypedDict, total=False):
    """A rule that may not be there yet; ``instead_of_id`` is that of the one whose place it takes."""

    instead_of_id: UUID
    alert_name_pattern: str
    severity_pattern: str
    instance_pattern: str
    job_pattern: str
    action: AlertAction
    priority: int
    started_after: datetime


async def try_alert_rules(call: Call, payload: Any) -> list[Trial]:
    """What the enabled rules would do with each alert of ``payload``, in its order. Raises INVALID."""
    said = document(payload, PAYLOAD_LIMIT_BYTES, "payload")
    alerts = said.get("alerts", [said])
    if not isinstance(alerts, list) or len(alerts) > MOST_TRIED:
        raise invalid(f"A payload to try has a list of at most {MOST_TRIED} alerts.", "payload", "alerts")
    rules = [rule for rule in await _rules(call) if rule.enabled]
    book = RuleBook([_compiled(rule) for rule in rules])
    by_rule_id = {rule.id: rule for rule in rules}
    return [_tried(read_alert(one), book, by_rule_id) for one in alerts]


async def alert_rule_history(call: Call, **draft: Unpack[Draft]) -> History:
    """What a rule would have done with the newest 5,000 alerts since ``started_after``, a week ago when absent.

    Raises INVALID, NOT_FOUND.
    """
    now = call.services.clock()
    since = draft.get("started_after", now - _WEEK)
    if not now - LONGEST_PAST <= since <= now:
        raise invalid(f"This is a time of the last {LONGEST_PAST.days} days.", "input", "startedAfter")
    tried, book = _with_draft(await _rules(call), draft)
    past = await past_alerts(call.services.database, call.tenant_id, since, MOST_EXAMINED + 1)
    complete, past = len(past) <= MOST_EXAMINED, past[:MOST_EXAMINED]
    alone, matched = RuleBook([tried]), 0
    decided: list[UUID] = []
    changes: Counter[tuple[AlertAction, AlertAction]] = Counter()
    for number, one in enumerate(past):
        if number % _AT_ONCE == 0:
            # Everyone else's operations run on the same loop.
            await asyncio.sleep(0)
        subject = Subject(one.alert_name, one.severity, one.instance, one.job)
        if alone.first(subject) is None:
            continue
        matched += 1
        if book.first(subject) is tried:
            decided.append(one.id)
            if one.action_taken is not tried.action:
                changes[one.action_taken, tried.action] += 1
    shown = await call.loaders.of(by_id(Alert)).load_many(decided[:MOST_SHOWN])
    return History(
        since,
        len(past),
        complete,
        matched,
        len(decided),
        [ActionChange(taken, action, count) for (taken, action), count in sorted(changes.items())],
        [alert for alert in shown if alert is not None],
    )


async def _rules(call: Call) -> list[AlertRule]:
    async with call.services.database.session(call.tenant_id) as session:
        return list(await rules_of(session))


def _compiled(rule: AlertRule) -> Rule:
    return Rule(rule.id, rule.patterns, rule.action)


def _tried(one: SentAlert | Refusal, book: RuleBook, rules: dict[UUID, AlertRule]) -> Trial:
    if isinstance(one, Refusal):
        return Trial(None, None, None, None, one)
    rule = book.first(one.subject)
    action = rule.action if rule is not None else AlertAction.MANUAL
    return Trial(one.fingerprint, one.subject.alert_name, action, rules[rule.id] if rule is not None else None, None)


def _with_draft(rules: list[AlertRule], draft: Draft) -> tuple[Rule, RuleBook]:
    """The rule to try, and the enabled ones with it in its place. Raises INVALID, NOT_FOUND.

    A new one is the youngest of its priority; one that takes another's place is as old as that is.
    """
    replaced: AlertRule | None = None
    if "instead_of_id" in draft:
        replaced = next((rule for rule in rules if rule.id == draft["instead_of_id"]), None)
        if replaced is None:
            raise not_found("alert rule", "input", "insteadOfId")
    patterns = (
        line(draft.get("alert_name_pattern", ANYTHING), PATTERN_LIMIT, "alertNamePattern"),
        line(draft.get("severity_pattern", ANYTHING), PATTERN_LIMIT, "severityPattern"),
        line(draft.get("instance_pattern", ANYTHING), PATTERN_LIMIT, "instancePattern"),
        line(draft.get("job_pattern", ANYTHING), PATTERN_LIMIT, "jobPattern"),
    )
    tried = Rule(replaced.id if replaced is not None else NIL, patterns, draft.get("action", AlertAction.MANUAL))
    priority = within(draft.get("priority", DEFAULT_PRIORITY), 0, 1_000_000, "priority")

    def comes_before(rule: AlertRule) -> bool:
        if rule.priority != priority or replaced is None:
            return rule.priority <= priority
        return (rule.created_at, rule.id) < (replaced.created_at, replaced.id)

    others = [rule for rule in rules if rule.enabled and rule is not replaced]
    before = [_compiled(rule) for rule in others if comes_before(rule)]
    after = [_compiled(rule) for rule in others if not comes_before(rule)]
    return tried, RuleBook([*before, tried, *after])
