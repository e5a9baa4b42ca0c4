"""This module is where policies are specified as callers see them: rules, who changes them, and what they say."""

from __future__ import annotations

from typing import Any, Final

import pytest
from sqlalchemy import func, select, update

from models import AuditEvent, PolicyRule, QueryEvent, Role
from models.governance import BUILT_IN
from models.ids import encode, parse
from resolvers.principal import Principal
from tests.conftest import counted
from tests.report import record
from tests.schema.conftest import Gateway
from tests.schema.policies import ALLOW, CREATE, DELETE, PROHIBIT, UPDATE, ZONING, evaluated, keeper, rule, versions
from tests.schema.staff import answered, done, kinds, make, nobody, person, refused
from tests.world import Tenants

SAMPLES: Final = [
    ("Please transfer $12,500 to vendor Apex Paving", "ESCALATE", ["FINANCIAL"], "Finance", "financial-safeguard"),
    ("Draft a press release on the water main break", "ESCALATE", ["PUBLIC_STATEMENT"], "Comms", "no-external-posting"),
    ("Summarise NDA terms", "DRAFT", ["LEGAL_CONTRACT"], "Legal", "legal-review"),
    ("My SSN is 123-45-6789", "DRAFT", ["PII"], "General", "pii-protection"),
]
LIST: Final = "{ policyRules(first: 100) { totalCount nodes { id name tier priority isShared isImmutable } } }"


@pytest.fixture
async def admin(gateway: Gateway, tenants: Tenants) -> Principal:
    """Somebody of mine who may everything."""
    return await person(gateway, tenants.mine)


@pytest.fixture
def platform() -> Principal:
    """A platform administrator at home."""
    return keeper()


async def _count(gateway: Gateway, tenants: Tenants, model: Any) -> int:
    async with gateway.services.database.session(tenants.mine) as session:
        found = await session.scalar(select(func.count()).select_from(model).where(model.tenant_id == tenants.mine))
    return int(found or 0)


@pytest.mark.parametrize(("query", "mode", "signals", "domain", "name"), SAMPLES)
async def test_a_tenant_without_rules_of_its_own_has_the_constitution(
    gateway: Gateway, admin: Principal, query: str, mode: str, signals: list[str], domain: str, name: str
) -> None:
    said = await evaluated(gateway, admin, query)
    assert (said["hitlMode"], said["riskSignals"], said["intentDomain"]) == (mode, signals, domain)
    constitutional = encode("policy", BUILT_IN[name])
    assert said["escalationRule"] == {"id": constitutional, "name": name}
    assert said["matchedRules"] == [{"id": constitutional, "name": name}]
    assert [one["rule"]["id"] for one in said["matches"]] == [constitutional]
    assert all(one["reasons"] for one in said["matches"])
    assert (said["approvalRequired"], said["localOnly"], said["riskLevel"]) == (True, signals == ["PII"], "MEDIUM")
    record(6, "evaluatePolicy gives the samples of the domain", len(SAMPLES), "all as they are described")


async def test_rules_stand_in_the_order_of_evaluation(gateway: Gateway, admin: Principal) -> None:
    for name, tier, priority in (("c", "standard", 9), ("b", "organization", 1), ("a", "organization", 2)):
        await rule(gateway, admin, name=name, tier=tier, priority=priority)
    page = (await gateway.data(admin, LIST))["policyRules"]
    found = [(one["name"], one["isShared"]) for one in page["nodes"] if one["isShared"] is False or one["isImmutable"]]
    assert found == [*((name, True) for name in BUILT_IN), ("a", False), ("b", False), ("c", False)]
    assert page["totalCount"] == len(page["nodes"])


async def test_a_rule_is_made_changed_and_taken_away_and_holds_at_once(gateway: Gateway, admin: Principal) -> None:
    made = await rule(gateway, admin, escalationReason="because", localOnly=True, priority=7, tier="Department")
    assert (made["tier"], made["priority"], made["enabled"], made["version"]) == ("department", 7, True, 1)
    assert (made["isImmutable"], made["isShared"], made["approvalRequired"]) == (False, False, True)
    said = await evaluated(gateway, admin, "the zoning map")
    assert (said["hitlMode"], said["localOnly"], said["escalationReason"]) == ("DRAFT", True, "because")
    assert said["matches"] == [
        {"rule": {"id": made["id"]}, "name": "zoning", "hitlMode": "DRAFT", "reasons": ["It contains “zoning”."]}
    ]
    changes = {"hitlMode": "ESCALATE", "escalationReason": None, "description": None, "conditions": {"domain": "HR"}}
    changed = await done(gateway, admin, UPDATE, id=made["id"], expectedVersion=1, **changes)
    assert (changed["version"], changed["conditions"], changed["escalationReason"]) == (2, {"domain": "HR"}, None)
    assert (await evaluated(gateway, admin, "the zoning map"))["hitlMode"] == "INFORM"
    assert (await evaluated(gateway, admin, "vacation"))["escalationReason"] == "The policy “zoning” asks for it."
    assert await done(gateway, admin, DELETE, id=made["id"], expectedVersion=2) == made["id"]
    assert (await evaluated(gateway, admin, "vacation"))["hitlMode"] == "INFORM"
    assert await kinds(gateway, admin, [made["id"]]) == ["policy.created", "policy.updated", "policy.deleted"]


