"""This module is where the demo's data is tried: whole, the same each time, and kept by the next start."""

from __future__ import annotations

import json
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from gateway.demo import read_demo, seed
from gateway.embedded import EmbeddedPostgres
from gateway.settings import SettingsError
from models import (
    ActivityLog,
    ActivityStatus,
    ActivityType,
    Agent,
    AgentAssignment,
    AgentRun,
    AgentStatus,
    AgentType,
    Alert,
    AlertAction,
    AlertRule,
    AlertSeverity,
    AlertStatus,
    AnalysisStatus,
    ApiKey,
    ApprovalKind,
    ApprovalRequest,
    ApprovalStatus,
    AssignmentStatus,
    CanvasLayout,
    Conversation,
    ConversationStatus,
    Event,
    LlmProvider,
    LlmProviderType,
    McpServer,
    McpServerType,
    Message,
    MessageContentType,
    MessageRole,
    MessageState,
    Priority,
    Role,
    RunStatus,
    RuntimeState,
    Server,
    ServerAuthType,
    SlaState,
    StructureEvent,
    Tenant,
    TenantPlan,
    TenantStatus,
    TerminalSession,
    ToolExecution,
    ToolKind,
    ToolStatus,
    User,
    UserConsent,
    UserStatus,
    WebhookDelivery,
    WebhookDeliveryState,
    WebhookEndpoint,
    Workspace,
    WorkspaceStatus,
)
from models.database import role_url
from models.errors import Refusal, Unauthenticated
from models.roles import OWNER
from models.scopes import INGEST_SCOPES
from resolvers.call import Call, Services
from resolvers.registry import update_workspace
from tests.gateway.demo_house import house, new_database

URL = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """The demo's data directory."""
    with TemporaryDirectory(prefix="sbx-demo-") as name:
        yield Path(name)


@pytest.fixture(scope="module")
async def url(postgres: EmbeddedPostgres) -> str:
    """A database for the demo alone."""
    return await new_database(postgres.url, "demo")


@pytest.fixture(scope="module")
async def demo(url: str, folder: Path) -> AsyncIterator[Services]:
    """A gateway that was started once with --demo."""
    async with house(url) as services:
        await seed(services, folder, URL)
        yield services


@pytest.fixture(scope="module", autouse=True)
async def picture(demo: Services, url: str) -> list[Any]:
    """What the first start made, before any test changed it."""
    return await _picture(url)


@asynccontextmanager
async def _owner(url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(role_url(url, OWNER))
    yield engine
    await engine.dispose()


async def _all(url: str, statement: Any) -> list[Any]:
    async with _owner(url) as owner, owner.connect() as connection:
        return list((await connection.execute(statement)).all())


async def _words(url: str, slug: str, column: Any) -> set[Any]:
    rows = await _all(url, select(column).join(Tenant, Tenant.id == column.class_.tenant_id).where(Tenant.slug == slug))
    return {row[0] for row in rows}


def _file(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "demo.json").read_text())
    return content


async def test_the_file_names_two_tenants_with_a_person_for_each_role_and_a_fleet_key(
    demo: Services, folder: Path
) -> None:
    content = _file(folder)
    assert content["url"] == URL
    assert [tenant["slug"] for tenant in content["tenants"]] == ["acme", "globex"]
    for tenant in content["tenants"]:
        roles = [user["roles"] for user in tenant["users"]]
        assert roles == [["admin"], ["operator"], ["member"], ["viewer"], ["auditor"]]
        assert all(set(user) == {"email", "password", "roles"} for user in tenant["users"])
        [key] = tenant["api_keys"]
        assert key["name"] == "fleet"
        assert key["scopes"] == sorted(INGEST_SCOPES)
    assert content["platform_admin"]["email"] == "admin@platform.example"


def test_only_its_owner_can_read_the_file_and_no_draft_is_left(demo: Services, folder: Path) -> None:
    assert stat.S_IMODE((folder / "demo.json").stat().st_mode) == 0o600
    assert [path.name for path in folder.iterdir()] == ["demo.json"]


async def test_everybody_in_the_file_signs_in_with_the_roles_it_names(demo: Services, folder: Path) -> None:
    content = _file(folder)
    for tenant in content["tenants"]:
        for user in tenant["users"]:
            signed = await demo.accounts.login(
                Call(services=demo, principal=None),
                tenant_slug=tenant["slug"],
                email=user["email"],
                password=user["password"],
            )
            assert signed.principal.roles == {Role(word) for word in user["roles"]}
    platform = content["platform_admin"]
    signed = await demo.accounts.login(Call(services=demo, principal=None), **platform)
    assert signed.principal.is_platform_admin


async def test_a_suspended_person_does_not_sign_in(demo: Services) -> None:
    with pytest.raises(Refusal, match="is wrong"):
        await demo.accounts.login(
            Call(services=demo, principal=None),
            tenant_slug="acme",
            email="suspended@acme.example",
            password="suspended-acme-demo",
        )


