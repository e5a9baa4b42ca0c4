"""This module is where tenants are specified as callers see them: what they may have, and what they take along."""

from __future__ import annotations

from typing import Any

from models import PLATFORM_TENANT_ID, Role, Scope, User, UserStatus
from models.ids import encode, uuid7
from resolvers.principal import Principal
from tests.schema.conftest import Gateway
from tests.world import Tenants, principal

CHANGE = """mutation($input: UpdateTenantInput!) { updateTenant(input: $input) {
  tenant { plan cancelledAt effectiveLimits { agents workspaces subscriptions requestsPerMinute } }
  userErrors { code field } } }"""
EXPORT = "query($after: String) { tenantExport(after: $after, lines: 2) { lines nextCursor } }"


def chief() -> Principal:
    """A platform administrator."""
    return principal(PLATFORM_TENANT_ID, scopes=frozenset(Scope), user_id=uuid7(), is_platform_admin=True)


async def changed(gateway: Gateway, tenants: Tenants, **said: Any) -> dict[str, Any]:
    """The payload of updateTenant, by the platform."""
    given = {"id": encode("tenant", tenants.mine), **said}
    answer: dict[str, Any] = (await gateway.data(chief(), CHANGE, input=given))["updateTenant"]
    return answer


async def test_plan_and_own_limits_together_are_what_a_tenant_may_have(gateway: Gateway, tenants: Tenants) -> None:
    answer = await changed(gateway, tenants, plan="FREE", limits={"workspaces": 1, "agents": None})
    assert answer["tenant"] == {
        "plan": "FREE",
        "cancelledAt": None,
        "effectiveLimits": {"agents": None, "workspaces": 1, "subscriptions": 500, "requestsPerMinute": 60_000},
    }
    document = (
        """mutation { createWorkspace(input: {name: "Place"}) { workspace { name } userErrors { code field } } }"""
    )
    who = principal(tenants.mine, user_id=uuid7())
    first, second = [(await gateway.data(who, document))["createWorkspace"] for _ in range(2)]
    assert first == {"workspace": {"name": "Place"}, "userErrors": []}
    assert second == {"workspace": None, "userErrors": [{"code": "LIMIT_EXCEEDED", "field": None}]}


async def test_a_limit_that_is_none_is_refused_by_its_name(gateway: Gateway, tenants: Tenants) -> None:
    answer = await changed(gateway, tenants, limits={"workspaces": "many"})
    assert answer == {
        "tenant": None,
        "userErrors": [{"code": "INVALID", "field": ["input", "limits", "workspaces"]}],
    }


async def test_a_cancelled_tenant_says_since_when_and_one_that_is_back_does_not(
    gateway: Gateway, tenants: Tenants
) -> None:
    assert (await changed(gateway, tenants, status="CANCELLED"))["tenant"]["cancelledAt"]
    assert (await changed(gateway, tenants, status="ACTIVE"))["tenant"]["cancelledAt"] is None


async def test_an_admin_reads_the_export_page_by_page_and_nobody_else_does(gateway: Gateway, tenants: Tenants) -> None:
    for tenant_id in (tenants.mine, tenants.other):
        async with gateway.services.database.session(tenant_id) as session:
            session.add_all(
                User(tenant_id=tenant_id, id=uuid7(), username=f"user{number}", status=UserStatus.ACTIVE, roles=[])
                for number in range(3)
            )
            await session.commit()
    admin = principal(tenants.mine, Role.ADMIN, user_id=uuid7())
    lines: list[dict[str, Any]] = []
    after: str | None = None
    while True:
        page = (await gateway.data(admin, EXPORT, after=after))["tenantExport"]
        assert len(page["lines"]) <= 2
        lines += page["lines"]
        after = page["nextCursor"]
        if after is None:
            break
    assert [one["row"]["username"] for one in lines if one["table"] == "users"] == ["user0", "user1", "user2"]
    assert {one["row"].get("tenant_id", str(tenants.mine)) for one in lines} == {str(tenants.mine)}
    key = principal(tenants.mine, Role.API_CLIENT, scopes=frozenset({Scope.TENANTS_WRITE}), api_key_id=uuid7())
    for who in (key, principal(tenants.mine, Role.OPERATOR, user_id=uuid7())):
        (error,) = (await gateway.answer(who, EXPORT))["errors"]
        assert error["extensions"]["code"] == "FORBIDDEN"
    (error,) = (await gateway.answer(admin, EXPORT, after="nonsense"))["errors"]
    assert error["extensions"]["code"] == "BAD_REQUEST"