async def test_a_rule_that_was_changed_meanwhile_is_shown_as_it_stands(gateway: Gateway, admin: Principal) -> None:
    made = await rule(gateway, admin)
    await done(gateway, admin, UPDATE, id=made["id"], expectedVersion=1, name="newer")
    late = await answered(gateway, admin, UPDATE, id=made["id"], expectedVersion=1, name="older")
    assert (late["userErrors"][0]["code"], late["policyRule"]["name"]) == ("CONFLICT", "newer")
    assert await refused(gateway, admin, DELETE, id=made["id"], expectedVersion=1) == (
        "CONFLICT",
        ["input", "expectedVersion"],
    )


async def test_a_change_that_changes_nothing_makes_no_version(gateway: Gateway, admin: Principal) -> None:
    made = await rule(gateway, admin)
    said = {"name": "zoning", "conditions": {"keywords": ["zoning"]}}
    same = await done(gateway, admin, UPDATE, id=made["id"], expectedVersion=1, **said)
    assert same["version"] == 1
    assert len(await versions(gateway, admin)) == 1


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ({"name": ""}, ["name"]),
        ({"name": "a\nb"}, ["name"]),
        ({"description": "x" * 2001}, ["description"]),
        ({"tier": "supreme"}, ["tier"]),
        ({"conditions": {}}, ["conditions"]),
        ({"conditions": []}, ["conditions"]),
        ({"conditions": {"keyword": ["x"]}}, ["conditions", "keyword"]),
        ({"conditions": {"keywords": ["x", ""]}}, ["conditions", "keywords", "1"]),
        ({"conditions": {"riskSignals": ["FIRE"]}}, ["conditions", "riskSignals", "0"]),
        ({"conditions": {"minConfidence": 0}}, ["conditions", "minConfidence"]),
        ({"escalationReason": "x" * 1001}, ["escalationReason"]),
        ({"priority": 10_001}, ["priority"]),
        ({"note": ""}, ["note"]),
    ],
)
async def test_a_rule_that_is_malformed_is_refused_by_the_path_and_nothing_changes(
    gateway: Gateway, admin: Principal, said: dict[str, Any], path: list[str]
) -> None:
    assert await refused(gateway, admin, CREATE, **{**ZONING, **said}) == ("INVALID", ["input", *path])
    made = await rule(gateway, admin)
    changed = await refused(gateway, admin, UPDATE, id=made["id"], expectedVersion=1, **said)
    assert changed == ("INVALID", ["input", *path])
    assert len(await versions(gateway, admin)) == 1


@pytest.mark.parametrize("field", ["name", "tier", "conditions", "hitlMode", "localOnly", "priority", "enabled"])
async def test_what_a_rule_must_say_cannot_be_cleared(gateway: Gateway, admin: Principal, field: str) -> None:
    made = await rule(gateway, admin)
    changed = await refused(gateway, admin, UPDATE, id=made["id"], expectedVersion=1, **{field: None})
    assert changed == ("INVALID", ["input", field])


@pytest.mark.parametrize("name", BUILT_IN)
async def test_the_constitution_is_everybodys_to_read_and_nobodys_to_change(
    gateway: Gateway, tenants: Tenants, admin: Principal, platform: Principal, name: str
) -> None:
    one = encode("policy", BUILT_IN[name])
    viewer = await person(gateway, tenants.other, Role.VIEWER)
    found = await gateway.data(viewer, "query($id: ID!) { policyRule(id: $id) { name isImmutable isShared } }", id=one)
    assert found["policyRule"] == {"name": name, "isImmutable": True, "isShared": True}
    for who in (admin, platform):
        for document, said in ((UPDATE, {"expectedVersion": 1, "enabled": False}), (DELETE, {})):
            assert await refused(gateway, who, document, id=one, **said) == ("IMMUTABLE", ["input", "id"])
    assert (await evaluated(gateway, admin, "a press release on the nda"))["hitlMode"] == "ESCALATE"