async def test_a_fleet_key_opens_its_own_tenant_with_every_ingest_scope(demo: Services, folder: Path) -> None:
    found = set()
    for tenant in _file(folder)["tenants"]:
        principal = await demo.accounts.authenticate(f"Bearer {tenant['api_keys'][0]['secret']}")
        assert principal is not None
        assert principal.scopes == INGEST_SCOPES
        found.add(principal.tenant_id)
    assert len(found) == 2


@pytest.mark.parametrize("slug", ["acme", "globex"])
@pytest.mark.parametrize(
    ("column", "words"),
    [
        (User.status, UserStatus),
        (Agent.status, AgentStatus),
        (Workspace.status, WorkspaceStatus),
        (AgentAssignment.status, AssignmentStatus),
        (ActivityLog.status, ActivityStatus),
        (ActivityLog.activity_type, ActivityType),
        (Conversation.status, ConversationStatus),
        (Message.role, MessageRole),
        (Message.state, MessageState),
        (Message.content_type, MessageContentType),
        (Alert.status, AlertStatus),
        (Alert.severity, AlertSeverity),
        (Alert.action_taken, AlertAction),
        (AlertRule.action, AlertAction),
        (AgentRun.status, RunStatus),
        (ApprovalRequest.kind, ApprovalKind),
        (ApprovalRequest.priority, Priority),
        (ApprovalRequest.sla_state, SlaState),
        (ApprovalRequest.status, ApprovalStatus),
        (ToolExecution.kind, ToolKind),
        (ToolExecution.status, ToolStatus),
        (Alert.analysis_status, AnalysisStatus),
        (Server.auth_type, ServerAuthType),
        (WebhookDelivery.state, WebhookDeliveryState),
    ],
)
async def test_every_status_of_every_domain_is_there(
    demo: Services, url: str, slug: str, column: Any, words: type[StrEnum]
) -> None:
    assert await _words(url, slug, column) == set(words)


async def test_every_tenant_status_and_plan_is_there(demo: Services, url: str) -> None:
    rows = await _all(url, select(Tenant.slug, Tenant.status, Tenant.plan))
    assert {row.status for row in rows} == set(TenantStatus)
    assert {row.plan for row in rows} == set(TenantPlan)
    assert {row.slug for row in rows if row.status is TenantStatus.ACTIVE} == {"platform", "acme", "globex"}


async def test_model_providers_of_every_type_are_there_and_servers_are_shared(demo: Services, url: str) -> None:
    for slug in ("acme", "globex"):
        assert await _words(url, slug, LlmProvider.provider_type) == set(LlmProviderType)
        assert await _words(url, slug, LlmProvider.is_default) == {True, False}
    kinds = await _words(url, "platform", McpServer.type) | await _words(url, "acme", McpServer.type)
    assert kinds == set(McpServerType)


async def test_somebody_is_at_a_server_and_somebody_was(demo: Services, url: str) -> None:
    for slug in ("acme", "globex"):
        for column in (TerminalSession.ended_at, TerminalSession.alert_id):
            assert {one is None for one in await _words(url, slug, column)} == {True, False}


async def test_a_webhook_endpoint_is_there_and_is_told_nothing(demo: Services, url: str) -> None:
    for slug in ("acme", "globex"):
        assert await _words(url, slug, WebhookEndpoint.is_enabled) == {False}


async def test_agents_of_every_type_are_there_and_one_of_each_tenant_routes(demo: Services, url: str) -> None:
    assert await _words(url, "acme", Agent.type) == set(AgentType)
    for slug in ("acme", "globex"):
        assert await _words(url, slug, Agent.is_router) == {True, False}


async def test_consents_keys_and_runtimes_show_each_of_their_states(demo: Services, url: str) -> None:
    assert await _words(url, "acme", UserConsent.granted) == {True, False}
    assert await _words(url, "acme", Workspace.runtime_state) == set(RuntimeState)
    keys = await _all(
        url,
        select(ApiKey.revoked_at.is_not(None), ApiKey.expires_at < text("now()")).where(ApiKey.workspace_id.is_(None)),
    )
    assert {(True, None), (False, None), (False, True)} <= {tuple(key) for key in keys}


async def test_every_workspace_that_is_there_is_drawn_somewhere_of_its_own(demo: Services, url: str) -> None:
    drawn = await _all(url, select(CanvasLayout.tenant_id, CanvasLayout.x, CanvasLayout.y))
    there = await _all(url, select(Workspace.id).where(Workspace.status != WorkspaceStatus.REMOVED))
    assert len(set(drawn)) == len(drawn) == len(there)


async def test_what_was_made_was_told(demo: Services, url: str) -> None:
    told = {row.entity_id for row in await _all(url, select(Event.entity_id))}
    for made in (User.id, Agent.id, Workspace.id, ApiKey.id, UserConsent.id):
        rows = await _all(url, select(made))
        assert rows
        assert {row.id for row in rows} <= told
    types = {row.event_type for row in await _all(url, select(StructureEvent.event_type))}
    assert {"WORKSPACE_OFFLINE", "WORKSPACE_DEGRADED", "WORKSPACE_PROVISION_FAILED", "AGENT_REPLACED"} <= types


