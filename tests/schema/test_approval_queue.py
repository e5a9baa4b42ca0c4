"""This module is where the queue is specified as a list: filtered, sorted, counted, and cheap however long it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, Final

import orjson
import pytest
from sqlalchemy import event, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from dataloaders.approvals import approvals, queue_summary
from dataloaders.pages import Direction, Window, read_page
from models import ApprovalCount, ApprovalKind, ApprovalRequest, ApprovalStatus, HitlMode, Priority, SlaState, utcnow
from models.database import Database
from models.ids import encode, uuid7
from subscriptions.approvals import approval_matcher
from tests.conftest import counted
from tests.report import record
from tests.schema.conftest import Gateway
from tests.schema.queue import CANCEL, CLAIM, LIST, SUMMARY, TRANSFER, Queue
from tests.world import Tenants, make_tenant

MOST_BLOCKS: Final = 200
FILL: Final = """
INSERT INTO approval_requests (tenant_id, id, kind, status, hitl_mode, priority, urgency, requester, original_query,
  risk_signals, guardrails_triggered, required_approvals, approvals_given, sla_state, at_risk_at, sla_due_at, next_at,
  escalations, version, resolved_at, created_at)
SELECT :tenant, uuidv7(- n * interval '1 second'), 'response',
  CASE WHEN n <= :pending THEN 'pending' ELSE 'approved' END,
  CASE WHEN n % 3 = 0 THEN 'escalate' ELSE 'draft' END, (ARRAY['low', 'normal', 'high', 'urgent'])[1 + n % 4], n % 4,
  'key:x', repeat('Please pay the vendor. ', 10), '{PII}', '{pii-protection}', 1, 0,
  CASE WHEN n > :pending THEN 'met' WHEN n % 7 = 0 THEN 'breached' ELSE 'on_track' END, now() + interval '10 hours',
  now() + n * 7919 % 500000 * interval '1 second', CASE WHEN n <= :pending THEN now() + interval '10 hours' END, 0, 1,
  CASE WHEN n > :pending THEN now() END, now() - n * interval '1 second'