async def test_a_rule_that_was_made_immutable_is_refused_to_its_own_tenant(
    gateway: Gateway, tenants: Tenants, admin: Principal
) -> None:
    made = await rule(gateway, admin)
    async with gateway.services.database.session(tenants.mine) as session:
        mine = PolicyRule.tenant_id == tenants.mine, PolicyRule.id == parse(made["id"], "policy")
        await session.execute(update(PolicyRule).where(*mine).values(is_immutable=True))
        await session.commit()
    answer = await answered(gateway, admin, UPDATE, id=made["id"], expectedVersion=1, enabled=False)
    assert (answer["userErrors"][0]["code"], answer["policyRule"]["enabled"]) == ("IMMUTABLE", True)
    assert await refused(gateway, admin, DELETE, id=made["id"]) == ("IMMUTABLE", ["input", "id"])


async def test_a_rule_can_only_make_the_constitution_stricter(gateway: Gateway, admin: Principal) -> None:
    said = {"conditions": {"keywords": ["press"]}, "hitlMode": "INFORM", "tier": "constitutional", "priority": 10_000}
    await rule(gateway, admin, **said)
    assert (await evaluated(gateway, admin, "a press release"))["hitlMode"] == "ESCALATE"
    await rule(gateway, admin, conditions={"riskSignals": ["PII"]}, hitlMode="ESCALATE")
    said = await evaluated(gateway, admin, "My SSN is 123-45-6789")
    assert (said["hitlMode"], said["localOnly"]) == ("ESCALATE", True)


async def test_what_the_platform_adds_holds_for_every_tenant_at_once(
    gateway: Gateway, tenants: Tenants, platform: Principal
) -> None:
    people = [await person(gateway, one, Role.OPERATOR) for one in (tenants.mine, tenants.other)]
    for who in people:
        assert (await evaluated(gateway, who, "a word of gobbledegook"))["hitlMode"] == "INFORM"
    made = await rule(gateway, platform, conditions={"keywords": ["gobbledegook"]})
    assert made["isShared"] is True
    for who in people:
        assert (await evaluated(gateway, who, "a word of gobbledegook"))["hitlMode"] == "DRAFT"
    await done(gateway, platform, DELETE, id=made["id"])
    for who in people:
        assert (await evaluated(gateway, who, "a word of gobbledegook"))["hitlMode"] == "INFORM"


async def test_another_tenants_rule_is_not_there_and_does_not_hold(
    gateway: Gateway, tenants: Tenants, admin: Principal
) -> None:
    made = await rule(gateway, admin)
    stranger = await person(gateway, tenants.other)
    assert (await evaluated(gateway, stranger, "the zoning map"))["hitlMode"] == "INFORM"
    for bad in (made["id"], nobody("policy"), nobody("topic"), "nonsense"):
        found = await gateway.data(stranger, "query($id: ID!) { policyRule(id: $id) { id } }", id=bad)
        assert found == {"policyRule": None}
        for document, said in ((UPDATE, {"expectedVersion": 1, "name": "x"}), (DELETE, {})):
            assert await refused(gateway, stranger, document, id=bad, **said) == ("NOT_FOUND", ["input", "id"])


@pytest.mark.parametrize("role", sorted(set(Role) - {Role.ADMIN}))
async def test_only_admins_change_policies(gateway: Gateway, tenants: Tenants, admin: Principal, role: Role) -> None:
    made = await rule(gateway, admin)
    who = await person(gateway, tenants.mine, role)
    for document, said in (
        (CREATE, ZONING),
        (UPDATE, {"id": made["id"], "expectedVersion": 1}),
        (DELETE, {"id": made["id"]}),
        (PROHIBIT, {"topic": "x"}),
        (ALLOW, {"id": nobody("topic")}),
    ):
        answer = await gateway.answer(who, document, input=said)
        assert [one["extensions"]["code"] for one in answer["errors"]] == ["FORBIDDEN"]


@pytest.mark.parametrize("role", [Role.MEMBER, Role.VIEWER, Role.AUDITOR])
async def test_only_those_who_run_agents_try_policies(gateway: Gateway, tenants: Tenants, role: Role) -> None:
    who = await person(gateway, tenants.mine, role)
    answer = await gateway.answer(who, '{ evaluatePolicy(query: "x") { hitlMode } }')
    assert [one["extensions"]["code"] for one in answer["errors"]] == ["FORBIDDEN"]


@pytest.mark.parametrize(
    "asked",
    [
        {"query": "x" * 131_073},
        {"query": "a\x00b"},
        {"query": "x", "confidence": 1.1},
        {"query": "x", "confidence": -0.1},
        {"query": "x", "department": "x" * 256},
    ],
)
async def test_a_question_that_makes_no_sense_is_one_clear_error(
    gateway: Gateway, admin: Principal, asked: dict[str, Any]
) -> None:
    document = """query($query: String!, $agentId: ID, $department: String, $confidence: Float) {
      evaluatePolicy(query: $query, agentId: $agentId, department: $department, confidence: $confidence) {
        hitlMode } }"""
    answer = await gateway.answer(admin, document, **asked)
    assert [one["extensions"]["code"] for one in answer["errors"]] == ["BAD_REQUEST"]
    assert answer["data"] == {"evaluatePolicy": None}


