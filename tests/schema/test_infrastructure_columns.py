"""This module is where every column of the old platform about servers, terminals and analyses is written and read."""

from __future__ import annotations

from typing import Any, Final

import pytest

from models import Role
from models.ids import encode, uuid7
from tests.report import record
from tests.schema.analysts import ADVICE, CLAIM, FOUND, SUBMIT, fire, worker
from tests.schema.conftest import Gateway
from tests.schema.staff import answered, done, person
from tests.schema.test_infrastructure import CREATE, GIVEN
from tests.schema.test_terminal_sessions import END, START
from tests.world import Tenants

COLUMNS: Final[dict[str, dict[str, str]]] = {
    "AIOps server_credentials": {
        "id": "server.id",
        "name": "server.name",
        "hostname": "server.hostname",
        "port": "server.port",
        "username": "server.username",
        "auth_type": "server.authType",
        "ssh_key_encrypted": "server.hasSshKey",
        "password_encrypted": "server.hasPassword",
        "environment": "server.environment",
        "created_by": "server.createdBy.id",
        "created_at": "server.createdAt",
    },
    "AIOps terminal_sessions": {
        "id": "stay.id",
        "user_id": "stay.user.id",
        "server_credential_id": "stay.server.id",
        "alert_id": "stay.alert.id",
        "started_at": "stay.startedAt",
        "ended_at": "stay.endedAt",
        "recording_path": "stay.recordingPath",
    },
    "AIOps alerts, the analysis": {
        "id": "alert.id",
        "analyzed": "alert.analyzed",
        "analyzed_at": "alert.analyzedAt",
        "ai_analysis": "alert.aiAnalysis",
        "recommendations_json": "alert.recommendations",
        "analysis_count": "alert.analysisCount",
    },
}
"""Where each column of each table is read."""

DEFAULTS: Final = {"server.port": 22}

ALL: Final = """query($server: ID!, $stay: ID!, $alert: ID!) {
  server: node(id: $server) { ... on Server { id name hostname port username authType hasSshKey hasPassword
    hostKeyFingerprint environment createdAt createdBy { id } } }
  stay: node(id: $stay) { ... on TerminalSession { id startedAt endedAt recordingPath user { id } server { id }
    alert { id } } }
  alert: node(id: $alert) { ... on Alert { id analyzed analyzedAt aiAnalysis recommendations analysisCount } } }"""


def _at(data: dict[str, Any], path: str) -> Any:
    value: Any = data
    for name in path.split("."):
        value = value[name]
    return value


@pytest.fixture(scope="module")
async def read(gateway: Gateway) -> dict[str, Any]:
    """All of it, written by an admin and a worker, read by an operator, and by nobody next door."""
    tenants = await Tenants.make(gateway.services.database)
    admin = await person(gateway, tenants.mine)
    said = {"port": 2222, "password": "hunter2", "environment": "production", "authType": "PASSWORD"}
    server = await done(gateway, admin, CREATE, **{**GIVEN, **said})
    (alert,) = await fire(gateway, tenants.mine)
    stay = await done(gateway, admin, START, serverId=server["id"], alertId=alert)
    await done(gateway, admin, END, id=stay["id"], recordingPath="recordings/1.log")
    analyst = worker(tenants.mine)
    await answered(gateway, analyst, CLAIM, id=alert)
    await done(gateway, analyst, SUBMIT, id=alert, analysis=FOUND, recommendations=ADVICE)
    ids = {"server": server["id"], "stay": stay["id"], "alert": alert}
    data = await gateway.data(await person(gateway, tenants.mine, Role.OPERATOR), ALL, **ids)
    assert data["server"]["createdBy"] == data["stay"]["user"] == {"id": encode("user", admin.user_id or uuid7())}
    foreign = await gateway.data(await person(gateway, tenants.other), ALL, **ids)
    assert foreign == dict.fromkeys(ids)
    return data


@pytest.mark.parametrize("table", COLUMNS)
def test_every_column_is_written_and_read_by_another_role(read: dict[str, Any], table: str) -> None:
    for column, path in COLUMNS[table].items():
        value = _at(read, path)
        assert value not in (None, "", {}, [], 0, False), f"{table}.{column}"
        assert value != DEFAULTS.get(path), f"{table}.{column}"
    record(
        7, "every column of the unified tables is written and read back by a second role", len(COLUMNS[table]), table
    )
