"""This module is where rules for alerts are specified: made, changed, put in order, forgotten, and tried out."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import pytest

from models import AlertStatus, Role, utcnow
from resolvers.alert_ingestion import SentAlert
from tests.conftest import counted
from tests.gateway.test_alertmanager import alert as written
from tests.schema.alerting import START, Alerting, sent
from tests.schema.conftest import Gateway
from tests.schema.staff import answered, done, kinds, mutation, nobody, person, refused
from tests.world import Tenants

FIELDS: Final = (
    "id name description priority alertNamePattern severityPattern instancePattern jobPattern action enabled version "
    "createdBy { id }"
)
CREATE: Final = mutation("createAlertRule", "alertRule", FIELDS)
UPDATE: Final = mutation("updateAlertRule", "alertRule", FIELDS)
DELETE: Final = mutation("deleteAlertRule", "deletedId", "")
REORDER: Final = mutation("reorderAlertRules", "alertRules", "id priority version")
LIST: Final = """query($first: Int, $after: String) { alertRules(first: $first, after: $after) {
  totalCount pageInfo { hasNextPage endCursor } nodes { id name priority } } }"""
TEST: Final = """query($payload: JSON!) { testAlertRules(payload: $payload) { userErrors { code field }
  results { fingerprint alertName action rule { name } userErrors { code field } } } }"""
HISTORY: Final = """query($input: AlertRuleHistoryInput!) { alertRuleHistory(input: $input) { examined isComplete
  matched
  decided changes { actionTaken action count } alerts { fingerprint } userErrors { code field } } }"""
RULE: Final[dict[str, Any]] = {"name": "Critical DB", "alertNamePattern": "*Postgres*", "action": "AUTO_ANALYZE"}


@pytest.fixture
async def alerting(gateway: Gateway, tenants: Tenants) -> Alerting:
    return await Alerting.begin(gateway, tenants.mine)


@pytest.fixture
async def theirs(gateway: Gateway, tenants: Tenants) -> Alerting:
    return await Alerting.begin(gateway, tenants.other)


async def make(alerting: Alerting, **said: Any) -> dict[str, Any]:
    """A rule."""
    made: dict[str, Any] = await done(alerting.gateway, alerting.admin, CREATE, **(RULE | said))
    return made


async def names(alerting: Alerting) -> list[str]:
    """The rules' names in the order of evaluation, read in pages of two."""
    found: list[str] = []
    cursor: str | None = None
    while True:
        page = (await alerting.gateway.data(alerting.viewer, LIST, first=2, after=cursor))["alertRules"]
        found += [one["name"] for one in page["nodes"]]
        cursor = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            assert page["totalCount"] == len(found)
            return found


async def test_a_rule_is_made_changed_switched_and_forgotten(alerting: Alerting) -> None:
    made = await make(alerting)
    assert (made["priority"], made["enabled"], made["version"]) == (100, True, 1)
    assert [made[f"{one}Pattern"] for one in ("severity", "instance", "job")] == ["*", "*", "*"]
    assert made["createdBy"] is not None
    said: dict[str, Any] = {"id": made["id"], "severityPattern": "critical", "description": "pages", "priority": 10}
    changed = await done(alerting.gateway, alerting.admin, UPDATE, expectedVersion=1, **said)
    assert (changed["severityPattern"], changed["description"], changed["priority"]) == ("critical", "pages", 10)
    off = {"id": made["id"], "enabled": False, "severityPattern": None, "description": None}
    switched = await done(alerting.gateway, alerting.admin, UPDATE, expectedVersion=2, **off)
    assert (switched["enabled"], switched["severityPattern"], switched["description"]) == (False, "*", None)
    late = await answered(alerting.gateway, alerting.admin, UPDATE, expectedVersion=2, **off)
    assert (late["userErrors"][0]["code"], late["alertRule"]["version"]) == ("CONFLICT", 3)
    assert await done(alerting.gateway, alerting.admin, DELETE, id=made["id"], expectedVersion=3) == made["id"]
    assert await names(alerting) == []
    verbs = ("created", "updated", "updated", "deleted")
    assert await kinds(alerting.gateway, alerting.viewer, [made["id"]]) == [f"alert_rule.{verb}" for verb in verbs]


