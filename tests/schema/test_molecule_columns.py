"""This module is where every column of Molecule's tables of places is written with a value of its own and read back.

One role writes, through the API alone; another one reads, through the API alone.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import pytest
from sqlalchemy import select
from sqlalchemy.orm import undefer

from models import Role, Scope, Secret, User, UserStatus
from models.ids import encode, parse, uuid7
from resolvers.principal import Principal
from resolvers.secrets import use_secret
from tests.report import record
from tests.schema.conftest import Gateway
from tests.schema.places import agent, assign, machine, place, update
from tests.schema.test_agent_cards import CARD
from tests.schema.test_assignments import moved
from tests.schema.test_bundles import IMPORT
from tests.schema.test_canvas import LOOK, PUT
from tests.world import Tenants, call_of, principal

COLUMNS: Final = {
    "workspaces": """id name role tier status source_bundle_id agent_card url parent_id forwarded_to last_heartbeat_at
        last_error_rate last_sample_error active_tasks uptime_seconds current_task created_at updated_at""",
    "agents": "id workspace_id model status removed_at removal_reason created_at",
    "workspace_secrets": "id workspace_id key encrypted_value created_at updated_at",
    "canvas_layouts": "workspace_id x y collapsed",
    "canvas_viewport": "id x y zoom saved_at",
    "structure_events": "id event_type workspace_id agent_id target_id payload created_at",
    "activity_logs": """id workspace_id activity_type source_id target_id method summary request_body response_body
        duration_ms status error_detail created_at""",
}
"""What the documents of that system name."""

REGISTER = """mutation($input: RegisterWorkspaceInput!) { registerWorkspace(input: $input) {
  leaseEpoch userErrors { code } } }"""
BEAT = "mutation($input: HeartbeatInput!) { reportHeartbeat(input: $input) { userErrors { code } } }"
SECRET = "mutation($input: SetSecretInput!) { setSecret(input: $input) { secret { id } userErrors { code } } }"
REPORT = """mutation($input: ReportActivityInput!) { reportActivity(input: $input) {
  activityLog { id } userErrors { code } } }"""
WORKSPACE = """query($id: ID!) { workspace(id: $id) { id name role tier status sourceBundleId agentCard url
  parent { id } forwardedTo { id } lastHeartbeatAt lastErrorRate lastSampleError activeTasks uptimeSeconds currentTask
  createdAt updatedAt layout { workspaceId x y collapsed } } }"""
HISTORY = """query($id: ID!) { workspace(id: $id) { assignments { nodes { id workspace { id } model status removedAt
  removalReason createdAt } } } }"""
EVENTS = """{ structureEvents(filter: {eventType: ["AGENT_MOVED"]}) { nodes { id eventType workspaceId agent { id }
  target { id } payload createdAt } } }"""
SECRETS = "{ secrets { nodes { id ownerId key version createdAt updatedAt } } }"
LOGS = """{ activityLogs { nodes { id workspace { id } activityType sourceWorkspace { id } targetWorkspace { id } method
  summary requestBody responseBody durationMilliseconds status errorDetail createdAt } } }"""
VIEWPORT = "{ canvasViewport { id x y zoom savedAt } }"


class World:
    """What was written, and who reads it."""

    def __init__(self, gateway: Gateway, tenants: Tenants) -> None:
        self.gateway, self.tenants = gateway, tenants
        self.began = datetime.now(UTC)
        self.user = uuid7()
        self.writer = principal(tenants.mine, user_id=self.user)
        self.reader = principal(tenants.mine, Role.VIEWER, user_id=self.user)
        self.ids: dict[str, str] = {}

    async def ask(self, who: Principal, query: str, **said: Any) -> Any:
        """The one field of an answer without errors of any kind."""
        (answer,) = (await self.gateway.data(who, query, **said)).values()
        if isinstance(answer, dict):
            assert answer.get("userErrors", []) == []
        return answer

    def is_now(self, time: str | None) -> bool:
        """Whether it is a time since the test began."""
        return time is not None and self.began <= datetime.fromisoformat(time) <= datetime.now(UTC)


async def _person(world: World) -> None:
    async with world.gateway.services.database.session(world.tenants.mine) as session:
        session.add(User(tenant_id=world.tenants.mine, id=world.user, display_name="Ada", status=UserStatus.ACTIVE))
        await session.commit()


@pytest.fixture
async def world(gateway: Gateway, tenants: Tenants) -> World:
    """Everything written."""
    return await written(gateway, tenants)


async def written(gateway: Gateway, tenants: Tenants) -> World:
    """Everything written, each value unlike what stands there when nothing is said."""
    made = World(gateway, tenants)
    await _person(made)
    await _write_places(made)
    await _write_assignments(made)
    await _write_the_rest(made)
    return made


async def _write_places(world: World) -> None:
    ids, who = world.ids, world.writer
    ids["parent"] = await place(world.gateway, who, "Business Core")
    ids["target"] = await place(world.gateway, who, "Successor")
    part = {"ref": "1", "name": "Vancouver SEO Agent", "role": "Search engines", "tier": 3}
    bundle = {"format": "signalbox.bundle/1", "id": "bundle_seo", "workspaces": [part]}
    made = await world.ask(who, IMPORT, input={"bundle": bundle, "parentId": ids["parent"]})
    ids["place"] = made["workspace"]["id"]
    said = {"id": ids["place"], "url": "https://seo.agents.example", "agentCard": CARD}
    epoch = (await world.ask(who, REGISTER, input=said))["leaseEpoch"]
    answer = await update(world.gateway, who, ids["place"], 2, forwardedToId=ids["target"])
    assert answer["userErrors"] == []
    beat = {
        "workspaceId": ids["place"],
        "leaseEpoch": epoch,
        "errorRate": 0.87,
        "activeTasks": 3,
        "uptimeSeconds": 4711,
        "currentTask": "auditing a page",
        "sampleError": "anthropic API rate limit exceeded",
    }
    await world.ask(machine(world.tenants.mine, ids["place"]), BEAT, input=beat)


async def _write_assignments(world: World) -> None:
    ids, who, tenant = world.ids, world.writer, world.tenants.mine
    ids["agent"] = await agent(world.gateway, tenant, "first")
    await assign(world.gateway, who, ids["place"], ids["agent"])
    await moved(world.gateway, who, ids["agent"], ids["target"])


async def _write_the_rest(world: World) -> None:
    ids, who = world.ids, world.writer
    layout = {"workspaceId": ids["place"], "x": 12.5, "y": -7.25, "collapsed": True}
    await world.ask(who, PUT, input={"layouts": [layout]})
    await world.ask(who, LOOK, input={"x": 3.5, "y": -4.5, "zoom": 1.75})
    for value in ("first", "swordfish"):
        secret = {"ownerId": ids["place"], "key": "ANTHROPIC_API_KEY", "value": value}
        ids["secret"] = (await world.ask(who, SECRET, input=secret))["secret"]["id"]
    log = {
        "workspaceId": ids["place"],
        "activityType": "A2A_SEND",
        "status": "TIMEOUT",
        "sourceWorkspaceId": ids["place"],
        "targetWorkspaceId": ids["parent"],
        "method": "message/send",
        "summary": "asked for a page",
        "requestBody": {"text": "a page"},
        "responseBody": {"error": "none"},
        "durationMilliseconds": 30_000,
        "errorDetail": "no answer",
    }
    ids["log"] = (await world.ask(who, REPORT, input=log))["activityLog"]["id"]


async def _workspaces(world: World) -> dict[str, bool]:
    ids = world.ids
    found = await world.ask(world.reader, WORKSPACE, id=ids["place"])
    return {
        "id": found["id"] == ids["place"],
        "name": found["name"] == "Vancouver SEO Agent",
        "role": found["role"] == "Search engines",
        "tier": found["tier"] == 3,
        "status": found["status"] == "DEGRADED",
        "source_bundle_id": found["sourceBundleId"] == "bundle_seo",
        "agent_card": found["agentCard"] == CARD,
        "url": found["url"] == "https://seo.agents.example",
        "parent_id": found["parent"] == {"id": ids["parent"]},
        "forwarded_to": found["forwardedTo"] == {"id": ids["target"]},
        "last_heartbeat_at": world.is_now(found["lastHeartbeatAt"]),
        "last_error_rate": found["lastErrorRate"] == 0.87,
        "last_sample_error": found["lastSampleError"] == "anthropic API rate limit exceeded",
        "active_tasks": found["activeTasks"] == 3,
        "uptime_seconds": found["uptimeSeconds"] == 4711,
        "current_task": found["currentTask"] == "auditing a page",
        "created_at": world.is_now(found["createdAt"]),
        "updated_at": world.is_now(found["updatedAt"]) and found["updatedAt"] > found["createdAt"],
    }


async def _agents(world: World) -> dict[str, bool]:
    ids = world.ids
    (found,) = (await world.ask(world.reader, HISTORY, id=ids["place"]))["assignments"]["nodes"]
    return {
        "id": found["id"].startswith("assignment_"),
        "workspace_id": found["workspace"] == {"id": ids["place"]},
        "model": found["model"] == "gpt-4o",
        "status": found["status"] == "REMOVED",
        "removed_at": world.is_now(found["removedAt"]),
        "removal_reason": found["removalReason"] == "moved",
        "created_at": world.is_now(found["createdAt"]),
    }


async def _secrets(world: World) -> dict[str, bool]:
    ids, tenant = world.ids, world.tenants.mine
    reader = principal(tenant, Role.API_CLIENT, api_key_id=uuid7(), scopes=frozenset({Scope.SECRETS_READ}))
    (found,) = (await world.ask(reader, SECRETS))["nodes"]
    async with world.gateway.services.database.session(tenant) as session:
        statement = select(Secret).where(Secret.id == parse(ids["secret"], "secret")).options(undefer(Secret.sealed))
        row = (await session.scalars(statement)).one()
    opened = await use_secret(call_of(world.gateway.services, world.writer), row.id, "a test")
    return {
        "id": found["id"] == ids["secret"],
        "workspace_id": found["ownerId"] == ids["place"],
        "key": found["key"] == "ANTHROPIC_API_KEY",
        # Of what is sealed the API tells that it was set twice, and nothing more.
        "encrypted_value": found["version"] == 2 and opened == "swordfish" and b"swordfish" not in row.sealed,
        "created_at": world.is_now(found["createdAt"]),
        "updated_at": found["updatedAt"] > found["createdAt"],
    }


async def _layouts(world: World) -> dict[str, bool]:
    found = (await world.ask(world.reader, WORKSPACE, id=world.ids["place"]))["layout"]
    return {
        "workspace_id": found["workspaceId"] == world.ids["place"],
        "x": found["x"] == 12.5,
        "y": found["y"] == -7.25,
        "collapsed": found["collapsed"] is True,
    }


async def _viewport(world: World) -> dict[str, bool]:
    found = await world.ask(world.reader, VIEWPORT)
    return {
        "id": found["id"].startswith("viewport_"),
        "x": found["x"] == 3.5,
        "y": found["y"] == -4.5,
        "zoom": found["zoom"] == 1.75,
        "saved_at": world.is_now(found["savedAt"]),
    }


async def _structure(world: World) -> dict[str, bool]:
    ids = world.ids
    (found,) = (await world.ask(world.reader, EVENTS))["nodes"]
    return {
        "id": found["id"].startswith("structure_"),
        "event_type": found["eventType"] == "AGENT_MOVED",
        "workspace_id": found["workspaceId"] == ids["target"],
        "agent_id": found["agent"] == {"id": ids["agent"]},
        "target_id": found["target"] == {"id": ids["place"]},
        "payload": found["payload"] == {"from": ids["place"], "to": ids["target"]},
        "created_at": world.is_now(found["createdAt"]),
    }


async def _logs(world: World) -> dict[str, bool]:
    ids = world.ids
    (found,) = (await world.ask(world.reader, LOGS))["nodes"]
    return {
        "id": found["id"] == ids["log"] == encode("activity", parse(ids["log"], "activity")),
        "workspace_id": found["workspace"] == {"id": ids["place"]},
        "activity_type": found["activityType"] == "A2A_SEND",
        "source_id": found["sourceWorkspace"] == {"id": ids["place"]},
        "target_id": found["targetWorkspace"] == {"id": ids["parent"]},
        "method": found["method"] == "message/send",
        "summary": found["summary"] == "asked for a page",
        "request_body": found["requestBody"] == {"text": "a page"},
        "response_body": found["responseBody"] == {"error": "none"},
        "duration_ms": found["durationMilliseconds"] == 30_000,
        "status": found["status"] == "TIMEOUT",
        "error_detail": found["errorDetail"] == "no answer",
        "created_at": world.is_now(found["createdAt"]),
    }


READ: Final[dict[str, Callable[[World], Any]]] = {
    "workspaces": _workspaces,
    "agents": _agents,
    "workspace_secrets": _secrets,
    "canvas_layouts": _layouts,
    "canvas_viewport": _viewport,
    "structure_events": _structure,
    "activity_logs": _logs,
}


@pytest.mark.parametrize("table", COLUMNS)
async def test_every_column_is_written_by_one_role_and_read_by_another(world: World, table: str) -> None:
    columns = COLUMNS[table].split()
    found = await READ[table](world)
    assert list(found) == columns
    assert [name for name, is_right in found.items() if not is_right] == []
    record(5, f"columns of Molecule's {table}, written by one role and read by another", len(columns), "all")


@pytest.mark.parametrize("table", COLUMNS)
async def test_the_neighbour_reads_none_of_it(world: World, gateway: Gateway, tenants: Tenants, table: str) -> None:
    stranger = principal(tenants.other, user_id=world.user)
    queries: dict[str, tuple[str, dict[str, Any]]] = {
        "workspaces": (WORKSPACE, {"id": world.ids["place"]}),
        "agents": (HISTORY, {"id": world.ids["place"]}),
        "workspace_secrets": (SECRETS, {}),
        "canvas_layouts": (WORKSPACE, {"id": world.ids["place"]}),
        "canvas_viewport": (VIEWPORT, {}),
        "structure_events": (EVENTS, {}),
        "activity_logs": (LOGS, {}),
    }
    query, said = queries[table]
    (answer,) = (await gateway.data(stranger, query, **said)).values()
    assert answer in (None, {"nodes": []})
