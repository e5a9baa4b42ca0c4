"""This module is where it is specified what callers see of secrets: that they exist, to admins, and no value ever."""

from __future__ import annotations

from typing import Any

from graphql import GraphQLObjectType

from models import Role, Scope
from models.ids import encode, parse, uuid7
from resolvers.principal import Principal
from schema.build import build, core
from tests.schema.conftest import Gateway
from tests.world import Fleet, Tenants, principal

FIELDS = "id key ownerType ownerId version setBy { id } owner { __typename id }"
SET = f"""mutation($input: SetSecretInput!) {{ setSecret(input: $input) {{
  secret {{ {FIELDS} }} userErrors {{ code field }} }} }}"""
DELETE = """mutation($input: DeleteSecretInput!) { deleteSecret(input: $input) {
  secret { id key } userErrors { code field } } }"""
LIST = """query($filter: SecretFilter, $orderBy: SecretOrder, $first: Int) {
  secrets(filter: $filter, orderBy: $orderBy, first: $first) { totalCount nodes { id key ownerId } } }"""
EFFECTIVE = "query($id: ID!) { effectiveSecrets(workspaceId: $id) { key ownerType } }"


async def put(gateway: Gateway, who: Principal, key: str, owner: str | None = None, **said: Any) -> dict[str, Any]:
    given = {"key": key, "value": f"swordfish {key}", **({"ownerId": owner} if owner else {}), **said}
    answer: dict[str, Any] = (await gateway.data(who, SET, input=given))["setSecret"]
    assert "swordfish" not in str(answer)
    return answer


async def place(gateway: Gateway, tenants: Tenants) -> str:
    fleet = Fleet(gateway.services.database, tenants.mine)
    await fleet.grow(1)
    return encode("workspace", fleet.workspaces[0])


async def test_a_secret_shows_that_it_exists_and_whose_it_is(gateway: Gateway, tenants: Tenants) -> None:
    who, here = principal(tenants.mine, api_key_id=uuid7()), await place(gateway, tenants)
    shared, mine = await put(gateway, who, "A"), await put(gateway, who, "B", here)
    tenant = encode("tenant", tenants.mine)
    assert shared["secret"] == {
        "id": shared["secret"]["id"],
        "key": "A",
        "ownerType": "TENANT",
        "ownerId": tenant,
        "version": 1,
        "setBy": None,
        "owner": {"__typename": "Tenant", "id": tenant},
    }
    assert mine["secret"]["owner"] == {"__typename": "Workspace", "id": here}
    assert (mine["secret"]["ownerType"], mine["userErrors"]) == ("WORKSPACE", [])


def test_a_secret_has_no_field_that_its_value_could_come_out_of() -> None:
    kind = core(build()).type_map["Secret"]
    assert isinstance(kind, GraphQLObjectType)
    known = {"id", "key", "ownerType", "ownerId", "owner", "version", "setBy", "createdAt", "updatedAt"}
    assert set(kind.fields) == known


async def test_secrets_are_listed_by_owner_key_and_kind(gateway: Gateway, tenants: Tenants) -> None:
    who, here = principal(tenants.mine, api_key_id=uuid7()), await place(gateway, tenants)
    for key, owner in (("B", None), ("A", None), ("A", here)):
        await put(gateway, who, key, owner)

    async def keys(**said: Any) -> tuple[list[str], int]:
        page = (await gateway.data(who, LIST, **said))["secrets"]
        return [one["key"] for one in page["nodes"]], page["totalCount"]

    by_key = {"field": "KEY", "direction": "ASC"}
    assert await keys(orderBy=by_key) == (["A", "A", "B"], 3)
    assert await keys(filter={"key": "A"}, first=1) == (["A"], 2)
    assert await keys(filter={"ownerId": here}) == (["A"], 1)
    assert await keys(filter={"ownerType": ["TENANT"]}, orderBy=by_key) == (["A", "B"], 2)
    for nobodys in ("nonsense", encode("workspace", uuid7()), f"agent_{here.partition('_')[2]}"):
        assert await keys(filter={"ownerId": nobodys}) == ([], 0)


