"""This module is where webhooks are specified as they arrive: every event at least once, signed, or told as a gap."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from gateway.egress import Egress
from models import (
    DataAccessLog,
    Role,
    Scope,
    Secret,
    WebhookDeliveryState,
    WebhookDisabledReason,
    WebhookError,
    utcnow,
)
from models.ids import uuid7
from resolvers.secrets import delete_secret
from resolvers.webhook_keys import WebhookKeys
from resolvers.webhook_messages import new_signing_secret, signature
from resolvers.webhooks import redeliver_webhook, rotate_webhook_secret, update_webhook_endpoint
from subscriptions.cursor import Cursor
from tests.patience import DEADLINE
from tests.report import record
from tests.resolvers.hooks import PATIENT, Hooks
from tests.resolvers.receiver import Notice, Receiver, by_openssl, receiving
from tests.world import QUICK, principal

ARRIVE = "1,000 events to a receiver that fails every third time all arrive, signatures verify independently"
PENDING, DELIVERED, DEAD = WebhookDeliveryState


async def _every_third_fails(_: Notice, number: int) -> int | bytes:
    # By turns: an error, an answer that is none, a connection that breaks.
    return 204 if number % 3 else (503, b"nonsense\r\n\r\n", b"")[number // 3 % 3]


def test_a_signature_is_the_one_that_the_specification_publishes() -> None:
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
    known = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body) == known
    mine = new_signing_secret()
    assert signature(mine, "id", 1, b"{}") == f"v1,{by_openssl(mine, b'id.1.{}')}"
    for bad in ("", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_?"):
        with pytest.raises(ValueError):
            signature(bad, "id", 1, body)


@pytest.mark.parametrize("count", [100, pytest.param(1_000, marks=pytest.mark.faults)])
async def test_all_events_arrive_at_a_receiver_that_fails_every_third_time(hooks: Hooks, count: int) -> None:
    async with receiving(answer=_every_third_fails) as receiver:
        made = await hooks.endpoint(receiver.url)
        await hooks.emit(count)
        worker = hooks.worker(replace(QUICK, delays_seconds=(0.01,) * 15))
        assert await worker.plan() == count
        async with asyncio.timeout(DEADLINE):
            while len(receiver.ids) < count:
                await worker.send()
    assert set(receiver.ids) == set(await hooks.event_ids())
    assert all(one.is_signed_with(made.secret) for one in receiver.heard)
    assert {one.state for one in await hooks.deliveries()} == {DELIVERED}
    assert (worker.counters.delivered, worker.counters.dead) == (count, 0)
    assert worker.counters.failed == len(receiver.heard) - count > count // 4
    repeats = sum(receiver.ids.values()) - count
    figure = f"{len(receiver.heard)} requests, 0 lost (below 3/{count}), {repeats} twice, each signature by OpenSSL"
    record(6, ARRIVE, count, figure)


async def test_the_lines_of_the_documentation_verify_what_arrives(hooks: Hooks, receiver: Receiver) -> None:
    page = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text()
    said: dict[str, Any] = {}
    exec(page.partition("```python\n")[2].partition("```")[0], said)
    made = await hooks.endpoint(receiver.url)
    await hooks.emit()
    worker = hooks.worker()
    await worker.plan()
    await worker.send()
    (notice,) = receiver.taken
    verify = said["verify"]
    assert verify(made.secret, notice.headers, notice.body)
    assert not verify(new_signing_secret(), notice.headers, notice.body)
    assert not verify(made.secret, notice.headers, notice.body + b" ")
    assert not verify(made.secret, notice.headers | {"webhook-timestamp": "1614265330"}, notice.body)


async def test_a_notice_holds_the_envelope_and_nothing_else(hooks: Hooks, receiver: Receiver) -> None:
    made = await hooks.endpoint(receiver.url)
    await hooks.emit()
    worker = hooks.worker()
    await worker.plan()
    await worker.send()
    (notice,) = receiver.taken
    (event_id,) = await hooks.event_ids()
    said = notice.said
    cursor = Cursor.decode(said["data"].pop("cursor"))
    assert cursor is not None
    assert (cursor.epoch, cursor.seq) == (await hooks.services.tails.epoch(), (await hooks.row(made)).cursor)
    assert said["data"].pop("entityId").startswith("workspace_")
    assert said.pop("timestamp").endswith("Z")
    told = {"id": event_id, "topic": "REGISTRY", "actorId": None, "payload": {"changed": ["number"]}}
    facets = {"before": {"number": 0}, "after": {"number": 1}}
    assert said == {"type": "thing.happened", "data": told | facets}
    assert notice.id == event_id
    assert abs(int(notice.headers["webhook-timestamp"]) - utcnow().timestamp()) < DEADLINE
    assert (notice.headers["content-type"], notice.headers["user-agent"]) == ("application/json", "signalbox")


async def test_only_what_was_chosen_and_what_its_maker_may_read_is_sent(hooks: Hooks, receiver: Receiver) -> None:
    some = frozenset({Scope.WEBHOOKS_MANAGE, Scope.WORKSPACES_READ})
    key = principal(hooks.tenant, Role.API_CLIENT, api_key_id=uuid7(), scopes=some)
    made = await hooks.endpoint(receiver.url, "thing.*", "other.exactly", who=key)
    assert made.webhook_endpoint.scopes == sorted(one.value for one in some)
    for kind in ("thing.a", "thing.b", "thingy.a", "other.exactly", "other.else"):
        await hooks.emit(kind=kind)
    await hooks.emit(kind="thing.secret", scope=Scope.AUDIT_READ)
    await hooks.emit(kind="thing.everybodys", scope=Scope.SIGNED_IN)
    worker = hooks.worker()
    assert await worker.plan() == 4
    await worker.send()
    assert sorted(one.said["type"] for one in receiver.taken) == [
        "other.exactly",
        "thing.a",
        "thing.b",
        "thing.everybodys",
    ]


async def test_what_was_planned_for_wider_scopes_is_not_sent_after_a_narrower_change(
    hooks: Hooks, receiver: Receiver
) -> None:
    made = await hooks.endpoint(receiver.url)
    await hooks.emit(kind="thing.audited", scope=Scope.AUDIT_READ)
    await hooks.emit()
    worker = hooks.worker()
    assert await worker.plan() == 2
    some = frozenset({Scope.WEBHOOKS_MANAGE, Scope.WORKSPACES_READ})
    key = principal(hooks.tenant, Role.API_CLIENT, api_key_id=uuid7(), scopes=some)
    await update_webhook_endpoint(hooks.call(key), id=made.webhook_endpoint.id, expected_version=1, url=receiver.url)
    await worker.send()
    assert [one.said["type"] for one in receiver.heard] == ["thing.happened"]
    assert [(one.state, one.last_error) for one in await hooks.deliveries()] == [
        (DEAD, WebhookError.OUT_OF_SCOPE),
        (DELIVERED, None),
    ]
    assert (await hooks.row(made)).consecutive_failures == 0


async def test_another_tenants_events_are_not_told(hooks: Hooks, receiver: Receiver) -> None:
    other = await Hooks.start(hooks.services, hooks.egress)
    await hooks.endpoint(receiver.url, "*")
    await other.emit(5)
    worker = hooks.worker()
    await worker.plan()
    await worker.send()
    # Its own making is the only thing that happened to this tenant.
    assert sorted(one.said["type"] for one in receiver.heard) == ["secret.set", "webhook.created"]
    assert not {one.id for one in receiver.heard} & set(await other.event_ids())


async def test_both_secrets_sign_while_one_takes_the_place_of_the_other(hooks: Hooks, receiver: Receiver) -> None:
    made = await hooks.endpoint(receiver.url)
    worker = hooks.worker()
    id, secrets = made.webhook_endpoint.id, [made.secret]

    async def signed_by() -> list[int]:
        await hooks.emit()
        await worker.plan()
        await worker.send()
        notice = receiver.taken[-1]
        found = [number for number, one in enumerate(secrets) if notice.is_signed_with(one)]
        assert len(found) == len(notice.signatures)
        return found

    assert await signed_by() == [0]
    secrets.append((await rotate_webhook_secret(hooks.call(), id=id)).secret)
    assert await signed_by() == [0, 1]
    secrets.append((await rotate_webhook_secret(hooks.call(), id=id)).secret)
    assert await signed_by() == [1, 2]
    await hooks.set(made, previous_secret_expires_at=utcnow() - timedelta(seconds=1))
    assert await signed_by() == [2]
    secrets.append((await rotate_webhook_secret(hooks.call(), id=id, overlap_seconds=0)).secret)
    assert await signed_by() == [3]
    async with hooks.services.database.session(hooks.tenant) as session:
        assert len((await session.scalars(select(Secret))).all()) == 1


async def test_a_secret_is_opened_once_and_that_is_written_down(hooks: Hooks, receiver: Receiver) -> None:
    await hooks.endpoint(receiver.url)
    worker = hooks.worker()
    for _ in range(3):
        await hooks.emit(3)
        await worker.plan()
        await worker.send()
    assert len(receiver.taken) == 9
    async with hooks.services.database.session(hooks.tenant) as session:
        rows = (await session.scalars(select(DataAccessLog.purpose))).all()
    assert rows == ["signing of webhooks"]


async def test_a_secret_whose_opening_is_not_written_down_is_not_remembered(hooks: Hooks) -> None:
    made = await hooks.endpoint("https://hooks.example/")
    keys = WebhookKeys(hooks.services.keyring)
    for is_cut_off in (True, False, False):
        with contextlib.suppress(InterruptedError):
            async with hooks.call().work() as work:
                signing = await keys.of(work, made.webhook_endpoint)
                assert signing.secrets == [made.secret]
                if is_cut_off:
                    raise InterruptedError
            keys.remember(signing)
    async with hooks.services.database.session(hooks.tenant) as session:
        assert len((await session.scalars(select(DataAccessLog))).all()) == 1


async def test_without_its_secret_nothing_is_sent_and_nothing_is_lost(hooks: Hooks, receiver: Receiver) -> None:
    made = await hooks.endpoint(receiver.url)
    secret_id = made.webhook_endpoint.secret_id
    assert secret_id is not None
    await delete_secret(hooks.call(), id=secret_id)
    await hooks.emit()
    worker = hooks.worker(PATIENT)
    await worker.plan()
    await worker.send()
    assert [(one.state, one.last_error) for one in await hooks.deliveries()] == [(PENDING, WebhookError.SECRET_MISSING)]
    assert receiver.heard == []
    secret = (await rotate_webhook_secret(hooks.call(), id=made.webhook_endpoint.id)).secret
    await hooks.make_due()
    await worker.send()
    assert [one.is_signed_with(secret) for one in receiver.taken] == [True]


async def test_what_is_given_up_is_sent_again_when_somebody_says_so(hooks: Hooks) -> None:
    async def refuses(_: Notice, number: int) -> int:
        return 500 if number <= 8 else 200

    async with receiving(answer=refuses) as receiver:
        made = await hooks.endpoint(receiver.url)
        await hooks.emit()
        worker = hooks.worker(replace(QUICK, delays_seconds=(0.0,) * 7))
        await worker.plan()
        async with asyncio.timeout(DEADLINE):
            while len(receiver.heard) < 8:
                await worker.send()
        (dead,) = await hooks.deliveries()
        assert (dead.state, dead.attempt_count, dead.last_status_code) == (DEAD, 8, 500)
        assert (dead.last_error, dead.next_attempt_at) == (WebhookError.REFUSED, None)
        assert dead.expires_at is not None
        assert dead.expires_at > utcnow() + timedelta(days=29)
        assert ((await hooks.row(made)).consecutive_failures, worker.counters.dead) == (8, 1)
        assert await worker.send() == 0
        await redeliver_webhook(hooks.call(), id=dead.id)
        assert await worker.send() == 1
        (again,) = await hooks.deliveries()
        assert (again.state, again.attempt_count, again.last_error) == (DELIVERED, 1, None)
        assert len({one.id for one in receiver.heard}) == 1
        assert (await hooks.row(made)).consecutive_failures == 0


async def test_an_endpoint_that_is_gone_is_told_nothing_more(hooks: Hooks) -> None:
    async def gone(_: Notice, __: int) -> int:
        return 410

    async with receiving(answer=gone) as receiver:
        made = await hooks.endpoint(receiver.url)
        await hooks.emit()
        worker = hooks.worker()
        await worker.plan()
        await worker.send()
        row = await hooks.row(made)
        assert (row.is_enabled, row.disabled_reason) == (False, WebhookDisabledReason.GONE)
        assert (await hooks.kinds())[-1] == "webhook.disabled"
        await hooks.emit(3)
        assert (await worker.plan(), await worker.send()) == (0, 0)
        assert len(receiver.heard) == 1
        # Enabled again it goes on where it stood: nothing of what happened meanwhile is missing.
        await update_webhook_endpoint(
            hooks.call(), id=made.webhook_endpoint.id, expected_version=row.version, is_enabled=True
        )
        assert await worker.plan() == 3


async def test_an_endpoint_at_which_nothing_arrives_for_days_is_disabled(hooks: Hooks) -> None:
    made = await hooks.endpoint("http://127.0.0.1:1/hook")
    worker = hooks.worker(PATIENT)
    await hooks.emit()
    await worker.plan()
    await worker.send()
    row = await hooks.row(made)
    assert (row.is_enabled, row.consecutive_failures, row.version) == (True, 1, 1)
    assert [one.last_error for one in await hooks.deliveries()] == [WebhookError.CONNECTION_FAILED]
    await hooks.set(made, failing_since=utcnow() - timedelta(days=6))
    await hooks.make_due()
    await worker.send()
    row = await hooks.row(made)
    assert (row.disabled_reason, row.version) == (WebhookDisabledReason.FAILING, 2)
    assert (await hooks.kinds())[-1] == "webhook.disabled"


async def test_a_receiver_that_does_not_answer_is_given_up_in_time(hooks: Hooks) -> None:
    never = asyncio.Event()

    async def silent(_: Notice, __: int) -> int:
        await never.wait()
        return 200

    impatient = Egress([ip_network("127.0.0.0/8")], timeout_seconds=0.2)
    async with receiving(answer=silent) as receiver:
        await hooks.endpoint(receiver.url)
        await hooks.emit()
        worker = hooks.worker(PATIENT, impatient)
        await worker.plan()
        async with asyncio.timeout(DEADLINE):
            await worker.send()
        assert [one.last_error for one in await hooks.deliveries()] == [WebhookError.TIMED_OUT]
        never.set()
    await impatient.close()


async def test_a_long_answer_is_not_read_to_its_end(hooks: Hooks) -> None:
    async def endless(_: Notice, __: int) -> bytes:
        return b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n" + b"x" * 100_000

    async with receiving(answer=endless) as receiver:
        await hooks.endpoint(receiver.url)
        await hooks.emit()
        worker = hooks.worker()
        await worker.plan()
        await worker.send()
    assert [one.state for one in await hooks.deliveries()] == [DELIVERED]


async def test_events_that_retention_took_are_told_as_a_gap(hooks: Hooks, receiver: Receiver) -> None:
    made = await hooks.endpoint(receiver.url)
    stood = (await hooks.row(made)).cursor
    await hooks.emit(4, kind="thing.lost")
    await hooks.emit(2, kind="thing.kept")
    await hooks.trim("thing.lost")
    worker = hooks.worker()
    assert await worker.plan() == 3
    await worker.send()
    gap, *rest = sorted((one.said for one in receiver.taken), key=lambda one: str(one["type"]))
    assert [one["type"] for one in rest] == ["thing.kept"] * 2
    after, until = (Cursor.decode(gap["data"][name]) for name in ("after", "cursor"))
    assert after is not None
    assert until is not None
    assert (gap["type"], after.seq, gap["data"]["missed"]) == ("signalbox.gap", stood, until.seq - stood)
    # The making of the endpoint and of its secret is among what is missing.
    assert gap["data"]["missed"] == 6
    assert worker.counters.gaps == 1


async def test_an_event_that_went_between_planning_and_sending_is_told_as_missing_under_its_id(
    hooks: Hooks, receiver: Receiver
) -> None:
    await hooks.endpoint(receiver.url)
    await hooks.emit(kind="thing.lost")
    worker = hooks.worker()
    await worker.plan()
    (event_id,) = await hooks.event_ids("thing.lost")
    await hooks.trim("thing.lost")
    await worker.send()
    (notice,) = receiver.taken
    assert (notice.id, notice.said["type"], notice.said["data"]["missed"]) == (event_id, "signalbox.gap", 1)
