"""This module is where ids are specified: each names one row, and tells nothing to whom the row is not for."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from models import (
    AccessType,
    ActivityLog,
    ActivityType,
    Agent,
    AgentAssignment,
    AgentRun,
    AgentTemplate,
    AgentType,
    Alert,
    AlertAction,
    AlertRule,
    ApiKey,
    ApprovalKind,
    ApprovalRequest,
    AuditEvent,
    Contact,
    Conversation,
    ConversationKind,
    DataCategory,
    GovernanceVersion,
    HitlMode,
    IdentityProvider,
    LlmProvider,
    LlmProviderType,
    McpServer,
    Message,
    MessageRole,
    PolicyRule,
    Priority,
    ProhibitedTopic,
    QueryEvent,
    Role,
    Scope,
    Server,
    ServerAuthType,
    Session,
    StructureEvent,
    TerminalSession,
    Tool,
    ToolExecution,
    ToolKind,
    ToolStatus,
    User,
    UserConsent,
    UserStatus,
    WebhookDelivery,
    WebhookDeliveryState,
    WebhookDisabledReason,
    WebhookEndpoint,
    Workspace,
    utcnow,
)
from models.database import Database
from models.ids import NIL, encode, suffix, uuid7
from models.scopes import WORKSPACE_TOKEN_SCOPES
from resolvers.data_access import Access
from resolvers.principal import Principal
from resolvers.secrets import set_secret
from schema.declare import Nodes
from tests.conftest import counted
from tests.schema.conftest import Gateway
from tests.schema.test_activity import envelope, tell
from tests.world import Fleet, Tenants, call_of, principal

NODE = "query($id: ID!) { node(id: $id) { __typename id } }"
NODES = "query($ids: [ID!]!) { nodes(ids: $ids) { __typename id } }"


async def _talk(database: Database, tenant_id: UUID, user_id: UUID) -> list[Any]:
    """A conversation with one of everything that can be in it."""
    mine: dict[str, Any] = {"tenant_id": tenant_id}
    contact = Contact(**mine, id=uuid7(), name="contact")
    talk = Conversation(**mine, id=uuid7(), kind=ConversationKind.CHAT, user_id=user_id, message_count=1)
    said: dict[str, Any] = mine | {"conversation_id": talk.id, "user_id": user_id}
    message = Message(**said, id=uuid7(), seq=1, role=MessageRole.USER, content="hello")
    run = AgentRun(**said, id=uuid7(), agent_name="agent")
    tool = ToolExecution(
        **said, id=uuid7(), run_id=run.id, kind=ToolKind.MCP, tool_name="tool", status=ToolStatus.SUCCESS
    )
    async with database.session(tenant_id) as session:
        for some in ([contact, talk], [message, run], [tool]):
            session.add_all(some)
            await session.flush()
        await session.commit()
    return [contact, talk, message, run, tool]


def _governed(tenant_id: UUID, user_id: UUID) -> list[Any]:
    """One of everything that policies leave behind."""
    mine: dict[str, Any] = {"tenant_id": tenant_id}
    return [
        PolicyRule(**mine, id=uuid7(), name="rule", conditions={"keywords": ["zoning"]}, hitl_mode=HitlMode.DRAFT),
        ProhibitedTopic(**mine, id=uuid7(), topic="union negotiations"),
        GovernanceVersion(**mine, id=uuid7(), version_no=1, rules_snapshot={"rules": [], "topics": []}),
        QueryEvent(**mine, id=uuid7(), user_id=user_id, query_text="hello"),
        AuditEvent(**mine, id=uuid7(), occurred_at=utcnow(), event_type="a_test", action="test.run", user_id=user_id),
    ]


def _waiting(tenant_id: UUID, user_id: UUID, agent_id: UUID) -> ApprovalRequest:
    """A request that waits for a person."""
    made = ApprovalRequest(
        tenant_id=tenant_id,
        id=uuid7(),
        kind=ApprovalKind.RESPONSE,
        hitl_mode=HitlMode.DRAFT,
        priority=Priority.NORMAL,
        user_id=user_id,
        requester=f"user:{user_id}",
        agent_id=agent_id,
        original_query="query",
        required_approvals=1,
        approvals_given=0,
        escalations=0,
    )
    made.begin(utcnow(), None)
    return made


def _infrastructure(tenant_id: UUID, user_id: UUID) -> list[Any]:
    """A server and somebody who was at it."""
    server = Server(
        tenant_id=tenant_id,
        id=uuid7(),
        name="server",
        hostname="server.example",
        username="ops",
        auth_type=ServerAuthType.KEY,
        host_key_fingerprint=f"SHA256:{'A' * 43}",
        created_by=user_id,
    )
    stay = TerminalSession(tenant_id=tenant_id, id=uuid7(), server_name="server", user_id=user_id)
    return [server, stay]


def _webhooks(tenant_id: UUID) -> list[Any]:
    """An endpoint that is told nothing, and what it was told."""
    endpoint = WebhookEndpoint(
        tenant_id=tenant_id,
        id=uuid7(),
        url="https://hooks.example",
        event_kinds=["*"],
        is_enabled=False,
        disabled_at=utcnow(),
        disabled_reason=WebhookDisabledReason.MANUAL,
        cursor=0,
    )
    delivery = WebhookDelivery(
        tenant_id=tenant_id,
        id=uuid7(),
        endpoint_id=endpoint.id,
        kind="signalbox.ping",
        state=WebhookDeliveryState.DELIVERED,
        expires_at=utcnow(),
    )
    return [endpoint, delivery]


async def settle(gateway: Gateway, tenant_id: UUID) -> dict[str, str]:
    """One row of each type that has ids: TypeIDs by prefix."""
    database = gateway.services.database
    place = Workspace(tenant_id=tenant_id, id=uuid7(), name="place")
    agent = Agent(tenant_id=tenant_id, id=uuid7(), name="agent", type=AgentType.LLM)
    ada = User(tenant_id=tenant_id, id=uuid7(), display_name="Ada", status=UserStatus.ACTIVE)
    here = {"tenant_id": tenant_id, "workspace_id": place.id}
    placed: list[Any] = [
        AgentAssignment(id=uuid7(), agent_id=agent.id, **here),
        StructureEvent(id=uuid7(), seq=10**9, event_type="AGENT_ASSIGNED", agent_id=agent.id, **here),
        ActivityLog(id=uuid7(), activity_type=ActivityType.AGENT_LOG, **here),
        _waiting(tenant_id, ada.id, agent.id),
    ]
    rows: list[Any] = [
        place,
        agent,
        ada,
        Session(tenant_id=tenant_id, id=uuid7(), user_id=ada.id, started_at=utcnow(), last_seen_at=utcnow()),
        UserConsent(tenant_id=tenant_id, id=uuid7(), user_id=ada.id, consent_type="c", granted=True),
        ApiKey(tenant_id=tenant_id, id=uuid7(), name="key", prefix="sbx", secret_hash=b""),
        IdentityProvider(tenant_id=tenant_id, id=uuid7(), issuer="https://id.example", client_id="signalbox"),
        AgentTemplate(tenant_id=tenant_id, id=uuid7(), name="template"),
        LlmProvider(
            tenant_id=tenant_id, id=uuid7(), name="model", provider_type=LlmProviderType.OLLAMA, model_id="llama"
        ),
        McpServer(tenant_id=tenant_id, id=uuid7(), name="server"),
        Tool(tenant_id=tenant_id, id=uuid7(), name="tool"),
        *_governed(tenant_id, ada.id),
        AlertRule(tenant_id=tenant_id, id=uuid7(), name="r", alert_name_pattern="*", action=AlertAction.MANUAL),
        Alert(tenant_id=tenant_id, id=uuid7(), fingerprint="5f3a", starts_at=utcnow(), alert_name="HighCPUUsage"),
        *_infrastructure(tenant_id, ada.id),
    ]
    hooks = _webhooks(tenant_id)
    rows.append(hooks[0])
    placed.append(hooks[1])
    async with database.session(tenant_id) as session:
        session.add(ada)
        await session.flush()
        session.add_all(rows)
        await session.flush()
        session.add_all(placed)
        await session.commit()
    rows += placed
    rows += await _talk(database, tenant_id, ada.id)
    rows.append(await set_secret(call_of(gateway.services, principal(tenant_id)), key="TOKEN", value="swordfish"))
    await tell(gateway, tenant_id, envelope(entity_id=place.id))
    admin = principal(tenant_id, user_id=uuid7())
    async with call_of(gateway.services, admin).work() as work:
        work.note_access(
            Access(subject=("user", ada.id), category=DataCategory.ACCOUNT, kind=AccessType.READ, purpose="a test")
        )
    logs = {"event": "activity", "audit": "auditLogs", "access": "dataAccessLogs"}
    logged = await gateway.data(
        admin, "{" + " ".join(f"{one}(first: 1) {{ nodes {{ id }} }}" for one in logs.values()) + "}"
    )
    ids = {row.__typeid__: row.typeid for row in rows} | {"tenant": encode("tenant", tenant_id)}
    return ids | {prefix: logged[name]["nodes"][0]["id"] for prefix, name in logs.items()}


@pytest.mark.parametrize("prefix", sorted(Nodes.by_prefix))
async def test_every_type_is_found_by_its_id(gateway: Gateway, tenants: Tenants, prefix: str) -> None:
    ids = await settle(gateway, tenants.mine)
    answer = await gateway.data(principal(tenants.mine, user_id=uuid7()), NODE, id=ids[prefix])
    assert answer["node"] == {"__typename": Nodes.by_prefix[prefix].name, "id": ids[prefix]}


@pytest.mark.parametrize("prefix", sorted(Nodes.by_prefix))
async def test_no_type_is_found_by_another_tenant(gateway: Gateway, tenants: Tenants, prefix: str) -> None:
    ids = await settle(gateway, tenants.mine)
    assert await gateway.answer(principal(tenants.other, user_id=uuid7()), NODE, id=ids[prefix]) == {
        "data": {"node": None}
    }


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "nonsense",
        "workspace_",
        "workspace_01h455vb4pex5vsknk084sn02",
        "workspace_8zzzzzzzzzzzzzzzzzzzzzzzzz",
        "WORKSPACE_01h455vb4pex5vsknk084sn02q",
        encode("workspace", NIL),
        encode("workspace", uuid7()),
        encode("session", uuid7()),
        encode("heartbeat", uuid7()),
        f"workspace_{suffix(uuid7())}\x00",
        "x" * 10_000,
    ],
)
async def test_an_id_that_names_nothing_is_null_however_it_is_wrong(
    gateway: Gateway, tenants: Tenants, bad: str
) -> None:
    who = principal(tenants.mine, user_id=uuid7())
    assert await gateway.answer(who, NODE, id=bad) == {"data": {"node": None}}
    by_field = "query($id: ID!) { workspace(id: $id) { id } agent(id: $id) { id } tenant(id: $id) { id } }"
    assert await gateway.answer(who, by_field, id=bad) == {"data": {"workspace": None, "agent": None, "tenant": None}}


async def test_an_id_of_one_type_does_not_name_a_row_of_another(gateway: Gateway, tenants: Tenants) -> None:
    ids = await settle(gateway, tenants.mine)
    swapped = f"agent_{ids['workspace'].partition('_')[2]}"
    who = principal(tenants.mine, user_id=uuid7())
    assert await gateway.data(who, NODE, id=swapped) == {"node": None}
    assert await gateway.data(who, "query($id: ID!) { agent(id: $id) { id } }", id=ids["workspace"]) == {"agent": None}


async def test_several_ids_are_answered_in_their_order_with_gaps_for_what_is_not_there(
    gateway: Gateway, tenants: Tenants
) -> None:
    ids = await settle(gateway, tenants.mine)
    wanted = [ids["user"], "nonsense", ids["workspace"], encode("agent", uuid7()), ids["user"]]
    found = (await gateway.data(principal(tenants.mine, user_id=uuid7()), NODES, ids=wanted))["nodes"]
    assert [one and one["id"] for one in found] == [wanted[0], None, wanted[2], None, wanted[0]]


async def test_many_ids_cost_one_statement_for_each_of_their_types(
    gateway: Gateway, tenants: Tenants, database: Database
) -> None:
    fleet = Fleet(database, tenants.mine)
    await fleet.grow(50)
    ids = await settle(gateway, tenants.mine)
    wanted = [encode("workspace", one) for one in fleet.workspaces] + [ids["user"], ids["agent"]]
    with counted(database) as statements:
        found = (await gateway.data(principal(tenants.mine, user_id=uuid7()), NODES, ids=wanted))["nodes"]
    assert [one["id"] for one in found] == wanted
    assert len(statements) == 3


async def test_more_than_a_hundred_ids_are_refused(gateway: Gateway, tenants: Tenants) -> None:
    who = principal(tenants.mine, user_id=uuid7())
    assert len((await gateway.data(who, NODES, ids=["x"] * 100))["nodes"]) == 100
    answer = await gateway.answer(who, NODES, ids=["x"] * 101)
    assert answer["errors"][0]["extensions"]["code"] == "LIMIT_EXCEEDED"


async def test_one_refusal_empties_its_own_place_only(gateway: Gateway, tenants: Tenants) -> None:
    ids = await settle(gateway, tenants.mine)
    viewer = principal(tenants.mine, Role.VIEWER, user_id=uuid7())
    answer = await gateway.answer(viewer, NODES, ids=[ids["workspace"], ids["key"], ids["agent"]])
    assert [one and one["id"] for one in answer["data"]["nodes"]] == [ids["workspace"], None, ids["agent"]]
    assert [(one["path"], one["extensions"]["code"]) for one in answer["errors"]] == [(["nodes", 1], "FORBIDDEN")]


def _machine(tenants: Tenants, place: UUID, key: UUID) -> Principal:
    return Principal(tenant_id=tenants.mine, scopes=WORKSPACE_TOKEN_SCOPES, api_key_id=key, workspace_id=place)


async def test_a_machine_token_finds_its_own_workspace_and_learns_of_no_other(
    gateway: Gateway, tenants: Tenants, database: Database
) -> None:
    fleet = Fleet(database, tenants.mine)
    await fleet.grow(2)
    mine, sibling = fleet.workspaces
    theirs = Fleet(database, tenants.other)
    await theirs.grow(1)
    machine = _machine(tenants, mine, uuid7())
    both = "query($id: ID!) { node(id: $id) { id } workspace(id: $id) { id } }"
    found = await gateway.data(machine, both, id=encode("workspace", mine))
    assert found == {"node": {"id": encode("workspace", mine)}, "workspace": {"id": encode("workspace", mine)}}
    answers = [
        await gateway.answer(machine, both, id=encode("workspace", one))
        for one in (sibling, theirs.workspaces[0], uuid7())
    ]
    assert answers[0]["data"] == {"node": None, "workspace": None}
    assert {one["extensions"]["code"] for one in answers[0]["errors"]} == {"FORBIDDEN"}
    assert answers[0] == answers[1] == answers[2]


async def test_what_refers_to_nothing_is_null_without_a_complaint(gateway: Gateway, tenants: Tenants) -> None:
    ids = await settle(gateway, tenants.mine)
    viewer = principal(tenants.mine, Role.VIEWER, user_id=uuid7())
    assert await gateway.answer(viewer, "{ viewer { apiKey { id } } }") == {"data": {"viewer": {"apiKey": None}}}
    document = "query($id: ID!) { workspace(id: $id) { parent { id } forwardedTo { id } latestHeartbeat { id } } }"
    answer = await gateway.data(viewer, document, id=ids["workspace"])
    assert answer == {"workspace": {"parent": None, "forwardedTo": None, "latestHeartbeat": None}}


async def test_without_credentials_no_id_is_answered(gateway: Gateway, tenants: Tenants) -> None:
    ids = await settle(gateway, tenants.mine)
    for one in (ids["workspace"], "nonsense"):
        answer = await gateway.answer(None, NODE, id=one)
        assert answer["data"] == {"node": None}
        assert answer["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


async def test_another_persons_private_fields_are_refused_one_by_one(gateway: Gateway, tenants: Tenants) -> None:
    ids = await settle(gateway, tenants.mine)
    viewer = principal(tenants.mine, Role.VIEWER, user_id=uuid7())
    document = "query($id: ID!) { node(id: $id) { ... on User { displayName email roles } } }"
    answer = await gateway.answer(viewer, document, id=ids["user"])
    assert answer["data"] == {"node": {"displayName": "Ada", "email": None, "roles": None}}
    assert sorted(one["path"][-1] for one in answer["errors"]) == ["email", "roles"]
    assert Scope.USERS_READ not in viewer.scopes
