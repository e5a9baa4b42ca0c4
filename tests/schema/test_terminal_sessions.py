"""This module is where terminal sessions are specified: who was at which server, told once, and kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from models import Role, Scope, utcnow
from models.ids import encode, uuid7
from resolvers.principal import Principal
from tests.schema.analysts import fire
from tests.schema.conftest import Gateway
from tests.schema.staff import answered, done, kinds, mutation, nobody, person, refused
from tests.schema.test_infrastructure import server
from tests.world import Tenants

FIELDS: Final = """id serverName startedAt endedAt isOpen recordingPath
  user { id } server { id } alert { id }"""
START: Final = mutation("startTerminalSession", "terminalSession", FIELDS)
END: Final = mutation("endTerminalSession", "terminalSession", FIELDS)
LIST: Final = """query($filter: TerminalSessionFilter, $orderBy: TerminalSessionOrder) {
  terminalSessions(filter: $filter, orderBy: $orderBy) { totalCount nodes { id } } }"""
ONE: Final = "query($id: ID!) { terminalSession(id: $id) { id recordingPath } }"
ERASE: Final = mutation("eraseUser", "user", "id")


@pytest.fixture
async def admin(gateway: Gateway, tenants: Tenants) -> Principal:
    """Who describes servers."""
    return await person(gateway, tenants.mine)


@pytest.fixture
async def operator(gateway: Gateway, tenants: Tenants) -> Principal:
    """Who signs in at them."""
    return await person(gateway, tenants.mine, Role.OPERATOR)


@pytest.fixture
async def place(gateway: Gateway, admin: Principal) -> str:
    """A server's id."""
    return str((await server(gateway, admin))["id"])


def broker(tenants: Tenants) -> Principal:
    """A machine that connects for people."""
    scopes = frozenset({Scope.SIGNED_IN, Scope.TERMINALS_READ, Scope.TERMINALS_WRITE, Scope.SERVERS_READ})
    return Principal(tenant_id=tenants.mine, scopes=scopes | {Scope.ALERTS_READ}, api_key_id=uuid7())


def me(who: Principal) -> str:
    """Their id."""
    return encode("user", who.user_id or uuid7())


async def _listed(gateway: Gateway, who: Principal, **filter: Any) -> list[str]:
    found = (await gateway.data(who, LIST, filter=filter))["terminalSessions"]
    assert found["totalCount"] == len(found["nodes"])
    return [one["id"] for one in found["nodes"]]


async def test_a_stay_is_recorded_from_its_beginning_to_its_end(
    gateway: Gateway, tenants: Tenants, operator: Principal, place: str
) -> None:
    (alert,) = await fire(gateway, tenants.mine)
    stay = await done(gateway, operator, START, serverId=place, alertId=alert)
    assert (stay["serverName"], stay["isOpen"], stay["endedAt"], stay["recordingPath"]) == ("db-1", True, None, None)
    assert (stay["user"], stay["server"], stay["alert"]) == ({"id": me(operator)}, {"id": place}, {"id": alert})
    over = await done(gateway, operator, END, id=stay["id"], recordingPath="recordings/db-1.log")
    assert (over["isOpen"], over["recordingPath"]) == (False, "recordings/db-1.log")
    assert over["endedAt"] >= over["startedAt"]
    assert await kinds(gateway, operator, [stay["id"]]) == ["terminal.started", "terminal.ended"]
    page = await gateway.data(operator, "{ activity(first: 10) { nodes { topic kind payload } } }")
    (ended,) = [one for one in page["activity"]["nodes"] if one["kind"] == "terminal.ended"]
    assert (ended["topic"], ended["payload"]["recorded"]) == ("SECURITY", True)


async def test_what_is_over_does_not_end_again(gateway: Gateway, operator: Principal, place: str) -> None:
    stay = await done(gateway, operator, START, serverId=place)
    over = await done(gateway, operator, END, id=stay["id"])
    answer = await answered(gateway, operator, END, id=stay["id"], recordingPath="elsewhere")
    assert [one["code"] for one in answer["userErrors"]] == ["ILLEGAL_TRANSITION"]
    assert answer["terminalSession"] == over