async def test_rules_are_filtered(alerting: Alerting) -> None:
    ids = [(await make(alerting, name=f"{on}", enabled=on))["id"] for on in (True, False)]
    document = "query($filter: AlertRuleFilter) { alertRules(filter: $filter) { nodes { id } } }"
    for filter, expected in (
        ({"enabled": False}, ids[1:]),
        ({"enabled": True, "action": ["AUTO_ANALYZE"]}, ids[:1]),
        ({"action": ["IGNORE"]}, []),
    ):
        page = (await alerting.gateway.data(alerting.viewer, document, filter=filter))["alertRules"]
        assert [one["id"] for one in page["nodes"]] == expected


async def test_a_retry_under_a_key_makes_one_rule(alerting: Alerting) -> None:
    first = await make(alerting, idempotencyKey="one")
    assert (await make(alerting, idempotencyKey="one"))["id"] == first["id"]
    assert len(await names(alerting)) == 1


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "two\nlines"}, "name"),
        ({"alertNamePattern": ""}, "alertNamePattern"),
        ({"alertNamePattern": "*a" * 128}, "alertNamePattern"),
        ({"severityPattern": "a\u0000b"}, "severityPattern"),
        ({"instancePattern": "x" * 256}, "instancePattern"),
        ({"jobPattern": " "}, "jobPattern"),
        ({"priority": -1}, "priority"),
        ({"priority": 1_000_001}, "priority"),
        ({"description": "x" * 4_001}, "description"),
    ],
)
async def test_a_bad_rule_is_one_user_error_and_makes_nothing(
    alerting: Alerting, said: dict[str, Any], field: str
) -> None:
    assert await refused(alerting.gateway, alerting.admin, CREATE, **(RULE | said)) == ("INVALID", ["input", field])
    assert await names(alerting) == []


@pytest.mark.parametrize("field", ["name", "action", "priority", "enabled"])
async def test_what_a_rule_cannot_be_without_is_not_cleared(alerting: Alerting, field: str) -> None:
    made = await make(alerting)
    said = {"id": made["id"], "expectedVersion": 1, field: None}
    assert await refused(alerting.gateway, alerting.admin, UPDATE, **said) == ("INVALID", ["input", field])


async def test_rules_stand_by_priority_then_age_and_are_put_in_another_order(alerting: Alerting) -> None:
    made = {
        name: (await make(alerting, name=name, priority=priority))["id"]
        for name, priority in (("a", 50), ("b", 10), ("c", 50), ("d", 50), ("e", 0))
    }
    assert await names(alerting) == ["e", "b", "a", "c", "d"]
    wanted = [made[name] for name in "dcbae"]
    moved = await done(alerting.gateway, alerting.admin, REORDER, ids=wanted)
    assert [(one["id"], one["priority"]) for one in moved] == [(one, 10 * n) for n, one in enumerate(wanted, start=1)]
    assert await names(alerting) == list("dcbae")
    again = await done(alerting.gateway, alerting.admin, REORDER, ids=wanted)
    assert [one["version"] for one in again] == [one["version"] for one in moved]


async def test_some_rules_are_moved_behind_another_and_the_rest_keep_their_order(alerting: Alerting) -> None:
    made = {name: (await make(alerting, name=name))["id"] for name in "abcde"}
    await done(alerting.gateway, alerting.admin, REORDER, ids=[made["e"], made["a"]], afterId=made["c"])
    assert await names(alerting) == list("bcead")
    await done(alerting.gateway, alerting.admin, REORDER, ids=[made["d"]])
    assert await names(alerting) == list("dbcea")


