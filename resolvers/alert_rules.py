"""This module is where a tenant's rules for alerts are made, changed, put in order, forgotten and tried out."""

from __future__ import annotations

from typing import Any, Final, TypedDict, Unpack
from uuid import UUID

from dataloaders.alert_rules import MOST_RULES, count_rules, lock_rules, store_priorities
from models import AlertAction, AlertRule
from models.alerts import DEFAULT_PRIORITY
from models.errors import Refusal, RefusalCode, invalid, not_found
from models.ids import uuid7
from resolvers.alert_matching import ANYTHING, PATTERN_LIMIT
from resolvers.call import Call
from resolvers.changing import refuse_cleared, take_over
from resolvers.unit_of_work import UnitOfWork
from resolvers.validation import line, prose, within

NAME_LIMIT: Final = 255
DESCRIPTION_LIMIT: Final = 4_000
MOST_PRIORITY: Final = 1_000_000
_STEP: Final = 10
"""Between the priorities that a new order gives, so that one more rule finds a place."""

_PATTERNS: Final = {
    "alert_name_pattern": "alertNamePattern",
    "severity_pattern": "severityPattern",
    "instance_pattern": "instancePattern",
    "job_pattern": "jobPattern",
}


class RuleFields(TypedDict, total=False):
    """What can be said of a rule when it is made and later; absent stays, None clears."""

    description: str | None
    priority: int
    severity_pattern: str
    instance_pattern: str
    job_pattern: str
    enabled: bool


class RuleChanges(RuleFields, total=False):
    """What an update may say besides."""

    name: str
    alert_name_pattern: str
    action: AlertAction


async def create_alert_rule(
    call: Call, *, name: str, alert_name_pattern: str, action: AlertAction, **said: Unpack[RuleFields]
) -> AlertRule:
    """A new rule, in force from the next delivery on. Raises INVALID, LIMIT_EXCEEDED. Commits."""
    cleaned = _cleaned({**said, "name": name, "alert_name_pattern": alert_name_pattern, "action": action})
    rule = AlertRule(
        id=uuid7(), created_by=call.who.member_id, **{"priority": DEFAULT_PRIORITY, "enabled": True, **cleaned}
    )
    for name_of in _PATTERNS:
        if getattr(rule, name_of) is None:
            setattr(rule, name_of, ANYTHING)
    async with call.work() as work:
        await work.lock_name("alert_rules")
        if await count_rules(work.session) >= MOST_RULES:
            raise Refusal(RefusalCode.LIMIT_EXCEEDED, f"A tenant has at most {MOST_RULES} rules.", field=("input",))
        work.add(rule)
        await work.session.flush()
        work.tell(rule, "alert_rule.created", None)
    return rule


async def update_alert_rule(
    call: Call, *, id: UUID, expected_version: int, **changes: Unpack[RuleChanges]
) -> AlertRule:
    """Change a rule, or switch it on or off. Raises INVALID, NOT_FOUND, CONFLICT. Commits."""
    cleaned = _cleaned(dict(changes))
    async with call.work() as work:
        rule = await work.locked(AlertRule, id, expected_version=expected_version, what="alert rule")
        before = rule.facets()
        changed = take_over(rule, cleaned)
        if changed:
            work.tell(rule, "alert_rule.updated", before, {"changed": changed})
    return rule


async def delete_alert_rule(call: Call, *, id: UUID, expected_version: int | None = None) -> str:
    """Forget a rule; its TypeID. Alerts that it met keep what it did. Raises NOT_FOUND, CONFLICT. Commits."""
    async with call.work() as work:
        rule = await work.locked(AlertRule, id, expected_version=expected_version, what="alert rule")
        before = rule.facets()
        rule.deleted_at = work.now
        work.tell(rule, "alert_rule.deleted", before)
    return rule.typeid


async def reorder_alert_rules(call: Call, *, ids: list[UUID], after_id: UUID | None = None) -> list[AlertRule]:
    """Put rules in this order right behind ``after_id``, or before all others; the others keep theirs. All rules.

    Priorities become 10, 20, 30 and so on. Raises INVALID for a rule that is named twice, NOT_FOUND for one that is
    none of the tenant's. Commits.
    """
    moved = set(ids)
    if len(moved) < len(ids) or after_id in moved:
        raise invalid("Name each rule once.", "input", "ids")
    async with call.work() as work:
        await work.lock_name("alert_rules")
        rules = await lock_rules(work.session)
        known = {rule.id: rule for rule in rules}
        if not known.keys() >= moved:
            raise not_found("alert rule", "input", "ids")
        if after_id is not None and after_id not in known:
            raise not_found("alert rule", "input", "afterId")
        others = [rule for rule in rules if rule.id not in moved]
        place = next((number for number, rule in enumerate(others, start=1) if rule.id == after_id), 0)
        ordered = [*others[:place], *(known[one] for one in ids), *others[place:]]
        await _renumber(work, ordered)
    return ordered


async def _renumber(work: UnitOfWork, rules: list[AlertRule]) -> None:
    changed = []
    for place, rule in enumerate(rules, start=1):
        if rule.priority != place * _STEP:
            before = rule.facets()
            rule.priority = place * _STEP
            changed.append(rule)
            work.tell(rule, "alert_rule.updated", before, {"changed": ["priority"]})
    await store_priorities(work.session, changed, work.now)


def _cleaned(said: dict[str, Any]) -> dict[str, Any]:
    cleaned = dict(said)
    refuse_cleared(cleaned, "name", "action", "priority", "enabled")
    if "name" in cleaned:
        cleaned["name"] = line(cleaned["name"], NAME_LIMIT, "name")
    if cleaned.get("description") is not None:
        cleaned["description"] = prose(cleaned["description"], DESCRIPTION_LIMIT, "description")
    if "priority" in cleaned:
        cleaned["priority"] = within(cleaned["priority"], 0, MOST_PRIORITY, "priority")
    for name, field in _PATTERNS.items():
        if name in cleaned:
            # A pattern that is cleared asks for nothing.
            cleaned[name] = ANYTHING if cleaned[name] is None else line(cleaned[name], PATTERN_LIMIT, field)
    return cleaned