async def test_a_machine_records_for_people_and_says_when(
    gateway: Gateway, tenants: Tenants, operator: Principal, place: str
) -> None:
    machine = broker(tenants)
    began = utcnow() - timedelta(minutes=10)
    said = {"serverId": place, "userId": me(operator), "startedAt": began.isoformat()}
    stay = await done(gateway, machine, START, **said)
    assert stay["user"] == {"id": me(operator)}
    ended = began + timedelta(minutes=5)
    over = await done(gateway, machine, END, id=stay["id"], endedAt=ended.isoformat())
    assert datetime.fromisoformat(over["endedAt"]).astimezone(UTC) == ended
    alone = await done(gateway, machine, START, serverId=place)
    assert alone["user"] is None
    for bad in (nobody("user"), "nonsense", me(await person(gateway, tenants.other))):
        assert await refused(gateway, machine, START, serverId=place, userId=bad) == ("NOT_FOUND", ["input", "userId"])


async def test_a_person_records_their_own_sessions_only(
    gateway: Gateway, tenants: Tenants, admin: Principal, operator: Principal, place: str
) -> None:
    answer = await gateway.answer(operator, START, input={"serverId": place, "userId": me(admin)})
    assert [one["extensions"]["code"] for one in answer["errors"]] == ["FORBIDDEN"]
    stay = await done(gateway, operator, START, serverId=place, userId=me(operator))
    colleague = await person(gateway, tenants.mine, Role.OPERATOR)
    assert await refused(gateway, colleague, END, id=stay["id"]) == ("NOT_FOUND", ["input", "id"])
    assert (await done(gateway, admin, END, id=stay["id"]))["isOpen"] is False


@pytest.mark.parametrize(
    ("document", "said", "code", "field"),
    [
        (START, {"serverId": "nonsense"}, "NOT_FOUND", "serverId"),
        (START, {"serverId": nobody("server")}, "NOT_FOUND", "serverId"),
        (START, {"alertId": "nonsense"}, "NOT_FOUND", "alertId"),
        (START, {"alertId": nobody("alert")}, "NOT_FOUND", "alertId"),
        (START, {"startedAt": "2020-01-01T00:00:00Z"}, "INVALID", "startedAt"),
        (START, {"startedAt": "2100-01-01T00:00:00Z"}, "INVALID", "startedAt"),
        (END, {"id": "nonsense"}, "NOT_FOUND", "id"),
        (END, {"id": nobody("terminal")}, "NOT_FOUND", "id"),
        (END, {"endedAt": "2100-01-01T00:00:00Z"}, "INVALID", "endedAt"),
        (END, {"recordingPath": ""}, "INVALID", "recordingPath"),
        (END, {"recordingPath": "x" * 1_025}, "INVALID", "recordingPath"),
        (END, {"recordingPath": "../../etc/shadow"}, "INVALID", "recordingPath"),
        (END, {"recordingPath": "two\nlines"}, "INVALID", "recordingPath"),
    ],
)
async def test_what_is_wrong_is_one_user_error(
    gateway: Gateway, operator: Principal, place: str, document: str, said: dict[str, Any], code: str, field: str
) -> None:
    stay = await done(gateway, operator, START, serverId=place)
    given = {"serverId": place} if document is START else {"id": stay["id"]}
    assert await refused(gateway, operator, document, **{**given, **said}) == (code, ["input", field])
    assert await _listed(gateway, operator, isOpen=True) == [stay["id"]]


async def test_a_stay_does_not_end_before_it_began(gateway: Gateway, operator: Principal, place: str) -> None:
    stay = await done(gateway, operator, START, serverId=place)
    before = (utcnow() - timedelta(hours=1)).isoformat()
    assert await refused(gateway, operator, END, id=stay["id"], endedAt=before) == ("INVALID", ["input", "endedAt"])


async def test_sessions_are_filtered_by_person_server_alert_time_and_whether_they_are_over(
    gateway: Gateway, tenants: Tenants, admin: Principal, operator: Principal, place: str
) -> None:
    (alert,) = await fire(gateway, tenants.mine)
    elsewhere = (await server(gateway, admin, "web-1"))["id"]
    old = (utcnow() - timedelta(hours=2)).isoformat()
    first = (await done(gateway, operator, START, serverId=place, startedAt=old))["id"]
    second = (await done(gateway, admin, START, serverId=elsewhere, alertId=alert))["id"]
    await done(gateway, operator, END, id=first)
    hour_ago = (utcnow() - timedelta(hours=1)).isoformat()
    for filter, found in (
        ({}, [second, first]),
        ({"userId": me(operator)}, [first]),
        ({"serverId": elsewhere}, [second]),
        ({"alertId": alert}, [second]),
        ({"isOpen": True}, [second]),
        ({"isOpen": False}, [first]),
        ({"startedAfter": hour_ago}, [second]),
        ({"startedBefore": hour_ago}, [first]),
        ({"serverId": "nonsense"}, []),
    ):
        assert await _listed(gateway, admin, **filter) == found, filter