async def test_an_order_names_each_rule_once_and_none_of_another_tenants(alerting: Alerting, theirs: Alerting) -> None:
    a, b = (await make(alerting, name="a"))["id"], (await make(alerting, name="b"))["id"]
    foreign = (await make(theirs))["id"]
    for said, code, field in (
        ({"ids": [a, a]}, "INVALID", "ids"),
        ({"ids": [b, a], "afterId": a}, "INVALID", "ids"),
        ({"ids": [b, foreign]}, "NOT_FOUND", "ids"),
        ({"ids": [b, nobody("alert_rule")]}, "NOT_FOUND", "ids"),
        ({"ids": [b, "nonsense"]}, "NOT_FOUND", "ids"),
        ({"ids": [b], "afterId": foreign}, "NOT_FOUND", "afterId"),
        ({"ids": [b], "afterId": "nonsense"}, "NOT_FOUND", "afterId"),
    ):
        assert await refused(alerting.gateway, alerting.admin, REORDER, **said) == (code, ["input", field])
    assert await names(alerting) == ["a", "b"]


async def test_an_order_of_many_is_as_many_statements_as_one_of_few(alerting: Alerting) -> None:
    ids = [(await make(alerting, name=f"{n}"))["id"] for n in range(12)]
    seen = []
    for part in (ids, ids[::-1], ids):
        with counted(alerting.gateway.services.database) as statements:
            await done(alerting.gateway, alerting.admin, REORDER, ids=part)
        seen.append(len(statements))
    assert seen[0] == seen[1] == seen[2] <= 10


