"""This module is where the history of policies is specified: whole versions, what differs, and the way back."""

from __future__ import annotations

import asyncio
from typing import Any, Final
from uuid import UUID

import pytest
from sqlalchemy import update

from models import GovernanceVersion, PolicyRule, Role
from models.ids import parse, uuid7
from resolvers.principal import Principal
from tests.conftest import counted
from tests.report import record
from tests.schema.conftest import Gateway
from tests.schema.policies import (
    ALLOW,
    CREATE,
    DELETE,
    PROHIBIT,
    ROLLBACK,
    UPDATE,
    ZONING,
    evaluated,
    rule,
    versions,
)
from tests.schema.staff import DELETE as DELETE_AGENT
from tests.schema.staff import answered, done, kinds, make, person, refused
from tests.world import Tenants

SNAPSHOT: Final = "query($id: ID!) { governanceVersion(id: $id) { version rulesSnapshot } }"
DIFFERENCE: Final = """query($a: Int!, $b: Int!) { governanceDifference(fromVersion: $a, toVersion: $b) {
  fromVersion toVersion rules { entryId name kind fields { field before after } }
  topics { entryId name kind fields { field before after } } } }"""


@pytest.fixture
async def admin(gateway: Gateway, tenants: Tenants) -> Principal:
    """Somebody of mine who may everything."""
    return await person(gateway, tenants.mine)


async def _snapshot(gateway: Gateway, who: Principal, number: int) -> dict[str, Any]:
    (one,) = [found for found in await versions(gateway, who) if found["version"] == number]
    found: dict[str, Any] = (await gateway.data(who, SNAPSHOT, id=one["id"]))["governanceVersion"]["rulesSnapshot"]
    return found


async def _rewrite(gateway: Gateway, tenant: UUID, number: int, snapshot: Any) -> None:
    """Make a version say what no version that we wrote would; as an import could."""
    database = gateway.services.database
    async with database.session(tenant) as session:
        row = GovernanceVersion(tenant_id=tenant, id=uuid7(), version_no=number, rules_snapshot=snapshot)
        session.add(row)
        await session.commit()


async def _names(gateway: Gateway, who: Principal) -> list[str]:
    page = await gateway.data(who, "{ policyRules(first: 100) { nodes { name isShared } } }")
    return sorted(one["name"] for one in page["policyRules"]["nodes"] if not one["isShared"])


async def test_a_version_is_all_that_there_is_after_the_change(gateway: Gateway, admin: Principal) -> None:
    made = await rule(gateway, admin, escalationReason="because", priority=7, note="The council asked for it")
    await done(gateway, admin, PROHIBIT, topic="wages")
    await done(gateway, admin, UPDATE, id=made["id"], expectedVersion=1, enabled=False)
    found = await versions(gateway, admin)
    assert [(one["version"], one["description"]) for one in found] == [
        (3, "Rule “zoning” was changed."),
        (2, "Topic “wages” was prohibited."),
        (1, "The council asked for it"),
    ]
    assert {one["changedBy"]["id"] for one in found} == {f"user_{one['changedBy']['id'][5:]}" for one in found}
    first, last = await _snapshot(gateway, admin, 1), await _snapshot(gateway, admin, 3)
    (entry,) = first["rules"]
    said = {name: entry[name] for name in ("id", "name", "conditions", "hitlMode", "escalationReason", "priority")}
    assert said == {
        "id": made["id"],
        "name": "zoning",
        "conditions": {"keywords": ["zoning"]},
        "hitlMode": "DRAFT",
        "escalationReason": "because",
        "priority": 7,
    }
    assert (entry["approvalRequired"], entry["isImmutable"], entry["enabled"]) == (True, False, True)
    assert (first["topics"], [one["topic"] for one in last["topics"]]) == ([], ["wages"])
    assert last["rules"][0]["enabled"] is False


