"""This module is where each change of the policies is kept as a whole, compared, and taken back.

A version is everything as it is after the change, written in the change's own transaction. Whoever changes something
holds the tenant's policies until COMMIT, so versions are numbered without gaps and none is built on what has passed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import orjson
from sqlalchemy.dialects.postgresql import insert

from dataloaders.governance import MOST_RULES, MOST_TOPICS, is_member, rules_of, topics_of, version_numbered
from models import GovernanceHead, GovernanceVersion, PolicyRule, ProhibitedTopic
from models.errors import Refusal, RefusalCode
from models.ids import uuid7
from resolvers.call import Call
from resolvers.unit_of_work import UnitOfWork

SNAPSHOT_LIMIT_BYTES: Final = 1_048_576
"""All rules and topics of a tenant together, as a version keeps them."""

_LOCK: Final = "governance"
_EMPTY: Final[dict[str, Any]] = {"rules": [], "topics": []}


class DifferenceKind(StrEnum):
    """What became of a rule or a topic between two versions."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class FieldDifference:
    """One field that differs."""

    field: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class EntryDifference:
    """One rule or topic that differs."""

    entry_id: str
    name: str
    kind: DifferenceKind
    fields: list[FieldDifference]


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs between two versions, in the order of their entries."""

    from_version: int
    to_version: int
    rules: list[EntryDifference]
    topics: list[EntryDifference]


async def hold_policies(work: UnitOfWork) -> None:
    """Let nobody else change the tenant's policies until COMMIT. Before anything else is locked."""
    await work.lock_name(_LOCK)


async def keep_version(work: UnitOfWork, description: str) -> GovernanceVersion:
    """The next version: all that is there now. Raises LIMIT_EXCEEDED where that is too much. Does not commit."""
    await work.session.flush()
    rules, topics = await rules_of(work.session, work.tenant_id), await topics_of(work.session)
    snapshot = {"rules": [rule_entry(one) for one in rules], "topics": [topic_entry(one) for one in topics]}
    _refuse_too_much(snapshot)
    head = insert(GovernanceHead).values(tenant_id=work.tenant_id, version_no=1)
    number = await work.session.scalar(
        head.on_conflict_do_update(
            index_elements=["tenant_id"], set_={"version_no": GovernanceHead.version_no + 1}
        ).returning(GovernanceHead.version_no)
    )
    person = work.actor is not None and work.actor[0] == "user"
    version = GovernanceVersion(
        id=uuid7(),
        version_no=number,
        description=description,
        rules_snapshot=snapshot,
        changed_by=await _member(work, work.actor[1]) if person and work.actor else None,
    )
    work.add(version)
    await work.session.flush()
    return version


async def _member(work: UnitOfWork, user_id: UUID) -> UUID | None:
    # An administrator of the platform who visits has no row here to refer to.
    return user_id if await is_member(work.session, user_id) else None


def _refuse_too_much(snapshot: dict[str, Any]) -> None:
    rules, topics = snapshot["rules"], snapshot["topics"]
    for found, most, what in ((rules, MOST_RULES, "rules"), (topics, MOST_TOPICS, "prohibited topics")):
        if len(found) > most:
            raise Refusal(RefusalCode.LIMIT_EXCEEDED, f"A tenant has at most {most} {what}.")
    if len(orjson.dumps(snapshot)) > SNAPSHOT_LIMIT_BYTES:
        raise Refusal(
            RefusalCode.LIMIT_EXCEEDED, f"All rules and topics together are at most {SNAPSHOT_LIMIT_BYTES:,} bytes."
        )


def rule_entry(rule: PolicyRule) -> dict[str, Any]:
    """A rule as a version keeps it: all that was ever said of it."""
    return {
        "id": rule.typeid,
        "name": rule.name,
        "description": rule.description,
        "tier": rule.tier.value,
        "conditions": rule.conditions,
        "hitlMode": rule.hitl_mode.name,
        "localOnly": rule.local_only,
        "approvalRequired": rule.approval_required,
        "escalationReason": rule.escalation_reason,
        "priority": rule.priority,
        "isImmutable": rule.is_immutable,
        "enabled": rule.enabled,
        "version": rule.version,
        "createdAt": rule.created_at.isoformat(),
    }


def topic_entry(topic: ProhibitedTopic) -> dict[str, Any]:
    """A topic as a version keeps it."""
    return {
        "id": topic.typeid,
        "topic": topic.topic,
        "scope": topic.scope.name,
        "scopeId": topic.scope_id,
        "version": topic.version,
        "createdAt": topic.created_at.isoformat(),
    }


UNCOMPARED: Final = frozenset({"id", "version", "createdAt"})
"""Members of an entry that say which one it is, and nothing of what it says."""


async def difference(call: Call, from_version: int, to_version: int) -> Difference | None:
    """What differs between two of the tenant's versions; 0 is before the first. None when one is not there."""
    found = []
    async with call.services.database.session(call.tenant_id) as session:
        for number in (from_version, to_version):
            version = await version_numbered(session, number) if number else None
            if version is None and number:
                return None
            found.append(version.rules_snapshot if version is not None else _EMPTY)
    before, after = found
    return Difference(
        from_version,
        to_version,
        compared(before.get("rules", []), after.get("rules", []), "name"),
        compared(before.get("topics", []), after.get("topics", []), "topic"),
    )


def compared(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]], called: str
) -> list[EntryDifference]:
    """What differs between two lists of entries; ``called`` is the member that names one."""
    old, new = ({str(one["id"]): one for one in some} for some in (before, after))
    found = []
    for key in [*new, *(one for one in old if one not in new)]:
        was, now = old.get(key, {}), new.get(key, {})
        kind = DifferenceKind.CHANGED
        if key not in new or key not in old:
            kind = DifferenceKind.REMOVED if key in old else DifferenceKind.ADDED
        fields = [
            FieldDifference(name, was.get(name), now.get(name))
            for name in dict.fromkeys([*was, *now])
            if name not in UNCOMPARED and was.get(name) != now.get(name)
        ]
        if fields:
            found.append(EntryDifference(key, str((now or was).get(called, "")), kind, fields))
    return found