FROM generate_series(1, :rows) AS n
"""
PAGE: Final = """query($filter: ApprovalFilter, $orderBy: ApprovalOrder) {
  approvals(first: 20, filter: $filter, orderBy: $orderBy) { nodes {
    id priority slaState agent { id } user { id } } } }"""


@pytest.fixture
async def queue(gateway: Gateway, tenants: Tenants) -> Queue:
    """A tenant in which people ask and decide."""
    return await Queue.open(gateway, tenants.mine)


async def _ids(queue: Queue, who: Any = None, **said: Any) -> list[str]:
    page = await queue.talk.gateway.data(who or queue.talk.operator, LIST, first=100, **said)
    return [one["id"] for one in page["approvals"]["nodes"]]


async def test_every_filter_selects_what_it_says_in_the_list_as_in_the_stream(queue: Queue) -> None:
    agent = queue.talk.agent
    a = await queue.ask(agentId=agent, department="Parks", priority="LOW")
    b = await queue.ask(queue.talk.other_member, TRANSFER, kind="ACTION", priority="URGENT")
    c = await queue.ask()
    await queue.talk.done(queue.talk.operator, CLAIM, id=a["id"])
    await queue.talk.done(queue.second, CLAIM, id=b["id"])
    await queue.talk.done(queue.talk.member, CANCEL, id=c["id"])
    other = encode("user", queue.talk.other_member.user_id or uuid7())
    soon = (utcnow() + timedelta(hours=1)).isoformat()
    for filter, found in (
        ({}, {a["id"], b["id"], c["id"]}),
        ({"status": ["CANCELLED"]}, {c["id"]}),
        ({"status": ["PENDING", "CANCELLED"], "hitlMode": ["DRAFT"]}, {a["id"], c["id"]}),
        ({"hitlMode": ["ESCALATE"]}, {b["id"]}),
        ({"priority": ["URGENT", "LOW"]}, {a["id"], b["id"]}),
        ({"priority": []}, set()),
        ({"kind": ["ACTION"]}, {b["id"]}),
        ({"agentId": agent}, {a["id"]}),
        ({"userId": other}, {b["id"]}),
        ({"department": "Parks"}, {a["id"]}),
        ({"department": "park"}, set()),
        ({"assignment": ["MINE"]}, {a["id"]}),
        ({"assignment": ["OTHERS"]}, {b["id"]}),
        ({"assignment": ["UNASSIGNED", "MINE"]}, {a["id"], c["id"]}),
        ({"slaState": ["MET"]}, {c["id"]}),
        ({"slaState": ["ON_TRACK"]}, {a["id"], b["id"]}),
        ({"createdAfter": soon}, set()),
        ({"createdBefore": soon}, {a["id"], b["id"], c["id"]}),
        ({"search": "help PAR"}, {a["id"]}),
    ):
        assert set(await _ids(queue, filter=filter)) == found, filter


@pytest.mark.parametrize(
    ("given", "matches"),
    [
        ({"status": [ApprovalStatus.PENDING], "priority": [Priority.HIGH]}, True),
        ({"sla_state": [SlaState.BREACHED]}, False),
        ({"search": "guid"}, True),
        ({"search": "secret"}, False),
        ({"created_after": utcnow() - timedelta(hours=1)}, True),
        ({"created_before": utcnow() - timedelta(hours=1)}, False),
    ],
)
def test_a_live_filter_looks_at_facets(given: dict[str, Any], matches: bool) -> None:
    row = ApprovalRequest(
        id=uuid7(),
        kind=ApprovalKind.RESPONSE,
        hitl_mode=HitlMode.DRAFT,
        priority=Priority.HIGH,
        agent_name="guide",
        original_query="secret",
    )
    row.begin(utcnow(), None)
    assert approval_matcher(given)(row.facets()) is matches
    assert approval_matcher(given)(None) is False


async def test_the_most_urgent_and_the_soonest_due_come_first(queue: Queue) -> None:
    made = {one: (await queue.ask(priority=one))["id"] for one in ("LOW", "URGENT", "NORMAL", "HIGH")}
    urgent_first = [made[one] for one in ("URGENT", "HIGH", "NORMAL", "LOW")]
    assert await _ids(queue, orderBy={"field": "PRIORITY", "direction": "DESC"}) == urgent_first
    assert await _ids(queue, orderBy={"field": "PRIORITY", "direction": "ASC"}) == urgent_first[::-1]
    assert await _ids(queue, orderBy={"field": "SLA_DUE_AT", "direction": "ASC"}) == urgent_first
    assert await _ids(queue) == list(made.values())[::-1]


async def test_an_agent_and_a_person_lead_to_their_requests(queue: Queue) -> None:
    asked = await queue.ask(agentId=queue.talk.agent)
    await queue.ask(queue.talk.other_member)
    document = """query($agent: ID!, $user: ID!) { agent(id: $agent) { approvals { totalCount nodes { id } } }
      node(id: $user) { ... on User { approvals(filter: {status: [PENDING]}) { totalCount nodes { id } } } } }"""
    user = encode("user", queue.talk.member.user_id or uuid7())
    found = await queue.talk.gateway.data(queue.talk.operator, document, agent=queue.talk.agent, user=user)
    assert (
        found["agent"]["approvals"] == found["node"]["approvals"] == {"totalCount": 1, "nodes": [{"id": asked["id"]}]}
    )


async def test_the_summary_counts_what_waits_as_it_commits(queue: Queue) -> None:
    made = [await queue.ask(), await queue.ask(query=TRANSFER), await queue.ask(query=TRANSFER, priority="URGENT")]
    found = (await queue.talk.gateway.data(queue.talk.viewer, SUMMARY))["approvalQueueSummary"]
    assert (found["pending"], found["breached"], found["atRisk"]) == (3, 0, 0)
    assert {one["mode"]: one["count"] for one in found["byMode"]} == {"INFORM": 0, "DRAFT": 1, "ESCALATE": 2}
    assert {one["priority"]: one["count"] for one in found["byPriority"]} == {
        "URGENT": 1,
        "HIGH": 1,
        "NORMAL": 1,
        "LOW": 0,
    }
    assert found["oldestPendingAt"] is not None
    for one in made:
        await queue.decide(one["id"])
    found = (await queue.talk.gateway.data(queue.talk.viewer, SUMMARY))["approvalQueueSummary"]
    assert (found["pending"], found["oldestPendingAt"]) == (0, None)
    async with queue.talk.gateway.services.database.session(queue.talk.tenant) as session:
        assert {one.pending for one in await session.scalars(select(ApprovalCount))} == {0}


async def test_statements_do_not_grow_with_the_queue(queue: Queue, database: Database) -> None:
    counts = []
    for more in (1, 15):
        for _ in range(more):
            await queue.ask(agentId=queue.talk.agent)
        with counted(database) as statements:
            await queue.talk.gateway.data(queue.talk.operator, PAGE)
        counts.append(len(statements))
    assert counts[0] == counts[1] <= 3


class _Blocks:
    """Counts the blocks that statements of the serving role touch, by asking them again."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.asked: list[tuple[str, Any]] = []

    def __call__(self, _: object, __: object, statement: str, parameters: Any, *___: object) -> None:
        if "set_config" not in statement:
            self.asked.append((statement, parameters))

    async def touched(self, tenant: Any) -> int:
        total = 0
        async with self._database.session(tenant) as session:
            connection = await session.connection()
            for statement, parameters in self.asked:
                sql = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"
                answer = (await connection.exec_driver_sql(sql, parameters)).scalar_one()
                plan = (orjson.loads(answer) if isinstance(answer, str) else answer)[0]["Plan"]
                total += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        self.asked.clear()
        return total


