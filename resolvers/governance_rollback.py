"""This module is where a tenant's policies become again what they were in one of their versions.

Rules that nobody may change stay as they are, whatever the version says of them. What of the version could not be
stored today is not brought back: then nothing is, and the refusal names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

from dataloaders.governance import agents_there, newest_version, replace_rows, rules_of, topics_of, version_numbered
from models import GovernanceVersion, HitlMode, PolicyRule, ProhibitedTopic, TopicScope, utcnow
from models.errors import Refusal, RefusalCode, invalid, not_found
from models.ids import InvalidId, decode
from resolvers import policy_rules, prohibited_topics
from resolvers.call import Call
from resolvers.governance_versions import (
    UNCOMPARED,
    hold_policies,
    keep_version,
    rule_entry,
    topic_entry,
)
from resolvers.unit_of_work import UnitOfWork
from resolvers.validation import line

Row = TypeVar("Row", PolicyRule, ProhibitedTopic)

_VERSION: Final = ("input", "version")
_MOST_VERSION: Final = 2**30
_KINDS: Final = {"policy": ("created", "updated", "deleted"), "topic": ("prohibited", "changed", "allowed")}

Facets = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan(Generic[Row]):
    """What has to be done to one table; ``made`` belong to no session."""

    made: list[tuple[Row, Facets | None]] = field(default_factory=list)
    """Rows that are new, or different from what they were, then with their facets before."""
    replaced: list[UUID] = field(default_factory=list)
    """Which of these are different."""
    gone: list[tuple[Row, Facets]] = field(default_factory=list)

    @property
    def going(self) -> list[UUID]:
        """What goes, or becomes different."""
        return [one.id for one, _ in self.gone] + self.replaced

    @property
    def coming(self) -> list[Row]:
        """What is new, or different."""
        return [one for one, _ in self.made]


async def rollback_governance(
    call: Call, *, version: int, note: str | None = None, expected_version: int | None = None
) -> GovernanceVersion:
    """Make rules and topics what they were in ``version``; the new version that says so. Commits.

    Raises NOT_FOUND, CONFLICT when ``expected_version`` is no longer the newest, INVALID naming what no longer holds.
    """
    said = line(note, policy_rules.NOTE_LIMIT, "note") if note is not None else f"Back to version {version}."
    async with call.work() as work:
        await hold_policies(work)
        newest = await newest_version(work.session)
        if expected_version is not None and (newest is None or newest.version_no != expected_version):
            number = newest.version_no if newest is not None else 0
            raise Refusal(
                RefusalCode.CONFLICT,
                f"The policies have changed: their version is {number} now.",
                field=("input", "expectedVersion"),
                current=newest,
            )
        target = await version_numbered(work.session, version)
        if target is None:
            raise not_found("version", *_VERSION)
        rules = await _plan_rules(work, _entries(target, "rules"))
        topics = await _plan_topics(work, _entries(target, "topics"))
        await replace_rows(work.session, PolicyRule, rules.going, rules.coming, work.now)
        await replace_rows(work.session, ProhibitedTopic, topics.going, topics.coming, work.now)
        # What was read before is no longer what is there.
        work.session.expunge_all()
        made = await keep_version(work, said)
        work.tell(made, "governance.rolled_back", None, {"version_no": made.version_no, "restored": version})
        _tell(work, rules)
        _tell(work, topics)
    return made


def _entries(version: GovernanceVersion, name: str) -> Sequence[Mapping[str, Any]]:
    found = version.rules_snapshot.get(name, [])
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise invalid("This version is not whole.", *_VERSION)
    return found


async def _plan_rules(work: UnitOfWork, entries: Sequence[Mapping[str, Any]]) -> Plan[PolicyRule]:
    found = {one.id: one for one in await rules_of(work.session, work.tenant_id)}
    current = {key: one for key, one in found.items() if not one.is_immutable}
    wanted = [_rule_of(one) for one in entries if not one.get("isImmutable")]
    # What became immutable later stays as it is now.
    return _planned([one for one in wanted if one.id in current or one.id not in found], current, rule_entry)


async def _plan_topics(work: UnitOfWork, entries: Sequence[Mapping[str, Any]]) -> Plan[ProhibitedTopic]:
    current = {one.id: one for one in await topics_of(work.session)}
    wanted = [_topic_of(one) for one in entries]
    named = [one.agent_id for one in wanted if one.agent_id is not None]
    there = await agents_there(work.session, named) if named else set()
    for one in wanted:
        if one.agent_id is not None and one.agent_id not in there:
            raise invalid(f"The topic “{one.topic}” of that version is of an agent that is gone.", *_VERSION)
    return _planned(wanted, current, topic_entry)


def _planned(wanted: Iterable[Row], current: Mapping[UUID, Row], entry: Any) -> Plan[Row]:
    plan: Plan[Row] = Plan()
    kept: set[UUID] = set()
    for row in wanted:
        was = current.get(row.id)
        if row.id in kept:
            raise invalid("This version holds something twice.", *_VERSION)
        kept.add(row.id)
        if was is None:
            row.version += 1
            plan.made.append((row, None))
        elif _said(entry(was)) != _said(entry(row)):
            row.version, row.created_at, row.source_ref = was.version + 1, was.created_at, was.source_ref
            plan.made.append((row, was.facets()))
            plan.replaced.append(row.id)
    plan.gone.extend((one, one.facets()) for one in current.values() if one.id not in kept)
    return plan


def _said(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name not in UNCOMPARED}


def _tell(work: UnitOfWork, plan: Plan[Any]) -> None:
    for row, before in plan.made:
        created, updated, _ = _KINDS[row.__typeid__]
        work.tell(row, f"{row.__typeid__}.{created if before is None else updated}", before, {"restored": True})
    for row, facets in plan.gone:
        work.tell(row, f"{row.__typeid__}.{_KINDS[row.__typeid__][2]}", facets, {"restored": True}, gone=True)


def _rule_of(entry: Mapping[str, Any]) -> PolicyRule:
    """A rule of a version, as it could be stored today. Raises INVALID naming it."""
    name = str(entry.get("name", ""))
    try:
        columns = policy_rules.cleaned(
            {
                "name": entry["name"],
                "description": entry["description"],
                "tier": entry["tier"],
                "conditions": entry["conditions"],
                "hitl_mode": HitlMode[entry["hitlMode"]],
                "local_only": bool(entry["localOnly"]),
                "escalation_reason": entry["escalationReason"],
                "priority": entry["priority"],
                "enabled": bool(entry["enabled"]),
            }
        )
        return PolicyRule(is_immutable=False, **_identity(entry), **columns)
    except Refusal as refusal:
        where = ".".join(refusal.field[1:]) if refusal.field else "it"
        message = f"The rule “{name[:255]}” of that version no longer holds: {where}: {refusal.message}"
        raise invalid(message, *_VERSION) from refusal
    except (KeyError, TypeError, ValueError, AttributeError, InvalidId) as error:
        raise invalid(f"The rule “{name[:255]}” of that version is not whole.", *_VERSION) from error


def _topic_of(entry: Mapping[str, Any]) -> ProhibitedTopic:
    """A topic of a version, as it could be stored today. Raises INVALID naming it."""
    name = str(entry.get("topic", ""))
    try:
        columns = prohibited_topics.cleaned(entry["topic"], TopicScope[entry["scope"]], entry["scopeId"])
        return ProhibitedTopic(**_identity(entry), **columns)
    except (Refusal, KeyError, TypeError, ValueError, AttributeError, InvalidId) as error:
        raise invalid(f"The topic “{name[:255]}” of that version no longer holds.", *_VERSION) from error


def _identity(entry: Mapping[str, Any]) -> dict[str, Any]:
    made = datetime.fromisoformat(entry["createdAt"]) if "createdAt" in entry else utcnow()
    return {
        "id": decode(entry["id"])[1],
        "version": max(1, min(int(entry.get("version", 1)), _MOST_VERSION)),
        "created_at": made if made.tzinfo is not None else made.replace(tzinfo=UTC),
        "source_ref": None,
    }
