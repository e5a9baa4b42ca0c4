"""This module is where tests of policies find the documents that people send about them."""

from __future__ import annotations

from typing import Any, Final

from models import PLATFORM_TENANT_ID, Role, Scope
from models.scopes import ROLE_SCOPES
from resolvers.principal import Principal
from tests.schema.conftest import Gateway
from tests.schema.staff import done, mutation

RULE: Final = """id name description tier conditions hitlMode localOnly approvalRequired escalationReason priority
  isImmutable isShared enabled version createdAt updatedAt"""
CREATE: Final = mutation("createPolicyRule", "policyRule", RULE)
UPDATE: Final = mutation("updatePolicyRule", "policyRule", RULE)
DELETE: Final = mutation("deletePolicyRule", "deletedId", "")
TOPIC: Final = "id topic scope scopeId agent { id } version"
PROHIBIT: Final = mutation("createProhibitedTopic", "prohibitedTopic", TOPIC)
AMEND: Final = mutation("updateProhibitedTopic", "prohibitedTopic", TOPIC)
ALLOW: Final = mutation("deleteProhibitedTopic", "deletedId", "")
ROLLBACK: Final = mutation("rollbackGovernance", "governanceVersion", "id version description changedBy { id }")
EVALUATE: Final = """query($query: String!, $agentId: ID, $department: String, $confidence: Float) {
  evaluatePolicy(query: $query, agentId: $agentId, department: $department, confidence: $confidence) {
    hitlMode localOnly approvalRequired escalationReason escalationRule { id name } intentDomain intentConfidence
    riskSignals riskLevel matchedRules { id name } matches { rule { id } name hitlMode reasons } prohibitedTopics } }"""
VERSIONS: Final = "{ governanceVersions(first: 100) { totalCount nodes { id version description changedBy { id } } } }"
ZONING: Final[dict[str, Any]] = {"name": "zoning", "conditions": {"keywords": ["zoning"]}, "hitlMode": "DRAFT"}


def keeper() -> Principal:
    """A platform administrator at home."""
    return Principal(
        tenant_id=PLATFORM_TENANT_ID,
        roles=frozenset({Role.ADMIN}),
        scopes=ROLE_SCOPES[Role.ADMIN] | {Scope.PLATFORM_ADMIN},
        is_platform_admin=True,
    )


async def rule(gateway: Gateway, who: Principal, **said: Any) -> dict[str, Any]:
    """A rule about zoning, unless told otherwise."""
    made: dict[str, Any] = await done(gateway, who, CREATE, **{**ZONING, **said})
    return made


async def evaluated(gateway: Gateway, who: Principal, query: str, /, **asked: Any) -> dict[str, Any]:
    """What the policies say."""
    found: dict[str, Any] = (await gateway.data(who, EVALUATE, query=query, **asked))["evaluatePolicy"]
    return found


async def versions(gateway: Gateway, who: Principal) -> list[dict[str, Any]]:
    """The tenant's versions, newest first."""
    found: list[dict[str, Any]] = (await gateway.data(who, VERSIONS))["governanceVersions"]["nodes"]
    return found