@pytest.fixture(params=[(1_000, 10_000), pytest.param((10_000, 100_000), marks=pytest.mark.faults)])
async def crowded(request: Any, database: Database, owner: AsyncEngine) -> AsyncIterator[tuple[Any, int]]:
    """A tenant with so many pending and decided requests."""
    pending, decided = request.param
    tenant = await make_tenant(database)
    async with owner.begin() as connection:
        await connection.execute(text(FILL), {"tenant": tenant, "pending": pending, "rows": pending + decided})
    async with owner.connect() as connection:
        alone = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await alone.exec_driver_sql("ANALYZE approval_requests")
    yield tenant, pending
    async with owner.begin() as connection:
        for table in ("approval_requests", "approval_counts"):
            await connection.execute(text(f"DELETE FROM {table} WHERE tenant_id = :tenant"), {"tenant": tenant})


async def test_the_summary_and_the_first_page_touch_few_blocks_of_a_long_queue(
    database: Database, crowded: tuple[Any, int]
) -> None:
    tenant, pending = crowded
    blocks, worst = _Blocks(database), 0
    engine = database.app.sync_engine
    wanted: list[tuple[dict[str, Any], tuple[str, Direction] | None]] = [
        ({"status": [ApprovalStatus.PENDING]}, None),
        ({"status": [ApprovalStatus.PENDING]}, ("priority", Direction.DESC)),
        ({"status": [ApprovalStatus.PENDING]}, ("sla_due_at", Direction.ASC)),
        ({}, None),
    ]
    for given, order in wanted:
        event.listen(engine, "before_cursor_execute", blocks)
        try:
            page = await read_page(database, tenant, approvals, Window(), given, order)
            async with database.session(tenant) as session:
                summary = await queue_summary(session)
        finally:
            event.remove(engine, "before_cursor_execute", blocks)
        assert (len(page.rows), summary.pending) == (20, pending)
        worst = max(worst, await blocks.touched(tenant))
    assert worst <= MOST_BLOCKS
    record(
        6,
        "With 100,000 decided and 10,000 pending rows, summary and first page touch at most 200 shared buffers",
        n=pending,
        figure=f"{pending:,} pending: at most {worst} buffers for both, in every order, as the application role",
    )