async def test_two_versions_are_compared_field_by_field(gateway: Gateway, admin: Principal) -> None:
    made = await rule(gateway, admin)
    gone = await rule(gateway, admin, name="gone")
    await done(gateway, admin, UPDATE, id=made["id"], expectedVersion=1, hitlMode="ESCALATE", priority=9)
    await done(gateway, admin, DELETE, id=gone["id"])
    topic = await done(gateway, admin, PROHIBIT, topic="wages")
    said = (await gateway.data(admin, DIFFERENCE, a=2, b=5))["governanceDifference"]
    changed, removed = said["rules"]
    assert (changed["entryId"], changed["kind"], changed["name"]) == (made["id"], "CHANGED", "zoning")
    assert changed["fields"] == [
        {"field": "hitlMode", "before": "DRAFT", "after": "ESCALATE"},
        {"field": "priority", "before": 50, "after": 9},
    ]
    assert (removed["entryId"], removed["kind"], removed["name"]) == (gone["id"], "REMOVED", "gone")
    (added,) = said["topics"]
    assert (added["entryId"], added["kind"]) == (topic["id"], "ADDED")
    assert {"field": "topic", "before": None, "after": "wages"} in added["fields"]
    same = (await gateway.data(admin, DIFFERENCE, a=5, b=5))["governanceDifference"]
    assert (same["rules"], same["topics"]) == ([], [])
    start = (await gateway.data(admin, DIFFERENCE, a=0, b=1))["governanceDifference"]
    assert [one["kind"] for one in start["rules"]] == ["ADDED"]
    assert (await gateway.data(admin, DIFFERENCE, a=1, b=6))["governanceDifference"] is None


async def test_a_rollback_brings_back_all_that_was_said_and_is_a_version_itself(
    gateway: Gateway, admin: Principal
) -> None:
    kept = await rule(gateway, admin, name="kept", escalationReason="because", localOnly=True)
    gone = await rule(gateway, admin, name="gone")
    topic = await done(gateway, admin, PROHIBIT, topic="wages")
    await done(gateway, admin, UPDATE, id=kept["id"], expectedVersion=1, escalationReason=None, localOnly=False)
    await done(gateway, admin, DELETE, id=gone["id"])
    await done(gateway, admin, ALLOW, id=topic["id"])
    new = await rule(gateway, admin, name="new")
    before = await _snapshot(gateway, admin, 3)
    made = await done(gateway, admin, ROLLBACK, version=3, expectedVersion=7, note="The council changed its mind")
    assert (made["version"], made["description"]) == (8, "The council changed its mind")
    after = await _snapshot(gateway, admin, 8)
    unsaid = {"version", "createdAt"}
    for part in ("rules", "topics"):
        old, now = (
            [{k: v for k, v in one.items() if k not in unsaid} for one in some[part]] for some in (before, after)
        )
        assert sorted(old, key=str) == sorted(now, key=str)
    assert await _names(gateway, admin) == ["gone", "kept"]
    versions_of = {one["id"]: one["version"] for one in after["rules"]}
    assert versions_of[kept["id"]] == 3
    said = await evaluated(gateway, admin, "the zoning of the wages")
    assert (said["localOnly"], said["prohibitedTopics"]) == (True, ["wages"])
    told = await kinds(gateway, admin, [made["id"], kept["id"], gone["id"], new["id"], topic["id"]])
    assert sorted(told[-5:]) == [
        "governance.rolled_back",
        "policy.created",
        "policy.deleted",
        "policy.updated",
        "topic.prohibited",
    ]
    assert (await done(gateway, admin, UPDATE, id=kept["id"], expectedVersion=3, priority=1))["version"] == 4
    record(6, "rollbackGovernance restores a version", 8, "rules and topics as they were, and one version more")


