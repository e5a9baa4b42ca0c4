"""This module is where the graphql-transport-ws protocol is specified: messages, order, and who may connect."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from websockets.exceptions import InvalidStatus

from models import TenantLimits
from models.errors import Forbidden
from tests.gateway.served import serving
from tests.gateway.toy import ToyOperations, person
from tests.patience import DEADLINE


async def test_a_subscription_sends_its_items_and_completes() -> None:
    async with serving() as served, served.ready_peer() as peer:
        await peer.subscribe("1", "subscription { count(to: 2) }")
        assert await peer.receive() == {"type": "next", "payload": {"data": {"count": "1"}}, "id": "1"}
        assert await peer.receive() == {"type": "next", "payload": {"data": {"count": "2"}}, "id": "1"}
        assert await peer.receive() == {"type": "complete", "id": "1"}


async def test_queries_run_over_the_socket_as_its_principal() -> None:
    async with serving() as served, served.ready_peer("ada") as peer:
        await peer.subscribe("q", "query Me { me }", operationName="Me")
        answer = await peer.receive()
        assert answer["payload"] == {"data": {"me": served.operations.principals["ada"].key}}
        assert (await peer.receive())["type"] == "complete"


async def test_a_mutation_runs_over_the_socket_and_the_door_stays_open_for_others() -> None:
    async with serving() as served, served.ready_peer() as peer:
        await peer.subscribe("m", "mutation { slow }")
        await peer.subscribe("q", "{ hello }")
        assert (await peer.receive())["id"] == "q"
        assert (await peer.receive())["type"] == "complete"
        served.operations.stage.door.set()
        assert (await peer.receive())["payload"] == {"data": {"slow": 1}}


@pytest.mark.parametrize("query", ["{ nope }", "subscription { nope }", "{", ""])
async def test_a_request_error_is_an_error_message_with_its_code(query: str) -> None:
    async with serving() as served, served.ready_peer() as peer:
        await peer.subscribe("1", query)
        answer = await peer.receive()
        assert (answer["type"], answer["id"]) == ("error", "1")
        assert answer["payload"][0]["extensions"]["code"] == "BAD_REQUEST"
        assert answer["payload"][0]["extensions"]["requestId"]


async def test_a_stream_that_is_refused_is_one_error_message() -> None:
    async with serving() as served, served.ready_peer() as peer:
        await peer.subscribe("1", "subscription { refused }")
        answer = await peer.receive()
        assert (answer["type"], answer["id"]) == ("error", "1")
        assert answer["payload"][0]["extensions"]["code"] == "FORBIDDEN"
        await peer.send(type="ping")
        assert await peer.receive() == {"type": "pong"}


async def test_a_stream_that_is_ended_says_why_and_leaves_the_socket_alive() -> None:
    async with serving() as served, served.ready_peer() as peer:
        served.operations.stream_failure = Forbidden("The scope was revoked.", cursor="c1", retryable=False)
        await peer.subscribe("1", "subscription { forever }")
        assert (await peer.receive())["type"] == "next"
        ended = await peer.receive()
        assert ended["type"] == "error"
        extensions = ended["payload"][0]["extensions"]
        assert (extensions["code"], extensions["cursor"], extensions["retryable"]) == ("FORBIDDEN", "c1", False)
        await peer.subscribe("1", "{ hello }")
        assert (await peer.receive())["payload"] == {"data": {"hello": "hello world"}}


async def test_nothing_of_the_inside_leaves_with_an_unexpected_failure() -> None:
    async with serving() as served, served.ready_peer() as peer:
        served.operations.stream_failure = RuntimeError("the inside")
        await peer.subscribe("1", "subscription { forever }")
        await peer.receive()
        (error,) = (await peer.receive())["payload"]
        assert error["extensions"]["code"] == "INTERNAL"
        assert "the inside" not in str(error)


async def test_a_completed_subscription_is_closed_and_its_id_is_free_at_once() -> None:
    async with serving() as served, served.ready_peer() as peer:
        await peer.subscribe("1", "subscription { forever }")
        assert (await peer.receive())["type"] == "next"
        await peer.send(id="1", type="complete")
        await peer.subscribe("1", "{ hello }")
        assert (await peer.receive())["payload"] == {"data": {"hello": "hello world"}}
        await served.all_closed()


async def test_completing_what_does_not_run_is_ignored() -> None:
    async with serving() as served, served.ready_peer() as peer:
        await peer.send(id="never", type="complete")
        await peer.send(type="ping")
        assert await peer.receive() == {"type": "pong"}


async def test_pings_are_answered_even_before_the_init() -> None:
    async with serving() as served, served.peer() as peer:
        await peer.send(type="ping", payload={"any": "thing"})
        assert await peer.receive() == {"type": "pong"}


async def test_a_vanished_client_leaves_no_stream_behind() -> None:
    async with serving() as served:
        async with served.ready_peer() as peer:
            await peer.subscribe("1", "subscription { forever }")
            await peer.receive()
            peer.socket.transport.abort()
        await served.all_closed()
        names = {task.get_name() for task in asyncio.all_tasks()}
        assert not [name for name in names if name.startswith(("operation", "outbox"))]


async def test_a_mutation_outlives_the_socket_that_asked_for_it() -> None:
    async with serving() as served:
        async with served.ready_peer() as peer:
            await peer.subscribe("m", "mutation { slow }")
            async with asyncio.timeout(DEADLINE):
                await served.operations.stage.entered.wait()
        served.operations.stage.door.set()
        async with served.ready_peer() as peer:
            await peer.subscribe("m", "mutation { slow }")
            assert (await peer.receive())["payload"] == {"data": {"slow": 2}}


async def test_a_tenant_follows_as_many_streams_as_its_plan_allows_over_any_transport() -> None:
    operations = ToyOperations()
    operations.principals["ada"] = replace(person(), limits=TenantLimits(subscriptions=1))
    async with serving(operations) as served, served.ready_peer("ada") as peer:
        await peer.subscribe("1", "subscription { forever }")
        assert (await peer.receive())["type"] == "next"
        await peer.subscribe("2", "subscription { forever }")
        refused = await peer.receive()
        assert (refused["id"], refused["payload"][0]["extensions"]["code"]) == ("2", "LIMIT_EXCEEDED")
        answer = await served.query("subscription { forever }", token="ada", accept="text/event-stream")
        assert (answer.status_code, answer.json()["errors"][0]["extensions"]["code"]) == (429, "LIMIT_EXCEEDED")
        await peer.send(id="1", type="complete")
        await served.all_closed()
        await peer.subscribe("2", "subscription { forever }")
        assert (await peer.receive())["type"] == "next"


async def test_a_socket_runs_so_many_operations_and_says_so_for_the_next() -> None:
    async with serving(operations_per_socket=2) as served, served.ready_peer() as peer:
        for operation_id in ("1", "2"):
            await peer.subscribe(operation_id, "subscription { forever }")
            await peer.receive()
        await peer.subscribe("3", "subscription { forever }")
        refused = await peer.receive()
        assert (refused["type"], refused["id"]) == ("error", "3")
        assert refused["payload"][0]["extensions"]["code"] == "LIMIT_EXCEEDED"
        await peer.send(id="1", type="complete")
        await peer.subscribe("3", "subscription { forever }")
        assert (await peer.receive())["type"] == "next"


async def test_an_unlisted_origin_is_refused_even_when_it_equals_the_host() -> None:
    async with serving(allowed_origins=frozenset({"https://app.example"})) as served:
        origin = f"http://127.0.0.1:{served.port}"
        with pytest.raises(InvalidStatus) as refusal:
            async with served.peer(origin=origin):
                pass
        assert refusal.value.response.status_code == 403
        async with served.peer(origin="https://app.example") as peer:
            assert (await peer.init())["type"] == "connection_ack"


async def test_an_unlisted_host_is_refused() -> None:
    async with serving(allowed_hosts=frozenset({"signalbox.example"})) as served:
        with pytest.raises(InvalidStatus) as refusal:
            async with served.peer():
                pass
        assert refusal.value.response.status_code == 403
        async with served.peer(host="signalbox.example:8443") as peer:
            assert (await peer.init())["type"] == "connection_ack"


async def test_a_socket_without_a_token_is_refused() -> None:
    async with serving() as served, served.peer() as peer:
        await peer.send(type="connection_init")
        assert await peer.closed() == (4401, "Unauthorized")
