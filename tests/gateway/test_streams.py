"""This module is where subscriptions over plain HTTP are specified: event streams and multipart responses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import orjson
import pytest

from models.errors import Forbidden
from tests.gateway.served import Served, serving
from tests.gateway.test_http import code_of
from tests.gateway.toy import ToyOperations, person
from tests.patience import DEADLINE

EVENTS = "text/event-stream"
MULTIPART = "multipart/mixed;boundary=graphql;subscriptionSpec=1.0"
# What Apollo Client and urql send with every operation of their own accord.
URQL = "application/graphql-response+json, application/json, text/event-stream, multipart/mixed"

PART = b"\r\ncontent-type: application/json\r\n\r\n"


@asynccontextmanager
async def streaming(
    served: Served, query: str, accept: str = EVENTS, token: str = "ada"
) -> AsyncIterator[httpx.Response]:
    headers = {"accept": accept, "authorization": f"Bearer {token}"}
    async with served.http.stream("POST", "/graphql", json={"query": query}, headers=headers) as response:
        yield response


async def body_of(served: Served, query: str, accept: str = EVENTS) -> bytes:
    async with streaming(served, query, accept) as response:
        return await response.aread()


async def events(response: httpx.Response) -> AsyncIterator[tuple[str, Any]]:
    """Event name and data, as graphql-sse's distinct connections mode defines them; comments are left out."""
    name = ""
    async for line in response.aiter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data:"):
            data = line.removeprefix("data:").strip()
            yield name, orjson.loads(data) if data else None


def parts_of(body: bytes) -> list[Any]:
    """What stands between the boundaries, after checking the frame around it."""
    preamble, *parts, epilogue = body.split(b"\r\n--graphql")
    assert (preamble, epilogue) == (b"", b"--\r\n")
    assert all(part.startswith(PART) for part in parts)
    return [orjson.loads(part.removeprefix(PART)) for part in parts]


async def test_an_event_stream_sends_next_events_and_completes() -> None:
    async with serving() as served:
        body = await body_of(served, "subscription { count(to: 2) }")
        assert body == (
            b":\n\n"
            b'event: next\ndata: {"data":{"count":"1"}}\n\n'
            b'event: next\ndata: {"data":{"count":"2"}}\n\n'
            b"event: complete\ndata:\n\n"
        )
        assert b"\r" not in body


async def test_an_event_stream_is_neither_cached_nor_held_back() -> None:
    async with serving() as served, streaming(served, "subscription { count(to: 1) }") as response:
        assert response.headers["content-type"].startswith(EVENTS)
        assert "no-store" in response.headers["cache-control"]
        assert response.headers["x-accel-buffering"] == "no"
        assert response.headers["x-request-id"]


async def test_a_multipart_stream_ends_every_part_with_its_boundary() -> None:
    async with serving() as served:
        body = await body_of(served, "subscription { count(to: 2) }", MULTIPART)
        assert parts_of(body) == [
            {"payload": {"data": {"count": "1"}}},
            {"payload": {"data": {"count": "2"}}},
        ]


async def test_the_first_part_is_whole_before_the_second_exists() -> None:
    async with serving() as served, streaming(served, "subscription { forever }", MULTIPART) as response:
        received = b""
        async with asyncio.timeout(DEADLINE):
            async for chunk in response.aiter_raw():
                received += chunk
                if received.count(b"--graphql") == 2:
                    break
        assert b'{"payload":{"data":{"forever":1}}}' in received


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [(URQL, "text/event-stream"), (f"{MULTIPART}, application/json", "multipart/mixed"), (EVENTS, EVENTS)],
)
async def test_a_subscription_takes_the_stream_that_the_client_reads(accept: str, content_type: str) -> None:
    async with serving() as served, streaming(served, "subscription { count(to: 1) }", accept) as response:
        assert response.headers["content-type"].startswith(content_type)


async def test_json_wins_for_a_query_when_the_client_also_reads_streams() -> None:
    async with serving() as served:
        response = await served.query("{ hello }", accept=URQL)
        assert response.headers["content-type"].startswith("application/graphql-response+json")


async def test_a_query_is_a_stream_of_one_for_a_client_that_reads_nothing_else() -> None:
    async with serving() as served:
        body = await body_of(served, "{ hello }")
        assert body == b':\n\nevent: next\ndata: {"data":{"hello":"hello world"}}\n\nevent: complete\ndata:\n\n'


@pytest.mark.parametrize("accept", ["application/json", "*/*", "multipart/mixed;deferSpec=20220824"])
async def test_a_subscription_for_a_client_that_reads_no_stream_is_406_and_says_what_it_needs(accept: str) -> None:
    async with serving() as served:
        response = await served.query("subscription { count(to: 1) }", token="ada", accept=accept)
        assert (response.status_code, code_of(response)) == (406, "BAD_REQUEST")
        assert EVENTS in response.json()["errors"][0]["message"]


async def test_a_subscription_that_fails_at_once_is_a_status_for_clients_that_read_json_too() -> None:
    async with serving() as served:
        response = await served.query("subscription { nope }", token="ada", accept=URQL)
        assert (response.status_code, code_of(response)) == (400, "BAD_REQUEST")
        refused = await served.query("subscription { refused }", token="ada", accept=URQL)
        assert (refused.status_code, code_of(refused)) == (403, "FORBIDDEN")
        body = await body_of(served, "subscription { nope }", EVENTS)
        assert body.endswith(b"event: complete\ndata:\n\n")
        assert b"BAD_REQUEST" in body