async def test_the_agents_domain_and_the_callers_confidence_are_taken_into_account(
    gateway: Gateway, tenants: Tenants, admin: Principal
) -> None:
    agent = await make(gateway, admin, domain="Permits")
    await rule(gateway, admin, name="permits", conditions={"domain": "Permits"})
    await rule(gateway, admin, name="unsure", conditions={"minConfidence": 0.5}, hitlMode="ESCALATE")
    said = await evaluated(gateway, admin, "vacation", agentId=agent["id"], confidence=0.9)
    assert [one["reasons"] for one in said["matches"]] == [["The agent's domain is Permits."]]
    said = await evaluated(gateway, admin, "vacation", confidence=0.25)
    assert (said["intentConfidence"], said["escalationRule"]["name"]) == (0.25, "unsure")
    stranger = await person(gateway, tenants.other)
    document = 'query($id: ID) { evaluatePolicy(query: "x", agentId: $id) { hitlMode } }'
    for id in (agent["id"], nobody("agent"), "nonsense"):
        assert await gateway.answer(stranger, document, id=id) == {"data": {"evaluatePolicy": None}}


async def test_a_dry_run_is_no_request_and_leaves_a_trace_only_where_it_would_not_go_through(
    gateway: Gateway, tenants: Tenants, admin: Principal
) -> None:
    await evaluated(gateway, admin, "When does the library open?")
    assert (await _count(gateway, tenants, AuditEvent), await _count(gateway, tenants, QueryEvent)) == (0, 0)
    await evaluated(gateway, admin, "Draft a press release for jane@example.org")
    assert (await _count(gateway, tenants, AuditEvent), await _count(gateway, tenants, QueryEvent)) == (1, 0)
    page = await gateway.data(admin, "{ auditEvents { nodes { action requiresReview details piiDetected } } }")
    (event,) = page["auditEvents"]["nodes"]
    assert (event["action"], event["requiresReview"], event["piiDetected"]) == ("policy.tried", False, ["email"])
    assert "jane" not in str(event)


@pytest.mark.parametrize("count", [1, 50])
async def test_an_evaluation_is_one_statement_for_any_number_of_rules(
    gateway: Gateway, tenants: Tenants, admin: Principal, count: int
) -> None:
    async with gateway.services.database.session(tenants.mine) as session:
        for number in range(count):
            session.add(
                PolicyRule(
                    tenant_id=tenants.mine,
                    name=f"rule {number}",
                    conditions={"keywords": [f"word{number}"]},
                    hitl_mode="inform",
                )
            )
        await session.commit()
    document = '{ evaluatePolicy(query: "word0") { hitlMode } }'
    with counted(gateway.services.database) as first:
        await gateway.data(admin, document)
    with counted(gateway.services.database) as again:
        await gateway.data(admin, document)
    assert (len(first), len(again)) == (4, 1)
    with counted(gateway.services.database) as told:
        said = await evaluated(gateway, admin, "word0 word1")
    assert len(said["matches"]) == min(count, 2)
    assert len([one for one in told if "policy_rules" in one]) == 1
    record(6, "policies evaluated, statements", count, "1 statement, 4 after a change")


async def test_a_retry_under_a_key_makes_one_rule_and_one_version(gateway: Gateway, admin: Principal) -> None:
    first = await rule(gateway, admin, idempotencyKey="once")
    again = await rule(gateway, admin, idempotencyKey="once")
    assert again["id"] == first["id"]
    assert len(await versions(gateway, admin)) == 1


async def test_what_is_told_of_a_rule_holds_no_text_of_it(gateway: Gateway, admin: Principal) -> None:
    made = await rule(gateway, admin, conditions={"keywords": ["canary"]}, escalationReason="canary")
    page = await gateway.data(admin, "{ activity(first: 10) { nodes { topic kind entityId payload } } }")
    (event,) = [one for one in page["activity"]["nodes"] if one["entityId"] == made["id"]]
    assert (event["topic"], event["payload"]) == ("GOVERNANCE", {"hitl_mode": "draft"})


async def test_a_tenant_can_have_so_many_rules_and_no_more(
    gateway: Gateway, tenants: Tenants, admin: Principal
) -> None:
    async with gateway.services.database.session(tenants.mine) as session:
        for number in range(500):
            session.add(
                PolicyRule(tenant_id=tenants.mine, name=f"{number}", conditions={"domain": "HR"}, hitl_mode="inform")
            )
        await session.commit()
    assert await refused(gateway, admin, CREATE, **ZONING) == ("LIMIT_EXCEEDED", None)
    assert await versions(gateway, admin) == []
