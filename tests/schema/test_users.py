"""This module is where people, tenants and consents are specified as callers see them: lists, rights, user errors."""

from __future__ import annotations

from typing import Any

import pytest

from models import PLATFORM_TENANT_ID, Role, Scope, User, UserStatus
from models.ids import encode, uuid7
from resolvers.principal import Principal
from tests.schema.conftest import Gateway
from tests.world import Tenants, principal

CONSENTS = """query($filter: ConsentFilter) { consents(filter: $filter) {
  totalCount nodes { consentType granted user { id } } } }"""
GRANT = "mutation($kind: String!) { grantConsent(input: {consentType: $kind}) { consent { id } userErrors { code } } }"
REVOKE = """mutation($kind: String!) { revokeConsent(input: {consentType: $kind}) {
  consents { id granted } userErrors { code } } }"""
UPDATE = """mutation($input: UpdateUserInput!) { updateUser(input: $input) {
  user { id preferences } userErrors { code field message } } }"""
DELETE = "mutation($id: ID!) { deleteUser(input: {id: $id}) { deletedId userErrors { code field } } }"


async def person(gateway: Gateway, tenants: Tenants, role: Role = Role.VIEWER) -> Principal:
    """Somebody of the tenant."""
    row = User(tenant_id=tenants.mine, id=uuid7(), roles=[role.value], status=UserStatus.ACTIVE)
    async with gateway.services.database.session(tenants.mine) as session:
        session.add(row)
        await session.commit()
    return principal(tenants.mine, role, user_id=row.id)


def id_of(who: Principal) -> str:
    """The person's TypeID."""
    assert who.user_id is not None
    return encode("user", who.user_id)


async def consents(gateway: Gateway, who: Principal, **filter: Any) -> dict[str, Any]:
    """The page."""
    page: dict[str, Any] = (await gateway.data(who, CONSENTS, filter=filter))["consents"]
    return page


async def test_without_the_scope_the_list_is_ones_own_whatever_is_asked_for(gateway: Gateway, tenants: Tenants) -> None:
    ada, eve = await person(gateway, tenants), await person(gateway, tenants)
    for who, kind in ((ada, "marketing_mail"), (eve, "marketing_mail"), (eve, "data_processing")):
        assert (await gateway.data(who, GRANT, kind=kind))["grantConsent"]["userErrors"] == []
    mine = await consents(gateway, ada)
    assert (mine["totalCount"], [one["user"]["id"] for one in mine["nodes"]]) == (1, [id_of(ada)])
    assert await consents(gateway, ada, userId=id_of(eve)) == {"totalCount": 0, "nodes": []}
    assert await consents(gateway, ada, userId="nonsense") == {"totalCount": 0, "nodes": []}
    admin = await person(gateway, tenants, Role.ADMIN)
    assert (await consents(gateway, admin))["totalCount"] == 3
    assert (await consents(gateway, admin, consentType=["marketing_mail"]))["totalCount"] == 2
    assert (await consents(gateway, admin, userId=id_of(eve)))["totalCount"] == 2
    machine = principal(tenants.mine, Role.API_CLIENT, api_key_id=uuid7())
    assert (await consents(gateway, machine))["totalCount"] == 0
    stranger = principal(tenants.other, Role.ADMIN, user_id=uuid7())
    assert (await consents(gateway, stranger, userId=id_of(eve)))["totalCount"] == 0