async def test_no_event_carries_an_address(demo: Services, url: str) -> None:
    [row] = await _all(url, text("SELECT count(*) AS found FROM events e WHERE e::text LIKE '%@%'"))
    assert row.found == 0


async def test_a_second_start_keeps_data_and_keys_and_writes_the_new_address(
    demo: Services, url: str, folder: Path
) -> None:
    before = _file(folder)
    counts = await _counts(url)
    [place] = await _all(url, select(Workspace.id, Workspace.tenant_id, Workspace.version).where(_named("Data Lake")))
    admin = await demo.accounts.login(
        Call(services=demo, principal=None), tenant_slug="acme", email="admin@acme.example", password="admin-acme-demo"
    )
    call = Call(services=demo, principal=admin.principal)
    await update_workspace(call, id=place.id, expected_version=place.version, name="Data Ocean")
    async with house(url) as again:
        await seed(again, folder, "http://127.0.0.1:9999")
    after = _file(folder)
    assert after == before | {"url": "http://127.0.0.1:9999"}
    assert await _counts(url) == counts
    assert len(await _all(url, select(Workspace.id).where(_named("Data Ocean")))) == 1


async def test_a_key_that_was_lost_or_revoked_is_replaced(url: str, folder: Path, demo: Services) -> None:
    known = read_demo(folder)
    assert known is not None
    old = known.secret("globex", "fleet")
    async with house(url) as again:
        (folder / "demo.json").unlink()
        await seed(again, folder, URL)
        written = read_demo(folder)
        assert written is not None
        assert written.secret("globex", "fleet") not in (None, old)
        assert await again.accounts.authenticate(f"Bearer {written.secret('globex', 'fleet')}") is not None
        with pytest.raises(Unauthenticated):
            await again.accounts.authenticate(f"Bearer {old}")


async def test_a_start_after_a_day_brings_the_living_back(demo: Services, url: str, folder: Path) -> None:
    async with _owner(url) as owner, owner.begin() as connection:
        await connection.execute(
            update(Workspace)
            .where(Workspace.name.in_(["Marketing", "Vancouver SEO Agent"]))
            .values(status=WorkspaceStatus.OFFLINE)
        )
    async with house(url) as again:
        await seed(again, folder, URL)
    rows = await _all(url, select(Workspace.name, Workspace.status))
    statuses = {row.name: row.status for row in rows}
    assert statuses["Marketing"] is WorkspaceStatus.ONLINE
    assert statuses["Vancouver SEO Agent"] is WorkspaceStatus.DEGRADED
    assert statuses["Backend"] is WorkspaceStatus.OFFLINE


async def test_the_same_seed_makes_the_same_data_even_when_the_first_start_was_cut_off(
    postgres: EmbeddedPostgres, picture: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = await new_database(postgres.url, "demo_again")
    with TemporaryDirectory() as folder:
        async with house(url) as services:
            with monkeypatch.context() as patch:
                patch.setattr("gateway.demo.seeding.bygone_keys", _cut_off)
                with pytest.raises(InterruptedError):
                    await seed(services, Path(folder), URL)
            assert await _all(url, select(Workspace.id)) == []
            await seed(services, Path(folder), URL)
    assert await _picture(url) == picture


async def _cut_off(_: Any) -> None:
    raise InterruptedError


async def test_a_folder_that_cannot_be_written_is_one_line(demo: Services, folder: Path) -> None:
    blocked = folder / "demo.json" / "below-a-file"
    with pytest.raises(SettingsError, match=r"SIGNALBOX_DATA_DIR: .* cannot be written"):
        await seed(demo, blocked, URL)


def test_a_file_that_is_no_demo_file_is_as_good_as_none(tmp_path: Path) -> None:
    for content in ("", "[]", '{"url": 1}', '{"url": "x", "tenants": [{}]}'):
        (tmp_path / "demo.json").write_text(content)
        assert read_demo(tmp_path) is None


def _named(name: str) -> Any:
    return Workspace.name == name


async def _counts(url: str) -> list[Any]:
    tables = (Tenant, User, UserConsent, Agent, Workspace, AgentAssignment, ApiKey, StructureEvent, ActivityLog)
    return [len(await _all(url, select(table.id))) for table in tables]


async def _picture(url: str) -> list[Any]:
    """Everything that a seed decides, in an order that does not hang on ids."""
    statements = (
        select(Tenant.slug, Tenant.name, Tenant.plan, Tenant.status).order_by(Tenant.slug),
        select(User.display_name, User.email, User.roles, User.status).order_by(User.email),
        select(Agent.name, Agent.type, Agent.status, Agent.title).order_by(Agent.name, Agent.title),
        select(Workspace.name, Workspace.status, Workspace.uptime_seconds, Workspace.active_tasks).order_by(
            Workspace.name
        ),
        select(AgentAssignment.model, AgentAssignment.status).order_by(AgentAssignment.model, AgentAssignment.status),
        select(Event.kind).order_by(Event.kind),
    )
    return [[tuple(row) for row in await _all(url, statement)] for statement in statements]
