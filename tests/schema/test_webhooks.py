"""This module is where webhooks are specified as admins look after them: made, changed, listed, sent again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import pytest
from sqlalchemy import select

from models import Role, Scope, Secret, WebhookDelivery, WebhookDeliveryState, WebhookError, utcnow
from models.database import Database
from models.ids import encode, parse, uuid7
from resolvers.principal import Principal
from resolvers.retention import delete_spent
from tests.conftest import counted
from tests.schema.conftest import Gateway
from tests.schema.staff import answered, done, kinds, mutation, nobody, person, refused
from tests.schema.test_activity import envelope, tell
from tests.world import Tenants

FIELDS: Final = """id url description eventKinds scopes isEnabled disabledAt disabledReason consecutiveFailures
  firstFailedAt lastDeliveredAt previousSecretExpiresAt createdBy { id } version"""
DELIVERY: Final = """id endpoint { id } kind eventId messageId state attemptCount nextAttemptAt lastStatusCode lastError
  lastDurationMilliseconds deliveredAt expiresAt"""


def _with_secret(name: str) -> str:
    kind = f"{name[0].upper()}{name[1:]}Input!"
    return f"""mutation($input: {kind}) {{ {name}(input: $input) {{
      webhookEndpoint {{ {FIELDS} }} secret userErrors {{ code message field }} }} }}"""


CREATE: Final = _with_secret("createWebhookEndpoint")
ROTATE: Final = _with_secret("rotateWebhookSecret")
UPDATE: Final = mutation("updateWebhookEndpoint", "webhookEndpoint", FIELDS)
DELETE: Final = mutation("deleteWebhookEndpoint", "deletedId", "")
TEST: Final = mutation("testWebhookEndpoint", "webhookDelivery", DELIVERY)
REDELIVER: Final = mutation("redeliverWebhook", "webhookDelivery", DELIVERY)
REDELIVER_ALL: Final = """mutation($input: RedeliverWebhooksInput!) { redeliverWebhooks(input: $input) {
  webhookEndpoint { id } queuedCount hasMore userErrors { code message field } } }"""
LIST: Final = f"""query($filter: WebhookEndpointFilter) {{
  webhookEndpoints(filter: $filter) {{ totalCount nodes {{ {FIELDS} }} }} }}"""
DELIVERIES: Final = f"""query($filter: WebhookDeliveryFilter) {{
  webhookDeliveries(filter: $filter) {{ totalCount nodes {{ {DELIVERY} }} }} }}"""
URL: Final = "https://hooks.example/signalbox"


@pytest.fixture
async def admin(gateway: Gateway, tenants: Tenants) -> Principal:
    """Somebody of mine who may everything."""
    return await person(gateway, tenants.mine)


async def make(gateway: Gateway, who: Principal, **said: Any) -> dict[str, Any]:
    """The payload of a new endpoint, with its secret."""
    payload = await answered(gateway, who, CREATE, **({"url": URL, "eventKinds": ["thing.*"]} | said))
    assert payload["userErrors"] == []
    return payload


async def endpoint(gateway: Gateway, who: Principal, **said: Any) -> dict[str, Any]:
    """A new endpoint."""
    made: dict[str, Any] = (await make(gateway, who, **said))["webhookEndpoint"]
    return made


async def put(
    gateway: Gateway, tenant_id: UUID, to: str, state: WebhookDeliveryState, seq: int, **said: Any
) -> WebhookDelivery:
    """A delivery put straight into the database."""
    is_pending = state is WebhookDeliveryState.PENDING
    row = WebhookDelivery(
        tenant_id=tenant_id,
        endpoint_id=parse(to, "webhook"),
        state=state,
        event_seq=seq,
        next_attempt_at=utcnow() if is_pending else None,
        expires_at=None if is_pending else said.pop("expires_at", utcnow() + timedelta(days=1)),
        **({"id": uuid7(), "kind": "thing.happened", "event_id": uuid7()} | said),
    )
    async with gateway.services.database.session(tenant_id) as session:
        session.add(row)
        await session.commit()
    return row


async def listed(gateway: Gateway, who: Principal, **filter: Any) -> list[dict[str, Any]]:
    """The deliveries that match."""
    page = (await gateway.data(who, DELIVERIES, filter=filter))["webhookDeliveries"]
    assert page["totalCount"] == len(page["nodes"])
    found: list[dict[str, Any]] = page["nodes"]
    return found


async def test_a_new_endpoint_shows_its_secret_once(gateway: Gateway, tenants: Tenants, admin: Principal) -> None:
    made = await make(gateway, admin, description="A pager.", idempotencyKey="k1")
    found = made["webhookEndpoint"]
    assert made["secret"].startswith("whsec_")
    assert (found["url"], found["eventKinds"], found["isEnabled"]) == (URL, ["thing.*"], True)
    assert (found["consecutiveFailures"], found["version"], found["description"]) == (0, 1, "A pager.")
    assert found["createdBy"]["id"] == encode("user", admin.user_id or uuid7())
    assert Scope.ACTIVITY_READ.value in found["scopes"]
    assert not {Scope.PLATFORM_ADMIN.value, Scope.SIGNED_IN.value} & set(found["scopes"])
    assert await kinds(gateway, admin, [found["id"]]) == ["webhook.created"]
    again = await make(gateway, admin, description="A pager.", idempotencyKey="k1")
    assert (again["webhookEndpoint"]["id"], again["secret"]) == (found["id"], None)
    everything = str(await gateway.data(admin, "{ activity(first: 100) { nodes { payload } } }"))
    assert "hooks.example" not in everything
    assert made["secret"] not in everything
    async with gateway.services.database.session(tenants.mine) as session:
        (secret,) = (await session.scalars(select(Secret))).all()
    assert (secret.owner_typeid, secret.key) == (found["id"], "SIGNING_KEY")
    document = "{ secrets { nodes { ownerType ownerId owner { id } } } }"
    (shown,) = (await gateway.data(admin, document))["secrets"]["nodes"]
    assert shown == {"ownerType": "WEBHOOK_ENDPOINT", "ownerId": found["id"], "owner": {"id": found["id"]}}


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ({"url": ""}, ["url"]),
        ({"url": "hooks.example"}, ["url"]),
        ({"url": "ftp://hooks.example"}, ["url"]),
        ({"url": "https://user:word@hooks.example"}, ["url"]),
        ({"url": f"https://hooks.example/{'x' * 2048}"}, ["url"]),
        ({"url": "https://10.0.0.1/"}, ["url"]),
        ({"url": "http://[::1]/"}, ["url"]),
        ({"url": "http://169.254.169.254/"}, ["url"]),
        ({"eventKinds": []}, ["eventKinds"]),
        ({"eventKinds": [f"kind.a{number}" for number in range(51)]}, ["eventKinds"]),
        ({"eventKinds": [""]}, ["eventKinds"]),
        ({"eventKinds": ["approval.*.*"]}, ["eventKinds"]),
        ({"eventKinds": ["*.decided"]}, ["eventKinds"]),
        ({"eventKinds": ["approval.dec*"]}, ["eventKinds"]),
        ({"eventKinds": ["Approval.decided"]}, ["eventKinds"]),
        ({"eventKinds": ["approval.decided\n"]}, ["eventKinds"]),
        ({"eventKinds": ["a" * 101]}, ["eventKinds"]),
        ({"description": "x" * 1001}, ["description"]),
        ({"description": "\x00"}, ["description"]),
    ],
)
async def test_what_is_not_acceptable_is_refused_by_its_path(
    gateway: Gateway, admin: Principal, said: dict[str, Any], path: list[str]
) -> None:
    given = {"url": URL, "eventKinds": ["*"], **said}
    assert await refused(gateway, admin, CREATE, **given) == ("INVALID", ["input", *path])
    made = await endpoint(gateway, admin)
    assert await refused(gateway, admin, UPDATE, id=made["id"], expectedVersion=1, **said) == (
        "INVALID",
        ["input", *path],
    )


async def test_a_change_is_told_and_versions_hold(gateway: Gateway, admin: Principal) -> None:
    made = await endpoint(gateway, admin)
    changed = await done(
        gateway, admin, UPDATE, id=made["id"], expectedVersion=1, eventKinds=["*", "*", "a.b"], description=""
    )
    assert (changed["eventKinds"], changed["description"], changed["version"]) == (["*", "a.b"], None, 2)
    same = await done(gateway, admin, UPDATE, id=made["id"], expectedVersion=2, eventKinds=["*", "a.b"])
    assert same["version"] == 2
    assert await refused(gateway, admin, UPDATE, id=made["id"], expectedVersion=1, url=URL) == (
        "CONFLICT",
        ["input", "expectedVersion"],
    )
    for field in ("url", "eventKinds", "isEnabled"):
        assert await refused(gateway, admin, UPDATE, id=made["id"], expectedVersion=2, **{field: None}) == (
            "INVALID",
            ["input", field],
        )
    assert await kinds(gateway, admin, [made["id"]]) == ["webhook.created", "webhook.updated"]


async def test_an_endpoint_is_disabled_and_enabled_by_hand(gateway: Gateway, admin: Principal) -> None:
    made = await endpoint(gateway, admin, isEnabled=False)
    assert (made["isEnabled"], made["disabledReason"]) == (False, "MANUAL")
    assert made["disabledAt"] is not None
    assert await refused(gateway, admin, TEST, id=made["id"]) == ("ILLEGAL_TRANSITION", ["input", "id"])
    enabled = await done(gateway, admin, UPDATE, id=made["id"], expectedVersion=1, isEnabled=True)
    assert (enabled["isEnabled"], enabled["disabledAt"], enabled["disabledReason"]) == (True, None, None)
    disabled = await done(gateway, admin, UPDATE, id=made["id"], expectedVersion=2, isEnabled=False)
    assert disabled["disabledReason"] == "MANUAL"
    page = (await gateway.data(admin, LIST, filter={"isEnabled": True}))["webhookEndpoints"]
    assert page == {"totalCount": 0, "nodes": []}


async def test_a_change_leaves_an_endpoint_with_its_makers_scopes(
    gateway: Gateway, tenants: Tenants, admin: Principal
) -> None:
    made = await endpoint(gateway, admin)
    key = Principal(
        tenant_id=tenants.mine,
        scopes=frozenset({Scope.WEBHOOKS_MANAGE, Scope.AGENTS_READ}),
        roles=frozenset({Role.API_CLIENT}),
        api_key_id=uuid7(),
    )
    narrowed = await done(gateway, key, UPDATE, id=made["id"], expectedVersion=1, url="https://elsewhere.example/")
    assert narrowed["scopes"] == ["agents:read", "webhooks:manage"]
    again = await done(gateway, admin, UPDATE, id=made["id"], expectedVersion=2)
    assert (again["scopes"], again["version"]) == (made["scopes"], 3)


async def test_a_token_of_one_workspace_makes_no_endpoint(gateway: Gateway, tenants: Tenants, admin: Principal) -> None:
    made = await endpoint(gateway, admin)
    machine = Principal(
        tenant_id=tenants.mine,
        scopes=frozenset({Scope.WEBHOOKS_MANAGE}),
        api_key_id=uuid7(),
        workspace_id=uuid7(),
    )
    for document, said in (
        (CREATE, {"url": URL, "eventKinds": ["*"]}),
        (UPDATE, {"id": made["id"], "expectedVersion": 1}),
        (ROTATE, {"id": made["id"]}),
        (DELETE, {"id": made["id"]}),
        (TEST, {"id": made["id"]}),
        (REDELIVER, {"id": nobody("delivery")}),
        (REDELIVER_ALL, {"endpointId": made["id"]}),
    ):
        answer = await gateway.answer(machine, document, input=said)
        assert [one["extensions"]["code"] for one in answer["errors"]] == ["FORBIDDEN"]


async def test_a_tenant_has_at_most_twenty(gateway: Gateway, tenants: Tenants, admin: Principal) -> None:
    for _ in range(20):
        await endpoint(gateway, admin)
    assert await refused(gateway, admin, CREATE, url=URL, eventKinds=["*"]) == ("LIMIT_EXCEEDED", None)
    assert (await endpoint(gateway, await person(gateway, tenants.other)))["version"] == 1


async def test_a_secret_is_replaced_and_the_old_one_lasts_for_the_overlap(gateway: Gateway, admin: Principal) -> None:
    made = await make(gateway, admin)
    id = made["webhookEndpoint"]["id"]
    rotated = await answered(gateway, admin, ROTATE, id=id)
    assert rotated["userErrors"] == []
    assert rotated["secret"] not in (None, made["secret"])
    assert rotated["webhookEndpoint"]["previousSecretExpiresAt"] is not None
    for bad in (-1, 604_801):
        assert await refused(gateway, admin, ROTATE, id=id, overlapSeconds=bad) == (
            "INVALID",
            ["input", "overlapSeconds"],
        )
    at_once = await answered(gateway, admin, ROTATE, id=id, overlapSeconds=0)
    assert at_once["webhookEndpoint"]["previousSecretExpiresAt"] is None
    assert "webhook.secret_rotated" in await kinds(gateway, admin, [id])


async def test_a_ping_is_planned_at_once(gateway: Gateway, admin: Principal) -> None:
    made = await endpoint(gateway, admin)
    ping = await done(gateway, admin, TEST, id=made["id"])
    assert (ping["kind"], ping["state"], ping["attemptCount"]) == ("signalbox.ping", "PENDING", 0)
    assert (ping["eventId"], ping["messageId"], ping["endpoint"]) == (None, ping["id"], {"id": made["id"]})
    assert await listed(gateway, admin, endpointId=made["id"]) == [ping]


async def test_deliveries_are_listed_by_endpoint_state_and_kind(
    gateway: Gateway, tenants: Tenants, admin: Principal
) -> None:
    one, two = await endpoint(gateway, admin), await endpoint(gateway, admin)
    dead = await put(gateway, tenants.mine, one["id"], WebhookDeliveryState.DEAD, 1, last_error=WebhookError.TIMED_OUT)
    await put(gateway, tenants.mine, one["id"], WebhookDeliveryState.DELIVERED, 2, kind="other.thing")
    await put(gateway, tenants.mine, two["id"], WebhookDeliveryState.PENDING, 1)
    (found,) = await listed(gateway, admin, state=["DEAD"])
    assert (found["id"], found["lastError"]) == (dead.typeid, "TIMED_OUT")
    assert found["messageId"] == found["eventId"] == encode("event", dead.event_id or uuid7())
    assert len(await listed(gateway, admin, endpointId=one["id"])) == 2
    assert [item["endpoint"]["id"] for item in await listed(gateway, admin, state=["PENDING"])] == [two["id"]]
    assert [item["kind"] for item in await listed(gateway, admin, kind=["other.thing", "no\x00ne"])] == ["other.thing"]
    for bad in (nobody("webhook"), "nonsense"):
        assert await listed(gateway, admin, endpointId=bad) == []
    assert await listed(gateway, await person(gateway, tenants.other)) == []


async def test_only_what_has_ended_and_can_still_be_read_is_sent_again(
    gateway: Gateway, tenants: Tenants, admin: Principal
) -> None:
    made = await endpoint(gateway, admin)
    await tell(gateway, tenants.mine, envelope("thing.happened"))
    (_, seq) = await gateway.services.tails.bounds(tenants.mine)
    dead = await put(gateway, tenants.mine, made["id"], WebhookDeliveryState.DEAD, seq, attempt_count=8)
    gone = await put(gateway, tenants.mine, made["id"], WebhookDeliveryState.DELIVERED, seq + 1_000_000)
    again = await done(gateway, admin, REDELIVER, id=dead.typeid)
    assert (again["state"], again["attemptCount"], again["expiresAt"]) == ("PENDING", 0, None)
    assert await refused(gateway, admin, REDELIVER, id=dead.typeid) == ("ILLEGAL_TRANSITION", ["input", "id"])
    assert await refused(gateway, admin, REDELIVER, id=gone.typeid) == ("EXPIRED", ["input", "id"])
    assert (await kinds(gateway, admin, [made["id"]]))[-1] == "webhook.redelivered"


async def test_all_that_was_given_up_of_an_endpoint_is_sent_again(
    gateway: Gateway, tenants: Tenants, admin: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resolvers.webhooks.MOST_REDELIVERED", 3)
    made, other = await endpoint(gateway, admin), await endpoint(gateway, admin)
    for seq in range(1, 5):
        await put(gateway, tenants.mine, made["id"], WebhookDeliveryState.DEAD, seq)
    await put(gateway, tenants.mine, other["id"], WebhookDeliveryState.DEAD, 1)
    await put(gateway, tenants.mine, made["id"], WebhookDeliveryState.DELIVERED, 9)
    for expected in ((3, True), (1, False), (0, False)):
        payload = await answered(gateway, admin, REDELIVER_ALL, endpointId=made["id"])
        assert payload["userErrors"] == []
        assert (payload["queuedCount"], payload["hasMore"]) == expected
    assert len(await listed(gateway, admin, state=["PENDING"])) == 4
    assert len(await listed(gateway, admin, state=["DEAD"])) == 1
    disabled = await done(gateway, admin, UPDATE, id=other["id"], expectedVersion=1, isEnabled=False)
    assert await refused(gateway, admin, REDELIVER_ALL, endpointId=disabled["id"]) == (
        "ILLEGAL_TRANSITION",
        ["input", "endpointId"],
    )


async def test_a_deleted_endpoint_takes_its_secrets_and_deliveries_along(
    gateway: Gateway, tenants: Tenants, admin: Principal
) -> None:
    made = await endpoint(gateway, admin)
    await answered(gateway, admin, ROTATE, id=made["id"])
    await put(gateway, tenants.mine, made["id"], WebhookDeliveryState.DEAD, 1)
    assert await done(gateway, admin, DELETE, id=made["id"], expectedVersion=2) == made["id"]
    assert await listed(gateway, admin) == []
    async with gateway.services.database.session(tenants.mine) as session:
        assert (await session.scalars(select(Secret))).all() == []
    assert await refused(gateway, admin, DELETE, id=made["id"]) == ("NOT_FOUND", ["input", "id"])
    assert (await kinds(gateway, admin, [made["id"]]))[-1] == "webhook.deleted"


async def test_another_tenants_are_not_there(gateway: Gateway, tenants: Tenants, admin: Principal) -> None:
    made = await endpoint(gateway, admin)
    dead = await put(gateway, tenants.mine, made["id"], WebhookDeliveryState.DEAD, 1)
    stranger = await person(gateway, tenants.other)
    for bad in (made["id"], nobody("webhook"), "nonsense"):
        found = await gateway.data(stranger, "query($id: ID!) { webhookEndpoint(id: $id) { id } }", id=bad)
        assert found == {"webhookEndpoint": None}
        for document, said in ((UPDATE, {"expectedVersion": 1}), (ROTATE, {}), (DELETE, {}), (TEST, {})):
            assert await refused(gateway, stranger, document, id=bad, **said) == ("NOT_FOUND", ["input", "id"])
        assert await refused(gateway, stranger, REDELIVER_ALL, endpointId=bad) == ("NOT_FOUND", ["input", "endpointId"])
    for bad in (dead.typeid, nobody("delivery"), made["id"]):
        assert await refused(gateway, stranger, REDELIVER, id=bad) == ("NOT_FOUND", ["input", "id"])


@pytest.mark.parametrize("role", sorted(set(Role) - {Role.ADMIN}))
async def test_only_admins_look_after_webhooks(
    gateway: Gateway, tenants: Tenants, admin: Principal, role: Role
) -> None:
    made = await endpoint(gateway, admin)
    who = await person(gateway, tenants.mine, role)
    for document, said in (
        (CREATE, {"url": URL, "eventKinds": ["*"]}),
        (UPDATE, {"id": made["id"], "expectedVersion": 1}),
        (ROTATE, {"id": made["id"]}),
        (DELETE, {"id": made["id"]}),
        (TEST, {"id": made["id"]}),
        (REDELIVER, {"id": nobody("delivery")}),
        (REDELIVER_ALL, {"endpointId": made["id"]}),
    ):
        answer = await gateway.answer(who, document, input=said)
        assert [one["extensions"]["code"] for one in answer["errors"]] == ["FORBIDDEN"]
    for document in (LIST, DELIVERIES):
        answer = await gateway.answer(who, document)
        assert [one["extensions"]["code"] for one in answer["errors"]] == ["FORBIDDEN"]


async def test_pages_cost_the_same_however_many_rows(
    gateway: Gateway, tenants: Tenants, admin: Principal, database: Database
) -> None:
    made = await endpoint(gateway, admin)
    seen = []
    for seq in (1, 2, 3):
        await put(gateway, tenants.mine, made["id"], WebhookDeliveryState.DEAD, seq)
        with counted(database) as statements:
            await gateway.data(admin, DELIVERIES)
        seen.append(len(statements))
    assert seen == [3, 3, 3]


async def test_what_has_ended_is_deleted_when_its_time_is_over(
    gateway: Gateway, tenants: Tenants, admin: Principal
) -> None:
    made = await endpoint(gateway, admin)
    now = utcnow()
    await put(gateway, tenants.mine, made["id"], WebhookDeliveryState.DEAD, 1, expires_at=now - timedelta(seconds=1))
    for seq, state in enumerate(WebhookDeliveryState, start=2):
        await put(gateway, tenants.mine, made["id"], state, seq)

    async def go_on() -> bool:
        return True

    # Other tests' rows may be over as well.
    assert await delete_spent(gateway.services.database, go_on) >= 1
    left = await listed(gateway, admin)
    assert sorted(one["state"] for one in left) == ["DEAD", "DELIVERED", "PENDING"]
