"""This module is where it is specified what workspaces tell of what they did, who reads it, and how it is asked for."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from models import ActivityLog, ActivityStatus, ActivityType, Event, Role, Scope, utcnow
from models.activity_logs import OUTCOMES
from models.database import Database
from models.ids import encode, parse, uuid7
from resolvers.principal import Principal
from tests.conftest import counted
from tests.report import record
from tests.schema.conftest import Gateway
from tests.schema.places import machine, place, rows
from tests.world import Tenants, principal

REPORT = """mutation($input: ReportActivityInput!) { reportActivity(input: $input) {
  activityLog { id status source workspace { id } } userErrors { code field } } }"""
LIST = """query($first: Int, $after: String, $filter: ActivityLogFilter, $orderBy: ActivityLogOrder) {
  activityLogs(first: $first, after: $after, filter: $filter, orderBy: $orderBy) { totalCount
  nodes { id activityType status source summary createdAt workspace { id } sourceWorkspace { id } }
  pageInfo { hasNextPage endCursor } } }"""


async def told(gateway: Gateway, who: Principal, workspace: str, **said: Any) -> dict[str, Any]:
    given = {"workspaceId": workspace, "activityType": "AGENT_LOG", **said}
    answer: dict[str, Any] = (await gateway.data(who, REPORT, input=given))["reportActivity"]
    return answer


async def listed(gateway: Gateway, who: Principal, **said: Any) -> list[str]:
    page = (await gateway.data(who, LIST, **said))["activityLogs"]
    return [one["summary"] for one in page["nodes"]]


async def kept(gateway: Gateway, tenants: Tenants) -> tuple[Any, Any]:
    async with gateway.services.database.session(tenants.mine) as session:
        counts = [await session.scalar(select(func.count()).select_from(one)) for one in (ActivityLog, Event)]
    return counts[0], counts[1]


async def test_a_machine_tells_what_its_workspace_did_and_the_board_reads_it(
    gateway: Gateway, tenants: Tenants
) -> None:
    who = principal(tenants.mine, user_id=uuid7())
    here, there = await place(gateway, who, "Here"), await place(gateway, who, "There")
    answer = await told(
        gateway,
        machine(tenants.mine, here),
        here,
        activityType="A2A_SEND",
        status="TIMEOUT",
        sourceWorkspaceId=here,
        targetWorkspaceId=there,
        method="message/send",
        summary="asked There for a page",
        requestBody={"text": "a page, please"},
        responseBody={"error": "none"},
        durationMilliseconds=30_000,
        errorDetail="no answer in 30 s",
    )
    assert answer["userErrors"] == []
    # Its own, so it sees the log without the scope for everybody's.
    assert answer["activityLog"] == {
        "id": answer["activityLog"]["id"],
        "status": "TIMEOUT",
        "source": "AGENT",
        "workspace": {"id": here},
    }
    query = """query($id: ID!) { node(id: $id) { ... on ActivityLog { activityType method summary requestBody
      responseBody durationMilliseconds errorDetail targetWorkspace { id } } } }"""
    viewer = principal(tenants.mine, Role.VIEWER, user_id=uuid7())
    assert (await gateway.data(viewer, query, id=answer["activityLog"]["id"]))["node"] == {
        "activityType": "A2A_SEND",
        "method": "message/send",
        "summary": "asked There for a page",
        "requestBody": {"text": "a page, please"},
        "responseBody": {"error": "none"},
        "durationMilliseconds": 30_000,
        "errorDetail": "no answer in 30 s",
        "targetWorkspace": {"id": there},
    }


@pytest.mark.parametrize("activity_type", list(ActivityType))
async def test_only_delegations_go_on_and_everything_else_has_come_out(
    gateway: Gateway, tenants: Tenants, activity_type: ActivityType
) -> None:
    who = principal(tenants.mine, user_id=uuid7())
    here = await place(gateway, who)
    is_delegation = activity_type is ActivityType.DELEGATION
    first = await told(gateway, who, here, activityType=activity_type.name)
    assert first["activityLog"]["status"] == ("PENDING" if is_delegation else "OK")
    for status in ActivityStatus:
        answer = await told(gateway, who, here, activityType=activity_type.name, status=status.name)
        if (status in OUTCOMES) is is_delegation:
            assert answer["userErrors"] == [{"code": "INVALID", "field": ["input", "status"]}]
        else:
            assert answer["activityLog"]["status"] == status.name


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"method": "two\nlines"}, "method"),
        ({"method": "x" * 256}, "method"),
        ({"summary": "x" * 4_001}, "summary"),
        ({"summary": "nul\x00"}, "summary"),
        ({"errorDetail": "x" * 16_001}, "errorDetail"),
        ({"requestBody": ["no object"]}, "requestBody"),
        ({"requestBody": {"nul": "\x00"}}, "requestBody"),
        ({"responseBody": {"text": "x" * 66_000}}, "responseBody"),
        ({"durationMilliseconds": -1}, "durationMilliseconds"),
    ],
)
async def test_what_cannot_be_kept_is_invalid_by_its_field(
    gateway: Gateway, tenants: Tenants, said: dict[str, Any], field: str
) -> None:
    who = principal(tenants.mine, user_id=uuid7())
    here = await place(gateway, who)
    before = await kept(gateway, tenants)
    answer = await told(gateway, who, here, **said)
    assert answer == {"activityLog": None, "userErrors": [{"code": "INVALID", "field": ["input", field]}]}
    assert await kept(gateway, tenants) == before


async def test_a_machine_names_only_itself_and_those_that_it_may_talk_to(gateway: Gateway, tenants: Tenants) -> None:
    who = principal(tenants.mine, user_id=uuid7())
    root, other = await place(gateway, who, "Root"), await place(gateway, who, "Other")
    here, cousin = await place(gateway, who, "Here", root), await place(gateway, who, "Cousin", other)
    (theirs,) = await rows(gateway, tenants.other, 1)
    mine = machine(tenants.mine, here)
    before = await kept(gateway, tenants)
    for id in (cousin, theirs, encode("workspace", uuid7()), "nonsense"):
        for field in ("workspaceId", "sourceWorkspaceId", "targetWorkspaceId"):
            answer = await told(gateway, mine, **{"workspace": here, field: id})
            assert answer == {"activityLog": None, "userErrors": [{"code": "NOT_FOUND", "field": ["input", field]}]}
    assert await kept(gateway, tenants) == before
    assert (await told(gateway, mine, here, sourceWorkspaceId=root, targetWorkspaceId=here))["userErrors"] == []
    # Somebody who manages the fleet names any workspace of the tenant, and of no other.
    assert (await told(gateway, who, here, sourceWorkspaceId=cousin))["userErrors"] == []
    answer = await told(gateway, who, here, targetWorkspaceId=theirs)
    assert [one["code"] for one in answer["userErrors"]] == ["NOT_FOUND"]


async def test_a_retry_under_a_key_tells_it_once(gateway: Gateway, tenants: Tenants) -> None:
    who = principal(tenants.mine, user_id=uuid7())
    here = await place(gateway, who)
    first = await told(gateway, who, here, summary="once", idempotencyKey="one")
    assert await told(gateway, who, here, summary="once", idempotencyKey="one") == first
    other = await told(gateway, who, here, summary="twice", idempotencyKey="one")
    assert [one["code"] for one in other["userErrors"]] == ["IDEMPOTENCY_MISMATCH"]
    assert (await kept(gateway, tenants))[0] == 1


async def fill(gateway: Gateway, tenants: Tenants) -> tuple[str, str, datetime]:
    """Four logs of two workspaces, a minute apart; the workspaces and when it began."""
    here, there = await rows(gateway, tenants.mine, 2)
    began = utcnow() - timedelta(hours=1)
    cases = [
        ("one", here, ActivityType.AGENT_LOG, ActivityStatus.OK, None),
        ("two", here, ActivityType.ERROR, ActivityStatus.ERROR, None),
        ("three", there, ActivityType.A2A_RECEIVE, ActivityStatus.OK, here),
        ("four", here, ActivityType.A2A_SEND, ActivityStatus.TIMEOUT, here),
    ]
    async with gateway.services.database.session(tenants.mine) as session:
        for number, (summary, whose, kind, status, source) in enumerate(cases):
            session.add(
                ActivityLog(
                    tenant_id=tenants.mine,
                    workspace_id=parse(whose, "workspace"),
                    activity_type=kind,
                    status=status,
                    source_workspace_id=parse(source, "workspace") if source else None,
                    summary=summary,
                    created_at=began + timedelta(minutes=number),
                )
            )
        await session.commit()
    return here, there, began


async def test_logs_are_asked_for_by_workspace_type_source_status_and_time(gateway: Gateway, tenants: Tenants) -> None:
    here, there, began = await fill(gateway, tenants)
    who = principal(tenants.mine, Role.VIEWER, user_id=uuid7())

    async def found(**filter: Any) -> list[str]:
        return await listed(gateway, who, filter=filter)

    assert await found() == ["four", "three", "two", "one"]
    assert await found(workspaceId=there) == ["three"]
    assert await found(activityType=["ERROR", "A2A_SEND"]) == ["four", "two"]
    assert await found(status=["OK"]) == ["three", "one"]
    assert await found(source=["CANVAS"]) == ["two", "one"]
    assert await found(source=["AGENT"]) == ["four", "three"]
    assert await found(source=["AGENT", "CANVAS"], workspaceId=here) == ["four", "two", "one"]
    assert await found(source=[]) == []
    assert await found(createdAfter=(began + timedelta(minutes=2)).isoformat()) == ["four", "three"]
    assert await found(createdBefore=(began + timedelta(minutes=2)).isoformat()) == ["two", "one"]
    assert await found(source=["AGENT"], status=["TIMEOUT"], workspaceId=here) == ["four"]
    assert await found(workspaceId="nonsense") == []
    oldest = {"field": "CREATED_AT", "direction": "ASC"}
    assert await listed(gateway, who, orderBy=oldest, first=2) == ["one", "two"]
    assert await listed(gateway, principal(tenants.other, user_id=uuid7())) == []


async def test_pages_follow_each_other_and_none_is_larger_than_a_hundred(gateway: Gateway, tenants: Tenants) -> None:
    await fill(gateway, tenants)
    who = principal(tenants.mine, Role.VIEWER, user_id=uuid7())
    first = (await gateway.data(who, LIST, first=3))["activityLogs"]
    assert (first["totalCount"], first["pageInfo"]["hasNextPage"]) == (4, True)
    second = (await gateway.data(who, LIST, first=3, after=first["pageInfo"]["endCursor"]))["activityLogs"]
    assert [one["summary"] for one in first["nodes"] + second["nodes"]] == ["four", "three", "two", "one"]
    answer = await gateway.answer(who, LIST, first=101)
    assert answer["errors"][0]["extensions"]["code"] == "LIMIT_EXCEEDED"


async def test_of_one_workspace_the_list_stands_at_the_workspace(gateway: Gateway, tenants: Tenants) -> None:
    here, there, _ = await fill(gateway, tenants)
    who = principal(tenants.mine, Role.VIEWER, user_id=uuid7())
    query = """query($id: ID!, $filter: ActivityLogFilter) { workspace(id: $id) {
      activityLogs(filter: $filter) { totalCount nodes { summary } } } }"""
    found = (await gateway.data(who, query, id=there))["workspace"]["activityLogs"]
    assert found == {"totalCount": 1, "nodes": [{"summary": "three"}]}
    elsewhere = (await gateway.data(who, query, id=there, filter={"workspaceId": here}))["workspace"]["activityLogs"]
    assert elsewhere == {"totalCount": 0, "nodes": []}


@pytest.mark.parametrize("count", [1, 100])
async def test_a_page_with_its_workspaces_costs_the_same_for_any_number_of_rows(
    gateway: Gateway, tenants: Tenants, database: Database, count: int
) -> None:
    ids = await rows(gateway, tenants.mine, count)
    async with database.session(tenants.mine) as session:
        session.add_all(
            ActivityLog(
                tenant_id=tenants.mine,
                workspace_id=parse(id, "workspace"),
                source_workspace_id=parse(ids[0], "workspace"),
                activity_type=ActivityType.AGENT_LOG,
            )
            for id in ids
        )
        await session.commit()
    with counted(database) as statements:
        page = (await gateway.data(principal(tenants.mine, user_id=uuid7()), LIST, first=100))["activityLogs"]
    assert len(page["nodes"]) == page["totalCount"] == count
    assert len(statements) == 3
    record(5, "activity logs with both workspaces and their count", count, f"{len(statements)} statements")


async def test_whoever_lacks_the_scope_reads_and_tells_nothing(gateway: Gateway, tenants: Tenants) -> None:
    here, _, _ = await fill(gateway, tenants)
    key = principal(tenants.mine, Role.API_CLIENT, api_key_id=uuid7(), scopes=frozenset({Scope.WORKSPACES_READ}))
    said = {"workspaceId": here, "activityType": "AGENT_LOG"}
    for query, variables in ((LIST, {}), (REPORT, {"input": said})):
        answer = await gateway.answer(key, query, **variables)
        assert {one["extensions"]["code"] for one in answer["errors"]} == {"FORBIDDEN"}
    answer = await gateway.answer(machine(tenants.mine, here), LIST)
    assert {one["extensions"]["code"] for one in answer["errors"]} == {"FORBIDDEN"}


async def test_what_is_told_is_an_event_without_a_word_of_it(gateway: Gateway, tenants: Tenants) -> None:
    who = principal(tenants.mine, user_id=uuid7())
    here = await place(gateway, who)
    log = (await told(gateway, who, here, summary="canary", errorDetail="canary", requestBody={"a": "canary"}))[
        "activityLog"
    ]
    query = """{ activity(first: 1) { nodes { kind payload entityId entity { ... on ActivityLog { summary } } } } }"""
    (event,) = (await gateway.data(who, query))["activity"]["nodes"]
    assert event == {
        "kind": "activity.logged",
        "payload": {"type": "agent_log", "status": "ok"},
        "entityId": log["id"],
        "entity": {"summary": "canary"},
    }
    async with gateway.services.database.session(tenants.mine) as session:
        said = (await session.scalars(select(Event).order_by(Event.seq.desc()).limit(1))).one()
    assert "canary" not in str((said.before, said.after, said.payload))