async def test_a_workspace_finds_one_secret_a_key_its_own_first(gateway: Gateway, tenants: Tenants) -> None:
    who, here = principal(tenants.mine, api_key_id=uuid7()), await place(gateway, tenants)
    for key, owner in (("SHARED", None), ("MINE", here), ("BOTH", None), ("BOTH", here)):
        await put(gateway, who, key, owner)
    assert (await gateway.data(who, EFFECTIVE, id=here))["effectiveSecrets"] == [
        {"key": "BOTH", "ownerType": "WORKSPACE"},
        {"key": "MINE", "ownerType": "WORKSPACE"},
        {"key": "SHARED", "ownerType": "TENANT"},
    ]
    empty = await place(gateway, tenants)
    assert len((await gateway.data(who, EFFECTIVE, id=empty))["effectiveSecrets"]) == 2


async def test_a_workspace_that_is_not_there_finds_nothing(gateway: Gateway, tenants: Tenants) -> None:
    here = await place(gateway, tenants)
    for who, id in (
        (principal(tenants.other, api_key_id=uuid7()), here),
        (principal(tenants.mine, api_key_id=uuid7()), encode("workspace", uuid7())),
        (principal(tenants.mine, api_key_id=uuid7()), "nonsense"),
    ):
        assert await gateway.data(who, EFFECTIVE, id=id) == {"effectiveSecrets": None}


async def test_only_admins_see_that_secrets_exist(gateway: Gateway, tenants: Tenants) -> None:
    made = await put(gateway, principal(tenants.mine, api_key_id=uuid7()), "A")
    id, here = made["secret"]["id"], await place(gateway, tenants)
    for role in set(Role) - {Role.ADMIN}:
        who = principal(tenants.mine, role, user_id=uuid7())
        for query, said in (
            (LIST, {}),
            (EFFECTIVE, {"id": here}),
            ("query($id: ID!) { node(id: $id) { id } }", {"id": id}),
            (SET, {"input": {"key": "A", "value": "x"}}),
            (DELETE, {"input": {"id": id}}),
        ):
            answer = await gateway.answer(who, query, **said)
            assert [one["extensions"]["code"] for one in answer["errors"]] == ["FORBIDDEN"], (role, query)


async def test_a_key_that_is_bound_to_a_workspace_sees_that_workspaces_only(gateway: Gateway, tenants: Tenants) -> None:
    admin, here = principal(tenants.mine, api_key_id=uuid7()), await place(gateway, tenants)
    there = await place(gateway, tenants)
    own = (await put(gateway, admin, "A", here))["secret"]["id"]
    foreign = (await put(gateway, admin, "A", there))["secret"]["id"]
    scopes = frozenset({Scope.SECRETS_READ})
    machine = principal(tenants.mine, api_key_id=uuid7(), workspace_id=parse(here, "workspace"), scopes=scopes)
    node = "query($id: ID!) { node(id: $id) { id } }"
    assert (await gateway.data(machine, node, id=own))["node"] == {"id": own}
    assert (await gateway.data(machine, node, id=foreign))["node"] is None
    assert len((await gateway.data(machine, EFFECTIVE, id=here))["effectiveSecrets"]) == 1
    for query, said in ((EFFECTIVE, {"id": there}), (LIST, {})):
        answer = await gateway.answer(machine, query, **said)
        assert [one["extensions"]["code"] for one in answer["errors"]] == ["FORBIDDEN"]


async def test_a_retry_under_a_key_sets_it_once_and_no_hash_of_the_value_is_kept(
    gateway: Gateway, tenants: Tenants
) -> None:
    who = principal(tenants.mine, api_key_id=uuid7())
    first = await put(gateway, who, "A", idempotencyKey="one")
    again = await put(gateway, who, "A", idempotencyKey="one", value="another swordfish")
    assert (again["secret"]["id"], again["secret"]["version"]) == (first["secret"]["id"], 1)
    other = await put(gateway, who, "B", idempotencyKey="one")
    assert [one["code"] for one in other["userErrors"]] == ["IDEMPOTENCY_MISMATCH"]


async def test_deleting_answers_with_what_was_deleted(gateway: Gateway, tenants: Tenants) -> None:
    who = principal(tenants.mine, api_key_id=uuid7())
    made = (await put(gateway, who, "A"))["secret"]
    assert (await gateway.data(who, DELETE, input={"id": made["id"]}))["deleteSecret"] == {
        "secret": {"id": made["id"], "key": "A"},
        "userErrors": [],
    }
    for id in (made["id"], "nonsense"):
        assert (await gateway.data(who, DELETE, input={"id": id}))["deleteSecret"] == {
            "secret": None,
            "userErrors": [{"code": "NOT_FOUND", "field": ["input", "id"]}],
        }