async def test_a_withdrawal_answers_with_what_stood_and_a_node_is_its_persons_alone(
    gateway: Gateway, tenants: Tenants
) -> None:
    ada, eve = await person(gateway, tenants), await person(gateway, tenants)
    id = (await gateway.data(ada, GRANT, kind="marketing_mail"))["grantConsent"]["consent"]["id"]
    node = "query($id: ID!) { node(id: $id) { ... on Consent { consentType } } }"
    assert (await gateway.data(ada, node, id=id))["node"] == {"consentType": "marketing_mail"}
    foreign, unknown = [await gateway.answer(eve, node, id=one) for one in (id, encode("consent", uuid7()))]
    assert foreign == unknown
    answer = (await gateway.data(ada, REVOKE, kind="marketing_mail"))["revokeConsent"]
    assert answer == {"consents": [{"id": id, "granted": False}], "userErrors": []}
    again = (await gateway.data(ada, REVOKE, kind="marketing_mail"))["revokeConsent"]
    assert again == {"consents": [], "userErrors": []}
    wrong = (await gateway.data(ada, REVOKE, kind="Marketing mail"))["revokeConsent"]
    assert wrong == {"consents": None, "userErrors": [{"code": "INVALID"}]}


async def test_preferences_are_refused_by_the_name_of_what_is_wrong(gateway: Gateway, tenants: Tenants) -> None:
    ada = await person(gateway, tenants)
    id = id_of(ada)
    answer = (await gateway.data(ada, UPDATE, input={"id": id, "preferences": {"theme": "pink"}}))["updateUser"]
    (error,) = answer["userErrors"]
    assert (answer["user"], error["code"], error["field"]) == (None, "INVALID", ["input", "preferences", "theme"])
    answer = (await gateway.data(ada, UPDATE, input={"id": id, "preferences": {"theme": "dark"}}))["updateUser"]
    assert answer == {"user": {"id": id, "preferences": {"theme": "dark"}}, "userErrors": []}


async def test_a_deleted_person_is_named_and_the_last_admin_is_not_deleted(gateway: Gateway, tenants: Tenants) -> None:
    admin, ada = await person(gateway, tenants, Role.ADMIN), await person(gateway, tenants)
    id = id_of(ada)
    assert (await gateway.data(admin, DELETE, id=id))["deleteUser"] == {"deletedId": id, "userErrors": []}
    for gone in (id, "nonsense", encode("user", uuid7())):
        assert (await gateway.data(admin, DELETE, id=gone))["deleteUser"] == {
            "deletedId": None,
            "userErrors": [{"code": "NOT_FOUND", "field": ["input", "id"]}],
        }
    assert (await gateway.data(admin, DELETE, id=id_of(admin)))["deleteUser"] == {
        "deletedId": None,
        "userErrors": [{"code": "ILLEGAL_TRANSITION", "field": ["input", "status"]}],
    }
    refused = await gateway.answer(await person(gateway, tenants, Role.OPERATOR), DELETE, id=id)
    assert refused["errors"][0]["extensions"]["code"] == "FORBIDDEN"


@pytest.mark.parametrize("order", ["NAME", "CREATED_AT"])
async def test_the_platform_lists_tenants_by_plan_status_and_name(
    gateway: Gateway, tenants: Tenants, order: str
) -> None:
    document = """query($filter: TenantFilter, $order: TenantOrder) { tenants(first: 100, filter: $filter,
      orderBy: $order) { totalCount nodes { id name plan status } } }"""
    scopes = frozenset(Scope)
    chief = principal(PLATFORM_TENANT_ID, scopes=scopes, user_id=uuid7(), is_platform_admin=True)
    change = "mutation($id: ID!) { updateTenant(input: {id: $id, plan: PRO, status: SUSPENDED}) { tenant { plan } } }"
    id = encode("tenant", tenants.other)
    assert (await gateway.data(chief, change, id=id))["updateTenant"]["tenant"] == {"plan": "PRO"}
    variables = {"filter": {"plan": ["PRO"], "status": ["SUSPENDED"]}, "order": {"field": order, "direction": "DESC"}}
    page = (await gateway.data(chief, document, **variables))["tenants"]
    assert id in {one["id"] for one in page["nodes"]}
    assert {(one["plan"], one["status"]) for one in page["nodes"]} == {("PRO", "SUSPENDED")}
    admin = principal(tenants.mine, Role.ADMIN, user_id=uuid7())
    refused = await gateway.answer(admin, document, **variables)
    assert refused["errors"][0]["extensions"]["code"] == "FORBIDDEN"