async def test_a_subscription_needs_credentials() -> None:
    async with serving() as served:
        response = await served.query("subscription { count(to: 1) }", accept=EVENTS)
        assert (response.status_code, code_of(response)) == (401, "UNAUTHENTICATED")


async def test_a_get_may_subscribe_where_get_is_allowed() -> None:
    async with serving(allow_get=True) as served:
        headers = {"accept": EVENTS, "authorization": "Bearer ada"}
        parameters = {"query": "subscription { count(to: 1) }"}
        response = await served.http.get("/graphql", params=parameters, headers=headers)
        assert b'"count":"1"' in response.content


async def test_an_event_stream_that_is_ended_carries_the_same_extensions_last() -> None:
    operations = ToyOperations()
    operations.stream_failure = Forbidden("The scope was revoked.", cursor="c1", retryable=False)
    async with serving(operations) as served:
        async with streaming(served, "subscription { forever }") as response:
            received = [event async for event in events(response)]
        assert [name for name, _ in received] == ["next", "next", "complete"]
        extensions = received[1][1]["errors"][0]["extensions"]
        assert (extensions["code"], extensions["cursor"]) == ("FORBIDDEN", "c1")
        *_, last = parts_of(await body_of(served, "subscription { forever }", MULTIPART))
        assert last["payload"] is None
        assert last["errors"][0]["extensions"]["code"] == "FORBIDDEN"
        await served.all_closed()


@pytest.mark.parametrize("accept", [EVENTS, MULTIPART])
async def test_a_stream_ends_when_its_token_expires(accept: str) -> None:
    operations = ToyOperations()
    operations.principals["ada"] = person(expires_in=0.1)
    async with serving(operations) as served:
        body = await body_of(served, "subscription { forever }", accept)
        assert b'"code":"TOKEN_EXPIRED"' in body
        assert body.endswith((b"event: complete\ndata:\n\n", b"--graphql--\r\n"))
        await served.all_closed()


@pytest.mark.parametrize(
    ("accept", "beat"), [(EVENTS, b":\n\n:\n\n"), (MULTIPART, PART + b"{}\r\n--graphql" + PART + b"{}")]
)
async def test_an_idle_stream_is_kept_alive(accept: str, beat: bytes) -> None:
    async with (
        serving(keep_alive_interval=0.02) as served,
        streaming(served, "subscription { forever }", accept) as response,
    ):
        received = b""
        async with asyncio.timeout(DEADLINE):
            async for chunk in response.aiter_raw():
                received += chunk
                if beat in received:
                    break


@pytest.mark.parametrize("accept", [EVENTS, MULTIPART])
async def test_a_client_that_leaves_ends_its_stream_at_once(accept: str) -> None:
    async with serving() as served:
        async with streaming(served, "subscription { forever }", accept) as response:
            await anext(response.aiter_raw())
            async with asyncio.timeout(DEADLINE):
                await served.operations.stage.entered.wait()
        await served.all_closed()
        async with asyncio.timeout(DEADLINE):
            await served.endpoint.connections.all_gone()
        names = {task.get_name() for task in asyncio.all_tasks()}
        assert not [name for name in names if name.startswith(("stream", "outbox"))]


async def test_streams_count_in_the_same_limit_as_sockets() -> None:
    async with serving(connections_per_user=1) as served, served.ready_peer("ada"):
        headers = {"accept": EVENTS}
        response = await served.query("subscription { forever }", token="ada", **headers)
        assert (response.status_code, code_of(response)) == (429, "LIMIT_EXCEEDED")


async def test_a_finished_stream_gives_its_seat_back() -> None:
    async with serving(connections_per_user=1) as served:
        for _ in range(3):
            assert b"complete" in await body_of(served, "subscription { count(to: 1) }")


async def test_a_drain_ends_streams_with_a_word_and_lets_no_new_one_in() -> None:
    async with serving() as served:
        async with streaming(served, "subscription { forever }") as response:
            reading = events(response)
            await anext(reading)
            draining = asyncio.create_task(served.endpoint.drain(spread=0), name="drain")
            (_, last), (end, _) = [event async for event in reading]
            assert last["errors"][0]["extensions"]["code"] == "UNAVAILABLE"
            assert last["errors"][0]["extensions"]["retryable"] is True
            assert end == "complete"
            await draining
        late = await served.query("subscription { forever }", token="ada", accept=EVENTS)
        assert (late.status_code, code_of(late)) == (503, "UNAVAILABLE")


async def test_a_reader_that_does_not_read_is_cut() -> None:
    async with serving(send_deadline=0.2, outbox_frames=8) as served:
        query = b'{"query":"subscription { count(to: 100000, size: 60000) }"}'
        _, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1024)
        writer.write(
            b"POST /graphql HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\naccept: text/event-stream\r\n"
            b"authorization: Bearer ada\r\ncontent-length: %d\r\n\r\n%s" % (len(query), query)
        )
        async with asyncio.timeout(DEADLINE):
            await served.operations.stage.entered.wait()
        await served.all_closed()
        async with asyncio.timeout(DEADLINE):
            await served.endpoint.connections.all_gone()
        assert served.endpoint.connections.counters.cut_stuck == 1
        assert (await served.query("{ hello }")).status_code == 200
        writer.transport.abort()
