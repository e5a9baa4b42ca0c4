"""This module is where the rules of a tenant's policies are made, changed and taken away; each change is a version.

Security boundary: a rule adds to what the others say, so none can weaken another. The platform's rules, and those that
were marked so, are changed by nobody; the database refuses it, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypedDict, Unpack
from uuid import UUID

from models import HitlMode, PolicyRule, PolicyTier
from models.errors import Refusal, RefusalCode, invalid
from models.governance import MOST_PRIORITY
from models.ids import uuid7
from resolvers.call import Call
from resolvers.changing import refuse_cleared, take_over
from resolvers.governance_versions import hold_policies, keep_version
from resolvers.policy_conditions import conditions as conditions_of
from resolvers.shared import locked_own
from resolvers.unit_of_work import UnitOfWork
from resolvers.validation import line, prose, within

NAME_LIMIT: Final = 255
DESCRIPTION_LIMIT: Final = 2_000
REASON_LIMIT: Final = 1_000
NOTE_LIMIT: Final = 500


class RuleFields(TypedDict, total=False):
    """What can be said of a rule when it is made and later; absent stays, None clears."""

    description: str | None
    tier: str
    local_only: bool
    escalation_reason: str | None
    priority: int
    enabled: bool
    note: str | None


class RuleChanges(RuleFields, total=False):
    """What an update may say besides."""

    name: str
    conditions: Any
    hitl_mode: HitlMode


async def create_policy_rule(
    call: Call, *, name: str, conditions: Any, hitl_mode: HitlMode, **said: Unpack[RuleFields]
) -> PolicyRule:
    """A new rule of the caller's tenant; everybody's when that is the platform. Commits, with a version.

    Raises INVALID, LIMIT_EXCEEDED.
    """
    note = _note(said.pop("note", None))
    given = {"name": name, "conditions": conditions, "hitl_mode": hitl_mode, **said}
    rule = PolicyRule(id=uuid7(), **{**_DEFAULTS, **cleaned(given)})
    async with call.work() as work:
        await hold_policies(work)
        work.add(rule)
        work.tell(rule, "policy.created", None, {"hitl_mode": rule.hitl_mode.value})
        await keep_version(work, note or f"Rule “{rule.name}” was made.")
    return rule


async def update_policy_rule(
    call: Call, *, id: UUID, expected_version: int, **changes: Unpack[RuleChanges]
) -> PolicyRule:
    """Change a rule of the tenant's own. Raises INVALID, NOT_FOUND, CONFLICT, IMMUTABLE, LIMIT_EXCEEDED.

    Commits, with a version where anything changed.
    """
    note = _note(changes.pop("note", None))
    columns = cleaned(changes)
    async with call.work() as work:
        await hold_policies(work)
        rule = await _locked(work, id, expected_version)
        before = rule.facets()
        changed = take_over(rule, columns)
        if changed:
            work.tell(rule, "policy.updated", before, {"changed": changed})
            await keep_version(work, note or f"Rule “{rule.name}” was changed.")
    return rule


async def delete_policy_rule(
    call: Call, *, id: UUID, expected_version: int | None = None, note: str | None = None
) -> str:
    """Take a rule of the tenant's own away; its TypeID. Raises INVALID, NOT_FOUND, CONFLICT, IMMUTABLE.

    Commits, with a version.
    """
    note = _note(note)
    async with call.work() as work:
        await hold_policies(work)
        rule = await _locked(work, id, expected_version)
        work.tell(rule, "policy.deleted", rule.facets(), gone=True)
        await work.session.delete(rule)
        await keep_version(work, note or f"Rule “{rule.name}” was deleted.")
    return rule.typeid


async def _locked(work: UnitOfWork, rule_id: UUID, expected_version: int | None) -> PolicyRule:
    rule = await locked_own(work, PolicyRule, rule_id, expected_version=expected_version, what="policy rule")
    if rule.is_immutable:
        raise Refusal(
            RefusalCode.IMMUTABLE, "This rule is part of the constitution.", field=("input", "id"), current=rule
        )
    return rule


_DEFAULTS: Final[dict[str, Any]] = {
    "description": "",
    "tier": PolicyTier.STANDARD,
    "local_only": False,
    "escalation_reason": None,
    "priority": 50,
    "is_immutable": False,
    "enabled": True,
}


def cleaned(said: Mapping[str, Any]) -> dict[str, Any]:
    """What is said of a rule as columns. Raises INVALID with the path of what is wrong."""
    refuse_cleared(said, "name", "tier", "conditions", "hitl_mode", "local_only", "priority", "enabled")
    columns = dict(said)
    if "name" in said:
        columns["name"] = line(said["name"], NAME_LIMIT, "name")
    if "description" in said:
        columns["description"] = prose(said["description"] or "", DESCRIPTION_LIMIT, "description")
    if "tier" in said:
        columns["tier"] = tier_of(said["tier"])
    if "conditions" in said:
        columns["conditions"] = conditions_of(said["conditions"])
    if "hitl_mode" in said:
        columns["approval_required"] = said["hitl_mode"] is not HitlMode.INFORM
    if said.get("escalation_reason") is not None:
        columns["escalation_reason"] = (
            prose(said["escalation_reason"], REASON_LIMIT, "escalationReason").strip() or None
        )
    if "priority" in said:
        columns["priority"] = within(said["priority"], -MOST_PRIORITY, MOST_PRIORITY, "priority")
    return columns


def tier_of(value: str) -> PolicyTier:
    """The tier of this name, however it is written. Raises INVALID."""
    try:
        return PolicyTier(value.strip().lower())
    except ValueError as error:
        names = ", ".join(PolicyTier)
        raise invalid(f"A tier is one of {names}.", "input", "tier") from error


def _note(value: str | None) -> str | None:
    return line(value, NOTE_LIMIT, "note") if value is not None else None
