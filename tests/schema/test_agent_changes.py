"""This module is where it is specified how agents are made, changed, decided about and deleted."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import select

from models import AgentReference, Event, Role, Scope, Secret, Workspace
from models.ids import encode, parse, uuid7
from models.scopes import ROLE_SCOPES
from resolvers.agents import MODEL_KEY
from resolvers.principal import Principal
from resolvers.secrets import use_secret
from tests.conftest import counted
from tests.report import record
from tests.schema.conftest import Gateway
from tests.schema.staff import (
    CREATE,
    DECIDE,
    DELETE,
    UPDATE,
    answered,
    done,
    kinds,
    make,
    mutation,
    nobody,
    person,
    refused,
    room_for,
    settings,
)
from tests.schema.test_activity_stream import feed
from tests.world import Fleet, Tenants, call_of, principal

ONE = "query($id: ID!) { agent(id: $id) { id status version } }"


@pytest.fixture
async def admin(gateway: Gateway, tenants: Tenants) -> Principal:
    """Somebody of mine who may everything."""
    return await person(gateway, tenants.mine)


@pytest.fixture
async def stranger(gateway: Gateway, tenants: Tenants) -> Principal:
    """An admin of the other tenant."""
    return await person(gateway, tenants.other)


async def test_a_new_agent_waits_for_a_decision(gateway: Gateway, admin: Principal) -> None:
    made = await make(gateway, admin, "support_triage")
    assert (made["status"], made["version"], made["approvedBy"], made["config"]) == ("PENDING", 1, None, None)
    assert await kinds(gateway, admin, [made["id"]]) == ["agent.created"]


@pytest.mark.parametrize("bad", ["", "two words", "ümlaut", "a.b", "x" * 256, "a\n"])
async def test_a_name_has_letters_digits_underscores_and_hyphens(gateway: Gateway, admin: Principal, bad: str) -> None:
    said: dict[str, Any] = {"name": bad, "type": "LLM", "model": "gpt-4o"}
    assert await refused(gateway, admin, CREATE, **said) == ("INVALID", ["input", "name"])


async def test_a_language_model_is_named(gateway: Gateway, admin: Principal) -> None:
    assert await refused(gateway, admin, CREATE, name="one", type="LLM") == ("INVALID", ["input", "model"])
    made = await make(gateway, admin)
    said: dict[str, Any] = {"id": made["id"], "expectedVersion": 1, "model": None}
    assert await refused(gateway, admin, UPDATE, **said) == ("INVALID", ["input", "model"])


async def test_a_model_is_one_of_those_that_the_tenant_allows(
    gateway: Gateway, tenants: Tenants, admin: Principal
) -> None:
    await settings(gateway, tenants.mine, allowed_models=["gpt-4o"])
    made = await make(gateway, admin)
    assert await refused(gateway, admin, CREATE, name="x", type="LLM", model="o3") == ("INVALID", ["input", "model"])
    said: dict[str, Any] = {"id": made["id"], "expectedVersion": 1, "model": "o3"}
    assert await refused(gateway, admin, UPDATE, **said) == ("INVALID", ["input", "model"])


async def test_an_agents_provider_is_there_and_switched_on(
    gateway: Gateway, admin: Principal, stranger: Principal
) -> None:
    document = mutation("createLlmProvider", "llmProvider")
    given = {"providerType": "OPENAI", "modelId": "gpt-4o"}
    mine = await done(gateway, admin, document, name="on", **given)
    off = await done(gateway, admin, document, name="off", isEnabled=False, **given)
    theirs = await done(gateway, stranger, document, name="on", **given)
    made = await make(gateway, admin, llmProviderId=mine["id"])
    assert made["llmProvider"] == {"id": mine["id"]}
    at = ["input", "llmProviderId"]
    for bad, code in ((theirs, "NOT_FOUND"), ({"id": nobody("provider")}, "NOT_FOUND"), (off, "INVALID")):
        said: dict[str, Any] = {"name": "x", "type": "LLM", "model": "gpt-4o", "llmProviderId": bad["id"]}
        assert await refused(gateway, admin, CREATE, **said) == (code, at)
        assert (await refused(gateway, admin, UPDATE, id=made["id"], expectedVersion=1, llmProviderId=bad["id"])) == (
            code,
            at,
        )


async def test_the_key_of_an_agent_goes_in_and_never_comes_out(
    gateway: Gateway, tenants: Tenants, admin: Principal
) -> None:
    made = await make(gateway, admin, apiKey="sk-swordfish")
    assert (made["hasApiKey"], made["version"]) == (True, 1)
    assert "swordfish" not in str(made)
    async with gateway.services.database.session(tenants.mine) as session:
        secret = await session.scalar(
            select(Secret).where(Secret.tenant_id == tenants.mine, Secret.owner_id == parse(made["id"], "agent"))
        )
    assert secret is not None
    assert secret.key == MODEL_KEY
    assert await use_secret(call_of(gateway.services, admin), secret.id, "a test") == "sk-swordfish"
    changed = await done(gateway, admin, UPDATE, id=made["id"], expectedVersion=1, apiKey="sk-other")
    assert (changed["hasApiKey"], changed["version"]) == (True, 2)
    assert await use_secret(call_of(gateway.services, admin), secret.id, "a test") == "sk-other"
    without = await done(gateway, admin, UPDATE, id=made["id"], expectedVersion=2, apiKey=None)
    assert (without["hasApiKey"], without["version"]) == (False, 3)
    log = await gateway.data(admin, "{ activity(first: 100) { nodes { kind payload } } }")
    assert "sk-" not in str(log)
    assert {"secret.set", "secret.deleted"} <= {one["kind"] for one in log["activity"]["nodes"]}


async def test_an_update_changes_what_is_said_clears_what_is_null_and_counts_once(
    gateway: Gateway, admin: Principal
) -> None:
    made = await make(gateway, admin, title="Old", domain="Support", capabilities=["triage"], apiKey="sk-1")
    said: dict[str, Any] = {"title": None, "name": "renamed", "capabilities": ["sort", "sum"], "apiKey": "sk-2"}
    changed = await done(gateway, admin, UPDATE, id=made["id"], expectedVersion=1, **said)
    assert (changed["title"], changed["name"], changed["domain"], changed["capabilities"], changed["version"]) == (
        None,
        "renamed",
        "Support",
        ["sort", "sum"],
        2,
    )
    same = await done(gateway, admin, UPDATE, id=made["id"], expectedVersion=2, name="renamed")
    assert same["version"] == 2
    events = await gateway.data(admin, '{ activity(filter: {kinds: ["agent.updated"]}) { nodes { payload } } }')
    assert events["activity"]["nodes"] == [{"payload": {"changed": ["api_key", "capabilities", "name", "title"]}}]


async def test_an_update_from_an_old_version_is_refused_with_the_agent_as_it_is(
    gateway: Gateway, admin: Principal
) -> None:
    made = await make(gateway, admin)
    await done(gateway, admin, UPDATE, id=made["id"], expectedVersion=1, title="New")
    late = await answered(gateway, admin, UPDATE, id=made["id"], expectedVersion=1, title="Late")
    assert late["userErrors"][0]["code"] == "CONFLICT"
    assert (late["agent"]["title"], late["agent"]["version"]) == ("New", 2)


@pytest.mark.parametrize("field", ["name", "status", "isRouter"])
async def test_what_an_agent_must_have_is_not_cleared(gateway: Gateway, admin: Principal, field: str) -> None:
    made = await make(gateway, admin)
    said: dict[str, Any] = {"id": made["id"], "expectedVersion": 1, field: None}
    assert await refused(gateway, admin, UPDATE, **said) == ("INVALID", ["input", field])


async def test_a_decision_names_who_decided_and_is_final(gateway: Gateway, tenants: Tenants, admin: Principal) -> None:
    operator = await person(gateway, tenants.mine, Role.OPERATOR)
    assert operator.user_id is not None
    one, two = await make(gateway, admin, "one"), await make(gateway, admin, "two")
    yes = await done(gateway, operator, DECIDE, id=one["id"], decision="APPROVE")
    no = await done(gateway, operator, DECIDE, id=two["id"], decision="REJECT", reason="Nobody asked for it.")
    me = {"id": encode("user", operator.user_id)}
    assert (yes["status"], yes["approvedBy"], yes["rejectionReason"], yes["version"]) == ("ACTIVE", me, None, 2)
    assert (no["status"], no["approvedBy"], no["rejectionReason"]) == ("REJECTED", me, "Nobody asked for it.")
    assert yes["approvedAt"] is not None
    for made, status in ((one, "ACTIVE"), (two, "REJECTED")):
        late = await answered(gateway, admin, DECIDE, id=made["id"], decision="APPROVE")
        assert late["userErrors"][0]["code"] == "ALREADY_DECIDED"
        assert late["agent"]["status"] == status
    assert await kinds(gateway, admin, [one["id"], two["id"]]) == [
        "agent.created",
        "agent.created",
        "agent.approved",
        "agent.rejected",
    ]


async def test_an_approved_agent_is_switched_off_and_on_and_no_other(gateway: Gateway, admin: Principal) -> None:
    made = await make(gateway, admin)
    early = await answered(gateway, admin, UPDATE, id=made["id"], expectedVersion=1, status="ACTIVE")
    assert early["userErrors"][0]["code"] == "ILLEGAL_TRANSITION"
    assert (early["agent"]["status"], early["agent"]["version"]) == ("PENDING", 1)
    await done(gateway, admin, DECIDE, id=made["id"], decision="APPROVE")
    off = await done(gateway, admin, UPDATE, id=made["id"], expectedVersion=2, status="DISABLED")
    on = await done(gateway, admin, UPDATE, id=made["id"], expectedVersion=3, status="ACTIVE")
    assert (off["status"], on["status"], on["version"]) == ("DISABLED", "ACTIVE", 4)
    assert (await kinds(gateway, admin, [made["id"]]))[2:] == ["agent.disabled", "agent.enabled"]


async def test_a_tenant_has_one_router_and_it_is_active_from_the_start(
    gateway: Gateway, admin: Principal, stranger: Principal
) -> None:
    first = await make(gateway, admin, "concierge", isRouter=True)
    assert (first["status"], first["isRouter"]) == ("ACTIVE", True)
    at = ("ALREADY_EXISTS", ["input", "isRouter"])
    assert await refused(gateway, admin, CREATE, name="x", type="LLM", model="gpt-4o", isRouter=True) == at
    other = await make(gateway, admin, "other")
    assert await refused(gateway, admin, UPDATE, id=other["id"], expectedVersion=1, isRouter=True) == at
    assert (await make(gateway, stranger, "concierge", isRouter=True))["isRouter"] is True
    await done(gateway, admin, DELETE, id=first["id"])
    assert (await make(gateway, admin, "concierge", isRouter=True))["status"] == "ACTIVE"
    record(5, "a second router", 2, "ALREADY_EXISTS at create and at update, nothing changed")


async def test_of_two_routers_at_once_one_is_made(gateway: Gateway, admin: Principal) -> None:
    said: dict[str, Any] = {"type": "LLM", "model": "gpt-4o", "isRouter": True}
    answers = await asyncio.gather(*(answered(gateway, admin, CREATE, name=f"r{n}", **said) for n in range(4)))
    codes = sorted(str([one["code"] for one in answer["userErrors"]]) for answer in answers)
    assert codes == ["['ALREADY_EXISTS']"] * 3 + ["[]"]


async def test_making_a_router_demands_the_right_to_decide(gateway: Gateway, tenants: Tenants) -> None:
    scopes = frozenset({Scope.AGENTS_READ, Scope.AGENTS_WRITE})
    machine = principal(tenants.mine, Role.API_CLIENT, api_key_id=uuid7(), scopes=scopes)
    create = mutation("createAgent", "agent")
    assert await done(gateway, machine, create, name="x", type="LLM", model="gpt-4o")
    said = {"input": {"name": "y", "type": "LLM", "model": "gpt-4o", "isRouter": True}}
    answer = await gateway.answer(machine, create, **said)
    assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"


async def test_whom_an_agent_hands_over_to_is_there_and_hands_nothing_back(
    gateway: Gateway, admin: Principal, stranger: Principal
) -> None:
    top = await make(gateway, admin, "top")
    middle = await make(gateway, admin, "middle", escalatesToId=top["id"])
    bottom = await make(gateway, admin, "bottom", escalatesToId=middle["id"])
    assert bottom["escalatesTo"] == {"id": middle["id"]}
    at = ["input", "escalatesToId"]
    for below in (top, middle, bottom):
        said: dict[str, Any] = {"id": top["id"], "expectedVersion": 1, "escalatesToId": below["id"]}
        closed = await answered(gateway, admin, UPDATE, **said)
        assert (closed["userErrors"][0]["code"], closed["userErrors"][0]["field"]) == ("CYCLE", at)
        assert closed["agent"]["escalatesTo"] is None
    theirs = await make(gateway, stranger, "theirs")
    for bad in (theirs["id"], nobody("agent"), "nonsense", bottom["id"].replace("agent_", "user_")):
        given: dict[str, Any] = {"name": "x", "type": "LLM", "model": "gpt-4o", "escalatesToId": bad}
        assert await refused(gateway, admin, CREATE, **given) == ("NOT_FOUND", at)


async def test_two_that_hand_over_to_each_other_at_once_never_close_a_cycle(gateway: Gateway, admin: Principal) -> None:
    one, two = await make(gateway, admin, "one"), await make(gateway, admin, "two")
    answers = await asyncio.gather(
        answered(gateway, admin, UPDATE, id=one["id"], expectedVersion=1, escalatesToId=two["id"]),
        answered(gateway, admin, UPDATE, id=two["id"], expectedVersion=1, escalatesToId=one["id"]),
    )
    assert sorted(len(answer["userErrors"]) for answer in answers) == [0, 1]


async def test_a_new_agent_takes_a_free_place_and_no_other(
    gateway: Gateway, tenants: Tenants, admin: Principal
) -> None:
    theirs = Fleet(gateway.services.database, tenants.other)
    async with gateway.services.database.session(tenants.mine) as session:
        free = Workspace(tenant_id=tenants.mine, id=uuid7(), name="free")
        session.add(free)
        await session.commit()
    await theirs.grow(1)
    place = encode("workspace", free.id)
    made = await make(gateway, admin, workspaceId=place)
    assert (made["workspace"], made["version"]) == ({"id": place}, 1)
    at = ["input", "workspaceId"]
    for bad, code in ((place, "CONFLICT"), (encode("workspace", theirs.workspaces[0]), "NOT_FOUND")):
        given: dict[str, Any] = {"name": "x", "type": "LLM", "model": "gpt-4o", "workspaceId": bad}
        assert await refused(gateway, admin, CREATE, **given) == (code, at)
    assert (await kinds(gateway, admin, [made["id"], place])) == ["agent.created", "agent.assigned"]
    assert await done(gateway, admin, DELETE, id=made["id"]) == made["id"]
    assert (await make(gateway, admin, "next", workspaceId=place))["workspace"] == {"id": place}


async def test_a_deleted_agent_is_gone_with_its_key(gateway: Gateway, tenants: Tenants, admin: Principal) -> None:
    made = await make(gateway, admin, apiKey="sk-swordfish")
    assert await refused(gateway, admin, DELETE, id=made["id"], expectedVersion=7) == (
        "CONFLICT",
        ["input", "expectedVersion"],
    )
    assert await done(gateway, admin, DELETE, id=made["id"], expectedVersion=1) == made["id"]
    assert await gateway.data(admin, ONE, id=made["id"]) == {"agent": None}
    assert await refused(gateway, admin, DELETE, id=made["id"]) == ("NOT_FOUND", ["input", "id"])
    async with gateway.services.database.session(tenants.mine) as session:
        assert list(await session.scalars(select(Secret).where(Secret.tenant_id == tenants.mine))) == []
    assert (await kinds(gateway, admin, [made["id"]]))[-1] == "agent.deleted"


async def test_an_agent_that_others_need_is_not_deleted(gateway: Gateway, tenants: Tenants, admin: Principal) -> None:
    needed = await make(gateway, admin, "needed")
    made_of_it = await make(gateway, admin, "line", type="SEQUENTIAL", config={"sub_agents": [needed["id"]]})
    stuck = await make(gateway, admin, "stuck", escalatesToId=needed["id"])
    for blocker in (made_of_it, stuck):
        refusal = (await answered(gateway, admin, DELETE, id=needed["id"]))["userErrors"][0]
        assert (refusal["code"], refusal["field"]) == ("CONFLICT", ["input", "id"])
        assert blocker["name"] in refusal["message"]
        await done(gateway, admin, DELETE, id=blocker["id"])
    assert await done(gateway, admin, DELETE, id=needed["id"]) == needed["id"]
    async with gateway.services.database.session(tenants.mine) as session:
        references = select(AgentReference).where(AgentReference.tenant_id == tenants.mine)
        assert list(await session.scalars(references)) == []


async def test_a_retry_under_a_key_makes_one_agent(gateway: Gateway, admin: Principal) -> None:
    given: dict[str, Any] = {"apiKey": "sk-1", "idempotencyKey": "once"}
    first = await make(gateway, admin, **given)
    again = await make(gateway, admin, **(given | {"apiKey": "sk-2"}))
    assert again["id"] == first["id"]
    mismatch = await answered(gateway, admin, CREATE, name="x", type="LLM", model="gpt-4o", idempotencyKey="once")
    assert mismatch["userErrors"][0]["code"] == "IDEMPOTENCY_MISMATCH"


async def test_the_plan_says_how_many_agents_there_are(gateway: Gateway, tenants: Tenants, admin: Principal) -> None:

    await room_for(gateway, tenants.mine, 1)
    made = await make(gateway, admin)
    said: dict[str, Any] = {"name": "x", "type": "LLM", "model": "gpt-4o"}
    assert (await refused(gateway, admin, CREATE, **said))[0] == "LIMIT_EXCEEDED"
    await done(gateway, admin, DELETE, id=made["id"])
    assert (await make(gateway, admin))["status"] == "PENDING"


@pytest.mark.parametrize("role", sorted(set(Role) - {Role.ADMIN, Role.OPERATOR}))
async def test_only_who_manages_agents_changes_them(gateway: Gateway, tenants: Tenants, role: Role) -> None:
    made = await make(gateway, await person(gateway, tenants.mine, Role.OPERATOR))
    who = principal(tenants.mine, role, user_id=uuid7(), scopes=ROLE_SCOPES[role])
    for document, said in (
        (CREATE, {"name": "x", "type": "LLM", "model": "gpt-4o"}),
        (UPDATE, {"id": made["id"], "expectedVersion": 1, "title": "x"}),
        (DECIDE, {"id": made["id"], "decision": "APPROVE"}),
        (DELETE, {"id": made["id"]}),
    ):
        answer = await gateway.answer(who, document, input=said)
        assert [one["extensions"]["code"] for one in answer["errors"]] == ["FORBIDDEN"]


async def test_another_tenants_agent_is_not_there_to_be_changed(
    gateway: Gateway, admin: Principal, stranger: Principal
) -> None:
    theirs = await make(gateway, stranger)
    for bad in (theirs["id"], nobody("agent"), "nonsense", ""):
        for document, said in (
            (UPDATE, {"expectedVersion": 1, "title": "mine"}),
            (DECIDE, {"decision": "APPROVE"}),
            (DELETE, {}),
        ):
            assert await refused(gateway, admin, document, id=bad, **said) == ("NOT_FOUND", ["input", "id"])
    assert (await gateway.data(stranger, ONE, id=theirs["id"]))["agent"]["version"] == 1


@pytest.mark.parametrize("parts", [1, 10, 50])
async def test_making_an_agent_costs_the_same_statements_for_any_number_of_parts(
    gateway: Gateway, admin: Principal, parts: int
) -> None:
    ids = [(await make(gateway, admin, f"part_{n}"))["id"] for n in range(parts)]
    with counted(gateway.services.database) as statements:
        await make(gateway, admin, "whole", type="PARALLEL", config={"sub_agents": ids})
    assert len(statements) <= 20
    record(5, "createAgent made of other agents", parts, f"{len(statements)} statements")


async def test_whoever_watches_the_log_sees_an_agents_life_and_nobody_elses(
    gateway: Gateway, tenants: Tenants, admin: Principal, stranger: Principal
) -> None:
    viewer = await person(gateway, tenants.mine, Role.VIEWER)
    async with feed(gateway, viewer) as subscriber:
        await make(gateway, stranger, "theirs")
        made = await make(gateway, admin, domain="Finance", apiKey="sk-swordfish")
        await done(gateway, admin, DECIDE, id=made["id"], decision="APPROVE")
        await done(gateway, admin, DELETE, id=made["id"])
        items = [(await subscriber.next())["event"] for _ in range(3)]
    # What is told of its key is for whoever reads secrets.
    assert [one["kind"] for one in items] == ["agent.created", "agent.approved", "agent.deleted"]
    async with gateway.services.database.session(tenants.mine) as session:
        events = select(Event).where(Event.tenant_id == tenants.mine, Event.entity_type == "agent").order_by(Event.seq)
        told = [(one.before, one.after, one.payload) for one in await session.scalars(events)]
    facets = {
        "id": str(parse(made["id"], "agent")),
        "status": "pending",
        "type": "llm",
        "domain": "Finance",
        "workspace_id": None,
        "search": ["helper", "Finance"],
    }
    active = {**facets, "status": "active"}
    assert told == [(None, facets, {}), (facets, active, {"status": "active"}), (active, None, {})]