async def test_a_rollback_keeps_what_nobody_may_change(gateway: Gateway, tenants: Tenants, admin: Principal) -> None:
    fixed = await rule(gateway, admin, name="fixed")
    await rule(gateway, admin, name="later")
    async with gateway.services.database.session(tenants.mine) as session:
        mine = PolicyRule.tenant_id == tenants.mine, PolicyRule.id == parse(fixed["id"], "policy")
        await session.execute(update(PolicyRule).where(*mine).values(is_immutable=True, name="fixed for good"))
        await session.commit()
    await done(gateway, admin, ROLLBACK, version=1)
    assert await _names(gateway, admin) == ["fixed for good"]
    await _rewrite(gateway, tenants.mine, 100, {"rules": [], "topics": []})
    await done(gateway, admin, ROLLBACK, version=100)
    assert await _names(gateway, admin) == ["fixed for good"]


@pytest.mark.parametrize(
    ("changed", "where"),
    [
        ({"conditions": {}}, "conditions"),
        ({"conditions": {"keyword": ["x"]}}, "conditions.keyword"),
        ({"conditions": None}, "conditions"),
        ({"tier": "supreme"}, "tier"),
        ({"priority": 10**6}, "priority"),
        ({"hitlMode": "EXECUTE"}, "not whole"),
        ({"priority": "high"}, "not whole"),
        ({"id": "nonsense"}, "not whole"),
    ],
)
async def test_a_version_with_a_rule_that_no_longer_validates_is_refused_by_its_name_and_nothing_changes(
    gateway: Gateway, tenants: Tenants, admin: Principal, changed: dict[str, Any], where: str
) -> None:
    await rule(gateway, admin, name="stale")
    good = (await _snapshot(gateway, admin, 1))["rules"][0]
    await _rewrite(gateway, tenants.mine, 100, {"rules": [{**good, **changed}], "topics": []})
    answer = await answered(gateway, admin, ROLLBACK, version=100)
    (error,) = answer["userErrors"]
    assert (error["code"], error["field"]) == ("INVALID", ["input", "version"])
    assert "“stale”" in error["message"]
    assert where in error["message"]
    assert await _names(gateway, admin) == ["stale"]
    assert len(await versions(gateway, admin)) == 2


@pytest.mark.parametrize(
    "snapshot",
    [
        {"rules": "x"},
        {"rules": [1]},
        {"topics": [{"topic": "x"}]},
        {"topics": [{"id": "topic_01h455vb4pex5vsknk084sn02q", "topic": "", "scope": "GLOBAL", "scopeId": None}]},
        {"topics": [{"id": "topic_01h455vb4pex5vsknk084sn02q", "topic": "a", "scope": "GLOBAL", "scopeId": None}] * 2},
    ],
)
async def test_a_version_that_is_not_whole_is_refused(
    gateway: Gateway, tenants: Tenants, admin: Principal, snapshot: Any
) -> None:
    await _rewrite(gateway, tenants.mine, 100, snapshot)
    assert await refused(gateway, admin, ROLLBACK, version=100) == ("INVALID", ["input", "version"])


async def test_a_topic_of_an_agent_that_is_gone_does_not_come_back(gateway: Gateway, admin: Principal) -> None:
    agent = await make(gateway, admin)
    topic = await done(gateway, admin, PROHIBIT, topic="wages", scope="AGENT", scopeId=agent["id"])
    await done(gateway, admin, ALLOW, id=topic["id"])
    await done(gateway, admin, DELETE_AGENT, id=agent["id"])
    answer = await answered(gateway, admin, ROLLBACK, version=1)
    assert [one["message"] for one in answer["userErrors"]] == [
        "The topic “wages” of that version is of an agent that is gone."
    ]


async def test_a_rollback_from_what_has_passed_shows_what_is_newest(gateway: Gateway, admin: Principal) -> None:
    await rule(gateway, admin)
    await rule(gateway, admin, name="second")
    late = await answered(gateway, admin, ROLLBACK, version=1, expectedVersion=1)
    assert (late["userErrors"][0]["code"], late["governanceVersion"]["version"]) == ("CONFLICT", 2)
    for number in (0, 3, -1, 2**31 - 1):
        assert await refused(gateway, admin, ROLLBACK, version=number) == ("NOT_FOUND", ["input", "version"])
    assert len(await versions(gateway, admin)) == 2


