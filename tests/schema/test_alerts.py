"""This module is where alerts are specified as people see and move them: lists, boards, feeds, and who may what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from typing import Any, Final

import pytest

from models import AlertStatus, Role, utcnow
from resolvers.principal import Principal
from tests.conftest import counted
from tests.report import record
from tests.schema.alerting import (
    ACKNOWLEDGE,
    ACKNOWLEDGE_ALL,
    LIST,
    RESOLVE,
    SILENCE,
    START,
    UNACKNOWLEDGE,
    WHOLE,
    Alerting,
    sent,
)
from tests.schema.conftest import Gateway
from tests.schema.staff import answered, done, kinds, mutation, nobody, person, refused
from tests.world import Tenants

RESOLVED: Final = AlertStatus.RESOLVED
FEED: Final = """subscription($filter: AlertFilter, $after: EventCursor) { alertFeed(filter: $filter, after: $after) {
  __typename ... on AlertItem { kind entityId matchesFilter alert { id status stillFiring } } } }"""
MUTATIONS: Final = {"acknowledge": ACKNOWLEDGE, "unacknowledge": UNACKNOWLEDGE, "resolve": RESOLVE, "silence": SILENCE}
ONE: Final = f"query($id: ID!) {{ alert(id: $id) {{ {WHOLE} }} }}"


@pytest.fixture
async def alerting(gateway: Gateway, tenants: Tenants) -> Alerting:
    return await Alerting.begin(gateway, tenants.mine)


@pytest.fixture
async def theirs(gateway: Gateway, tenants: Tenants) -> Alerting:
    return await Alerting.begin(gateway, tenants.other)


async def read(alerting: Alerting, alert_id: str, who: Principal | None = None) -> dict[str, Any]:
    """The alert as somebody sees it."""
    found: dict[str, Any] = (await alerting.gateway.data(who or alerting.viewer, ONE, id=alert_id))["alert"]
    return found


async def test_a_viewer_sees_all_that_was_said_of_an_alert(alerting: Alerting) -> None:
    first, second = await alerting.send(sent(status=RESOLVED), sent(minutes=30))
    one = await read(alerting, second)
    assert (one["alertName"], one["severity"], one["instance"], one["job"]) == (
        "HighCPUUsage",
        "CRITICAL",
        "web-1",
        "node",
    )
    assert (one["status"], one["actionTaken"], one["analysisStatus"]) == ("FIRING", "MANUAL", "NONE")
    assert one["labels"] == one["rawPayload"]["labels"]
    assert (one["annotations"], one["previousAlert"]) == ({"summary": "busy"}, {"id": first})
    ended = await read(alerting, first)
    assert (ended["status"], ended["endsAt"], ended["resolvedBy"]) == ("RESOLVED", "2026-01-31T12:05:00Z", None)


async def test_acknowledged_unacknowledged_resolved(alerting: Alerting) -> None:
    (alert,) = await alerting.send()
    who = {"id": (await alerting.gateway.data(alerting.operator, "{ viewer { user { id } } }"))["viewer"]["user"]["id"]}
    taken = await done(alerting.gateway, alerting.operator, ACKNOWLEDGE, id=alert)
    assert (taken["status"], taken["acknowledgedBy"], taken["escalateAt"]) == ("ACKNOWLEDGED", who, None)
    assert await alerting.board() == {("CRITICAL", "ACKNOWLEDGED"): 1}
    back = await done(alerting.gateway, alerting.operator, UNACKNOWLEDGE, id=alert, expectedVersion=taken["version"])
    assert (back["status"], back["acknowledgedBy"], back["acknowledgedAt"]) == ("FIRING", None, None)
    assert back["escalateAt"] is not None
    over = await done(alerting.gateway, alerting.operator, RESOLVE, id=alert)
    assert (over["status"], over["resolvedBy"], over["endsAt"], over["escalateAt"]) == ("RESOLVED", who, None, None)
    assert await alerting.board() == {("CRITICAL", "RESOLVED"): 1}
    verbs = ["received", "acknowledged", "unacknowledged", "resolved"]
    assert await kinds(alerting.gateway, alerting.viewer, [alert]) == [f"alert.{verb}" for verb in verbs]


async def test_one_resolved_by_hand_that_goes_on_is_still_firing_and_the_feed_says_so(alerting: Alerting) -> None:
    (alert,) = await alerting.send()
    await done(alerting.gateway, alerting.operator, RESOLVE, id=alert)
    for _ in range(3):
        assert await alerting.send() == [alert]
    assert ((await read(alerting, alert))["status"], (await read(alerting, alert))["stillFiring"]) == ("RESOLVED", True)
    await alerting.send(sent(status=RESOLVED))
    assert (await read(alerting, alert))["stillFiring"] is False
    assert (await kinds(alerting.gateway, alerting.viewer, [alert]))[1:] == [
        "alert.resolved",
        "alert.still_firing",
        "alert.ended",
    ]


async def test_a_repeated_firing_lowers_nothing(alerting: Alerting) -> None:
    (alert,) = await alerting.send()
    await done(alerting.gateway, alerting.operator, ACKNOWLEDGE, id=alert)
    await alerting.send()
    assert (await read(alerting, alert))["status"] == "ACKNOWLEDGED"
    assert len(await kinds(alerting.gateway, alerting.viewer, [alert])) == 2


async def test_a_silence_moves_the_escalation_and_ends(alerting: Alerting) -> None:
    (alert,) = await alerting.send()
    until = (utcnow() + timedelta(hours=2)).isoformat()
    silent = await done(alerting.gateway, alerting.operator, SILENCE, id=alert, until=until)
    assert silent["silencedUntil"] == silent["escalateAt"]
    loud = await done(alerting.gateway, alerting.operator, SILENCE, id=alert, until=None)
    assert (loud["silencedUntil"], loud["escalateAt"] < silent["escalateAt"]) == (None, True)
    for bad in (utcnow() - timedelta(seconds=1), utcnow() + timedelta(days=31)):
        said = {"id": alert, "until": bad.isoformat()}
        assert await refused(alerting.gateway, alerting.operator, SILENCE, **said) == ("INVALID", ["input", "until"])
    assert (await read(alerting, alert))["version"] == loud["version"]


async def test_many_are_acknowledged_each_on_its_own_by_as_many_statements_as_few(
    alerting: Alerting, theirs: Alerting
) -> None:
    ids = await alerting.send(*(sent(f"{n}") for n in range(40)))
    (foreign,) = await theirs.send()
    await done(alerting.gateway, alerting.operator, ACKNOWLEDGE, id=ids[1])
    results = await done(
        alerting.gateway,
        alerting.operator,
        ACKNOWLEDGE_ALL,
        ids=[ids[0], foreign, ids[1], nobody("alert"), "x", ids[0]],
    )
    assert [one["alert"]["status"] if one["alert"] else None for one in results] == [
        "ACKNOWLEDGED",
        None,
        "ACKNOWLEDGED",
        None,
        None,
        "ACKNOWLEDGED",
    ]
    codes = [[error["code"] for error in one["userErrors"]] for one in results]
    assert codes == [[], ["NOT_FOUND"], ["ILLEGAL_TRANSITION"], ["NOT_FOUND"], ["NOT_FOUND"], []]
    assert results[0]["alert"]["labels"]["alertname"] == "HighCPUUsage"
    seen = []
    for part in (ids[2:4], ids[4:40]):
        with counted(alerting.gateway.services.database) as statements:
            await done(alerting.gateway, alerting.operator, ACKNOWLEDGE_ALL, ids=part)
        seen.append(len(statements))
    assert seen[0] == seen[1]
    assert await alerting.board() == {("CRITICAL", "ACKNOWLEDGED"): 40}
    assert await theirs.board() == {("CRITICAL", "FIRING"): 1}
    assert (await refused(alerting.gateway, alerting.operator, ACKNOWLEDGE_ALL, ids=[]))[0] == "INVALID"


async def test_deliveries_and_acknowledgements_that_meet_wait_for_each_other(alerting: Alerting) -> None:
    rounds, meetings = 15, 0
    for number in range(rounds):
        # The older rows are those that a firing between them and the first is linked to; the younger ones are told of.
        linked = [sent(f"{number}-l{n}", minutes=50) for n in range(5)]
        retold = [sent(f"{number}-t{n}", minutes=0) for n in range(5)]
        ids = await alerting.send(*linked) + await alerting.send(*retold)
        again = [sent(one.fingerprint, RESOLVED) for one in retold]
        between = [sent(one.fingerprint, minutes=10) for one in linked]
        *_, mine, theirs = await asyncio.gather(
            alerting.send(*again, *between),
            alerting.send(*reversed(again)),
            *(done(alerting.gateway, alerting.operator, ACKNOWLEDGE_ALL, ids=some) for some in (ids, ids[::-1])),
        )
        codes = {error["code"] for one in (*mine, *theirs) for error in one["userErrors"]}
        assert codes <= {"ILLEGAL_TRANSITION"}
        meetings += len(mine) + len(theirs)
    board = await alerting.board()
    assert board["CRITICAL", "ACKNOWLEDGED"] >= 5 * rounds
    assert sum(board.values()) == 15 * rounds
    record(7, "re-fired and acknowledged at once: nobody deadlocks", meetings, f"{rounds} rounds, none UNAVAILABLE")


@pytest.mark.parametrize("verb", MUTATIONS)
async def test_another_tenants_alert_is_like_one_that_never_was(
    alerting: Alerting, theirs: Alerting, verb: str
) -> None:
    (foreign,) = await theirs.send()
    before = await read(theirs, foreign)
    for one in (foreign, nobody("alert"), "nonsense"):
        assert await refused(alerting.gateway, alerting.operator, MUTATIONS[verb], id=one) == (
            "NOT_FOUND",
            ["input", "id"],
        )
        assert (await alerting.gateway.data(alerting.admin, ONE, id=one))["alert"] is None
    assert await read(theirs, foreign) == before


@pytest.mark.parametrize("verb", MUTATIONS)
async def test_who_only_looks_moves_nothing(alerting: Alerting, gateway: Gateway, verb: str) -> None:
    (alert,) = await alerting.send()
    for role in (Role.VIEWER, Role.MEMBER, Role.AUDITOR, Role.API_CLIENT):
        who = await person(gateway, alerting.tenant_id, role)
        answer = await gateway.answer(who, MUTATIONS[verb], input={"id": alert})
        assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    assert (await read(alerting, alert))["version"] == 1
    for document in (LIST, "{ alertBoard { count } }", "{ alertRules { nodes { id } } }"):
        machine = await person(gateway, alerting.tenant_id, Role.API_CLIENT)
        answer = await gateway.answer(machine, document)
        assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"


async def test_what_its_status_or_version_does_not_allow_shows_the_alert_as_it_is(alerting: Alerting) -> None:
    (alert,) = await alerting.send(sent(status=RESOLVED))
    for verb, code in (("acknowledge", "ILLEGAL_TRANSITION"), ("resolve", "ILLEGAL_TRANSITION")):
        payload = await answered(alerting.gateway, alerting.operator, MUTATIONS[verb], id=alert)
        assert (payload["userErrors"][0]["code"], payload["alert"]["status"]) == (code, "RESOLVED")
    payload = await answered(alerting.gateway, alerting.operator, ACKNOWLEDGE, id=alert, expectedVersion=7)
    assert (payload["userErrors"][0]["code"], payload["alert"]["version"]) == ("CONFLICT", 1)


RULE: Final = mutation("createAlertRule", "alertRule", "id")


@pytest.fixture
async def mixed(alerting: Alerting) -> dict[str, str]:
    """Alerts of many kinds, one of them ignored; ids by a name."""
    await done(
        alerting.gateway,
        alerting.admin,
        RULE,
        name="noise",
        alertNamePattern="*",
        severityPattern="info",
        action="IGNORE",
    )
    await done(alerting.gateway, alerting.admin, RULE, name="db", alertNamePattern="*Postgres*", action="AUTO_ANALYZE")
    ids = await alerting.send(
        sent("cpu", minutes=1),
        sent("disk", minutes=2, alertname="DiskSpaceLow", severity="warning", instance="storage-1"),
        sent("noise", minutes=3, severity="info", job="probe"),
        sent("db", minutes=4, alertname="PostgresDown"),
        sent("over", RESOLVED, minutes=5, severity="strange"),
    )
    return dict(zip(("cpu", "disk", "noise", "db", "over"), ids, strict=True))


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ({}, "over db disk cpu"),
        ({"includeIgnored": True}, "over db noise disk cpu"),
        ({"includeIgnored": False}, "over db disk cpu"),
        ({"actionTaken": ["IGNORE"]}, "noise"),
        ({"actionTaken": ["IGNORE", "AUTO_ANALYZE"]}, "db noise"),
        ({"actionTaken": ["IGNORE"], "includeIgnored": False}, "noise"),
        ({"actionTaken": []}, ""),
        ({"status": ["RESOLVED"]}, "over"),
        ({"status": ["RESOLVED", "FIRING", "RESOLVED"]}, "over db disk cpu"),
        ({"status": ["FIRING", "ACKNOWLEDGED"], "includeIgnored": True}, "db noise disk cpu"),
        ({"severity": ["CRITICAL", "WARNING"]}, "db disk cpu"),
        ({"severity": ["UNKNOWN"]}, "over"),
        ({"severity": ["INFO"]}, ""),
        ({"analyzed": False}, "over db disk cpu"),
        ({"analyzed": True}, ""),
        ({"analysisStatus": ["QUEUED"]}, "db"),
        ({"alertName": "DiskSpaceLow"}, "disk"),
        ({"alertName": "Disk"}, ""),
        ({"instance": "storage-1"}, "disk"),
        ({"job": "node", "severity": ["WARNING"]}, "disk"),
        ({"startedAfter": "2026-01-31T12:04:00Z"}, "over db"),
        ({"startedBefore": "2026-01-31T12:02:00Z"}, "cpu"),
        ({"search": "stor"}, "disk"),
        ({"search": "postgres web"}, "db"),
        ({"search": "probe"}, ""),
        ({"alertName": "a\u0000b"}, ""),
    ],
)
async def test_lists_are_filtered(
    alerting: Alerting, mixed: dict[str, str], filter: dict[str, Any], expected: str
) -> None:
    assert await alerting.listed(filter=filter) == [mixed[name] for name in expected.split()]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (("STARTS_AT", "ASC"), "cpu disk noise db over"),
        (("STARTS_AT", "DESC"), "over db noise disk cpu"),
        (("SEVERITY", "DESC"), "db cpu disk noise over"),
        (("SEVERITY", "ASC"), "over noise disk cpu db"),
    ],
)
async def test_lists_are_sorted_and_paged_also_where_two_are_read_as_one(
    alerting: Alerting, mixed: dict[str, str], order: tuple[str, str], expected: str
) -> None:
    asked: dict[str, Any] = {
        "filter": {"includeIgnored": True},
        "orderBy": {"field": order[0], "direction": order[1]},
    }
    wanted = [mixed[name] for name in expected.split()]
    assert await alerting.listed(**asked) == wanted
    found: list[str] = []
    cursor = None
    for _ in wanted:
        page = (await alerting.gateway.data(alerting.viewer, LIST, first=1, after=cursor, **asked))["alerts"]
        found += [one["id"] for one in page["nodes"]]
        cursor = page["pageInfo"]["endCursor"]
    assert found == wanted
    assert page["pageInfo"]["hasNextPage"] is False
    back = (await alerting.gateway.data(alerting.viewer, LIST, last=2, before=cursor, **asked))["alerts"]
    assert [one["id"] for one in back["nodes"]] == wanted[2:4]


async def test_a_board_counts_by_severity_and_status_and_hides_what_is_ignored(
    alerting: Alerting, mixed: dict[str, str]
) -> None:
    shown = {("CRITICAL", "FIRING"): 2, ("WARNING", "FIRING"): 1, ("UNKNOWN", "RESOLVED"): 1}
    assert await alerting.board() == shown
    assert await alerting.board(ignored=True) == shown | {("INFO", "FIRING"): 1}


async def items(alerting: Alerting, count: int, **asked: Any) -> list[dict[str, Any]]:
    """The next items of a feed that began before what is told."""
    watching = await alerting.gateway.watch(alerting.viewer, FEED, **asked)
    found = []
    async with aclosing(watching):
        async for item in _fed(watching):
            found.append(item)
            if len(found) == count:
                break
    return found


async def _fed(watching: AsyncIterator[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
    async for one in watching:
        assert "errors" not in one, one
        item = one["data"]["alertFeed"]
        if item["__typename"] == "AlertItem":
            yield item


async def test_a_feed_tells_each_change_once_and_hides_what_is_ignored(alerting: Alerting, theirs: Alerting) -> None:
    cursor = (await alerting.gateway.data(alerting.viewer, "{ eventCursor }"))["eventCursor"]
    await done(
        alerting.gateway,
        alerting.admin,
        RULE,
        name="noise",
        alertNamePattern="*",
        severityPattern="info",
        action="IGNORE",
    )
    await theirs.send()
    await alerting.send(sent("noise", severity="info"))
    (alert,) = await alerting.send()
    await alerting.send()
    await done(alerting.gateway, alerting.operator, RESOLVE, id=alert)
    await alerting.send()
    found = await items(alerting, 3, after=cursor)
    assert [one["kind"] for one in found] == ["alert.received", "alert.resolved", "alert.still_firing"]
    assert {one["entityId"] for one in found} == {alert}
    assert found[-1]["alert"] == {"id": alert, "status": "RESOLVED", "stillFiring": True}
    everything = await items(alerting, 4, after=cursor, filter={"includeIgnored": True})
    assert [one["kind"] for one in everything].count("alert.received") == 2


async def test_a_filtered_feed_says_when_an_alert_leaves_it(alerting: Alerting) -> None:
    cursor = (await alerting.gateway.data(alerting.viewer, "{ eventCursor }"))["eventCursor"]
    ids = await alerting.send(sent("a"), sent("b", severity="warning"))
    await done(alerting.gateway, alerting.operator, ACKNOWLEDGE, id=ids[0])
    asked = {"status": ["FIRING"], "severity": ["CRITICAL"], "startedAfter": START.isoformat(), "search": "web"}
    found = await items(alerting, 2, after=cursor, filter=asked)
    assert [(one["kind"], one["matchesFilter"]) for one in found] == [
        ("alert.received", True),
        ("alert.acknowledged", False),
    ]


async def test_a_conversation_is_about_an_alert_of_the_tenants_own(alerting: Alerting, theirs: Alerting) -> None:
    (alert,), (foreign,) = await alerting.send(), await theirs.send()
    start = mutation("startConversation", "conversation", "id kind alert { id alertName } alertId")
    member = await person(alerting.gateway, alerting.tenant_id, Role.MEMBER)
    talk = await done(alerting.gateway, member, start, kind="ALERT_CHAT", alertId=alert)
    assert (talk["alert"], talk["alertId"]) == ({"id": alert, "alertName": "HighCPUUsage"}, alert)
    assert await refused(alerting.gateway, member, start, kind="ALERT_CHAT", alertId=foreign) == (
        "NOT_FOUND",
        ["input", "alertId"],
    )
    about = "query($id: ID!) { alert(id: $id) { conversations { totalCount nodes { id } } } }"
    for who, expected in ((member, 1), (alerting.operator, 1), (alerting.viewer, 0)):
        page = (await alerting.gateway.data(who, about, id=alert))["alert"]["conversations"]
        assert (page["totalCount"], len(page["nodes"])) == (expected, expected)
