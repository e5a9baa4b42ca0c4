"""This module is where mutations are specified as their callers see them: payloads, user errors, retries."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import strawberry
from sqlalchemy import func, select

from gateway.operations import GatewayOperations
from gateway.transports.operations import OperationRequest
from models import Event, Scope, Workspace
from models.errors import Refusal, RefusalCode
from models.ids import encode, uuid7
from resolvers.call import Call
from resolvers.principal import Principal
from schema.build import assemble, core
from schema.commands import UserError, command, payload, user_errors
from schema.declare import column, computed
from schema.inputs import form, required
from tests.schema.conftest import Gateway
from tests.world import Tenants, principal

CREATE = """mutation($input: CreateWorkspaceInput!) { createWorkspace(input: $input) {
  workspace { id name } userErrors { code message field } } }"""
UPDATE = """mutation($input: UpdateWorkspaceInput!) { updateWorkspace(input: $input) {
  workspace { id name role url version } userErrors { code message field } } }"""


def somebody(tenants: Tenants) -> Principal:
    """An admin of the tenant."""
    return principal(tenants.mine, user_id=uuid7())


async def created(gateway: Gateway, who: Principal, **said: Any) -> dict[str, Any]:
    """The payload of createWorkspace."""
    answer: dict[str, Any] = (await gateway.data(who, CREATE, input={"name": "Marketing", **said}))["createWorkspace"]
    return answer


async def updated(gateway: Gateway, who: Principal, id: str, version: int = 1, **said: Any) -> dict[str, Any]:
    """The payload of updateWorkspace."""
    given = {"id": id, "expectedVersion": version, **said}
    answer: dict[str, Any] = (await gateway.data(who, UPDATE, input=given))["updateWorkspace"]
    return answer


async def workspaces_of(gateway: Gateway, tenants: Tenants) -> int:
    """How many there are."""
    async with gateway.services.database.session(tenants.mine) as session:
        return await session.scalar(select(func.count()).select_from(Workspace)) or 0


async def test_a_change_answers_with_the_object_and_no_errors(gateway: Gateway, tenants: Tenants) -> None:
    made = await created(gateway, somebody(tenants))
    assert made["userErrors"] == []
    assert made["workspace"]["name"] == "Marketing"


@pytest.mark.parametrize(
    ("said", "code", "field"),
    [
        ({"name": " "}, "INVALID", ["input", "name"]),
        ({"name": "x" * 256}, "INVALID", ["input", "name"]),
        ({"tier": 5}, "INVALID", ["input", "tier"]),
        ({"parentId": "nonsense"}, "NOT_FOUND", ["input", "parentId"]),
        ({"parentId": encode("workspace", uuid7())}, "NOT_FOUND", ["input", "parentId"]),
        ({"idempotencyKey": ""}, "INVALID", ["input", "idempotencyKey"]),
        ({"idempotencyKey": "x" * 256}, "INVALID", ["input", "idempotencyKey"]),
        ({"idempotencyKey": "nul\x00"}, "INVALID", ["input", "idempotencyKey"]),
    ],
)
async def test_what_a_person_can_act_on_is_a_user_error_that_names_the_field(
    gateway: Gateway, tenants: Tenants, said: dict[str, Any], code: str, field: list[str]
) -> None:
    answer = await created(gateway, somebody(tenants), **said)
    (error,) = answer["userErrors"]
    assert (answer["workspace"], error["code"], error["field"]) == (None, code, field)
    assert error["message"].endswith(".")
    assert await workspaces_of(gateway, tenants) == 0


async def test_a_conflict_shows_the_object_as_it_stands(gateway: Gateway, tenants: Tenants) -> None:
    who = somebody(tenants)
    place = (await created(gateway, who))["workspace"]["id"]
    await updated(gateway, who, place, name="Sales")
    answer = await updated(gateway, who, place, name="Support")
    assert [error["code"] for error in answer["userErrors"]] == ["CONFLICT"]
    assert answer["workspace"] == {"id": place, "name": "Sales", "role": None, "url": None, "version": 2}


async def test_a_removal_answers_with_all_that_it_removed_parents_first(gateway: Gateway, tenants: Tenants) -> None:
    who = somebody(tenants)
    root = (await created(gateway, who, name="Root"))["workspace"]["id"]
    child = (await created(gateway, who, name="Child", parentId=root))["workspace"]["id"]
    document = """mutation($input: RemoveWorkspaceInput!) { removeWorkspace(input: $input) {
      removed { id status } userErrors { code field } } }"""
    refused = await gateway.data(who, document, input={"id": root})
    assert refused["removeWorkspace"] == {
        "removed": [],
        "userErrors": [{"code": "CONFLICT", "field": ["input", "includeDescendants"]}],
    }
    done = await gateway.data(who, document, input={"id": root, "includeDescendants": True})
    assert done["removeWorkspace"] == {
        "removed": [{"id": root, "status": "REMOVED"}, {"id": child, "status": "REMOVED"}],
        "userErrors": [],
    }
    for id, code in ((root, "ILLEGAL_TRANSITION"), (encode("workspace", uuid7()), "NOT_FOUND")):
        again = await gateway.data(who, document, input={"id": id})
        assert again["removeWorkspace"] == {"removed": [], "userErrors": [{"code": code, "field": ["input", "id"]}]}


async def test_in_an_update_absent_stays_and_null_clears(gateway: Gateway, tenants: Tenants) -> None:
    who = somebody(tenants)
    place = (await created(gateway, who, role="Marketing"))["workspace"]["id"]
    after = await updated(gateway, who, place, url="https://agents.example")
    assert (after["workspace"]["role"], after["workspace"]["url"]) == ("Marketing", "https://agents.example")
    after = await updated(gateway, who, place, 2, url=None)
    assert (after["workspace"]["role"], after["workspace"]["url"]) == ("Marketing", None)


async def test_an_update_that_changes_nothing_tells_nothing(gateway: Gateway, tenants: Tenants) -> None:
    who = somebody(tenants)
    place = (await created(gateway, who))["workspace"]["id"]
    answer = await updated(gateway, who, place, name="Marketing")
    assert (answer["workspace"]["version"], answer["userErrors"]) == (1, [])
    async with gateway.services.database.session(tenants.mine) as session:
        assert list(await session.scalars(select(Event.kind))) == ["workspace.created"]


async def test_a_retry_under_a_key_answers_with_the_first_tries_object_as_it_is_now(
    gateway: Gateway, tenants: Tenants
) -> None:
    who = somebody(tenants)
    first = await created(gateway, who, idempotencyKey="one")
    await updated(gateway, who, first["workspace"]["id"], name="Sales")
    again = await created(gateway, who, idempotencyKey="one")
    assert again == {"workspace": {"id": first["workspace"]["id"], "name": "Sales"}, "userErrors": []}
    assert await workspaces_of(gateway, tenants) == 1


async def test_a_key_for_another_body_is_a_mismatch_and_another_persons_is_another_key(
    gateway: Gateway, tenants: Tenants
) -> None:
    who = somebody(tenants)
    await created(gateway, who, idempotencyKey="one")
    mismatch = await created(gateway, who, idempotencyKey="one", tier=3)
    assert mismatch["workspace"] is None
    assert [(error["code"], error["field"]) for error in mismatch["userErrors"]] == [
        ("IDEMPOTENCY_MISMATCH", ["input", "idempotencyKey"])
    ]
    assert (await created(gateway, somebody(tenants), idempotencyKey="one", tier=3))["userErrors"] == []
    assert await workspaces_of(gateway, tenants) == 2


async def test_duplicates_at_the_same_time_answer_the_same(gateway: Gateway, tenants: Tenants) -> None:
    who = somebody(tenants)
    answers = await asyncio.gather(*(created(gateway, who, idempotencyKey="one") for _ in range(6)))
    assert len({answer["workspace"]["id"] for answer in answers}) == 1
    assert await workspaces_of(gateway, tenants) == 1


async def test_a_replay_reads_with_the_rights_of_whoever_replays(gateway: Gateway, tenants: Tenants) -> None:
    who = somebody(tenants)
    await created(gateway, who, idempotencyKey="one")
    writes_only = Principal(tenant_id=tenants.mine, user_id=who.user_id, scopes=frozenset({Scope.WORKSPACES_WRITE}))
    answer = await gateway.answer(writes_only, CREATE, input={"name": "Marketing", "idempotencyKey": "one"})
    assert answer["data"] == {"createWorkspace": None}
    assert [error["extensions"]["code"] for error in answer["errors"]] == ["FORBIDDEN"]


async def test_what_a_payload_shows_demands_the_scope_to_read_it(gateway: Gateway, tenants: Tenants) -> None:
    writes_only = Principal(tenant_id=tenants.mine, user_id=uuid7(), scopes=frozenset({Scope.WORKSPACES_WRITE}))
    answer = await gateway.answer(writes_only, CREATE, input={"name": "Marketing"})
    assert answer["data"]["createWorkspace"] == {"workspace": None, "userErrors": []}
    assert [error["extensions"]["code"] for error in answer["errors"]] == ["FORBIDDEN"]
    assert await workspaces_of(gateway, tenants) == 1


async def test_mutations_of_one_operation_run_one_after_the_other_and_see_each_other(
    gateway: Gateway, tenants: Tenants
) -> None:
    who = somebody(tenants)
    place = (await created(gateway, who))["workspace"]["id"]
    document = """mutation($id: ID!) {
      one: updateWorkspace(input: {id: $id, expectedVersion: 1, name: "one"}) { workspace { name version } }
      bad: updateWorkspace(input: {id: $id, expectedVersion: 9, name: "bad"}) { userErrors { code } }
      two: moveWorkspace(input: {id: $id, expectedVersion: 2}) { workspace { name version } }
      last: updateWorkspace(input: {id: $id, expectedVersion: 2, name: "two"}) { workspace { name version } } }"""
    assert await gateway.data(who, document, id=place) == {
        "one": {"workspace": {"name": "one", "version": 2}},
        "bad": {"userErrors": [{"code": "CONFLICT"}]},
        "two": {"workspace": {"name": "one", "version": 2}},
        "last": {"workspace": {"name": "two", "version": 3}},
    }


async def test_the_same_key_may_serve_several_mutations_of_one_operation(gateway: Gateway, tenants: Tenants) -> None:
    document = """mutation { one: createWorkspace(input: {name: "A", idempotencyKey: "k"}) { workspace { id } }
      again: createWorkspace(input: {name: "A", idempotencyKey: "k"}) { workspace { id } }
      other: createWorkspace(input: {name: "A"}) { workspace { id } } }"""
    answer = await gateway.data(somebody(tenants), document)
    assert answer["one"] == answer["again"] != answer["other"]


@pytest.mark.parametrize("card", ["{ count: 1000000000000000000000000000000 }", "[1]", '"text"', "7"])
async def test_a_json_value_that_cannot_be_kept_is_invalid(gateway: Gateway, tenants: Tenants, card: str) -> None:
    who = somebody(tenants)
    place = (await created(gateway, who))["workspace"]["id"]
    document = f"""mutation {{ registerWorkspace(input: {{id: "{place}", agentCard: {card}}}) {{
      token userErrors {{ code field }} }} }}"""
    assert (await gateway.data(who, document))["registerWorkspace"] == {
        "token": None,
        "userErrors": [{"code": "INVALID", "field": ["input", "agentCard"]}],
    }


@form("What the broken use cases take.")
class BreakThingsInput:
    """Their input."""

    how: str = required("Which way.")


@payload("What the broken use cases answer.")
class BreakThingsPayload:
    """Their payload."""

    broken: str | None = column("Never there.")
    user_errors: list[UserError] = user_errors()


async def _break_things(call: Call, *, how: str) -> str:
    async with call.work() as work:
        work.add(Workspace(name="half done"))
        await work.session.flush()
        if how == "refusal":
            raise Refusal(RefusalCode.EXPIRED, "Too late.", current="as it stands")
        raise RuntimeError("the password is swordfish")


@pytest.fixture
def broken(gateway: Gateway) -> GatewayOperations:
    """A gateway with a mutation that breaks half way."""

    @strawberry.type(description="Root.")
    class Query:
        nothing: str | None = computed(lambda _, __: None, "Nothing.", scope=Scope.PUBLIC)

    @strawberry.type(description="Root.")
    class Mutation:
        break_things: BreakThingsPayload | None = command(
            _break_things, "Breaks.", input=BreakThingsInput, payload=BreakThingsPayload, scope=Scope.WORKSPACES_WRITE
        )

    operations = GatewayOperations(core(assemble(Query, Mutation)), anonymous_introspection=True)
    operations.serve(gateway.services)
    return operations


@pytest.mark.parametrize("how", ["refusal", "defect"])
async def test_whatever_goes_wrong_half_way_leaves_nothing_and_tells_nothing_of_the_inside(
    gateway: Gateway, broken: GatewayOperations, tenants: Tenants, how: str
) -> None:
    document = "mutation($how: String!) { breakThings(input: {how: $how}) { broken userErrors { code message } } }"
    request = OperationRequest(document, variables={"how": how})
    answer = (await broken.execute(request, somebody(tenants), "request-7")).payload
    if how == "refusal":
        assert answer == {
            "data": {
                "breakThings": {
                    "broken": "as it stands",
                    "userErrors": [{"code": "EXPIRED", "message": "Too late."}],
                }
            }
        }
    else:
        assert answer["data"] == {"breakThings": None}
        (error,) = answer["errors"]
        assert error["extensions"] == {"code": "INTERNAL", "requestId": "request-7"}
        assert "swordfish" not in str(answer)
    assert await workspaces_of(gateway, tenants) == 0