async def test_a_tenant_has_five_hundred_rules(alerting: Alerting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resolvers.alert_rules.MOST_RULES", 2)
    await make(alerting)
    await make(alerting)
    assert (await refused(alerting.gateway, alerting.admin, CREATE, **RULE))[0] == "LIMIT_EXCEEDED"


async def test_only_admins_make_rules_and_another_tenants_are_not_there(
    alerting: Alerting, theirs: Alerting, gateway: Gateway
) -> None:
    made, foreign = await make(alerting), await make(theirs)
    for role in (Role.VIEWER, Role.MEMBER, Role.OPERATOR, Role.AUDITOR):
        who = await person(gateway, alerting.tenant_id, role)
        for document, said in (
            (CREATE, RULE),
            (UPDATE, {"id": made["id"], "expectedVersion": 1, "enabled": False}),
            (DELETE, {"id": made["id"]}),
            (REORDER, {"ids": [made["id"]]}),
        ):
            answer = await gateway.answer(who, document, input=said)
            assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    for one in (foreign["id"], nobody("alert_rule"), "nonsense"):
        assert (await refused(gateway, alerting.admin, UPDATE, id=one, expectedVersion=1))[0] == "NOT_FOUND"
        assert (await refused(gateway, alerting.admin, DELETE, id=one))[0] == "NOT_FOUND"
        assert (await gateway.data(alerting.admin, "query($id: ID!) { alertRule(id: $id) { id } }", id=one)) == {
            "alertRule": None
        }
    assert await names(theirs) == ["Critical DB"]


async def test_a_payload_is_tried_and_nothing_is_stored(alerting: Alerting) -> None:
    await make(alerting, severityPattern="critical", priority=10)
    await make(alerting, name="noise", alertNamePattern="*", severityPattern="info", action="IGNORE", priority=50)
    await make(alerting, name="off", alertNamePattern="*", action="IGNORE", enabled=False, priority=0)
    labels = {"alertname": "PostgresDown", "severity": "critical"}
    payload = {
        "alerts": [
            written("a", labels=labels),
            written("b", labels=labels | {"severity": "info"}),
            written("c", labels=labels | {"severity": "warning"}),
            written("d", startsAt="yesterday"),
        ]
    }
    answer = (await alerting.gateway.data(alerting.viewer, TEST, payload=payload))["testAlertRules"]
    found = [(one["action"], one["rule"] and one["rule"]["name"]) for one in answer["results"]]
    assert found == [("AUTO_ANALYZE", "Critical DB"), ("IGNORE", "noise"), ("MANUAL", None), (None, None)]
    assert answer["results"][3]["userErrors"] == [{"code": "INVALID", "field": ["startsAt"]}]
    single = (await alerting.gateway.data(alerting.viewer, TEST, payload=written()))["testAlertRules"]
    assert [one["fingerprint"] for one in single["results"]] == ["5f3a"]
    assert await alerting.listed(filter={"includeIgnored": True}) == []
    wrong: list[Any] = [[], "x", {"alerts": {}}, {"alerts": [{}] * 101}, {"alerts": ["x" * 300_000]}]
    for bad in wrong:
        answer = (await alerting.gateway.data(alerting.viewer, TEST, payload=bad))["testAlertRules"]
        assert (answer["results"], answer["userErrors"][0]["code"]) == (None, "INVALID")


def _recent(fingerprint: str, days: float, **labels: str) -> SentAlert:
    return sent(fingerprint, AlertStatus.RESOLVED, (utcnow() - START).total_seconds() / 60 - days * 24 * 60, **labels)


async def test_a_rule_is_tried_on_what_came_in_the_last_days(alerting: Alerting, theirs: Alerting) -> None:
    strong = await make(alerting, name="strong", alertNamePattern="Disk*", action="MANUAL", priority=1)
    await theirs.send(_recent("theirs", 1))
    await alerting.send(
        _recent("a", 1),
        _recent("b", 2, severity="page"),
        _recent("c", 3, alertname="DiskSpaceLow"),
        _recent("d", 10),
    )
    draft: dict[str, Any] = {"alertNamePattern": "*", "action": "IGNORE"}

    async def history(**said: Any) -> dict[str, Any]:
        answer = await alerting.gateway.data(alerting.viewer, HISTORY, input=draft | said)
        found: dict[str, Any] = answer["alertRuleHistory"]
        return found

    found = await history()
    assert (found["examined"], found["isComplete"], found["matched"], found["decided"]) == (3, True, 3, 2)
    assert found["changes"] == [{"actionTaken": "MANUAL", "action": "IGNORE", "count": 2}]
    assert [one["fingerprint"] for one in found["alerts"]] == ["a", "b"]
    assert (await history(severityPattern="page"))["decided"] == 1
    assert (await history(priority=0))["decided"] == 3
    assert (await history(insteadOfId=strong["id"]))["decided"] == 3
    assert (await history(startedAfter=(utcnow() - timedelta(days=20)).isoformat()))["examined"] == 4
    unacceptable: tuple[dict[str, Any], ...] = (
        {"alertNamePattern": ""},
        {"startedAfter": (utcnow() - timedelta(days=40)).isoformat()},
        {"priority": -1},
    )
    for bad in unacceptable:
        refusal = await history(**bad)
        assert (refusal["examined"], refusal["userErrors"][0]["code"]) == (None, "INVALID")


async def test_a_change_of_a_rule_is_tried_at_the_rules_own_age(alerting: Alerting) -> None:
    older, younger = [await make(alerting, name=name, alertNamePattern="*", priority=50) for name in ("a", "b")]
    await alerting.send(_recent("one", 1))
    told = []
    draft: dict[str, Any] = {"alertNamePattern": "*", "action": "IGNORE", "priority": 50}
    changes: tuple[dict[str, Any], ...] = ({"insteadOfId": older["id"]}, {"insteadOfId": younger["id"]}, {})
    for said in changes:
        answer = await alerting.gateway.data(alerting.viewer, HISTORY, input=draft | said)
        told.append(answer["alertRuleHistory"]["decided"])
    assert told == [1, 0, 0]
    # Where it stands elsewhere than before, its age counts among the rules there.
    assert (await done(alerting.gateway, alerting.admin, UPDATE, id=older["id"], expectedVersion=1, priority=90))["id"]
    answer = await alerting.gateway.data(alerting.viewer, HISTORY, input=draft | {"insteadOfId": older["id"]})
    assert answer["alertRuleHistory"]["decided"] == 1
    refusal = await alerting.gateway.data(alerting.viewer, HISTORY, input=draft | {"insteadOfId": nobody("alert_rule")})
    assert refusal["alertRuleHistory"]["userErrors"] == [{"code": "NOT_FOUND", "field": ["input", "insteadOfId"]}]