async def test_changes_at_the_same_time_are_versions_one_after_the_other(gateway: Gateway, admin: Principal) -> None:
    count = 8
    made = [gateway.data(admin, CREATE, input={**ZONING, "name": f"rule {number}"}) for number in range(count)]
    await asyncio.gather(*made)
    found = await versions(gateway, admin)
    assert [one["version"] for one in found] == list(range(count, 0, -1))
    sizes = [len((await _snapshot(gateway, admin, number))["rules"]) for number in range(1, count + 1)]
    assert sizes == list(range(1, count + 1))
    record(6, "every change makes a complete version", count, "numbered without gaps, each whole")


async def test_a_retry_under_a_key_rolls_back_once(gateway: Gateway, admin: Principal) -> None:
    await rule(gateway, admin)
    await rule(gateway, admin, name="second")
    first = await done(gateway, admin, ROLLBACK, version=1, idempotencyKey="once")
    again = await done(gateway, admin, ROLLBACK, version=1, idempotencyKey="once")
    assert (again["id"], len(await versions(gateway, admin))) == (first["id"], 3)


@pytest.mark.parametrize("count", [1, 40])
async def test_a_rollback_costs_as_many_statements_for_any_number_of_rules(
    gateway: Gateway, tenants: Tenants, admin: Principal, count: int
) -> None:
    entry: dict[str, Any] = {
        "id": "",
        "description": "",
        "tier": "standard",
        "conditions": {"domain": "HR"},
        "hitlMode": "DRAFT",
    }
    entry |= {"localOnly": False, "escalationReason": None, "priority": 1, "enabled": True}
    rules = [{**entry, "id": f"policy_{parse_free(number)}", "name": f"{number}"} for number in range(count)]
    await _rewrite(gateway, tenants.mine, 100, {"rules": rules, "topics": []})
    with counted(gateway.services.database) as statements:
        await done(gateway, admin, ROLLBACK, version=100)
    assert len(await _names(gateway, admin)) == count
    assert len(statements) <= 24
    assert len([one for one in statements if "policy_rules" in one]) <= 3


def parse_free(number: int) -> str:
    """A suffix of an id that nothing has."""
    return f"01h455vb4pex5vsknk084sn{number:03}"


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.MEMBER, Role.VIEWER])
async def test_the_history_is_for_auditors_and_admins(
    gateway: Gateway, tenants: Tenants, admin: Principal, role: Role
) -> None:
    await rule(gateway, admin)
    who = await person(gateway, tenants.mine, role)
    for document, said in (
        ("{ governanceVersions { nodes { id } } }", {}),
        (DIFFERENCE, {"a": 0, "b": 1}),
        (ROLLBACK, {"input": {"version": 1}}),
    ):
        answer = await gateway.answer(who, document, **said)
        assert [one["extensions"]["code"] for one in answer["errors"]] == ["FORBIDDEN"]
    auditor = await person(gateway, tenants.mine, Role.AUDITOR)
    assert len(await versions(gateway, auditor)) == 1


async def test_another_tenants_history_is_not_there(gateway: Gateway, tenants: Tenants, admin: Principal) -> None:
    await rule(gateway, admin)
    (mine,) = await versions(gateway, admin)
    stranger = await person(gateway, tenants.other)
    assert await versions(gateway, stranger) == []
    assert (await gateway.data(stranger, SNAPSHOT, id=mine["id"]))["governanceVersion"] is None
    assert (await gateway.data(stranger, DIFFERENCE, a=0, b=1))["governanceDifference"] is None
    assert await refused(gateway, stranger, ROLLBACK, version=1) == ("NOT_FOUND", ["input", "version"])
