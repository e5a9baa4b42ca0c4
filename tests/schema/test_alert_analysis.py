"""This module is where the analysis of alerts is specified: one worker at a time, nothing lost, nothing done twice."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from models import Role, Scope, utcnow
from models.alert_analysis import GIVEN_UP, MOST_ATTEMPTS
from models.database import Database
from models.ids import parse
from resolvers.alert_analysis import ANALYSIS_LIMIT_BYTES, ERROR_LIMIT_BYTES
from resolvers.lost_analyses import LostAnalyses
from resolvers.principal import Principal
from tests.conftest import counted
from tests.patience import DEADLINE
from tests.resolvers.people import Announced
from tests.schema.analysts import (
    ADVICE,
    CLAIM,
    FAIL,
    FOUND,
    PROGRESS,
    REQUEST,
    SUBMIT,
    fire,
    lapse,
    receive,
    row,
    statuses,
    told,
    worker,
)
from tests.schema.conftest import Gateway
from tests.schema.staff import answered, done, mutation, nobody, person, refused
from tests.world import Tenants

RULE = mutation("createAlertRule", "alertRule", "id")
HELD = ("FENCED", ["input", "id"])


@pytest.fixture
async def analyst(tenants: Tenants) -> Principal:
    """A worker of mine."""
    return worker(tenants.mine)


async def claim(gateway: Gateway, who: Principal, **said: Any) -> dict[str, Any]:
    """What a worker has taken; there is nothing to complain about."""
    answer = await answered(gateway, who, CLAIM, **said)
    assert answer["userErrors"] == []
    return answer


async def _sweep(gateway: Gateway, tenant_id: UUID, *ids: str) -> int:
    lost = LostAnalyses(gateway.services.database, Announced(), utcnow)
    return await lost.take_back(tenant_id, [parse(one, "alert") for one in ids])


async def test_a_worker_takes_the_oldest_reports_and_says_what_it_found(
    gateway: Gateway, tenants: Tenants, analyst: Principal
) -> None:
    first, second = await fire(gateway, tenants.mine, 2)
    taken = await claim(gateway, analyst, leaseSeconds=60)
    assert (taken["alert"]["id"], taken["alert"]["analysisStatus"]) == (first, "RUNNING")
    assert taken["alert"]["labels"] == {"alertname": "DiskFull", "volume": "/var"}
    lease = datetime.fromisoformat(taken["leaseExpiresAt"]) - utcnow()
    assert timedelta(seconds=30) < lease <= timedelta(seconds=60)
    await done(gateway, analyst, PROGRESS, id=first, percent=40)
    found = await done(gateway, analyst, SUBMIT, id=first, analysis=FOUND, recommendations=ADVICE)
    assert (found["analyzed"], found["analysisStatus"], found["analysisError"]) == (True, "COMPLETED", None)
    assert (found["aiAnalysis"], found["recommendations"]) == (FOUND, ADVICE)
    assert found["analyzedAt"] is not None
    stored = await row(gateway, tenants.mine, first)
    assert (stored.analyzed_by, stored.analysis_count, stored.analysis_progress) == (analyst.api_key_id, 1, 100)
    assert (stored.analysis_claimed_by, stored.analysis_lease_expires_at) == (None, None)
    assert (await claim(gateway, analyst))["alert"]["id"] == second


async def test_an_alert_whose_rule_says_so_waits_for_a_worker_at_once(
    gateway: Gateway, tenants: Tenants, analyst: Principal
) -> None:
    admin = await person(gateway, tenants.mine)
    await done(gateway, admin, RULE, name="disks", alertNamePattern="Disk*", action="AUTO_ANALYZE")
    (waits,) = await receive(gateway, tenants.mine)
    (other,) = await receive(gateway, tenants.mine, labels={"alertname": "Noise"})
    taken = await claim(gateway, analyst)
    assert (taken["alert"]["id"], taken["alert"]["alertName"]) == (waits, "DiskFull")
    assert (await claim(gateway, analyst))["alert"] is None
    assert (await row(gateway, tenants.mine, other)).analysis_status.value == "none"
    first, second = await told(gateway, tenants.mine, waits)
    assert (first.kind, first.payload["analysis_status"]) == ("alert.received", "queued")
    assert second.kind == "alert.analysis_started"


async def test_the_feed_shows_every_step_of_an_analysis(gateway: Gateway, tenants: Tenants, analyst: Principal) -> None:
    (id,) = await receive(gateway, tenants.mine)
    viewer = await person(gateway, tenants.mine, Role.VIEWER)
    document = """subscription { alertFeed(filter: { analysisStatus: [QUEUED, RUNNING] }) { __typename
      ... on AlertItem { kind matchesFilter entityId alert { analysisStatus analysisProgress } } } }"""
    async with aclosing(await gateway.watch(viewer, document)) as feed:
        assert (await _next(feed))["__typename"] == "StreamReady"
        await done(gateway, await person(gateway, tenants.mine, Role.OPERATOR), REQUEST, id=id)
        await claim(gateway, analyst)
        await done(gateway, analyst, PROGRESS, id=id, percent=40)
        await done(gateway, analyst, SUBMIT, id=id, analysis=FOUND, recommendations=ADVICE)
        items = [await _next(feed) for _ in range(4)]
    assert [(one["kind"].removeprefix("alert.analysis_"), one["matchesFilter"]) for one in items] == [
        ("queued", True),
        ("started", True),
        ("progressed", True),
        ("completed", False),
    ]
    assert {one["entityId"] for one in items} == {id}
    assert items[-1]["alert"] == {"analysisStatus": "COMPLETED", "analysisProgress": 100}


async def _next(feed: Any) -> dict[str, Any]:
    item: dict[str, Any] = (await asyncio.wait_for(anext(feed), DEADLINE))["data"]["alertFeed"]
    return item


async def test_every_step_is_told_and_none_of_it_says_what_was_found(
    gateway: Gateway, tenants: Tenants, analyst: Principal
) -> None:
    (id,) = await fire(gateway, tenants.mine, queued=False)
    operator = await person(gateway, tenants.mine, Role.OPERATOR)
    await done(gateway, operator, REQUEST, id=id)
    await claim(gateway, analyst)
    await done(gateway, analyst, PROGRESS, id=id, percent=40)
    await done(gateway, analyst, SUBMIT, id=id, analysis=FOUND, recommendations=ADVICE)
    await done(gateway, operator, REQUEST, id=id, force=True)
    await claim(gateway, analyst, id=id)
    await done(gateway, analyst, FAIL, id=id, error="The model is away.")
    events = await told(gateway, tenants.mine, id)
    assert [one.kind.removeprefix("alert.analysis_") for one in events] == [
        "queued",
        "started",
        "progressed",
        "completed",
        "queued",
        "started",
        "failed",
    ]
    assert {(one.topic.value, one.required_scope) for one in events} == {("alerts", Scope.ALERTS_READ.value)}
    assert [(one.after or {})["analysis_status"] for one in events][1:4] == ["running", "running", "completed"]
    said = " ".join(f"{one.payload} {one.before} {one.after}" for one in events)
    assert not any(words in said for words in (FOUND, *ADVICE, "model is away"))


async def test_nothing_to_do_is_a_null_alert_without_errors(
    gateway: Gateway, tenants: Tenants, analyst: Principal
) -> None:
    await fire(gateway, tenants.mine, queued=False)
    await fire(gateway, tenants.other)
    assert await claim(gateway, analyst) == {"alert": None, "leaseExpiresAt": None, "userErrors": []}


async def test_calling_again_renews_ones_own_lease_and_is_fenced_from_anothers(
    gateway: Gateway, tenants: Tenants, analyst: Principal
) -> None:
    (id,) = await fire(gateway, tenants.mine)
    first = await claim(gateway, analyst, leaseSeconds=10)
    again = await claim(gateway, analyst, id=id, leaseSeconds=600)
    assert again["leaseExpiresAt"] > first["leaseExpiresAt"]
    assert len(await told(gateway, tenants.mine, id)) == 1
    other = worker(tenants.mine)
    assert await refused(gateway, other, CLAIM, id=id) == HELD
    for document, said in _ways_to_speak(id):
        answer = await answered(gateway, other, document, **said)
        assert [one["code"] for one in answer["userErrors"]] == ["FENCED"]
        assert answer["alert"]["analysisStatus"] == "RUNNING"
    assert (await row(gateway, tenants.mine, id)).analysis_claimed_by == analyst.api_key_id


def _ways_to_speak(id: str) -> list[tuple[str, dict[str, Any]]]:
    return [
        (PROGRESS, {"id": id, "percent": 50}),
        (SUBMIT, {"id": id, "analysis": FOUND, "recommendations": []}),
        (FAIL, {"id": id, "error": "no"}),
    ]


async def test_several_workers_under_one_key_are_told_apart_by_their_names(
    gateway: Gateway, tenants: Tenants, analyst: Principal
) -> None:
    first, second = await fire(gateway, tenants.mine, 2)
    assert (await claim(gateway, analyst, worker="one"))["alert"]["id"] == first
    assert (await claim(gateway, analyst, worker="two"))["alert"]["id"] == second
    said = {"analysis": FOUND, "recommendations": []}
    assert await refused(gateway, analyst, SUBMIT, id=first, worker="two", **said) == HELD
    assert await refused(gateway, analyst, SUBMIT, id=first, **said) == HELD
    await done(gateway, analyst, SUBMIT, id=first, worker="one", **said)


async def test_an_unknown_worker_submits_nothing(gateway: Gateway, tenants: Tenants, analyst: Principal) -> None:
    waiting, idle = (await fire(gateway, tenants.mine))[0], (await fire(gateway, tenants.mine, queued=False))[0]
    for id in (waiting, idle):
        for document, said in _ways_to_speak(id):
            assert await refused(gateway, analyst, document, **said) == HELD
    assert (await row(gateway, tenants.mine, waiting)).analysis_status.value == "queued"


async def test_who_lost_the_lease_says_nothing_and_another_takes_its_place(
    gateway: Gateway, tenants: Tenants, analyst: Principal
) -> None:
    id, later = await fire(gateway, tenants.mine, 2)
    await claim(gateway, analyst)
    await lapse(gateway, tenants.mine, id)
    for document, said in [*_ways_to_speak(id), (CLAIM, {"id": id})]:
        assert await refused(gateway, analyst, document, **said) == HELD
    assert await _sweep(gateway, tenants.mine, id, later) == 1
    assert (await told(gateway, tenants.mine, id))[-1].payload == {"attempt": 1, "reason": "lease_lost"}
    other = worker(tenants.mine)
    taken = await claim(gateway, other)
    assert taken["alert"]["id"] == id, "in its old place: it has waited longest"
    assert await refused(gateway, analyst, SUBMIT, id=id, analysis=FOUND, recommendations=[]) == HELD
    await done(gateway, other, SUBMIT, id=id, analysis=FOUND, recommendations=[])


async def test_a_worker_that_works_on_loses_nothing_to_the_sweep(
    gateway: Gateway, tenants: Tenants, analyst: Principal
) -> None:
    (id,) = await fire(gateway, tenants.mine)
    await claim(gateway, analyst)
    assert await _sweep(gateway, tenants.mine, id) == 0
    await done(gateway, analyst, PROGRESS, id=id, percent=10)


async def test_after_so_many_silent_workers_it_is_given_up_and_can_be_asked_for_again(
    gateway: Gateway, tenants: Tenants, analyst: Principal
) -> None:
    (id,) = await fire(gateway, tenants.mine)
    for _ in range(MOST_ATTEMPTS):
        await claim(gateway, analyst, id=id)
        await lapse(gateway, tenants.mine, id)
        assert await _sweep(gateway, tenants.mine, id) == 1
    left = await row(gateway, tenants.mine, id)
    assert (left.analysis_status.value, left.analysis_error) == ("failed", GIVEN_UP)
    assert (await told(gateway, tenants.mine, id))[-1].kind == "alert.analysis_failed"
    assert (await claim(gateway, analyst))["alert"] is None
    asked = await done(gateway, analyst, REQUEST, id=id)
    assert (asked["analysisStatus"], asked["analysisError"]) == ("QUEUED", None)


async def test_asking_by_hand_answers_with_what_is_stored_unless_it_is_forced(
    gateway: Gateway, tenants: Tenants, analyst: Principal
) -> None:
    (id,) = await fire(gateway, tenants.mine, queued=False)
    operator = await person(gateway, tenants.mine, Role.OPERATOR)
    assert (await done(gateway, operator, REQUEST, id=id))["analysisStatus"] == "QUEUED"
    assert (await done(gateway, operator, REQUEST, id=id, force=True))["analysisStatus"] == "QUEUED"
    await claim(gateway, analyst)
    assert (await done(gateway, operator, REQUEST, id=id, force=True))["analysisStatus"] == "RUNNING"
    await done(gateway, analyst, SUBMIT, id=id, analysis=FOUND, recommendations=ADVICE)
    count = len(await told(gateway, tenants.mine, id))
    stored = await done(gateway, operator, REQUEST, id=id)
    assert (stored["analysisStatus"], stored["aiAnalysis"]) == ("COMPLETED", FOUND)
    assert len(await told(gateway, tenants.mine, id)) == count
    anew = await done(gateway, operator, REQUEST, id=id, force=True)
    assert (anew["analysisStatus"], anew["analyzed"], anew["aiAnalysis"]) == ("QUEUED", True, FOUND)
    await claim(gateway, analyst)
    second = await done(gateway, analyst, SUBMIT, id=id, analysis="Another view.", recommendations=[])
    assert (second["aiAnalysis"], second["recommendations"]) == ("Another view.", [])
    assert (await row(gateway, tenants.mine, id)).analysis_count == 2


async def test_progress_never_falls_back(gateway: Gateway, tenants: Tenants, analyst: Principal) -> None:
    (id,) = await fire(gateway, tenants.mine)
    await claim(gateway, analyst)
    for percent in (30, 10, 30, 80):
        await done(gateway, analyst, PROGRESS, id=id, percent=percent)
    assert (await row(gateway, tenants.mine, id)).analysis_progress == 80
    events = await told(gateway, tenants.mine, id)
    assert [one.payload for one in events if one.kind.endswith("progressed")] == [{"percent": 30}, {"percent": 80}]


async def test_what_was_submitted_under_a_key_is_submitted_once(
    gateway: Gateway, tenants: Tenants, analyst: Principal
) -> None:
    (id,) = await fire(gateway, tenants.mine)
    await claim(gateway, analyst)
    said = {"id": id, "analysis": FOUND, "recommendations": ADVICE, "idempotencyKey": "once"}
    first = await done(gateway, analyst, SUBMIT, **said)
    assert await done(gateway, analyst, SUBMIT, **said) == first
    assert await refused(gateway, analyst, SUBMIT, **{**said, "idempotencyKey": "twice"}) == HELD


@pytest.mark.parametrize(
    ("document", "said", "path"),
    [
        (CLAIM, {"leaseSeconds": 4}, ["leaseSeconds"]),
        (CLAIM, {"leaseSeconds": 3_601}, ["leaseSeconds"]),
        (CLAIM, {"worker": ""}, ["worker"]),
        (CLAIM, {"worker": "x" * 101}, ["worker"]),
        (PROGRESS, {"percent": 101}, ["percent"]),
        (PROGRESS, {"percent": -1}, ["percent"]),
        (PROGRESS, {"percent": 1, "leaseSeconds": 0}, ["leaseSeconds"]),
        (SUBMIT, {"analysis": "x" * (ANALYSIS_LIMIT_BYTES + 1), "recommendations": []}, ["analysis"]),
        (SUBMIT, {"analysis": " \n", "recommendations": []}, ["analysis"]),
        (SUBMIT, {"analysis": "nul\x00", "recommendations": []}, ["analysis"]),
        (SUBMIT, {"analysis": FOUND, "recommendations": ["x"] * 6}, ["recommendations"]),
        (SUBMIT, {"analysis": FOUND, "recommendations": ["x", "é" * 2_049]}, ["recommendations", "1"]),
        (SUBMIT, {"analysis": FOUND, "recommendations": [""]}, ["recommendations", "0"]),
        (FAIL, {"error": "x" * (ERROR_LIMIT_BYTES + 1)}, ["error"]),
        (FAIL, {"error": ""}, ["error"]),
    ],
)
async def test_what_is_wrong_is_one_user_error_and_changes_nothing(
    gateway: Gateway, tenants: Tenants, analyst: Principal, document: str, said: dict[str, Any], path: list[str]
) -> None:
    (id,) = await fire(gateway, tenants.mine)
    await claim(gateway, analyst, id=id)
    before = (await row(gateway, tenants.mine, id)).version
    given = said if document is CLAIM else {"id": id, **said}
    assert await refused(gateway, analyst, document, **given) == ("INVALID", ["input", *path])
    assert (await row(gateway, tenants.mine, id)).version == before


async def test_another_tenants_alert_is_not_there(gateway: Gateway, tenants: Tenants, analyst: Principal) -> None:
    (theirs,) = await fire(gateway, tenants.other)
    for bad in (theirs, nobody("alert"), "nonsense"):
        for document, said in [*_ways_to_speak(bad), (CLAIM, {"id": bad}), (REQUEST, {"id": bad})]:
            assert await refused(gateway, analyst, document, **said) == ("NOT_FOUND", ["input", "id"])
    assert (await row(gateway, tenants.other, theirs)).analysis_status.value == "queued"


@pytest.mark.parametrize("role", [Role.VIEWER, Role.MEMBER, Role.AUDITOR, Role.API_CLIENT])
async def test_who_may_not_analyse_neither_asks_nor_claims(gateway: Gateway, tenants: Tenants, role: Role) -> None:
    (id,) = await fire(gateway, tenants.mine)
    before = (await row(gateway, tenants.mine, id)).version
    who = await person(gateway, tenants.mine, role)
    for document, said in [*_ways_to_speak(id), (CLAIM, {}), (REQUEST, {"id": id})]:
        answer = await gateway.answer(who, document, input=said)
        assert {one["extensions"]["code"] for one in answer["errors"]} == {"FORBIDDEN"}
    assert (await row(gateway, tenants.mine, id)).version == before


async def test_of_many_that_come_at_once_each_takes_another(gateway: Gateway, tenants: Tenants) -> None:
    ids = await fire(gateway, tenants.mine, 12)
    analysts = [worker(tenants.mine) for _ in range(15)]
    taken = await asyncio.gather(*(claim(gateway, one) for one in analysts))
    found = [one["alert"]["id"] for one in taken if one["alert"] is not None]
    # Whoever meets only what others are taking is told that there is nothing: it asks again.
    assert len(set(found)) == len(found)
    while (more := (await claim(gateway, analysts[0]))["alert"]) is not None:
        found.append(more["id"])
    assert sorted(found) == sorted(ids)
    assert {one.value for one in await statuses(gateway, tenants.mine)} == {"running"}


async def test_a_claim_costs_as_many_statements_however_many_wait(
    gateway: Gateway, tenants: Tenants, analyst: Principal, database: Database
) -> None:
    await fire(gateway, tenants.mine, 4)
    for _ in range(2):
        # The tenant's key for what is sealed is made, then read, then known.
        await claim(gateway, analyst)
    with counted(database) as few:
        await claim(gateway, analyst)
    await fire(gateway, tenants.mine, 60)
    with counted(database) as many:
        await claim(gateway, analyst)
    assert [one[:60] for one in many] == [one[:60] for one in few]


async def test_whoever_answers_in_a_conversation_about_it_is_given_the_alert(
    gateway: Gateway, tenants: Tenants, analyst: Principal
) -> None:
    (id,) = await fire(gateway, tenants.mine)
    await claim(gateway, analyst)
    await done(gateway, analyst, SUBMIT, id=id, analysis=FOUND, recommendations=ADVICE)
    member = await person(gateway, tenants.mine, Role.MEMBER)
    start = """mutation($input: StartConversationInput!) { startConversation(input: $input) {
      conversation { id alertContext { alertName severity status labels annotations analysis recommendations } }
      userErrors { code message field } } }"""
    talk = await done(gateway, member, start, kind="ALERT_CHAT", alertId=id)
    assert talk["alertContext"] == {
        "alertName": "DiskFull",
        "severity": "CRITICAL",
        "status": "FIRING",
        "labels": {"alertname": "DiskFull", "volume": "/var"},
        "annotations": {"summary": "The disk is full."},
        "analysis": FOUND,
        "recommendations": ADVICE,
    }
    plain = await done(gateway, member, start, kind="CHAT")
    assert plain["alertContext"] is None