async def test_without_the_scope_one_sees_ones_own_sessions(
    gateway: Gateway, tenants: Tenants, operator: Principal, place: str
) -> None:
    mine = (await done(gateway, operator, START, serverId=place))["id"]
    colleague = await person(gateway, tenants.mine, Role.OPERATOR)
    theirs = (await done(gateway, colleague, START, serverId=place))["id"]
    demoted = Principal(
        tenant_id=tenants.mine, user_id=operator.user_id, roles=frozenset({Role.MEMBER}), scopes=frozenset()
    )
    assert await _listed(gateway, demoted) == [mine]
    assert await _listed(gateway, demoted, userId=me(colleague)) == []
    assert (await gateway.data(demoted, ONE, id=mine))["terminalSession"]["id"] == mine
    answers = [await gateway.answer(demoted, ONE, id=one) for one in (theirs, nobody("terminal"), "nonsense")]
    assert answers[0] == answers[1] == answers[2]
    assert {one["extensions"]["code"] for one in answers[0]["errors"]} == {"FORBIDDEN"}
    auditor = await person(gateway, tenants.mine, Role.AUDITOR)
    assert set(await _listed(gateway, auditor)) == {mine, theirs}


async def test_another_tenants_sessions_servers_and_alerts_are_not_there(
    gateway: Gateway, tenants: Tenants, operator: Principal, place: str
) -> None:
    stay = (await done(gateway, operator, START, serverId=place))["id"]
    stranger = await person(gateway, tenants.other)
    assert await _listed(gateway, stranger) == []
    assert await gateway.data(stranger, ONE, id=stay) == {"terminalSession": None}
    assert await refused(gateway, stranger, END, id=stay) == ("NOT_FOUND", ["input", "id"])
    assert await refused(gateway, stranger, START, serverId=place) == ("NOT_FOUND", ["input", "serverId"])
    (foreign,) = await fire(gateway, tenants.other)
    refusal = await refused(gateway, operator, START, serverId=place, alertId=foreign)
    assert refusal == ("NOT_FOUND", ["input", "alertId"])


@pytest.mark.parametrize("role", [Role.VIEWER, Role.MEMBER, Role.AUDITOR, Role.API_CLIENT])
async def test_who_may_not_sign_in_records_nothing(gateway: Gateway, tenants: Tenants, place: str, role: Role) -> None:
    who = await person(gateway, tenants.mine, role)
    for document, said in ((START, {"serverId": place}), (END, {"id": nobody("terminal")})):
        answer = await gateway.answer(who, document, input=said)
        assert {one["extensions"]["code"] for one in answer["errors"]} == {"FORBIDDEN"}


async def test_who_was_there_stays_recorded_when_their_account_is_erased(
    gateway: Gateway, admin: Principal, operator: Principal, place: str
) -> None:
    stay = await done(gateway, operator, START, serverId=place)
    await done(gateway, operator, END, id=stay["id"])
    await done(gateway, admin, ERASE, id=me(operator))
    document = "query($id: ID!) { terminalSession(id: $id) { id serverName user { displayName } } }"
    left = (await gateway.data(admin, document, id=stay["id"]))["terminalSession"]
    assert left == {"id": stay["id"], "serverName": "db-1", "user": None}
    assert await _listed(gateway, admin, userId=me(operator)) == [stay["id"]]


async def test_a_retry_under_a_key_records_one_stay(gateway: Gateway, operator: Principal, place: str) -> None:
    first = await done(gateway, operator, START, serverId=place, idempotencyKey="once")
    assert (await done(gateway, operator, START, serverId=place, idempotencyKey="once"))["id"] == first["id"]
    assert await _listed(gateway, operator) == [first["id"]]
